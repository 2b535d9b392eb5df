package tigergraph_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// guides returns the files of docs/ and its folder by their names.
func guides(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("docs/*.md")
	figures, err2 := filepath.Glob("docs/*/*.md")
	if err := errors.Join(err, err2); err != nil || len(files) < 4 || len(figures) < 4 {
		t.Fatalf("%v, %v, %v", files, figures, err)
	}
	files = append(files, figures...)
	contents := make(map[string]string)
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		contents[file] = string(content)
	}
	return contents
}

var indentedFence = regexp.MustCompile("(?ms)^( *)```([a-z]+)\n(.*?)^ *```$")

// fenced returns the fenced blocks of a language, without the indentation of the
// list that they stand in.
func fenced(markdown, language string) (blocks []string) {
	for _, match := range indentedFence.FindAllStringSubmatch(markdown, -1) {
		if match[2] != language {
			continue
		}
		var block strings.Builder
		for line := range strings.Lines(match[3]) {
			block.WriteString(strings.TrimPrefix(line, match[1]))
		}
		blocks = append(blocks, block.String())
	}
	return blocks
}

// filesOfTheGuides makes the files that the guides' Caddyfiles name, and returns
// what they are called there and where they are, in turn.
func filesOfTheGuides(t *testing.T) (names []string) {
	t.Helper()
	folder := t.TempDir()
	config, _, err := tgnode.SelfSigned("graph.example.com")
	if err != nil {
		t.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: config.Certificates[0].Certificate[0]})
	secret, err := x509.MarshalPKCS8PrivateKey(config.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"tigergraph-ca.pem": certificate, "root.pem": certificate, "graph.pem": certificate,
		"graph.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
	} {
		file := filepath.Join(folder, name)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		names = append(names, "/etc/caddy/"+name, file)
	}
	return append(names, "/srv/caddy", folder)
}

func TestEveryCaddyfileOfTheGuidesIsValid(t *testing.T) {
	t.Setenv("COOKIE_KEY", "new")
	t.Setenv("PREVIOUS_COOKIE_KEY", "old")
	files := strings.NewReplacer(filesOfTheGuides(t)...)
	storage := "storage file_system " + t.TempDir() + "\n"
	for file, content := range guides(t) {
		for i, block := range fenced(content, "caddyfile") {
			if strings.Contains(block, "rate_limit") || strings.Contains(block, "\tdns ") {
				continue // integration_test/ratelimit and the next test have the modules that these need
			}
			if string(caddyfile.Format([]byte(block))) != block {
				t.Errorf("%s: caddy fmt would change Caddyfile %d:\n%s", file, i+1, block)
			}
			config := files.Replace(block)
			if before, after, hasOptions := strings.Cut("\n"+config, "\n{\n"); strings.Contains(config, "\tstorage ") {
				// It says itself where the storage is.
			} else if hasOptions { // snippets may come first
				config = before + "\n{\n" + storage + after
			} else {
				config = "{\n" + storage + "}\n" + config
			}
			t.Run(file, func(t *testing.T) { validate(t, adapt(t, config)) })
		}
	}
}

// dnsProvider stands in for a module of github.com/caddy-dns.
type dnsProvider struct {
	Token string `json:"api_token,omitempty"`
}

func (*dnsProvider) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "dns.providers.cloudflare", New: func() caddy.Module { return new(dnsProvider) }}
}

func (p *dnsProvider) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&p.Token) {
		return d.ArgErr()
	}
	return nil
}

func TestTheGuidesDNSChallengeIsUnderstood(t *testing.T) {
	caddy.RegisterModule(new(dnsProvider))
	for _, block := range fenced(guides(t)["docs/certificates.md"], "caddyfile") {
		if !strings.Contains(block, "\tdns ") {
			continue
		}
		if string(caddyfile.Format([]byte(block))) != block {
			t.Errorf("caddy fmt would change\n%s", block)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(adapt(t, block))); err != nil {
			t.Fatal(err)
		}
		adapted := compact.String()
		for _, want := range []string{`"dns":{"provider":{"api_token":"{env.CLOUDFLARE_API_TOKEN}","name":"cloudflare"}`, `"resolvers":["1.1.1.1"]`, `"policy":"tigergraph"`} {
			if !strings.Contains(adapted, want) {
				t.Errorf("no %s in\n%s", want, adapted)
			}
		}
		return
	}
	t.Error("the guide shows no DNS challenge")
}

func TestTheGuideListsTheImagesVariables(t *testing.T) {
	listed := []string{}
	for _, match := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\|").FindAllStringSubmatch(guides(t)["docs/deployment.md"], -1) {
		listed = append(listed, match[1])
	}
	slices.Sort(listed)
	want := slices.Sorted(slices.Values(imageVariables))
	if !slices.Equal(listed, want) {
		t.Errorf("the guide lists %v, the image has %v", listed, want)
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// anchors returns what GitHub makes of the headings.
func anchors(markdown string) (list []string) {
	for _, match := range heading.FindAllStringSubmatch(markdown, -1) {
		anchor := strings.Map(func(r rune) rune {
			switch {
			case r == ' ', r == '-':
				return '-'
			case r == '_', r >= 'a' && r <= 'z', r >= '0' && r <= '9':
				return r
			}
			return -1
		}, strings.ToLower(match[1]))
		list = append(list, anchor)
	}
	return list
}

func TestEveryLinkOfTheGuidesLeadsSomewhere(t *testing.T) {
	contents := guides(t)
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	contents["README.md"] = string(readme)
	for file, content := range contents {
		for _, match := range link.FindAllStringSubmatch(content, -1) {
			target, anchor, hasAnchor := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			path := file
			if target != "" {
				path = filepath.Join(filepath.Dir(file), target)
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			if hasAnchor && !slices.Contains(anchors(contents[filepath.ToSlash(path)]), anchor) {
				t.Errorf("%s: %s has no heading #%s", file, path, anchor)
			}
		}
	}
}

// Who reads before there is a release is told what waits for it: images, packages, what
// is signed, and what is named by a release's tag.
func TestTheGuidesSayWhatIsThereFromTheFirstReleaseOn(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	released := regexp.MustCompile(`ghcr\.io/|checksums\.txt|_1\.2\.3_|\?ref=v1\.2\.3|/releases\)`)
	contents := guides(t)
	contents["README.md"] = string(readme)
	sections := 0
	for file, content := range contents {
		for section := range strings.SplitSeq(content, "\n## ") {
			if !released.MatchString(section) {
				continue
			}
			sections++
			if title, _, _ := strings.Cut(section, "\n"); !strings.Contains(section, "rom the first release on") {
				t.Errorf("%s: %q does not say that there is such a thing from the first release on", file, title)
			}
		}
	}
	if sections < 5 {
		t.Errorf("only %d sections are about what is released", sections)
	}
}

// A message that a guide explains is one that somebody can get.
func TestEveryMessageOfTheGuideIsInTheCode(t *testing.T) {
	caddy, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/caddyserver/caddy/v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, folder := range []string{
		".", filepath.Join(strings.TrimSpace(string(caddy)), "modules", "caddyhttp", "reverseproxy"),
		filepath.Join(strings.TrimSpace(string(root)), "src", "net"), filepath.Join(strings.TrimSpace(string(root)), "src", "syscall"),
		filepath.Join(strings.TrimSpace(string(root)), "src", "crypto", "x509"),
	} {
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			content, err := os.ReadFile(path)
			code.Write(content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	_, table, found := strings.Cut(guides(t)["docs/troubleshooting.md"], "## By message")
	if !found {
		t.Fatal("there is no list of messages")
	}
	messages := regexp.MustCompile("(?m)^\\| `(.*?)` \\|").FindAllStringSubmatch(table, -1)
	if len(messages) < 20 {
		t.Errorf("only %d messages", len(messages))
	}
	for _, message := range messages {
		for part := range strings.SplitSeq(message[1], "…") {
			// What stands beside a placeholder may be punctuation.
			part = strings.Trim(part, " '():;")
			if part != "" && !strings.Contains(code.String(), part) {
				t.Errorf("no code says %q", part)
			}
		}
	}
}

// Whoever copies one of them gets a log without credentials, and the same one.
func TestEveryShippedCaddyfileKeepsSecretsOutOfTheLog(t *testing.T) {
	snippet := regexp.MustCompile(`(?ms)^\(no_secrets\) \{\n.*?^\}\n`)
	first := ""
	for _, file := range []string{
		"example.Caddyfile", "example.reverse_proxy.Caddyfile", "deploy/docker/Caddyfile", "deploy/packages/Caddyfile", "deploy/kubernetes/Caddyfile",
		"deploy/helm/caddy-tigergraph/templates/_caddyfile.tpl",
		"SECURITY.md", "docs/security.md", "cmd/demo/edge.Caddyfile",
	} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := snippet.FindString(string(content))
		if first == "" {
			first = found
		}
		if found == "" || found != first || !strings.Contains(string(content), "\tlog {\n") || !strings.Contains(string(content), "\t\timport no_secrets\n") {
			t.Errorf("%s does not import the snippet as the first has it:\n%s", file, found)
		}
	}
}

// What Caddy does by default, and a plugin cannot change, is set in whatever comes along
// to be copied or run. Kubernetes has no HTTP/3, and so no use for a long grace period.
func TestEveryShippedCaddyfileSetsWhatThePluginCannot(t *testing.T) {
	for file, grace := range map[string]string{
		"docs/caddy-defaults.md": "1h", "docs/topologies.md": "1h", "example.Caddyfile": "1h", "example.reverse_proxy.Caddyfile": "1h",
		"deploy/packages/Caddyfile": "1h", "deploy/docker/Caddyfile": "{$GRACE_PERIOD:1h}", "deploy/kubernetes/Caddyfile": "120s",
		"deploy/helm/caddy-tigergraph/templates/_caddyfile.tpl": "{{ .Values.gracePeriod }}s",
	} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{"grace_period " + grace, "max_header_size 64KiB", "read_body_idle 1h"} {
			if !strings.Contains(string(content), "\t"+line+"\n") {
				t.Errorf("%s does not set %s", file, line)
			}
		}
	}
}
