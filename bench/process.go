package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// startTimeout bounds how long a process may take until it listens.
const startTimeout = 30 * time.Second

// process is one that the benchmark started, and ends.
type process struct {
	command *exec.Cmd
	log     string // the file with what it wrote
	ended   chan struct{}
}

func startProcess(command *exec.Cmd, log string) (*process, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	command.Stdout, command.Stderr = file, file
	// Ctrl-C is for the benchmark, which ends the others in its own order.
	makeGroup(command)
	if err := command.Start(); err != nil {
		return nil, err
	}
	p := &process{command: command, log: log, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		_ = command.Wait()
	}()
	return p, nil
}

func (p *process) pid() int { return p.command.Process.Pid }

// stop ends the process, in peace if it can.
func (p *process) stop() {
	_ = resume(p.pid()) // a paused one sees nothing else
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(3 * time.Second):
		p.kill()
	}
}

// kill ends the process and those it started, which are of one group.
func (p *process) kill() {
	killGroup(p.pid())
	<-p.ended
}

// listening waits until the process accepts connections here.
func (p *process) listening(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.ended:
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
			continue
		}
		output, _ := os.ReadFile(p.log)
		return fmt.Errorf("%s does not listen on %s: %w\n%s", p.command.Path, address, err, output)
	}
}

// cluster is the nodes, each a process.
type cluster struct {
	folder    string
	piece     int // bytes that a node writes at a time
	processes []*process
	control   []io.WriteCloser
	addresses []string
}

const clusterSize = 3

func startCluster(ctx context.Context, folder string, piece int) (*cluster, error) {
	c := &cluster{folder: folder, piece: piece, processes: make([]*process, clusterSize), control: make([]io.WriteCloser, clusterSize), addresses: make([]string, clusterSize)}
	for i := range clusterSize {
		c.addresses[i] = "127.0.0.1:0"
		if err := c.startNode(ctx, i); err != nil {
			c.stop()
			return nil, fmt.Errorf("node %d: %w", i+1, err)
		}
	}
	return c, nil
}

// startNode starts a node at its address. The process inherits a listener, so
// that nobody else can have the port.
func (c *cluster) startNode(ctx context.Context, i int) error {
	listener, err := net.Listen("tcp", c.addresses[i])
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	c.addresses[i] = listener.Addr().String()
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	program, err := os.Executable()
	if err != nil {
		return err
	}
	command := exec.Command(program)
	name := fmt.Sprintf("n%d", i+1)
	command.Env = append(os.Environ(), nodeEnvironment+"="+name, pieceEnvironment+"="+strconv.Itoa(c.piece))
	command.ExtraFiles = []*os.File{file}
	if c.control[i], err = command.StdinPipe(); err != nil {
		return err
	}
	if c.processes[i], err = startProcess(command, filepath.Join(c.folder, name+".log")); err != nil {
		return err
	}
	return c.processes[i].listening(ctx, c.addresses[i])
}

func (c *cluster) stop() {
	for i, p := range c.processes {
		if p != nil {
			_ = c.control[i].Close()
			p.stop()
		}
	}
}

// command tells the first node, whose faults are measured, what to do.
func (c *cluster) command(command string) error {
	_, err := io.WriteString(c.control[0], command+"\n")
	return err
}

// queries returns how often the nodes were sent each query that has a name.
func (c *cluster) queries() (map[string]int, error) {
	times := make(map[string]int)
	for i := range c.processes {
		if err := c.queriesOf(i, times); err != nil {
			return nil, err
		}
	}
	return times, nil
}

// queriesOf adds how often a node was sent each query that has a name.
func (c *cluster) queriesOf(i int, times map[string]int) error {
	content, err := os.ReadFile(c.processes[i].log)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(content)) {
		if id, found := strings.CutPrefix(strings.TrimSpace(line), queryLine); found {
			times[id]++
		}
	}
	return nil
}
