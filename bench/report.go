package main

import (
	"debug/buildinfo"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// report is what a run found out.
type report struct {
	figures []figure
	choices []*choice
	scaled  []scaleRow
	failed  int64
}

// write writes it as Markdown, for docs/figures.
func (b *benchmark) write(w io.Writer, arguments []string) {
	fmt.Fprintf(w, "Measured on %s with `%s`.\n", time.Now().UTC().Format("2 January 2006"), strings.Join(append([]string{"go run ./bench"}, arguments...), " "))
	fmt.Fprintln(w)
	for _, line := range b.circumstances() {
		fmt.Fprintf(w, "- %s\n", line)
	}
	if len(b.figures) > 0 {
		fmt.Fprintln(w)
		printSummary(w, b.figures)
	}
	if len(b.choices) > 0 {
		fmt.Fprint(w, "\n### Choosing a node\n\n`-only selection`: Caddy's policies and this one, in one process.\n\n")
		printChoices(w, b.choices)
	}
	if len(b.scaled) > 0 {
		fmt.Fprintf(w, "\n### Great numbers\n\n`-only scale`: once each, sites over the same nodes, with checks every 2 s. A request is of one client, with nothing else to do.\n\n")
		printScales(w, b.scaled)
	}
	for _, f := range b.figures {
		f.print(w)
	}
}

// circumstances is what the figures depend on.
func (b *benchmark) circumstances() (lines []string) {
	processor := lineOf("/proc/cpuinfo", "model name")
	if processor == "" {
		processor = runtime.GOARCH
	}
	machine := fmt.Sprintf("%s of %s", plural(runtime.NumCPU(), "core"), processor)
	var kilobytes float64
	if _, err := fmt.Sscanf(lineOf("/proc/meminfo", "MemTotal"), "%f kB", &kilobytes); err == nil {
		machine += fmt.Sprintf(", %.0f GB of memory", kilobytes*1024/gigabyte)
	}
	if kernel, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		version, _, _ := strings.Cut(strings.TrimSpace(string(kernel)), "-")
		machine += ", Linux " + version
	}
	lines = append(lines, machine+"; clients, proxies and nodes share it, over loopback")
	if b.busy != "" {
		lines = append(lines, b.busy)
	}
	lines = append(lines, fmt.Sprintf("each proxy may use %s; %s, in which they take turns; figures are medians", plural(b.workers, "core"), plural(b.rounds, "round")))
	for _, c := range b.contenders {
		line := fmt.Sprintf("%s: %s", c.name, c.about)
		switch {
		case c.isCaddy:
			line += ", " + caddyVersion(c.binary)
		default:
			line += ", " + programVersion(c.program)
		}
		lines = append(lines, line)
	}
	return lines
}

// lineOf returns the value of a line "name : value" of a file.
func lineOf(file, name string) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(content)) {
		if field, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(field) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// busyNow says so if the machine has something else to do.
func busyNow() string {
	content, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	var average float64
	if _, err := fmt.Sscan(string(content), &average); err != nil || average < float64(runtime.NumCPU())/4 {
		return ""
	}
	return fmt.Sprintf("**the machine was busy** when this began (load average %.1f): not figures to keep", average)
}

// caddyVersion returns of what a Caddy was built.
func caddyVersion(program string) string {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return "of an unknown version"
	}
	version := ""
	for _, module := range append(info.Deps, &info.Main) {
		if module.Path == "github.com/caddyserver/caddy/v2" {
			version = "Caddy " + module.Version + ", "
		}
	}
	version += info.GoVersion
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "-pgo" && setting.Value != "":
			version += ", profile-guided"
		case setting.Key == "vcs.revision":
			version += ", revision " + setting.Value[:min(len(setting.Value), 12)]
		case setting.Key == "vcs.modified" && setting.Value == "true":
			version += " with changes"
		}
	}
	return version
}

// programVersion returns what a program of the system says of itself.
func programVersion(program string) string {
	path, err := find(program)
	if err != nil {
		return "of an unknown version"
	}
	output, _ := exec.Command(path, "-v").CombinedOutput()
	line, _, _ := strings.Cut(string(output), "\n")
	line = strings.TrimPrefix(line, "nginx version: ")
	line, _, _ = strings.Cut(line, " - ")
	return line
}
