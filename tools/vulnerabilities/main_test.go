package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// said is a part of what govulncheck says: a fault of Go that is called, twice; one of
// a module that is called; one that is only there; one that nobody has mended.
const said = `{"config": {"protocol_version": "v1.0.0"}}
{"osv": {"id": "GO-1"}}
{"finding": {"osv": "GO-1", "fixed_version": "v1.26.9", "trace": [{"module": "stdlib", "package": "net/http"}]}}
{"finding": {"osv": "GO-1", "fixed_version": "v1.26.9", "trace": [{"module": "stdlib", "package": "net/http", "function": "Do"}, {"module": "m"}]}}
{"finding": {"osv": "GO-1", "fixed_version": "v1.26.9", "trace": [{"module": "stdlib", "package": "net/http", "function": "Get"}, {"module": "m"}]}}
{"finding": {"osv": "GO-2", "fixed_version": "v0.60.0", "trace": [{"module": "golang.org/x/net", "package": "html", "function": "Parse"}]}}
{"finding": {"osv": "GO-3", "fixed_version": "v0.61.0", "trace": [{"module": "golang.org/x/net", "package": "html"}]}}
{"finding": {"osv": "GO-4", "trace": [{"module": "example.com/m", "package": "m", "function": "F"}]}}
`

func TestOnlyWhatIsCalledAndMendedCounts(t *testing.T) {
	faults, err := read(strings.NewReader(said))
	if err != nil || len(faults) != 2 || faults[0] != (fault{"GO-1", "stdlib", "v1.26.9"}) || faults[1] != (fault{"GO-2", "golang.org/x/net", "v0.60.0"}) {
		t.Fatalf("%v, %v", faults, err)
	}
	var output bytes.Buffer
	if err := judge(&output, faults, false); err == nil || !strings.Contains(output.String(), "GO-2: require golang.org/x/net v0.60.0 or later") {
		t.Errorf("a module's fault is answered with %v:\n%s", err, &output)
	}
	output.Reset()
	if err := judge(&output, faults[:1], false); err != nil || !strings.Contains(output.String(), "Go 1.26.9 or later") {
		t.Errorf("a fault of Go is answered with %v:\n%s", err, &output)
	}
	if err := judge(&output, faults[:1], true); err == nil {
		t.Error("with -go a fault of Go is none")
	}
	if _, err := read(strings.NewReader(`{"finding": `)); err == nil {
		t.Error("half a report is taken for a whole one")
	}
}

// The whole way, with a database of the test's own: a fault in what this package calls.
func TestAFaultIsFound(t *testing.T) {
	database := t.TempDir()
	if err := run(database, false, []string{"."}); err == nil || !strings.Contains(err.Error(), "there is no vulnerability") {
		t.Errorf("an empty database is answered with %v", err)
	}
	const entry = `{"schema_version": "1.3.1", "id": "GO-2026-9999", "modified": "2026-01-01T00:00:00Z", "published": "2026-01-01T00:00:00Z",
		"affected": [{"package": {"name": "golang.org/x/vuln", "ecosystem": "Go"}, "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "99.0.0"}]}],
		"ecosystem_specific": {"imports": [{"path": "golang.org/x/vuln/scan", "symbols": ["Command"]}]}}]}`
	if err := os.WriteFile(filepath.Join(database, "GO-2026-9999.json"), []byte(entry), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(database, false, []string{"."}); err == nil || !strings.Contains(err.Error(), "1 vulnerabilities") {
		t.Errorf("a fault that is called is answered with %v", err)
	}
}
