package console

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"unsafe"
)

// openTerminal opens a pseudo-terminal.
func openTerminal(t *testing.T) *os.File {
	t.Helper()
	primary, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("this needs pseudo-terminals (/dev/ptmx, /dev/pts), which CI has: %v", err)
	}
	t.Cleanup(func() { primary.Close() })
	var unlock, number uint32
	for request, argument := range map[uintptr]*uint32{syscall.TIOCSPTLCK: &unlock, syscall.TIOCGPTN: &number} {
		if _, _, failure := syscall.Syscall(syscall.SYS_IOCTL, primary.Fd(), request, uintptr(unsafe.Pointer(argument))); failure != 0 {
			t.Skipf("this needs pseudo-terminals (/dev/ptmx, /dev/pts), which CI has: %v", failure)
		}
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("this needs pseudo-terminals (/dev/ptmx, /dev/pts), which CI has: %v", err)
	}
	t.Cleanup(func() { terminal.Close() })
	return terminal
}

func TestColoursAreForTerminals(t *testing.T) {
	terminal := openTerminal(t)
	t.Setenv("NO_COLOR", "")
	if !New(terminal).colour {
		t.Error("no colours on a terminal")
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	defer writer.Close()
	if New(writer).colour {
		t.Error("colours in a pipe")
	}
	t.Setenv("NO_COLOR", "1")
	if New(terminal).colour {
		t.Error("colours although NO_COLOR is set")
	}
}
