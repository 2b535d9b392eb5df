package health

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
)

// PageError is the failure of an error page that the node's own nginx wrote, so that
// it proves nothing of the service.
type PageError struct {
	Status int
	reason pageReason
}

type pageReason uint8

const (
	pageOnly        pageReason = iota
	wantsTLS                   // plain HTTP came to its TLS port
	wantsClientCert            // no client certificate that it accepts
)

// Error says what the page is about.
func (e PageError) Error() string {
	switch e.reason {
	case wantsTLS:
		return fmt.Sprintf("status %d: the node's nginx expects TLS on this port", e.Status)
	case wantsClientCert:
		return fmt.Sprintf("status %d: the node's nginx accepts no client without a certificate that it trusts", e.Status)
	default:
		return fmt.Sprintf("status %d: an error page of the node's nginx, not the service's answer", e.Status)
	}
}

// nginxPage returns the failure of an answer that the node's own nginx wrote, nil if
// the service may have.
func nginxPage(status int, header http.Header, body []byte) error {
	if status < http.StatusBadRequest {
		return nil
	}
	lower := bytes.ToLower(body)
	page := bytes.Contains(lower, []byte("<center>nginx")) || bytes.Contains(lower, []byte("<center>openresty"))
	fromNginx := page || isNginx(header)
	switch {
	case fromNginx && bytes.Contains(lower, []byte("plain http request was sent to https port")):
		return PageError{status, wantsTLS}
	case fromNginx && mayRefuseCertificate(status) && saysCertificate(lower):
		return PageError{status, wantsClientCert}
	case page:
		return PageError{status, pageOnly}
	}
	return nil
}

// saysCertificate reports whether a page is about the certificate of a client. Some
// configurations of nginx write a line of their own.
func saysCertificate(lower []byte) bool {
	for _, words := range []string{"client certificate", "ssl certificate", "client cert"} {
		if bytes.Contains(lower, []byte(words)) {
			return true
		}
	}
	return false
}

// mayRefuseCertificate reports whether nginx refuses client certificates with a
// status: 495 to 497 are its own.
func mayRefuseCertificate(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusForbidden, 495, 496, 497:
		return true
	}
	return false
}

func isNginx(header http.Header) bool {
	server := strings.ToLower(header.Get("Server"))
	return strings.HasPrefix(server, "nginx") || strings.HasPrefix(server, "openresty")
}

// mayBeNginxs reports whether an answer with an error status may be the node's own
// nginx's, as far as its header tells: the services write JSON.
func mayBeNginxs(status int, header http.Header) bool {
	if !isNginx(header) {
		return false
	}
	kind := header.Get("Content-Type")
	return strings.HasPrefix(kind, "text/html") || mayRefuseCertificate(status) && !strings.HasPrefix(kind, "application/json")
}
