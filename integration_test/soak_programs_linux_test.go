package integration_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// query is a program that asks RESTPP.
func (c *soakClient) query() {
	defer c.close()
	const most = 200_000
	for c.pause(20*time.Millisecond, 400*time.Millisecond) {
		c.roam()
		e := soakExchange{kind: "query", service: tgnode.RESTPP, method: http.MethodGet}
		expected := `"query":"social/qMARKER"`
		switch size := 100 + c.random.IntN(most); c.random.IntN(7) {
		case 0:
			e.path = "/restpp/query/social/qMARKER?marker=MARKER"
		case 1:
			e.kind, e.path = "large query", fmt.Sprintf("/restpp/query/social/qMARKER?bytes=%d&marker=MARKER", size)
			e.accepts = func(_ string, answer *soakAnswer) string {
				if answer.status != http.StatusOK || len(answer.body) != size {
					return fmt.Sprintf("want %d bytes, not %d", size, len(answer.body))
				}
				return ""
			}
		case 2:
			e.kind, e.path, expected = "vertex", "/restpp/graph/social/vertices/person/MARKER?marker=MARKER", `/person/MARKER"`
		case 3, 4: // which may break when it is done, and not answered yet
			e.kind, e.path = "long query", fmt.Sprintf("/restpp/query/social/qMARKER?sleep=%.2f&marker=MARKER", 2*c.random.Float64())
		case 5:
			e.kind, e.method, e.path = "query by POST", http.MethodPost, "/restpp/query/social/qMARKER?marker=MARKER"
			e.fields, e.body = []string{"Content-Type", "application/json"}, bytes.Repeat([]byte(" "), size)
		case 6:
			e.kind, e.method, e.path = "upsert", http.MethodPost, "/restpp/graph/social?marker=MARKER"
			e.body = bytes.Repeat([]byte("x"), size/100)
			expected = fmt.Sprintf(`"bytes":%d}`, len(e.body))
		}
		if e.accepts == nil {
			e.accepts = func(marker string, answer *soakAnswer) string {
				if want := strings.ReplaceAll(expected, "MARKER", marker); answer.status != http.StatusOK || !strings.Contains(answer.body, want) {
					return "want " + want
				}
				return ""
			}
		}
		c.exchange(e)
	}
}

// stream is a GSQL client that runs commands whose output takes a while.
func (c *soakClient) stream() {
	defer c.close()
	credentials := base64.StdEncoding.EncodeToString([]byte(c.user + ":" + tgnode.Password))
	const lines = 12
	for c.pause(100*time.Millisecond, time.Second) {
		c.count++
		word := fmt.Sprintf("w%d-%d", c.number, c.count)
		c.exchange(soakExchange{
			kind: "stream", service: tgnode.GSQL, method: http.MethodPost, path: "/gsqlserver/gsql/command?marker=MARKER",
			fields: []string{"Authorization", "Basic " + credentials, "GSQL-Cookie", `{"graph":"","fromGsqlClient":true}`},
			body:   fmt.Appendf(nil, "lines %d 100ms %s", lines, word),
			accepts: func(_ string, answer *soakAnswer) string {
				if answer.status != http.StatusOK {
					return "unexpected status"
				}
				for i := range lines {
					if !strings.Contains(answer.body, fmt.Sprintf("%s %d\n", word, i+1)) {
						return fmt.Sprintf("no line %s %d", word, i+1)
					}
				}
				_, session, _ := strings.Cut(answer.body, "__GSQL__COOKIES__,")
				var fields struct{ Auth string }
				if err := json.NewDecoder(strings.NewReader(session)).Decode(&fields); err != nil || fields.Auth != "Basic "+credentials {
					return "another user's session"
				}
				if !strings.HasSuffix(answer.body, "__GSQL__RETURN__CODE__,0\n") {
					return "no return code"
				}
				return ""
			},
		})
	}
}

// upload loads files.
func (c *soakClient) upload() {
	defer c.close()
	for c.pause(100*time.Millisecond, time.Second) {
		size := 1000 + c.random.IntN(1_000_000)
		c.exchange(soakExchange{
			kind: "upload", service: tgnode.RESTPP, method: http.MethodPost, path: "/restpp/ddl/social?marker=MARKER",
			body: bytes.Repeat([]byte("1"), size), slowly: true,
			accepts: func(_ string, answer *soakAnswer) string {
				if want := fmt.Sprintf(`"bytes":%d}`, size); answer.status != http.StatusOK || !strings.Contains(answer.body, want) {
					return "want " + want
				}
				return ""
			},
		})
	}
}
