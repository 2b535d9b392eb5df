package health

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// MostBody is how many bytes an answer to a probe may have.
const MostBody = 64 << 10

// ErrTooLong is the failure of an answer with more than MostBody bytes.
var ErrTooLong = fmt.Errorf("the answer is longer than %d KiB", MostBody>>10)

// ErrBody is the failure of an answer that is not what the service says when it
// is well.
var ErrBody = errors.New("not the answer of a service that is well")

// Judge judges an answer of a service to a probe; nil if it passes. A page of nginx
// that does not know the path is ErrNoRoute for GSQL, whose paths differ between
// versions.
func Judge(s service.Service, status int, header http.Header, body []byte) error {
	if err := Gateway(status); err != nil {
		return err
	}
	if err := nginxPage(status, header, body); err != nil {
		if s == service.GSQL && errors.Is(err, PageError{http.StatusNotFound, pageOnly}) {
			return ErrNoRoute
		}
		return err
	}
	if s == service.GUI {
		return GUI(status, body)
	}
	return nil
}

// GUI judges an answer of the application server to /api/ping. The documented
// bodies differ: error is false or the string "false", or missing.
func GUI(status int, body []byte) error {
	if err := Gateway(status); err != nil {
		return err
	}
	if status != http.StatusOK {
		return StatusError(status)
	}
	var answer struct {
		Message json.RawMessage `json:"message"`
		Error   json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("%w: no JSON object", ErrBody)
	}
	if string(answer.Message) != `"pong"` {
		return fmt.Errorf("%w: its message is not pong", ErrBody)
	}
	switch string(answer.Error) {
	case "", "false", `"false"`:
		return nil
	}
	return fmt.Errorf("%w: it says that there is an error", ErrBody)
}

// Gateway judges an answer of GSQL or RESTPP. Whatever they say proves that they
// live, a 401 or a 503 as well; but 502 and 504 are the node's own nginx, which
// says that they do not.
func Gateway(status int) error {
	switch status {
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return StatusError(status)
	}
	return nil
}

// StatusError is the failure of an answer by its status.
type StatusError int

// Error says what the status means.
func (e StatusError) Error() string {
	switch e {
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return fmt.Sprintf("status %d: the node's nginx does not reach the service", int(e))
	}
	return fmt.Sprintf("status %d, expected 200", int(e))
}
