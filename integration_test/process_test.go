package integration_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// process is a Caddy of its own.
type process struct {
	t       testing.TB
	command *exec.Cmd
	output  *buffer
	ended   chan struct{}
}

// buffer collects what a process writes while the test may read it.
type buffer struct {
	mu      sync.Mutex
	written bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.written.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.written.String()
}

// write writes a Caddyfile into a folder of its own.
func writeCaddyfile(t testing.TB, content string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// inHome lets a Caddy write nowhere but into a folder of the test.
func inHome(t testing.TB, command *exec.Cmd, environment ...string) *exec.Cmd {
	t.Helper()
	home := t.TempDir()
	command.Env = append(os.Environ(), "HOME="+home, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home)
	command.Env = append(command.Env, environment...)
	return command
}

// startProcess runs a Caddy with this Caddyfile until the test ends.
func startProcess(t testing.TB, program, caddyfile string, environment ...string) *process {
	t.Helper()
	return startAdapted(t, program, "caddyfile", caddyfile, environment...)
}

// startAdapted does the same with an adapter of the test's choice.
func startAdapted(t testing.TB, program, adapter, caddyfile string, environment ...string) *process {
	t.Helper()
	command := exec.Command(program, "run", "--adapter", adapter, "--config", writeCaddyfile(t, caddyfile))
	p := &process{t: t, command: inHome(t, command, environment...), output: new(buffer), ended: make(chan struct{})}
	command.Stdout, command.Stderr = p.output, p.output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = command.Wait() // its state says the same
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill() // it may have ended
		<-p.ended
		expectNoCredentials(t, p.output.String())
	})
	return p
}

// listening waits until the process listens here.
func (p *process) listening(address string) {
	p.t.Helper()
	eventually(p.t, "the process listens on "+address, func() bool {
		select {
		case <-p.ended:
			p.t.Fatalf("it ended: %s", p.output)
		default:
		}
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

// processOptions are the global options of an edge that is a process.
func processOptions(storage string) string {
	return fmt.Sprintf(`{
	admin off
	persist_config off
	storage file_system %q
	auto_https disable_redirects
	default_bind 127.0.0.1
`, storage)
}
