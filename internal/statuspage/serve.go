package statuspage

import (
	"net/http"
	"time"
)

// SnapshotError says why there is nothing to show.
type SnapshotError struct{ Err error }

func (e SnapshotError) Error() string { return e.Err.Error() }

func (e SnapshotError) Unwrap() error { return e.Err }

// Serve serves the page, or what it shows.
func Serve(w http.ResponseWriter, r *http.Request, feed *Feed) error {
	header := w.Header()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "the status page can only be read: use GET or HEAD", http.StatusMethodNotAllowed)
		return nil
	}
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	format := Accepted(r.Header["Accept"])
	if name := r.URL.Query().Get("format"); name != "" {
		var known bool
		if format, known = ParseFormat(name); !known {
			http.Error(w, "format must be html, json or events", http.StatusBadRequest)
			return nil
		}
	} else {
		header.Set("Vary", "Accept")
	}
	switch format {
	case JSON:
		return serveJSON(w, feed)
	case Events:
		return serveEvents(w, r, feed)
	default:
		header.Set("Content-Type", "text/html; charset=utf-8")
		header.Set("Content-Security-Policy", Policy)
		header.Set("Referrer-Policy", "no-referrer")
		_, err := w.Write(Page)
		return err
	}
}

func serveJSON(w http.ResponseWriter, feed *Feed) error {
	content, err := feed.Snapshot()
	if err != nil {
		return SnapshotError{err}
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(content)
	return err
}

// writeTimeout is how long a reader of a stream may keep it waiting.
const writeTimeout = 10 * time.Second

// serveEvents sends what changes until the client leaves or the configuration is
// replaced.
func serveEvents(w http.ResponseWriter, r *http.Request, feed *Feed) error {
	header := w.Header()
	if r.Method == http.MethodHead {
		header.Set("Content-Type", "text/event-stream")
		return nil
	}
	subscription, err := feed.Subscribe()
	if err != nil {
		header.Set("Retry-After", "1")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return nil
	}
	defer subscription.Close()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store, no-transform")
	header.Set("X-Accel-Buffering", "no") // for an nginx in front
	controller := http.NewResponseController(w)
	defer func() { _ = controller.SetWriteDeadline(time.Time{}) }() // the connection may be used again
	for {
		select {
		case <-r.Context().Done():
			return nil
		case event, more := <-subscription.Events():
			if !more {
				return nil
			}
			// Not every writer has a deadline; a client that left shows all the same.
			_ = controller.SetWriteDeadline(time.Now().Add(writeTimeout))
			if _, err := w.Write(event); err != nil {
				return nil //nolint:nilerr // the client has left
			}
			if err := controller.Flush(); err != nil {
				return nil //nolint:nilerr // the client has left
			}
		}
	}
}
