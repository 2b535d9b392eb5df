package affinity

import (
	"net/http"
	"strings"
)

// SessionOf returns the id of the GSQL session that a request belongs to. Clients up
// to 3.6.1 send its raw JSON as a cookie.
func SessionOf(header http.Header) string {
	for _, field := range [...]string{"Gsql-Cookie", "Cookie"} {
		for _, value := range header[field] {
			if strings.IndexByte(value, '{') < 0 {
				continue
			}
			if id := SessionID(value); id != "" {
				return id
			}
		}
	}
	return ""
}

// SessionBegun returns the id of the GSQL session that an answer begins, "" if it begins
// none.
func SessionBegun(answer http.Header) string {
	for _, field := range [...]string{"Set-Gsql-Cookie", "Set-Cookie"} {
		for _, value := range answer[field] {
			if strings.IndexByte(value, '{') < 0 {
				continue
			}
			if id := SessionID(value); id != "" {
				return id
			}
		}
	}
	return ""
}
