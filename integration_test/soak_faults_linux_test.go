package integration_test

import (
	"cmp"
	"slices"
	"syscall"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// soakFault is a way in which a machine fails.
type soakFault struct {
	name     string
	services []tgnode.Service // that fail
	// network is whether it needs a namespace, firewall whether iptables besides.
	network, firewall bool
	// inner is whether the node's nginx is well, and passes on what a service has answered.
	inner       bool
	forgets     bool // with the processes goes what they had in memory
	least, most time.Duration
	begin, end  func(*soakMachine)
}

var (
	allOfTheirs  = []string{"gui", "gsql", "restpp"}
	serviceNames = [...]string{tgnode.GUI: "gui", tgnode.GSQL: "gsql", tgnode.RESTPP: "restpp"}
)

// soakFaults are all of them.
func soakFaults() []soakFault {
	const short, long = 1 * time.Second, 4 * time.Second
	faults := []soakFault{
		{
			name: "machine killed", services: allServices, forgets: true, least: short, most: long,
			begin: func(m *soakMachine) { m.kill(soakProcesses...) },
			end:   func(m *soakMachine) { m.start(soakProcesses...) },
		},
		{
			name: "machine paused", services: allServices, least: short, most: long,
			begin: func(m *soakMachine) { m.signal(syscall.SIGSTOP, soakProcesses...) },
			end:   func(m *soakMachine) { m.signal(syscall.SIGCONT, soakProcesses...) },
		},
		{
			name: "services paused", services: allServices, inner: true, least: short, most: 2 * long,
			begin: func(m *soakMachine) { m.signal(syscall.SIGSTOP, allOfTheirs...) },
			end:   func(m *soakMachine) { m.signal(syscall.SIGCONT, allOfTheirs...) },
		},
		{
			name: "services restarted", services: allServices, inner: true, forgets: true,
			begin: func(m *soakMachine) { m.kill(allOfTheirs...) },
			end:   func(m *soakMachine) { m.start(allOfTheirs...) },
		},
		{
			name: "nginx killed", services: allServices, least: short, most: long,
			begin: func(m *soakMachine) { m.kill("nginx") },
			end:   func(m *soakMachine) { m.start("nginx") },
		},
		{
			name: "nginx's workers killed", services: allServices,
			least: short / 2, most: short,
			begin: (*soakMachine).killWorkers, // and the next ones
			end:   (*soakMachine).killWorkers,
		},
		{
			name: "services die at each request", services: allServices, inner: true, least: short, most: long,
			begin: func(m *soakMachine) { m.order("die", allOfTheirs...) },
			end:   func(m *soakMachine) { m.order("well", allOfTheirs...) },
		},
		{
			name: "services slow", services: allServices, inner: true, least: short, most: long,
			begin: func(m *soakMachine) { m.order("slow 700ms", allOfTheirs...) },
			end:   func(m *soakMachine) { m.order("well", allOfTheirs...) },
		},
		{
			name: "services slower than a probe waits", services: allServices, inner: true, least: long, most: 2 * long,
			begin: func(m *soakMachine) { m.order("slow 3s", allOfTheirs...) },
			end:   func(m *soakMachine) { m.order("well", allOfTheirs...) },
		},
		{
			name: "packets lost", services: allServices, network: true, firewall: true, least: long, most: 2 * long,
			begin: func(m *soakMachine) {
				for _, chain := range []string{"INPUT", "OUTPUT"} {
					m.runInSpace("iptables", "-w", "-A", chain, "!", m.interfaceFlag(chain), "lo", "-m", "statistic", "--mode", "random", "--probability", "0.1", "-j", "DROP")
				}
			},
			end: func(m *soakMachine) { m.runInSpace("iptables", "-w", "-F") },
		},
		{
			name: "connections reset", services: allServices, network: true, firewall: true, least: short / 2, most: 2 * short,
			begin: func(m *soakMachine) {
				m.runInSpace("iptables", "-w", "-A", "INPUT", "!", "-i", "lo", "-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset")
			},
			end: func(m *soakMachine) { m.runInSpace("iptables", "-w", "-F") },
		},
		{
			name: "network cut", services: allServices, network: true, least: short, most: 2 * long,
			begin: func(m *soakMachine) { m.runInSpace("ip", "link", "set", "eth0", "down") },
			end:   func(m *soakMachine) { m.runInSpace("ip", "link", "set", "eth0", "up") },
		},
	}
	faults = append(faults, soakFault{
		name: "Informant killed", least: long, most: 5 * long, // by which no service fails
		begin: func(m *soakMachine) { m.kill("informant") },
		end:   func(m *soakMachine) { m.start("informant") },
	})
	for _, service := range allServices {
		name := serviceNames[service]
		faults = append(faults, soakFault{
			name: name + " killed", services: []tgnode.Service{service}, inner: true, forgets: true, least: short, most: long,
			begin: func(m *soakMachine) { m.kill(name) },
			end:   func(m *soakMachine) { m.start(name) },
		})
	}
	for name, mode := range map[string]string{
		"surplus answers": gateSurplus, "few connections": gateFew, "informational answers without end": gateFloods,
		"nginx forbids everything": gateForbids, "requests reset": gateResets,
	} {
		faults = append(faults, soakFault{
			name: name, services: allServices, least: short, most: long,
			begin: func(m *soakMachine) {
				m.kill("nginx")
				m.start(gateProcesses...)
				m.order(mode, "gate")
			},
			end: func(m *soakMachine) {
				m.kill(gateProcesses...)
				m.start("nginx")
			},
		})
	}
	slices.SortFunc(faults, func(a, b soakFault) int { return cmp.Compare(a.name, b.name) }) // a seed is to make the same ones
	return faults
}

// interfaceFlag is iptables' for an interface in a chain.
func (m *soakMachine) interfaceFlag(chain string) string {
	if chain == "INPUT" {
		return "-i"
	}
	return "-o"
}
