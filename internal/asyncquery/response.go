package asyncquery

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

const (
	// lookAhead is how many bytes of a response are searched for the id. What
	// RESTPP answers to a submission has less than 200.
	lookAhead = 4 << 10
	// mostLooks bounds what a response costs that comes in many small pieces.
	mostLooks = 32
	longestID = 128
)

// Response is the answer to a submission, of which a part has been seen.
type Response struct {
	seen  []byte
	looks int
}

// Look takes in the next bytes of the body. It returns the id once that is there,
// and whether there is nothing more to look for.
func (r *Response) Look(b []byte) (id string, done bool) {
	r.looks++
	r.seen = append(r.seen, b[:min(len(b), lookAhead-len(r.seen))]...)
	id, err := findID(r.seen)
	if truncated := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF); !truncated {
		return id, true
	}
	return "", len(r.seen) == lookAhead || r.looks == mostLooks
}

// findID returns the id in the beginning of a response, "" if it has none. TigerGraph
// 3.6 documents the key as request_id, later versions show requestid.
func findID(beginning []byte) (id string, err error) {
	decoder := json.NewDecoder(bytes.NewReader(beginning))
	if open, err := decoder.Token(); err != nil || open != json.Delim('{') {
		return "", err
	}
	for {
		key, err := decoder.Token()
		if err != nil || key == json.Delim('}') {
			return "", err
		}
		if key != "requestid" && key != "request_id" {
			var other json.RawMessage
			if err := decoder.Decode(&other); err != nil {
				return "", err
			}
			continue
		}
		value, err := decoder.Token()
		if err != nil {
			return "", err
		}
		if id, _ := value.(string); id != "" && len(id) <= longestID {
			return id, nil
		}
		return "", nil
	}
}
