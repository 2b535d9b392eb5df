package integration_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/smallstep/certificates/acme"
)

// acmePorts names the environment variable that makes this binary a Caddy whose
// ACME server validates on these two ports, HTTP's and TLS's, so that neither
// needs to be a privileged one.
const acmePorts = "TIGERGRAPH_TEST_ACME_PORTS"

var (
	// testFolder is there for as long as the tests run.
	testFolder string
	// caddyBinary is cmd/caddy, built for them.
	caddyBinary string
)

func TestMain(m *testing.M) {
	if ports := os.Getenv(acmePorts); ports != "" {
		plain, secure, _ := strings.Cut(ports, ",")
		acme.InsecurePortHTTP01, _ = strconv.Atoi(plain)
		acme.InsecurePortTLSALPN01, _ = strconv.Atoi(secure)
		caddycmd.Main()
		return
	}
	if settings := os.Getenv(soakService); settings != "" {
		runService(settings)
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	folder, err := os.MkdirTemp("", "caddy-tigergraph-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	testFolder = folder
	if caddyBinary = builtBefore(); caddyBinary != "" {
		return m.Run()
	}
	caddyBinary = filepath.Join(folder, "caddy")
	// The README's go build ./cmd/caddy, but for where the binary goes, and without
	// the profile, which only takes time here.
	build := exec.Command("go", "build", "-pgo=off", "-o", caddyBinary, "./cmd/caddy")
	build.Dir = ".."
	if output, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building cmd/caddy: %v\n%s", err, output)
		return 1
	}
	return m.Run()
}

// builtBefore returns the cmd/caddy that CI has built in the folder CADDY_BUILDS, of the
// newest or the lowest Caddy.
func builtBefore() string {
	way := "newest"
	if os.Getenv("GOWORK") == "off" {
		way = "lowest"
	}
	binary := filepath.Join(os.Getenv("CADDY_BUILDS"), way)
	if _, err := os.Stat(binary); err != nil || !filepath.IsAbs(binary) {
		return ""
	}
	return binary
}
