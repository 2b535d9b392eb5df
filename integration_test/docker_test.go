package integration_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// docker is a Docker client whose daemon answers.
type docker struct {
	t           *testing.T
	client      string
	environment []string
	prefix      string // of the names of all that the test makes
}

// newDocker finds a daemon, or starts one, or skips the test.
func newDocker(t *testing.T) *docker {
	t.Helper()
	if os.Getenv("DOCKER_TEST") == "" {
		t.Skip("this builds images and runs containers, so it needs DOCKER_TEST=1, as .ci/run sets it, and a Docker daemon, or root and dockerd")
	}
	d := &docker{t: t, environment: append(os.Environ(), "DOCKER_BUILDKIT=1"), prefix: fmt.Sprintf("tigergraph-test-%d-", os.Getpid())}
	for _, client := range []string{"docker", "/usr/bin/docker"} {
		if found, err := exec.LookPath(client); err == nil && hasBuildKit(found) {
			d.client = found
			break
		}
	}
	if d.client == "" {
		skip(t, "there is no docker client that can use BuildKit: install docker.io, or docker-ce with docker-buildx-plugin")
	}
	if _, err := d.try("version"); err != nil {
		d.startDaemon()
	}
	d.mustRunContainers()
	return d
}

// mustRunContainers skips the test where a daemon runs but no container can, as within
// some containers.
func (d *docker) mustRunContainers() {
	d.t.Helper()
	probe := newImage(d.t)
	probe.shell()
	name := d.prefix + "probe"
	probe.load(d, name)
	if output, err := d.try("run", "--rm", "--publish", "127.0.0.1::80", name, "sh", "-c", "exit 0"); err != nil {
		skip(d.t, "no container can run here: %v\n%s", err, output)
	}
}

// hasBuildKit tells whether a client can build with BuildKit: by itself up to
// version 22, by its plugin buildx since.
func hasBuildKit(client string) bool {
	if exec.Command(client, "buildx", "version").Run() == nil {
		return true
	}
	output, _ := exec.Command(client, "version", "--format", "{{.Client.Version}}").Output() // fails without a daemon
	major, _, _ := strings.Cut(string(output), ".")
	number, err := strconv.Atoi(strings.TrimSpace(major))
	return err == nil && number < 23
}

// startDaemon starts a daemon of the test's own.
func (d *docker) startDaemon() {
	d.t.Helper()
	program, err := exec.LookPath("dockerd")
	if err != nil || os.Getuid() != 0 {
		missing(d.t, "no Docker daemon answers, and none can be started: that takes root and dockerd (Debian's package docker.io)")
	}
	folder, err := os.MkdirTemp("", "docker-")
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { os.RemoveAll(folder) })
	// The daemon leaves its bridge and its rules behind, one of which forwards
	// nothing that is not its own.
	if rules, err := exec.Command("iptables-save").Output(); err == nil {
		for table, chains := range map[string]string{
			"filter": ":INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\n",
			"nat":    ":PREROUTING ACCEPT\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT\n",
		} {
			if !bytes.Contains(rules, []byte("*"+table+"\n")) { // nobody has used it yet
				rules = append(rules, "*"+table+"\n"+chains+"COMMIT\n"...)
			}
		}
		d.t.Cleanup(func() {
			restore := exec.Command("iptables-restore")
			restore.Stdin = bytes.NewReader(rules)
			if output, err := restore.CombinedOutput(); err != nil {
				d.t.Errorf("iptables-restore: %v\n%s", err, output)
			}
			_ = exec.Command("ip", "link", "delete", "docker0").Run() // there may be none
		})
	}
	socket, output := "unix://"+folder+"/socket", new(buffer)
	daemon := exec.Command(program, "--data-root", folder+"/data", "--exec-root", folder+"/exec", "--pidfile", folder+"/pid", "--host", socket)
	daemon.Stdout, daemon.Stderr = output, output
	if err := daemon.Start(); err != nil {
		skip(d.t, "dockerd cannot be started: %v", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = daemon.Wait()
	}()
	d.t.Cleanup(func() {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(enough):
			_ = daemon.Process.Kill()
			<-ended
		}
	})
	d.environment = append(d.environment, "DOCKER_HOST="+socket)
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if _, err := d.try("version"); err == nil {
			return
		}
		select {
		case <-ended:
			text := output.String()
			skip(d.t, "no Docker daemon can run here; it said\n%s", text[max(len(text)-2000, 0):])
		default:
		}
		if time.Now().After(deadline) {
			skip(d.t, "the Docker daemon does not answer; it said\n%s", output)
		}
	}
}

// command is a command of Docker's, or of something that reads its environment.
func (d *docker) command(program string, arguments ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	d.t.Cleanup(cancel)
	command := exec.CommandContext(ctx, program, arguments...)
	command.Dir, command.Env = "..", d.environment
	return command
}

func (d *docker) try(arguments ...string) (string, error) {
	output, err := d.command(d.client, arguments...).CombinedOutput()
	return strings.TrimSpace(string(output)), err
}

// run runs a command that must succeed.
func (d *docker) run(arguments ...string) string {
	d.t.Helper()
	output, err := d.try(arguments...)
	if err != nil {
		d.t.Fatalf("docker %s: %v\n%s", strings.Join(arguments, " "), err, output)
	}
	return output
}

// start runs a container in the background, which goes with the test.
func (d *docker) start(name string, arguments ...string) string {
	d.t.Helper()
	container := d.prefix + name
	d.t.Cleanup(func() {
		if d.t.Failed() {
			logs, _ := d.try("logs", "--tail", "40", container)
			d.t.Logf("%s said\n%s", container, logs)
		}
		d.try("rm", "--force", "--volumes", container)
	})
	d.run(append([]string{"run", "--detach", "--name", container}, arguments...)...)
	return container
}

// inspect returns a field of an image, a container or a network.
func (d *docker) inspect(format, what string) string {
	d.t.Helper()
	return d.run("inspect", "--format", format, what)
}

// port returns the address on this machine of a container's port.
func (d *docker) port(container, port string) string {
	d.t.Helper()
	address, _, _ := strings.Cut(d.run("port", container, port), "\n")
	return address
}

// image is the content of an image that stands for one that cannot be pulled.
type image struct {
	t       *testing.T
	content bytes.Buffer
	archive *tar.Writer
	made    map[string]bool
}

func newImage(t *testing.T) *image {
	i := &image{t: t, made: map[string]bool{"/": true}}
	i.archive = tar.NewWriter(&i.content)
	return i
}

func (i *image) header(header *tar.Header) {
	i.t.Helper()
	header.Name = strings.TrimPrefix(header.Name, "/")
	if err := i.archive.WriteHeader(header); err != nil {
		i.t.Fatal(err)
	}
}

// folder makes a folder and those above it.
func (i *image) folder(name string, mode fs.FileMode) {
	i.t.Helper()
	if i.made[name] {
		return
	}
	i.made[name] = true
	i.folder(path.Dir(name), 0o755)
	i.header(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: int64(mode)})
}

func (i *image) file(name string, content []byte, mode fs.FileMode) {
	i.t.Helper()
	i.folder(path.Dir(name), 0o755)
	i.header(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(mode), Size: int64(len(content))})
	if _, err := i.archive.Write(content); err != nil {
		i.t.Fatal(err)
	}
}

func (i *image) link(name, target string) {
	i.t.Helper()
	i.folder(path.Dir(name), 0o755)
	i.header(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777})
}

// program adds a program of this machine, and the libraries it is linked with.
func (i *image) program(name, as string) {
	i.t.Helper()
	found, err := exec.LookPath(name)
	if err != nil {
		missing(i.t, "%s is not installed", name)
	}
	i.copy(found, as)
	libraries, _ := exec.Command("ldd", found).Output() // fails for a static one
	for word := range strings.FieldsSeq(string(libraries)) {
		if path.IsAbs(word) && !i.made[word] {
			i.made[word] = true
			i.copy(word, word)
		}
	}
}

func (i *image) copy(from, to string) {
	i.t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		i.t.Fatal(err)
	}
	i.file(to, content, 0o755)
}

// shell adds busybox as the shell and what scripts need.
func (i *image) shell() {
	i.t.Helper()
	i.program("busybox", "/bin/busybox")
	for _, applet := range []string{"sh", "cat", "cp", "mkdir", "id", "touch", "test", "ls", "env"} {
		i.link("/bin/"+applet, "busybox")
	}
}

// load makes the image known to the daemon.
func (i *image) load(d *docker, name string, changes ...string) {
	i.t.Helper()
	if err := i.archive.Close(); err != nil {
		i.t.Fatal(err)
	}
	arguments := []string{"import"}
	for _, change := range changes {
		arguments = append(arguments, "--change", change)
	}
	load := d.command(d.client, append(arguments, "-", name)...)
	load.Stdin = &i.content
	if output, err := load.CombinedOutput(); err != nil {
		i.t.Fatalf("docker import: %v\n%s", err, output)
	}
	i.t.Cleanup(func() { d.try("rmi", "--force", name) })
}

// standIns makes images that stand for caddy:VERSION-builder, caddy:VERSION and
// golang:alpine. Their compilers hand out what the real xcaddy and the real go
// have built on this machine, to who asks for exactly that.
func (d *docker) standIns(version, published, clone, stock, node string) {
	d.t.Helper()
	caddyVersion := strings.TrimPrefix(newestCaddy(d.t), "v")

	builder := newImage(d.t)
	builder.shell()
	builder.program("setcap", "/usr/sbin/setcap")
	builder.copy(published, "/built/published")
	builder.copy(clone, "/built/clone")
	builder.file("/usr/bin/xcaddy", []byte(`#!/bin/sh
set -eu
case "$*" in
"build v`+caddyVersion+` --with `+modulePath+`@`+version+` --output /out/usr/bin/caddy") from=/built/published ;;
"build v`+caddyVersion+` --with `+modulePath+`@v0.0.0=/src --output /out/usr/bin/caddy") from=/built/clone ;;
*) echo "xcaddy is run with: $*" >&2; exit 1 ;;
esac
test "$GOOS/$GOARCH" = linux/amd64
mkdir -p /out/usr/bin
cp "$from" /out/usr/bin/caddy
`), 0o755)
	builder.load(d, d.prefix+"caddy:"+caddyVersion+"-builder", "ENV PATH=/usr/sbin:/usr/bin:/bin")

	// As the official image is laid out.
	runtime := newImage(d.t)
	runtime.shell()
	runtime.copy(stock, "/usr/bin/caddy")
	runtime.copy("/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-certificates.crt")
	runtime.file("/etc/passwd", []byte("root:x:0:0:root:/root:/bin/sh\n"), 0o644)
	runtime.file("/etc/caddy/Caddyfile", []byte(":80\nrespond stock\n"), 0o644)
	runtime.folder("/data/caddy", 0o1777)
	runtime.folder("/config/caddy", 0o1777)
	runtime.folder("/tmp", 0o1777)
	runtime.folder("/srv", 0o755)
	runtime.load(d, d.prefix+"caddy:"+caddyVersion)

	golang := newImage(d.t)
	golang.shell()
	golang.folder("/tmp", 0o1777)
	golang.copy(node, "/built/tgnode")
	golang.file("/usr/bin/go", []byte(`#!/bin/sh
set -eu
test "$*" = "build -trimpath -o /out/tgnode ./cmd/tgnode"
test "$CGO_ENABLED/$GOOS/$GOARCH" = 0/linux/amd64
mkdir -p /out
cp /built/tgnode /out/tgnode
`), 0o755)
	golang.load(d, d.prefix+"golang:stand-in", "ENV PATH=/usr/sbin:/usr/bin:/bin")
}

// The Docker image, built by the Dockerfile as it is: the base images stand in for
// the official ones, and the plugin is the working tree, published on disk.
func TestDocker(t *testing.T) {
	d := newDocker(t)
	published, version := built(t, newestCaddy(t), modulePath)
	clone, _ := built(t, newestCaddy(t), theClone)
	stock, _ := built(t, newestCaddy(t))
	node := filepath.Join(t.TempDir(), "tgnode")
	build := exec.Command("go", "build", "-trimpath", "-o", node, "./cmd/tgnode")
	build.Dir, build.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	d.standIns(version, published, clone, stock, node)

	edge := d.prefix + "edge"
	t.Cleanup(func() {
		d.try("rmi", "--force", edge, edge+"-clone", edge+"-builder", d.prefix+"node", d.prefix+"node-builder")
	})
	from := []string{"--build-arg", "CADDY_IMAGE=" + d.prefix + "caddy"}
	d.run(append([]string{"build", "--tag", edge, "--build-arg", "PLUGIN_VERSION=" + strings.TrimPrefix(version, "v")}, append(from, ".")...)...)
	d.run(append([]string{"build", "--tag", edge + "-clone"}, append(from, ".")...)...)
	d.run(append([]string{"build", "--tag", edge + "-builder", "--target", "builder"}, append(from, ".")...)...)
	node = d.prefix + "node"
	for _, arguments := range [][]string{{"--tag", node}, {"--tag", node + "-builder", "--target", "builder"}} {
		d.run(slices.Concat([]string{"build", "--file", "deploy/docker/node.Dockerfile", "--build-arg", "GO_IMAGE=" + d.prefix + "golang", "--build-arg", "GO_VERSION=stand-in"},
			arguments, []string{"."})...)
	}

	test := dockerTest{docker: d, image: edge, version: version}
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"the context holds what the plugin is built of, and little else", test.testContext},
		{"what the image says of itself", test.testMetadata},
		{"a wrong variable ends it with a message", test.testVariables},
		{"a Caddyfile of one's own", test.testOwnCaddyfile},
		{"a key from a secret's file, and a reload", test.testSecretAndReload},
		{"three nodes, ACME and failures", test.testCluster},
		{"the guide's command", test.testGuide},
		{"docker compose up", test.testCompose},
	} {
		t.Run(step.name, func(t *testing.T) {
			// What a step starts ends with it, and its failure is its own.
			own := *d
			own.t = t
			test.docker = &own
			step.run(t)
		})
	}
}

type dockerTest struct {
	*docker
	image, version string
}

func (d *dockerTest) testContext(t *testing.T) {
	for image, program := range map[string]string{"edge-builder": ".", "node-builder": "./cmd/tgnode"} {
		container := d.prefix + image + "-context"
		t.Cleanup(func() { d.try("rm", "--force", container) })
		d.run("create", "--name", container, d.prefix+image, "sh")
		source := t.TempDir()
		d.run("cp", container+":/src", source)
		var size int64
		err := filepath.WalkDir(source, func(file string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			info, err := entry.Info()
			size += info.Size()
			name := strings.TrimPrefix(file, source)
			if strings.HasSuffix(file, "_test.go") || strings.Contains(file, ".git") {
				t.Errorf("%s is in the context", name)
			}
			if image == "edge-builder" && entry.Name() == "Caddyfile" {
				t.Errorf("a change of %s builds the binary anew", name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if size > 2<<20 {
			t.Errorf("the context is of %d bytes", size)
		}
		build := exec.Command("go", "build", "-o", os.DevNull, program)
		build.Dir, build.Env = filepath.Join(source, "src"), append(os.Environ(), "GOWORK=off")
		if output, err := build.CombinedOutput(); err != nil {
			t.Errorf("the context of %s cannot be built: %v\n%s", image, err, output)
		}
	}
}

func (d *dockerTest) testMetadata(t *testing.T) {
	size := func(image string) int64 {
		number, err := strconv.ParseInt(d.inspect("{{.Size}}", image), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return number
	}
	official := d.prefix + "caddy:" + strings.TrimPrefix(newestCaddy(d.t), "v")
	t.Logf("the image has %d bytes, Caddy's own %d", size(d.image), size(official))
	if more := size(d.image) - size(official); more > 2<<20 {
		t.Errorf("the image is larger than Caddy's own by %d bytes", more)
	}
	for format, want := range map[string]string{
		"{{.Config.User}}":                                             "65532:65532",
		"{{json .Config.ExposedPorts}}":                                `{"443/tcp":{},"443/udp":{},"80/tcp":{}}`,
		"{{json .Config.Volumes}}":                                     `{"/config":{},"/data":{}}`,
		"{{json .Config.Healthcheck.Test}}":                            `["CMD","caddy","tigergraph","status","--alive"]`,
		`{{index .Config.Labels "org.opencontainers.image.version"}}`:  strings.TrimPrefix(d.version, "v"), // as the tag is
		`{{index .Config.Labels "org.opencontainers.image.licenses"}}`: "Apache-2.0",
		`{{index .Config.Labels "org.opencontainers.image.source"}}`:   "https://" + modulePath,
	} {
		if got := d.inspect(format, d.image); got != want {
			t.Errorf("%s is %s, want %s", format, got, want)
		}
	}
	if output := d.run("run", "--rm", d.image, "caddy", "build-info"); !strings.Contains(output, modulePath+"\t"+d.version) {
		t.Errorf("it was not built from %s:\n%s", d.version, output)
	}
}

func (d *dockerTest) testVariables(t *testing.T) {
	const site, nodes = "SITE=graph.example.com", "TIGERGRAPH_NODES=m1 m2 m3"
	for _, test := range []struct {
		variables []string
		want      []string
	}{
		{nil, []string{"the environment variable SITE is not set", "the environment variable TIGERGRAPH_NODES is not set"}},
		{[]string{site}, []string{"the environment variable TIGERGRAPH_NODES is not set"}},
		{[]string{nodes, "SITE=graph example.com/"}, []string{"the environment variable SITE is wrong"}},
		{[]string{site, "TIGERGRAPH_NODES=m1,m2"}, []string{"the environment variable TIGERGRAPH_NODES is wrong: separate the nodes by blanks"}},
		{[]string{site, nodes, "COOKIE_KEY=short"}, []string{"the environment variable COOKIE_KEY is wrong"}},
		{[]string{site, nodes, "TLS=off"}, []string{"the environment variable TLS is wrong"}},
		{[]string{site, nodes, "METRICS_ADDRESS=:443"}, []string{"the environment variable METRICS_ADDRESS is wrong"}},
		{[]string{site, nodes, "COOKIE_KEY_FILE=/run/secrets/nonesuch"}, []string{"the environment variable COOKIE_KEY_FILE is wrong"}},
		{[]string{site, nodes, "TIGERGRAPH_OPTIONS=slow_stert 1m"}, []string{"the environment variable TIGERGRAPH_OPTIONS is wrong"}},
	} {
		arguments := []string{"run", "--rm"}
		for _, variable := range test.variables {
			arguments = append(arguments, "--env", variable)
		}
		output, err := d.try(append(arguments, d.image)...)
		if err == nil {
			t.Errorf("with %q it ends well: %s", test.variables, output)
		}
		for _, want := range test.want {
			if !strings.Contains(output, want) {
				t.Errorf("with %q it does not say %q:\n%s", test.variables, want, output)
			}
		}
	}
}

func (d *dockerTest) testOwnCaddyfile(t *testing.T) {
	own := writeCaddyfile(t, ":80 {\n\trespond \"{$GREETING:my own}\"\n}\n")
	if err := os.Chmod(own, 0o644); err != nil { // another user reads it
		t.Fatal(err)
	}
	container := d.start("own", "--publish", "127.0.0.1::80", "--volume", own+":/etc/caddy/Caddyfile:ro", d.image)
	b := newBrowser(t, "http://"+d.port(container, "80/tcp"), 2, nil)
	eventually(t, "the site answers", func() bool {
		a, err := b.try(http.MethodGet, "/", nil)
		return err == nil && string(a.body) == "my own"
	})
	// Without any flag the process has one right, and the user is not root.
	status := d.run("exec", container, "cat", "/proc/1/status")
	for _, want := range []string{"CapEff:\t0000000000000400", "Uid:\t65532"} {
		if !strings.Contains(status, want) {
			t.Errorf("the process's status lacks %q:\n%s", want, status)
		}
	}
}

func (d *dockerTest) testSecretAndReload(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "cookie_key")
	if err := os.WriteFile(secret, []byte("0123456789abcdef\n"), 0o644); err != nil { // another user reads it
		t.Fatal(err)
	}
	network := d.prefix + "secret-network"
	d.run("network", "create", network)
	t.Cleanup(func() { d.try("network", "rm", network) })
	d.start("secret-m1", "--network", network, "--network-alias", "m1", d.prefix+"node", "-name", "m1")
	// The admin endpoint is where the guide's socket is.
	row := regexp.MustCompile("(?m)^\\| `CADDY_ADMIN` .*`(unix/[^`]*)`").FindStringSubmatch(readGuide(t))
	if row == nil {
		t.Fatal("the guide has no socket for CADDY_ADMIN")
	}
	container := d.start("secret", slices.Concat(hardened, []string{
		"--network", network, "--publish", "127.0.0.1::80", "--volume", secret + ":/run/secrets/cookie_key:ro", "--env", "CADDY_ADMIN=" + row[1],
		"--env", "SITE=http://", "--env", "TIGERGRAPH_NODES=m1", "--env", "COOKIE_KEY_FILE=/run/secrets/cookie_key", d.image,
	})...)
	eventually(t, "the edge knows its nodes", func() bool {
		output, _ := d.try("exec", container, "caddy", "tigergraph", "status", "--alive")
		return strings.Contains(output, "m1:14240")
	})
	b := newBrowser(t, "http://"+d.port(container, "80/tcp"), 2, nil)
	b.login()
	before := b.ourCookie()
	b.get("/api/__echo")
	if before == "" || b.ourCookie() != before {
		t.Errorf("the cookie %q becomes %q", before, b.ourCookie())
	}
	if err := os.WriteFile(secret, []byte("fedcba9876543210\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	// What people type first says what to type, and that works.
	reload := []string{"exec", container, "caddy"}
	if output, err := d.try(append(reload, "reload", "--config", "/etc/caddy/Caddyfile")...); err == nil || !strings.Contains(output, "caddy_reload_needs:--adapter=tigergraph_--force") {
		t.Errorf("without the adapter: %v\n%s", err, output)
	}
	d.run(append(reload, reloadOfTheImage(t)...)...)
	eventually(t, "cookies are made with the new key", func() bool {
		b.get("/api/__echo")
		return b.ourCookie() != before
	})
	if logs := d.run("logs", container); strings.Contains(logs, "0123456789abcdef") || strings.Contains(logs, "fedcba9876543210") {
		t.Errorf("a key is in the log:\n%s", logs)
	}
}

// hardened are the flags of one who trusts nobody.
var hardened = []string{"--read-only", "--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE", "--security-opt", "no-new-privileges"}

func (d *dockerTest) testCluster(t *testing.T) {
	network := d.prefix + "network"
	d.run("network", "create", network)
	t.Cleanup(func() { d.try("network", "rm", network) })
	volume := d.prefix + "data"
	t.Cleanup(func() { d.try("volume", "rm", volume) })
	for _, name := range []string{"m1", "m2", "m3"} {
		d.start(name, "--network", network, "--network-alias", name, d.prefix+"node", "-name", name)
	}

	// A certificate authority that validates by ACME, as Let's Encrypt does.
	authority := writeCaddyfile(t, "{\n\tskip_install_trust\n}\nhttps://authority {\n\ttls internal\n\tacme_server\n}\n")
	if err := os.Chmod(authority, 0o644); err != nil { // another user reads it
		t.Fatal(err)
	}
	ca := d.start("authority", "--network", network, "--network-alias", "authority", "--volume", authority+":/etc/caddy/Caddyfile:ro", d.image)
	root := filepath.Join(t.TempDir(), "root.crt")
	eventually(t, "the authority has a root", func() bool {
		_, err := d.try("cp", ca+":/data/caddy/pki/authorities/local/root.crt", root)
		return err == nil
	})
	if err := os.Chmod(root, 0o644); err != nil { // another user reads it
		t.Fatal(err)
	}
	certificate, err := os.ReadFile(root)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)

	run := func(name string) (container, address string) {
		container = d.start(name, slices.Concat(hardened, []string{
			"--network", network, "--network-alias", "graph.example.com", "--publish", "127.0.0.1::443", "--publish", "127.0.0.1::80",
			"--volume", volume + ":/data", "--volume", root + ":/root.crt:ro",
			"--env", "SITE=graph.example.com", "--env", "TIGERGRAPH_NODES=m1 m2 m3",
			"--env", "ACME_CA=https://authority/acme/local/directory", "--env", "ACME_CA_ROOT=/root.crt",
			d.image,
		})...)
		return container, d.port(container, "443/tcp")
	}
	edge, address := run("edge")
	_, port, _ := net.SplitHostPort(address)
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	base := "https://graph.example.com:" + port
	browser := func() *browser { return newBrowser(t, base, 2, config) }

	var issuer string
	first := browser()
	eventually(t, "the edge has a certificate from the authority", func() bool {
		a, err := first.try(http.MethodGet, "/api/ping", nil)
		if err != nil || a.StatusCode != http.StatusOK {
			return false
		}
		issuer = a.TLS.PeerCertificates[0].Issuer.CommonName
		return true
	})
	if !strings.Contains(issuer, "Caddy Local Authority") {
		t.Errorf("the certificate is from %q", issuer)
	}
	plain := d.port(edge, "80/tcp")
	if a, err := newBrowser(t, "http://"+plain, 2, nil).try(http.MethodGet, "/", nil); err != nil || a.StatusCode != http.StatusPermanentRedirect {
		t.Errorf("plain HTTP is answered with %v, %v", a, err)
	}

	t.Run("the root is read-only and the user is nobody", func(t *testing.T) {
		if output, err := d.try("exec", edge, "touch", "/etc/caddy/new"); err == nil {
			t.Errorf("a file can be made: %s", output)
		}
		if user := d.run("exec", edge, "id", "-u"); user != "65532" {
			t.Errorf("the user is %s", user)
		}
	})
	t.Run("the health check passes", func(t *testing.T) {
		eventually(t, "it has passed", func() bool { return d.inspect("{{.State.Health.Status}}", edge) == "healthy" })
	})

	users := make(map[string]*edgeUser)
	for tries := 0; len(users) < 3 && tries < 100; tries++ {
		user := &edgeUser{browser: browser()}
		// Another address would be another node; all come from one here, so the
		// fallback is drawn by who has no cookie yet: drain what is taken.
		user.home = user.browser.login()
		users[user.home] = user
		d.run("exec", edge, "caddy", "tigergraph", "drain", user.home, "--force")
	}
	for node := range users {
		d.run("exec", edge, "caddy", "tigergraph", "ready", node)
	}
	if len(users) != 3 {
		t.Fatalf("sessions on %d nodes", len(users))
	}

	for _, failure := range []struct {
		name, node  string
		begin, mend []string
	}{
		{"docker pause", "m1", []string{"pause", d.prefix + "m1"}, []string{"unpause", d.prefix + "m1"}},
		{"docker kill", "m2", []string{"kill", d.prefix + "m2"}, []string{"start", d.prefix + "m2"}},
		{
			"docker network disconnect", "m3",
			[]string{"network", "disconnect", network, d.prefix + "m3"},
			[]string{"network", "connect", "--alias", "m3", network, d.prefix + "m3"},
		},
	} {
		t.Run(failure.name, func(t *testing.T) {
			d.run(failure.begin...)
			eventually(t, "the checks notice", func() bool { return d.verdict(edge, failure.node) == "down" })
			for home, user := range users {
				node, status := user.browser.whoami()
				if home != failure.node && (node != home || status != http.StatusOK) {
					t.Errorf("the user of %s is at %q with %d", home, node, status)
				}
				if home == failure.node && status != http.StatusUnauthorized {
					t.Errorf("the user of the node that failed gets %d", status)
				}
			}
			again := browser()
			if node := again.relogin(); node == failure.node {
				t.Errorf("a login went to %s", node)
			}
			d.run(failure.mend...)
			eventually(t, "the node is up again", func() bool { return d.verdict(edge, failure.node) == "up" })
			user := users[failure.node]
			delete(users, failure.node)
			user.home = user.browser.relogin()
			if node, _ := user.browser.whoami(); node != user.home {
				t.Errorf("the session of %s is sent to %s", user.home, node)
			}
			// A session on a node that was away is gone; make one anew.
			fresh := &edgeUser{browser: browser(), home: failure.node}
			for _, other := range []string{"m1", "m2", "m3"} {
				if other != failure.node {
					d.run("exec", edge, "caddy", "tigergraph", "drain", other, "--force")
				}
			}
			eventually(t, "a login on the node", func() bool { return fresh.browser.relogin() == failure.node })
			for _, other := range []string{"m1", "m2", "m3"} {
				if other != failure.node {
					d.run("exec", edge, "caddy", "tigergraph", "ready", other)
				}
			}
			users[failure.node] = fresh
		})
	}

	t.Run("docker stop lets a request end, and the cookie outlives it", func(t *testing.T) {
		answers := make(chan error, 1)
		slow := browser()
		go func() {
			a, err := slow.try(http.MethodGet, "/restpp/echo?sleep=15", nil)
			if err == nil && a.StatusCode != http.StatusOK {
				err = fmt.Errorf("status %d", a.StatusCode)
			}
			answers <- err
		}()
		eventually(t, "the request is in flight", func() bool {
			return strings.Contains(d.run("exec", edge, "caddy", "tigergraph", "status", "--json", "--alive"), `"requests":1`)
		})
		d.run("stop", "--time", "60", edge)
		if err := <-answers; err != nil {
			t.Errorf("the request was cut off: %v", err)
		}
		if code := d.inspect("{{.State.ExitCode}}", edge); code != "0" {
			t.Errorf("it ended with %s", code)
		}
		// Another container, the same volume.
		d.run("rm", edge)
		_, address := run("edge-again")
		_, port, _ := net.SplitHostPort(address)
		user := users["m1"]
		user.browser.base = "https://graph.example.com:" + port
		eventually(t, "the new edge serves", func() bool {
			_, err := user.browser.try(http.MethodGet, "/api/ping", nil)
			return err == nil
		})
		if node, status := user.browser.whoami(); node != "m1" || status != http.StatusOK {
			t.Errorf("the session of m1 is sent to %q: %d", node, status)
		}
	})
}

type edgeUser struct {
	browser *browser
	home    string
}

// verdict returns the checks' verdict about the application server of a node.
func (d *dockerTest) verdict(edge, node string) string {
	d.t.Helper()
	var nodes []struct {
		Address  string
		Services map[string]struct{ Verdict string }
	}
	output := d.run("exec", edge, "caddy", "tigergraph", "status", "--json", "--alive")
	if err := json.Unmarshal([]byte(output), &nodes); err != nil {
		d.t.Fatalf("%v: %s", err, output)
	}
	for _, one := range nodes {
		if one.Address == node+":14240" {
			return one.Services["gui"].Verdict
		}
	}
	return ""
}

// readGuide returns docs/deployment.md.
func readGuide(t *testing.T) string {
	t.Helper()
	guide, err := os.ReadFile("../docs/deployment.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(guide)
}

// testGuide runs the command of docs/deployment.md, on other ports.
func (d *dockerTest) testGuide(t *testing.T) {
	_, rest, _ := strings.Cut(readGuide(t), "\n## Docker\n")
	_, rest, _ = strings.Cut(rest, "```sh\n")
	line, _, _ := strings.Cut(rest, "\n")
	container, volume := d.prefix+"guide", d.prefix+"guide-data"
	t.Cleanup(func() {
		d.try("rm", "--force", container)
		d.try("volume", "rm", volume)
	})
	for _, change := range [][2]string{
		{"docker run ", d.client + " run "},
		{"--name edge ", "--name " + container + " "},
		{"-p 80:80 -p 443:443 -p 443:443/udp ", "-p 127.0.0.1::80 -p 127.0.0.1::443 -p 127.0.0.1::443/udp "},
		{"caddy-data:", volume + ":"},
		{"ghcr.io/" + strings.TrimPrefix(modulePath, "github.com/"), d.image},
	} {
		if strings.Count(line, change[0]) != 1 {
			t.Fatalf("the guide's command has %q %d times: %s", change[0], strings.Count(line, change[0]), line)
		}
		line = strings.Replace(line, change[0], change[1], 1)
	}
	if output, err := d.command("sh", "-c", line).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	eventually(t, "the edge knows its nodes", func() bool {
		output, _ := d.try("exec", container, "caddy", "tigergraph", "status", "--alive")
		return strings.Contains(output, "m1:14240") && strings.Contains(output, "m3:14240")
	})
	if state := d.inspect("{{.State.Status}} {{.RestartCount}}", container); state != "running 0" {
		t.Errorf("it is %s", state)
	}
}

// testCompose brings compose.yaml up, but for Grafana, which no stand-in exists
// for. Prometheus is Debian's.
func (d *dockerTest) testCompose(t *testing.T) {
	compose := []string{d.client, "compose"}
	if _, err := d.try("compose", "version"); err != nil {
		program, err := exec.LookPath("docker-compose")
		if err != nil {
			missing(t, "docker compose is not installed")
		}
		compose = []string{program}
	}
	if _, err := exec.LookPath("prometheus"); err != nil {
		missing(t, "prometheus is not installed")
	}
	prometheus := newImage(t)
	prometheus.program("prometheus", "/bin/prometheus")
	prometheus.folder("/prometheus", 0o777)
	prometheus.load(d.docker, d.prefix+"prometheus", `ENTRYPOINT ["/bin/prometheus", "--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]`)

	override := filepath.Join(t.TempDir(), "override.yaml")
	content := fmt.Sprintf(`services:
  edge:
    image: %[1]sedge-clone
    build: {args: {CADDY_IMAGE: %[1]scaddy}}
  m1: &node
    image: %[1]snode
    build: {args: {GO_IMAGE: %[1]sgolang, GO_VERSION: stand-in}}
  m2: *node
  m3: *node
`, d.prefix)
	if err := os.WriteFile(override, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	_, plain, _ := net.SplitHostPort(freeAddress(t))
	_, secure, _ := net.SplitHostPort(freeAddress(t))
	run := func(arguments ...string) string {
		t.Helper()
		arguments = slices.Concat(compose[1:], []string{"--project-name", strings.TrimSuffix(d.prefix, "-"), "-f", "compose.yaml", "-f", override}, arguments)
		command := d.command(compose[0], arguments...)
		command.Env = append(slices.Clone(command.Env), "COMPOSE_DOCKER_CLI_BUILD=1", "PATH="+filepath.Dir(d.client)+":"+os.Getenv("PATH"),
			"HTTP_PORT="+plain, "HTTPS_PORT="+secure, "PROMETHEUS_IMAGE="+d.prefix+"prometheus")
		output, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(arguments, " "), err, output)
		}
		return string(output)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(run("logs"))
		}
		run("down", "--volumes")
	})
	run("up", "--detach", "--build", "edge", "m1", "m2", "m3", "prometheus")

	b := newBrowser(t, "https://localhost:"+secure, 2, &tls.Config{InsecureSkipVerify: true})
	eventually(t, "the edge serves", func() bool {
		a, err := b.try(http.MethodGet, "/", nil)
		return err == nil && a.StatusCode == http.StatusOK && strings.Contains(string(a.body), "stand-in")
	})
	home := b.login()
	run("stop", home)
	eventually(t, "a login works without "+home, func() bool {
		a, err := b.try(http.MethodPost, "/api/auth/login", []byte(`{"username":"tigergraph","password":"`+tgnode.Password+`"}`))
		return err == nil && a.StatusCode == http.StatusOK
	})
	watcher := newBrowser(t, "http://127.0.0.1:9090", 2, nil)
	prometheusSays := func(path string) string {
		a, err := watcher.try(http.MethodGet, path, nil)
		if err != nil {
			return err.Error()
		}
		return string(a.body)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(prometheusSays("/api/v1/targets"), prometheusSays("/api/v1/query?query=caddy_tigergraph_node_up"))
		}
	})
	eventually(t, "Prometheus knows that "+home+" is down", func() bool {
		return strings.Contains(prometheusSays("/api/v1/query?query=caddy_tigergraph_node_up%3D%3D0"), `"node":"`+home)
	})
}
