package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestANodeServesAndEnds(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "tgnode")
	if output, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	node := exec.Command(binary, "-name", "m7", "-listen", "127.0.0.1:0")
	node.Stderr = os.Stderr
	stdout, err := node.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = node.Process.Kill() }() // it has ended, or the test has failed
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var name, address string
	if _, err := fmt.Sscanf(line, "%s listens on %s", &name, &address); err != nil || name != "m7" {
		t.Fatalf("%q: %v", line, err)
	}
	address = "http://" + strings.TrimSuffix(address, ";")

	answer, err := http.Get(address + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); err != nil || string(body) != string(page) {
		t.Errorf("/ is %q: %v", body, err)
	}
	login, err := http.Post(address+"/api/auth/login", "application/json", strings.NewReader(`{"username":"tigergraph","password":"tigergraph"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer login.Body.Close()
	if login.StatusCode != http.StatusOK {
		t.Errorf("the login is answered with %d", login.StatusCode)
	}

	if err := node.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := node.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}
}
