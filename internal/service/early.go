package service

import "net/http"

// IsEarly reports whether a request came in TLS early data: to us, or to a proxy in
// front of us that says so, as RFC 8470 has it. Such data are the client's for sure
// only once the handshake is complete, for those who replay them cannot complete it.
// Who claims to have sent a request early hurts nobody else, so this is believed of
// anybody; in whatever form, as the RFC wants it.
func IsEarly(r *http.Request) bool {
	if r.TLS != nil && !r.TLS.HandshakeComplete {
		return true
	}
	_, said := r.Header["Early-Data"]
	return said
}
