package integration_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// No namespace has a wall clock of its own, and a static binary takes none from a
// library. So the edge of a long soak is built with a package time whose Now can be
// put forward, and with a few lines that do so when they are told to.
const (
	timeOfGo   = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	timeOfSoak = timeOfGo + "\tsec += Jump.Load()\n"
	jumpInTime = `package time

import "sync/atomic"

// Jump is how many seconds the clock is ahead.
var Jump atomic.Int64
`
	// It finds how far to jump beside the binary.
	jumpInEdge = `package main

import (
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func init() {
	jump := make(chan os.Signal, 1)
	signal.Notify(jump, syscall.SIGUSR2)
	go func() {
		for range jump {
			content, err := os.ReadFile(os.Args[0] + ".jump")
			if err != nil {
				panic(err)
			}
			seconds, err := strconv.ParseInt(string(content), 10, 64)
			if err != nil {
				panic(err)
			}
			time.Jump.Store(seconds)
		}
	}()
}
`
)

// buildJumping builds cmd/caddy with a clock that jumps.
func buildJumping(t *testing.T) (binary string) {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	write := func(name, content string) string {
		file := filepath.Join(folder, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	std := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	now, err := os.ReadFile(filepath.Join(std, "time.go"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(now), timeOfGo) != 1 {
		t.Fatal("time.Now of this version of Go begins in another way than the soak expects: see timeOfGo")
	}
	edge, err := filepath.Abs("../cmd/caddy")
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(std, "time.go"):  write("time.go", strings.Replace(string(now), timeOfGo, timeOfSoak, 1)),
		filepath.Join(std, "jump.go"):  write("jump_time.go", jumpInTime),
		filepath.Join(edge, "jump.go"): write("jump_edge.go", jumpInEdge),
	}})
	if err != nil {
		t.Fatal(err)
	}
	binary = filepath.Join(folder, "caddy")
	build := exec.Command("go", "build", "-pgo=off", "-overlay", write("overlay.json", string(overlay)), "-o", binary, ".")
	build.Dir = edge
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building an edge with a clock that jumps: %v\n%s", err, output)
	}
	return binary
}

// jump puts one edge's clock forward by up to the lifetime of its cookies, and back
// after a while. A reload has the edge look at it at once.
func (s *soak) jump(random *rand.Rand) {
	e := s.anyEdge(random)
	ahead := time.Minute + upTo(random, 24*time.Hour-time.Minute)
	for _, by := range []time.Duration{ahead, 0} {
		if err := os.WriteFile(s.binary+".jump", []byte(strconv.FormatInt(int64(by/time.Second), 10)), 0o600); err != nil {
			s.t.Error(err)
			return
		}
		if err := e.process.command.Process.Signal(syscall.SIGUSR2); err != nil {
			s.t.Error(err)
			return
		}
		eventually(s.t, fmt.Sprintf("the edge's clock is ahead by %s", by), func() bool {
			off := e.clock() - by
			return -5*time.Second < off && off < 5*time.Second
		})
		s.reload(e)
		select {
		case <-s.stop:
		case <-time.After(time.Second + upTo(random, 2*time.Second)):
		}
	}
}

// clock says by how much the edge's clock is ahead, as its answers show.
func (e *soakEdge) clock() time.Duration {
	request, err := http.NewRequest(http.MethodGet, "http://admin/config/", nil)
	if err != nil {
		e.t.Error(err)
		return 0
	}
	response, err := e.admin.Do(request)
	if err != nil {
		e.t.Error(err)
		return 0
	}
	response.Body.Close()
	date, err := http.ParseTime(response.Header.Get("Date"))
	if err != nil {
		e.t.Error(err)
	}
	return time.Until(date).Round(time.Second)
}
