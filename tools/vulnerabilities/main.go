// The command vulnerabilities looks for known vulnerabilities in packages, as
// govulncheck does, and fails for those only that the packages call and somebody here
// can mend: a newer version of a module has no such fault, or with -go a newer Go.
// The database is a folder, so that nothing but Go modules has to be reached:
//
//	vulnerabilities -db "$(go mod download -json golang.org/x/vulndb@latest | jq -r .Dir)/data/osv" ./...
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/vuln/scan"
)

func main() {
	database := flag.String("db", "", "the `folder` of the database: its files in the format OSV")
	mendGo := flag.Bool("go", false, "fail for faults that a newer Go mends, too")
	flag.Parse()
	if err := run(*database, *mendGo, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(database string, mendGo bool, packages []string) error {
	folder, err := filepath.Abs(database)
	if err != nil {
		return err
	}
	// An empty one would find nothing, and say so.
	if files, err := filepath.Glob(filepath.Join(folder, "GO-*.json")); err != nil || len(files) == 0 {
		return fmt.Errorf("there is no vulnerability in %s", folder)
	}
	var found bytes.Buffer
	govulncheck := scan.Command(context.Background(), append([]string{"-db", "file://" + filepath.ToSlash(folder), "-format", "json"}, packages...)...)
	govulncheck.Stdout, govulncheck.Stderr = &found, os.Stderr
	if err := govulncheck.Start(); err != nil {
		return fmt.Errorf("starting govulncheck: %w", err)
	}
	if err := govulncheck.Wait(); err != nil {
		return fmt.Errorf("govulncheck: %w", err)
	}
	called, err := read(&found)
	if err != nil {
		return err
	}
	return judge(os.Stdout, called, mendGo)
}

// fault is a vulnerability that the packages call, in one module.
type fault struct {
	id, module, mendedBy string
}

// read returns what is called and mended, each once.
func read(found io.Reader) ([]fault, error) {
	faults := make(map[fault]bool)
	for decoder := json.NewDecoder(found); ; {
		var message struct {
			Finding *struct {
				OSV          string
				FixedVersion string `json:"fixed_version"`
				Trace        []struct{ Module, Function string }
			}
		}
		if err := decoder.Decode(&message); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("reading what govulncheck says: %w", err)
		}
		finding := message.Finding
		if finding == nil || len(finding.Trace) == 0 || finding.Trace[0].Function == "" || finding.FixedVersion == "" {
			continue // not called, or nobody can mend it
		}
		faults[fault{finding.OSV, finding.Trace[0].Module, finding.FixedVersion}] = true
	}
	return slices.SortedFunc(maps.Keys(faults), func(a, b fault) int { return bytes.Compare([]byte(a.id+a.module), []byte(b.id+b.module)) }), nil
}

// judge says what is to be done about each fault, and fails if it has to be done here.
func judge(output io.Writer, faults []fault, mendGo bool) error {
	failing := 0
	for _, fault := range faults {
		if fault.module == "stdlib" && !mendGo {
			fmt.Fprintf(output, "%s: in the Go at hand; a release has to be built with Go %s or later\n", fault.id, fault.mendedBy[1:])
			continue
		}
		failing++
		fmt.Fprintf(output, "%s: require %s %s or later\n", fault.id, fault.module, fault.mendedBy)
	}
	if failing > 0 {
		return fmt.Errorf("%d vulnerabilities are called and could be mended", failing)
	}
	fmt.Fprintln(output, "no vulnerability is called that a newer module would mend")
	return nil
}
