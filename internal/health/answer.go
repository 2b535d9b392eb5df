package health

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// MostBody is how many bytes an answer to a probe may have.
const MostBody = 64 << 10

// ErrTooLong is the failure of an answer with more than MostBody bytes.
var ErrTooLong = fmt.Errorf("the answer is longer than %d KiB", MostBody>>10)

// GUI judges an answer of the application server to /api/ping. The documented
// bodies differ: error is false or the string "false", or missing.
func GUI(status int, body []byte) error {
	if err := Gateway(status); err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("status %d, expected 200", status)
	}
	var answer struct {
		Message json.RawMessage `json:"message"`
		Error   json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return errors.New("the answer is not a JSON object")
	}
	if string(answer.Message) != `"pong"` {
		return errors.New("the answer's message is not pong")
	}
	switch string(answer.Error) {
	case "", "false", `"false"`:
		return nil
	}
	return errors.New("the answer says that there is an error")
}

// Gateway judges an answer of GSQL or RESTPP. Whatever they say proves that they
// live, a 401 or a 503 as well; but 502 and 504 are the node's own nginx, which
// says that they do not.
func Gateway(status int) error {
	switch status {
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return fmt.Errorf("status %d: the node's nginx does not reach the service", status)
	}
	return nil
}
