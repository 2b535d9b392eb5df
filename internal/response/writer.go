package response

import "net/http"

// Innermost returns the server's own writer below those of the site's handlers.
func Innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		outer, wraps := w.(interface{ Unwrap() http.ResponseWriter })
		if !wraps {
			return w
		}
		w = outer.Unwrap()
	}
}

// Within reports whether a writer is one of this kind, or is within one.
func Within[Kind http.ResponseWriter](w http.ResponseWriter) bool {
	for {
		if _, is := w.(Kind); is {
			return true
		}
		outer, wraps := w.(interface{ Unwrap() http.ResponseWriter })
		if !wraps {
			return false
		}
		w = outer.Unwrap()
	}
}
