package integration_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// soakMachine is one node of TestSoak's cluster: a real nginx before three
// services and an Informant, each a process of its own, in a network namespace of their own where
// the system lets us make one.
type soakMachine struct {
	t       *testing.T
	name    string
	folder  string
	address string // of nginx, for the edge
	space   *exec.Cmd
	inSpace []string // puts a command into the namespace

	mu        sync.Mutex
	processes map[string]*soakProcess
	onEntry   func(node string, entry tgnode.Entry)
}

// soakProcess is nginx or a service.
type soakProcess struct {
	command *exec.Cmd
	stdin   io.WriteCloser // commands for a service
	ended   chan struct{}
}

// The names of a machine's processes, in the order of their start.
var soakProcesses = []string{"gui", "gsql", "restpp", "informant", "nginx"}

// gateProcesses stand in for a machine's nginx while its gate does harm.
var gateProcesses = []string{"nginx behind", "gate"}

// newSoakMachine starts a machine. Its address is one of a namespace, of which
// there are up to 64 with this subnet, or one of 127.0.0.1 if that is below 0.
func newSoakMachine(t *testing.T, number, subnet int, onEntry func(string, tgnode.Entry)) *soakMachine {
	t.Helper()
	folder, err := os.MkdirTemp("", "soak") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	m := &soakMachine{
		t: t, name: fmt.Sprintf("m%d", number), folder: folder,
		processes: make(map[string]*soakProcess), onEntry: onEntry,
	}
	t.Cleanup(func() {
		m.stop()
		os.RemoveAll(folder)
	})
	if subnet >= 0 {
		m.makeSpace(number, subnet)
	} else {
		m.address = freeAddress(t)
	}
	// The documented ports where they cannot be anybody else's.
	listen, behind, gui, gsql := m.address, "127.0.0.1:14241", "127.0.0.1:14242", "127.0.0.1:8123"
	restpp, informant := "127.0.0.1:9000", "127.0.0.1:9188"
	if m.space == nil {
		behind, gui, gsql, restpp, informant = freeAddress(t), freeAddress(t), freeAddress(t), freeAddress(t), freeAddress(t)
	}
	socket := filepath.Join(folder, "restpp.sock")
	for _, sub := range []string{"static", "static/assets", "body", "proxy", "fastcgi"} {
		if err := os.MkdirAll(filepath.Join(folder, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for file, content := range map[string]string{
		"static/index.html": "<!DOCTYPE html><title>TigerGraph</title>\n",
		"nginx.conf":        innerNginx(folder, listen, gui, gsql, informant, socket),
		"nginx behind.conf": innerNginx(folder, behind, gui, gsql, informant, socket),
		"gate.json":         settingsOf(serviceProcess{Node: m.name, Listen: listen, Behind: behind}),
		"gui.json":          settingsOf(serviceProcess{Node: m.name, Listen: gui}),
		"gsql.json":         settingsOf(serviceProcess{Node: m.name, Listen: gsql}),
		"informant.json":    settingsOf(serviceProcess{Node: m.name, Listen: informant}),
		"restpp.json":       settingsOf(serviceProcess{Node: m.name, Listen: restpp, Socket: socket}),
	} {
		if err := os.WriteFile(filepath.Join(folder, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m.start(soakProcesses...)
	return m
}

func settingsOf(process serviceProcess) string {
	settings, _ := json.Marshal(process) // of strings alone
	return string(settings)
}

// soakNamespaces says why there can be no network namespaces, "" if there can.
func soakNamespaces() string {
	if os.Geteuid() != 0 {
		return "network namespaces need root"
	}
	for _, program := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			return program + " is missing (apt-get install iproute2 util-linux)"
		}
	}
	probe := exec.Command("true")
	probe.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := probe.Run(); err != nil {
		return "no network namespace can be made: " + err.Error()
	}
	return ""
}

// makeSpace makes the namespace, which lives as long as a process that does
// nothing, and a pair of interfaces between it and us, which go with it.
func (m *soakMachine) makeSpace(number, subnet int) {
	m.t.Helper()
	m.space = exec.Command("cat")
	m.space.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if _, err := m.space.StdinPipe(); err != nil {
		m.t.Fatal(err)
	}
	if err := m.space.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.inSpace = []string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", m.space.Process.Pid), "--"}
	ours := fmt.Sprintf("soak%d.%d", subnet, number)
	theirs := ours + "p"
	edge, node := fmt.Sprintf("198.18.%d.%d/30", subnet, 4*number+1), fmt.Sprintf("198.18.%d.%d", subnet, 4*number+2)
	m.run("ip", "link", "add", ours, "type", "veth", "peer", "name", theirs)
	m.run("ip", "link", "set", theirs, "netns", fmt.Sprint(m.space.Process.Pid))
	m.run("ip", "address", "add", edge, "dev", ours)
	m.run("ip", "link", "set", ours, "up")
	m.runInSpace("ip", "link", "set", theirs, "name", "eth0")
	m.runInSpace("ip", "address", "add", node+"/30", "dev", "eth0")
	m.runInSpace("ip", "link", "set", "eth0", "up")
	m.runInSpace("ip", "link", "set", "lo", "up")
	m.address = node + ":14240"
}

// freeSubnet returns the third byte of a subnet that no other test uses.
func freeSubnet(t *testing.T) int {
	t.Helper()
	routes, err := exec.Command("ip", "route").Output()
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		subnet := rand.IntN(256)
		if strings.Contains(string(routes), fmt.Sprintf("198.18.%d.", subnet)) {
			continue
		}
		claim, err := net.Listen("unix", fmt.Sprintf("@a-subnet-for-tests-%d", subnet)) // another process may choose it now
		if err == nil {
			t.Cleanup(func() { _ = claim.Close() })
			return subnet
		}
	}
	t.Fatal("no subnet is free")
	return -1
}

func (m *soakMachine) run(command ...string) {
	m.t.Helper()
	if output, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		m.t.Errorf("%s: %v: %s", command, err, output)
	}
}

func (m *soakMachine) runInSpace(command ...string) {
	m.t.Helper()
	m.run(append(slices.Clip(m.inSpace), command...)...)
}

// start starts processes.
func (m *soakMachine) start(names ...string) {
	m.t.Helper()
	for _, name := range names {
		m.startProcess(name)
	}
}

func (m *soakMachine) startProcess(name string) {
	m.t.Helper()
	program := append(slices.Clip(m.inSpace), os.Args[0])
	// With the test the processes end, however that ends; nginx ends its workers
	// at a signal only.
	attributes := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	isNginx := strings.HasPrefix(name, "nginx")
	if isNginx {
		nginx, _ := exec.LookPath("nginx")
		program = append(program[:len(program)-1], nginx, "-c", filepath.Join(m.folder, name+".conf"), "-p", m.folder, "-e", filepath.Join(m.folder, "error.log"))
		attributes.Pdeathsig = syscall.SIGTERM
	}
	command := exec.Command(program[0], program[1:]...)
	command.SysProcAttr = attributes
	p := &soakProcess{command: command, ended: make(chan struct{})}
	output := new(buffer)
	command.Stdout, command.Stderr = output, output
	var journal *os.File
	if !isNginx {
		settings, err := os.ReadFile(filepath.Join(m.folder, name+".json"))
		if err != nil {
			m.t.Error(err)
			return
		}
		command.Env = append(os.Environ(), soakService+"="+string(settings))
		var written *os.File
		if journal, written, err = os.Pipe(); err != nil {
			m.t.Error(err)
			return
		}
		defer written.Close()
		command.ExtraFiles = []*os.File{written}
		if p.stdin, err = command.StdinPipe(); err != nil {
			m.t.Error(err)
			return
		}
	}
	if err := command.Start(); err != nil {
		m.t.Errorf("starting %s of %s: %v", name, m.name, err)
		return
	}
	if journal != nil {
		go m.readJournal(journal)
	}
	go func() {
		defer close(p.ended)
		_ = command.Wait() // its state says the same
		if state := command.ProcessState; state.Exited() && state.ExitCode() != 0 {
			m.t.Errorf("%s of %s ended with %d: %s", name, m.name, state.ExitCode(), output)
		}
	}()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.processes[name] = p
}

func (m *soakMachine) readJournal(journal *os.File) {
	defer journal.Close()
	for lines := bufio.NewScanner(journal); lines.Scan(); {
		entry, err := parseEntry(lines.Text())
		if err != nil {
			m.t.Error(err)
			continue
		}
		m.onEntry(m.name, entry)
	}
}

// signal sends a signal to processes and those that they started.
func (m *soakMachine) signal(signal syscall.Signal, names ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		if p := m.processes[name]; p != nil {
			_ = syscall.Kill(-p.command.Process.Pid, signal) // it may have ended
		}
	}
}

// kill kills processes and waits for their end.
func (m *soakMachine) kill(names ...string) {
	m.signal(syscall.SIGKILL, names...)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		if p := m.processes[name]; p != nil {
			<-p.ended
			delete(m.processes, name)
		}
	}
}

// killWorkers kills nginx's workers; the master starts new ones.
func (m *soakMachine) killWorkers() {
	m.mu.Lock()
	master := m.processes["nginx"].command.Process.Pid
	m.mu.Unlock()
	workers, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", master))
	if err != nil {
		m.t.Errorf("workers of nginx: %v", err)
	}
	for worker := range strings.FieldsSeq(string(workers)) {
		var pid int
		if _, err := fmt.Sscan(worker, &pid); err == nil && pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
	}
}

// order gives services a command.
func (m *soakMachine) order(command string, names ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		if p := m.processes[name]; p != nil && p.stdin != nil {
			_, _ = io.WriteString(p.stdin, command+"\n") // it may have ended
		}
	}
}

func (m *soakMachine) stop() {
	m.signal(syscall.SIGCONT, soakProcesses...)
	m.kill(append(slices.Clip(gateProcesses), soakProcesses...)...)
	if m.space != nil && m.space.Process != nil {
		_ = m.space.Process.Kill()
		_ = m.space.Wait()
	}
}

// soakSigns are where a service of a machine shows that it serves, and by what.
var soakSigns = [...]struct{ path, sign string }{
	tgnode.GUI: {"/api/ping", "pong"}, tgnode.GSQL: {"/gsqlserver/gsql/version", "GSQL version"}, tgnode.RESTPP: {"/restpp/echo", "Hello GSQL"},
}

// isWell asks a service of the machine, not by the edge.
func (m *soakMachine) isWell(client *http.Client, service tgnode.Service) bool {
	response, err := client.Get("http://" + m.address + soakSigns[service].path)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return err == nil && response.StatusCode == http.StatusOK && strings.Contains(string(body), soakSigns[service].sign)
}

// arrivals returns which of these requests the machine's nginx has answered, by
// their markers, and which of them by 200 or the like.
func (m *soakMachine) arrivals(of map[string]bool) (markers, served []string, err error) {
	file, err := os.Open(filepath.Join(m.folder, "access.log"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\t")
		if len(fields) == 3 {
			if _, marker, found := strings.Cut(fields[1], "marker="); found {
				marker, _, _ = strings.Cut(marker, "&")
				if of[marker] {
					markers = append(markers, marker)
					if strings.HasPrefix(fields[2], "2") {
						served = append(served, marker)
					}
				}
			}
		}
	}
	return markers, served, lines.Err()
}
