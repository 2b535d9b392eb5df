package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// cpuTime returns the time that a process has spent on processors so far, in all
// its threads, those that ended included. The kernel knows it to the nanosecond
// where /proc/<pid>/stat has hundredths of a second.
func cpuTime(pid int) (time.Duration, error) {
	const schedulerClock = 2 // CPUCLOCK_SCHED, see clock_getcpuclockid(3)
	clock := ^pid<<3 | schedulerClock
	var spec syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&spec)), 0); errno != 0 {
		return 0, fmt.Errorf("the processor time of process %d: %w", pid, errno)
	}
	return time.Duration(spec.Nano()), nil
}

// descendants returns a process and all that it started, themselves or through
// each other.
func descendants(pid int) ([]int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := make(map[int][]int)
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// The name, in brackets, may hold anything.
		stat := string(content)
		fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		parent, _ := strconv.Atoi(fields[1])
		children[parent] = append(children[parent], child)
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all, nil
}

// openFiles returns how many files a process may have open, if it asks for it.
func openFiles() (uint64, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("the limit of open files: %w", err)
	}
	return limit.Max, nil
}

// residentMemory returns the memory of a process, of which what it shares with
// others is counted to its part.
func residentMemory(pid int) (bytes int64, err error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(content)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "Pss:" {
			kilobytes, err := strconv.ParseInt(fields[1], 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, fmt.Errorf("the kernel does not know the memory of process %d", pid)
}

// sleepUntil sleeps more exactly than Go's timers, which are late by up to a
// millisecond. It is for a goroutine with a thread of its own.
func sleepUntil(moment time.Time) {
	for {
		left := time.Until(moment)
		if left <= 0 {
			return
		}
		spec := syscall.NsecToTimespec(left.Nanoseconds())
		_ = syscall.Nanosleep(&spec, nil) // a signal may end it early
	}
}

// makeGroup gives a process that is yet to start a group of its own.
func makeGroup(command *exec.Cmd) { command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// killGroup ends what belongs to that of a process.
func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

// setBacklog changes how many connections wait at a listener to be accepted.
func setBacklog(descriptor uintptr, count int) error {
	return syscall.Listen(int(descriptor), count)
}

func pause(pid int) error  { return syscall.Kill(pid, syscall.SIGSTOP) }
func resume(pid int) error { return syscall.Kill(pid, syscall.SIGCONT) }
