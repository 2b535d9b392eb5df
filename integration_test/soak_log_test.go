package integration_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"
)

// soakLog is what the access log of TestSoak's edge says.
type soakLog struct {
	chosen map[string]soakChoice // by marker
	lines  int
	cut    int // lines that are no entries: the edge was killed while it wrote one
}

// readSoakLog finds these requests in the log of an edge whose nodes have these
// names, by their addresses. It is an error if the log tells more of a request than
// it has to: what a client is known by stays out of it.
func readSoakLog(from io.Reader, requests map[string]bool, names map[string]string) (log soakLog, err error) {
	log.chosen = make(map[string]soakChoice)
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		log.lines++
		var entry struct {
			Level, Logger, Msg string
			Time               float64 `json:"ts"`
			Status             int
			Marker, Node       string
		}
		decoder := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		decoder.DisallowUnknownFields()
		err := decoder.Decode(&entry)
		if invalid := new(json.SyntaxError); errors.As(err, &invalid) || errors.Is(err, io.ErrUnexpectedEOF) {
			log.cut++
			continue
		}
		if err != nil {
			return log, fmt.Errorf("the edge's log has an entry that is not as expected: %w", err)
		}
		if !requests[entry.Marker] {
			continue
		}
		choice := soakChoice{status: entry.Status}
		if entry.Node != "" {
			if choice.node = names[entry.Node]; choice.node == "" {
				return log, fmt.Errorf("the edge's log has a node that is none: %s", entry.Node)
			}
		}
		if _, again := log.chosen[entry.Marker]; again {
			return log, fmt.Errorf("the edge's log has the request %s twice", entry.Marker)
		}
		log.chosen[entry.Marker] = choice
	}
	return log, lines.Err()
}

func TestReadSoakLog(t *testing.T) {
	const chosen = `{"level":"error","ts":1.5,"logger":"http.log.access.log0","msg":"handled request","status":502,"marker":"a","node":"198.18.0.2:14240"}` + "\n"
	const none = `{"level":"error","ts":1.5,"logger":"http.log.access.log0","msg":"handled request","status":503,"marker":"b","node":null}` + "\n"
	const brokenOff = `{"level":"info","ts":1.5,"logger":"http.log.access.log0","msg":"handled request","status":200,"marker":"c"}` + "\n"
	requests := map[string]bool{"a": true, "b": true, "c": true}
	names := map[string]string{"198.18.0.2:14240": "m1"}
	of := func(marker string, choice soakChoice) map[string]soakChoice {
		return map[string]soakChoice{marker: choice}
	}
	for _, test := range []struct {
		name, log string
		chosen    map[string]soakChoice
		cut       int
		wrong     string
	}{
		{"a node", chosen, of("a", soakChoice{"m1", 502}), 0, ""},
		{"no node", none, of("b", soakChoice{"", 503}), 0, ""},
		{"an answer that broke off", brokenOff, of("c", soakChoice{"", 200}), 0, ""},
		{"another request", strings.Replace(chosen, `"a"`, `"d"`, 1), nil, 0, ""},
		{"a line that was cut", none[:50] + chosen + none, of("b", soakChoice{"", 503}), 1, ""},
		{"the last one was cut", none + chosen[:50], of("b", soakChoice{"", 503}), 1, ""},
		{"another node", strings.Replace(chosen, "198", "197", 1), nil, 0, "a node that is none: 197"},
		{"a request twice", chosen + chosen, of("a", soakChoice{"m1", 502}), 0, "the request a twice"},
		{"too much", strings.Replace(chosen, `"a"`, `"a","request":{"headers":{"Cookie":["REDACTED"]}}`, 1), nil, 0, "not as expected"},
	} {
		log, err := readSoakLog(strings.NewReader(test.log), requests, names)
		if !maps.Equal(log.chosen, test.chosen) || log.cut != test.cut {
			t.Errorf("%s: %v and %d lines that were cut, want %v and %d", test.name, log.chosen, log.cut, test.chosen, test.cut)
		}
		if (err == nil) != (test.wrong == "") || err != nil && !strings.Contains(err.Error(), test.wrong) {
			t.Errorf("%s: the error is %v, want %q", test.name, err, test.wrong)
		}
	}
}
