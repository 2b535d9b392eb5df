package tgnode

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
	"strings"
)

// GSQLClient behaves as TigerGraph's Java client does towards a server or
// whatever stands in front of it: it finds its session by the exact case of a
// header name, takes the last of several, and returns it as raw JSON. It keeps
// no cookies and follows no redirects.
type GSQLClient struct {
	Address string
	TLS     *tls.Config // nil for plain HTTP
	User    string      // the password is Password

	// SessionField is the field in which the client looks for its session:
	// Set-GSQL-Cookie (the default, since 3.6.2), Set-Cookie (from 3.2.0) or
	// Set-cookie (up to 3.1.6). With the first it returns the session in
	// GSQL-Cookie, with the others in Cookie.
	SessionField string

	// Tries limits how often a request is sent if the answer is 5xx or 3xx;
	// default 1. The Java client tries 10 times, a second apart.
	Tries int

	// OnLine is told each line of output when it arrives.
	OnLine func(line string)
	// OnDialog answers the server's questions; without it they are answered "y".
	OnDialog func(kind string) string

	session string
}

// ErrNoSession is the failure of a login whose answer has no session that the
// client can find.
var ErrNoSession = errors.New("no session in the answer to the login")

// Session returns the session as the server wrote it.
func (c *GSQLClient) Session() string { return c.session }

// Login begins a session.
func (c *GSQLClient) Login(ctx context.Context) error {
	c.session = `{"terminalWidth":80,"fromGsqlClient":true,"graph":""}`
	answer, err := c.post(ctx, "login", c.credentials(), nil)
	if err != nil {
		return err
	}
	var result struct {
		Error              bool
		Message            string
		IsClientCompatible *bool
	}
	if err := json.Unmarshal(answer.body, &result); err != nil {
		return fmt.Errorf("answer to the login: %w", err)
	}
	switch {
	case result.IsClientCompatible == nil:
		return errors.New("server is outdated")
	case result.Error:
		return fmt.Errorf("login failed: %s", result.Message)
	}
	session, ok := answer.last(c.sessionField())
	if !ok {
		return ErrNoSession
	}
	c.session = session
	return nil
}

// Command runs a command and returns the lines of its output, those that
// control the client left out. It answers dialogs while the output is open.
func (c *GSQLClient) Command(ctx context.Context, command string) ([]string, error) {
	var output []string
	code := ""
	_, err := c.post(ctx, "command", command, func(line string) error {
		if c.OnLine != nil {
			c.OnLine(line)
		}
		control, argument, _ := strings.Cut(line, ",")
		switch control {
		case "__GSQL__COOKIES__":
			c.session = argument
		case "__GSQL__RETURN__CODE__":
			code = argument
		case "__GSQL__INTERACT__":
			kind, rest, _ := strings.Cut(argument, ",")
			id, _, _ := strings.Cut(rest, ",")
			return c.dialog(ctx, kind, id)
		default:
			output = append(output, line)
		}
		return nil
	})
	switch {
	case err != nil:
		return output, err
	case code == "":
		return output, fmt.Errorf("no return code after %q", output)
	case code != "0":
		return output, fmt.Errorf("command failed with code %s", code)
	}
	return output, nil
}

func (c *GSQLClient) dialog(ctx context.Context, kind, id string) error {
	text := "y"
	if c.OnDialog != nil {
		text = c.OnDialog(kind)
	}
	answer, err := c.post(ctx, "dialog", id+","+text, nil)
	if err != nil {
		return err
	}
	var result struct {
		Error   bool
		Message string
	}
	if err := json.Unmarshal(answer.body, &result); err != nil {
		return fmt.Errorf("answer to the dialog: %w", err)
	}
	if result.Error {
		return fmt.Errorf("dialog failed: %s", result.Message)
	}
	return nil
}

// Exit aborts the session, as the client does when it ends.
func (c *GSQLClient) Exit(ctx context.Context) error {
	_, err := c.post(ctx, "abortclientsession", "", nil)
	return err
}

func (c *GSQLClient) credentials() string {
	return base64.StdEncoding.EncodeToString([]byte(c.User + ":" + Password))
}

func (c *GSQLClient) sessionField() string { return orDefault(c.SessionField, "Set-GSQL-Cookie") }

type gsqlAnswer struct {
	status int
	fields []Field
	body   []byte
}

// last returns the last field of this name, in exactly this case: Java lists
// fields of the same name last first, and the client takes the first.
func (a *gsqlAnswer) last(name string) (value string, ok bool) {
	for _, f := range a.fields {
		if f.Name == name {
			value, ok = f.Value, true
		}
	}
	return value, ok
}

func (c *GSQLClient) post(ctx context.Context, name, body string, onLine func(string) error) (*gsqlAnswer, error) {
	for try := 1; ; try++ {
		answer, err := c.postOnce(ctx, name, body, onLine)
		if err != nil {
			return nil, fmt.Errorf("gsql %s: %w", name, err)
		}
		if answer.status == 200 {
			return answer, nil
		}
		if repeatable := answer.status >= 500 || answer.status/100 == 3; !repeatable || try >= c.Tries {
			return nil, fmt.Errorf("gsql %s: status %d: %s", name, answer.status, answer.body)
		}
	}
}

func (c *GSQLClient) postOnce(ctx context.Context, name, body string, onLine func(string) error) (*gsqlAnswer, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }() // all that matters has been read
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()

	sessionField := "Cookie"
	if c.sessionField() == "Set-GSQL-Cookie" {
		sessionField = "GSQL-Cookie"
	}
	var request strings.Builder
	fmt.Fprintf(&request, "POST /gsqlserver/gsql/%s HTTP/1.1\r\nContent-Language: en-US\r\n%s: %s\r\n", name, sessionField, c.session)
	if name != "login" {
		fmt.Fprintf(&request, "Authorization: Basic %s\r\n", c.credentials())
	}
	fmt.Fprintf(&request, "User-Agent: Java/1.8.0_302\r\nHost: %s\r\nAccept: text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2\r\n"+
		"Connection: keep-alive\r\nContent-type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", c.Address, len(body), body)
	if _, err := io.WriteString(conn, request.String()); err != nil {
		return nil, contextError(ctx, err)
	}
	answer, err := readGSQLAnswer(bufio.NewReaderSize(conn, maxHead), onLine)
	return answer, contextError(ctx, err)
}

// contextError prefers the reason for which the connection was closed.
func contextError(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (c *GSQLClient) dial(ctx context.Context) (net.Conn, error) {
	if c.TLS != nil {
		return (&tls.Dialer{Config: c.TLS}).DialContext(ctx, "tcp", c.Address)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", c.Address)
}

// readGSQLAnswer reads an answer. Of one with status 200 it tells onLine, if
// there is one, every line when it arrives.
func readGSQLAnswer(r *bufio.Reader, onLine func(string) error) (*gsqlAnswer, error) {
	head, err := readHead(r, nil)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSuffix(string(head), "\n"), "\n")
	answer := new(gsqlAnswer)
	if _, err := fmt.Sscanf(lines[0], "HTTP/1.1 %d ", &answer.status); err != nil {
		return nil, fmt.Errorf("status line %q: %w", lines[0], err)
	}
	body := io.Reader(r)
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\r"), ":")
		value = strings.TrimSpace(value)
		answer.fields = append(answer.fields, Field{name, value})
		switch strings.ToLower(name) {
		case "transfer-encoding":
			body = httputil.NewChunkedReader(r)
		case "content-length":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("content length: %w", err)
			}
			body = io.LimitReader(r, n)
		}
	}
	if onLine == nil || answer.status != 200 {
		answer.body, err = io.ReadAll(body)
		return answer, err
	}
	scanner := bufio.NewScanner(body)
	for scanner.Scan() {
		if err := onLine(scanner.Text()); err != nil {
			return nil, err
		}
	}
	return answer, scanner.Err()
}
