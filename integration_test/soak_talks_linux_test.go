package integration_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// submit is a program that has queries run for later, asks how they are until they are
// done, and then for what they found: by either edge.
func (c *soakClient) submit() {
	defer c.close()
	for c.pause(50*time.Millisecond, 500*time.Millisecond) {
		c.roam()
		if id, marker := c.submitQuery(); id != "" {
			c.followUp(id, marker)
		}
	}
}

// submitQuery returns the id of a query, "" if there is none.
func (c *soakClient) submitQuery() (id, marker string) {
	e := soakExchange{
		kind: "submission", service: tgnode.RESTPP, method: http.MethodGet,
		path: fmt.Sprintf("/restpp/query/social/qMARKER?sleep=%.2f&marker=MARKER", 1.5*c.random.Float64()), fields: []string{"GSQL-ASYNC", "true"},
		accepts: func(_ string, answer *soakAnswer) string {
			var submitted struct{ RequestID string }
			if err := json.Unmarshal([]byte(answer.body), &submitted); err != nil || answer.status != http.StatusOK || submitted.RequestID == "" {
				return "no id"
			}
			id = submitted.RequestID
			return ""
		},
	}
	if c.random.IntN(2) == 0 {
		e.method, e.body = http.MethodPost, []byte("{}")
	}
	_, marker = c.exchange(e)
	return id, marker
}

// followUp asks for a query until it is done, or nobody knows it.
func (c *soakClient) followUp(id, of string) {
	ask := func(kind, path, unknown string) *soakAnswer {
		c.roam()
		answer, _ := c.exchange(soakExchange{
			kind: kind, service: tgnode.RESTPP, method: http.MethodGet, of: of,
			path: path + "?graph_name=social&requestid=" + url.QueryEscape(id) + "&marker=MARKER",
			accepts: func(_ string, answer *soakAnswer) string {
				switch {
				case answer.status != http.StatusOK:
					return "unexpected status"
				case strings.Contains(answer.body, unknown):
					return soakForgot
				case !strings.Contains(answer.body, "/query/social/q"+of+"?"):
					return "another query"
				}
				return ""
			},
		})
		return answer
	}
	for range 20 {
		if !c.pause(50*time.Millisecond, 500*time.Millisecond) {
			return
		}
		answer := ask("status", "/restpp/query_status", `"unknown_requestid"`)
		if answer == nil {
			return
		}
		if strings.Contains(answer.body, `"status":"success"`) {
			ask("result", "/restpp/query_result", "Unable to retrieve result")
			return
		}
	}
}

// converse is a GSQL client that logs in and runs commands, some of which ask it back
// while they run. It answers by a connection of its own, as the Java client does.
func (c *soakClient) converse() {
	defer c.close()
	other := newSoakClient(c.records, c.number+500, c.edges, c.stop, uint64(c.number))
	other.address, other.user, other.version, other.edge = c.address, c.user, c.version, c.edge
	defer other.close()
	for c.pause(100*time.Millisecond, time.Second) {
		session, of := c.beginSession()
		if session == "" {
			continue
		}
		for range 1 + c.random.IntN(8) {
			if !c.pause(100*time.Millisecond, time.Second) || !c.answerBack(other, session, of) {
				break
			}
		}
		c.exchange(c.gsql("end of session", "abortclientsession", session, of, "", acknowledges))
	}
}

// gsql returns a request of a GSQL client.
func (c *soakClient) gsql(kind, path, session, of, body string, accepts func(string, *soakAnswer) string) soakExchange {
	return soakExchange{
		kind: kind, service: tgnode.GSQL, method: http.MethodPost, path: "/gsqlserver/gsql/" + path + "?marker=MARKER", of: of, body: []byte(body),
		fields: []string{"Authorization", "Basic " + c.credentials(), "GSQL-Cookie", session, "Content-Type", "application/x-www-form-urlencoded"},
		accepts: func(marker string, answer *soakAnswer) string {
			if answer.status != http.StatusOK {
				return "unexpected status"
			}
			return accepts(marker, answer)
		},
	}
}

// acknowledges says what is wrong with the answer to a request that returns nothing.
func acknowledges(_ string, answer *soakAnswer) string {
	if answer.body != `{"error":false,"message":""}` {
		return "no acknowledgement"
	}
	return ""
}

func (c *soakClient) credentials() string {
	return base64.StdEncoding.EncodeToString([]byte(c.user + ":" + tgnode.Password))
}

// beginSession returns what the client is to send back, and the marker of its login.
func (c *soakClient) beginSession() (session, marker string) {
	answer, marker := c.exchange(c.gsql("GSQL login", "login", `{"fromGsqlClient":true,"graph":""}`, "", c.credentials(), func(_ string, answer *soakAnswer) string {
		if !strings.Contains(answer.header.Get("Set-GSQL-Cookie"), `"auth":"Basic `+c.credentials()+`"`) {
			return "no session of this user's"
		}
		return ""
	}))
	if answer == nil {
		return "", marker
	}
	return answer.header.Get("Set-GSQL-Cookie"), marker
}

// answerBack runs a command that asks, and answers it by the other client. It returns
// false when the session is over.
func (c *soakClient) answerBack(other *soakClient, session, of string) bool {
	word := fmt.Sprintf("w%d-%d", c.number, c.count)
	command := c.gsql("dialog", "command", session, of, "ask Sure?", func(_ string, answer *soakAnswer) string {
		switch {
		case strings.Contains(answer.body, "__GSQL__COOKIES__"):
			return soakForgot
		case !strings.Contains(answer.body, "answer: "+word+"\n"):
			return "the answer is not " + word
		case !strings.HasSuffix(answer.body, "__GSQL__RETURN__CODE__,0\n"):
			return "no return code"
		}
		return ""
	})
	known := true
	command.line = func(line string) bool {
		control, argument, _ := strings.Cut(line, ",")
		switch control {
		case "__GSQL__COOKIES__": // of a node that does not know the session
			known = false
		case "__GSQL__INTERACT__":
			if !known {
				return false
			}
			id := strings.Split(argument, ",")[1]
			reply, _ := other.exchange(c.gsql("reply", "dialog", session, of, id+","+word, func(marker string, answer *soakAnswer) string {
				if strings.Contains(answer.body, "No such dialog") {
					return soakForgot
				}
				return acknowledges(marker, answer)
			}))
			return reply != nil
		}
		return true
	}
	answer, _ := c.exchange(command)
	return answer != nil
}
