package health

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestAdviceNamesTheNextThingToLookAt(t *testing.T) {
	dialing := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for _, test := range []struct {
		failure error
		want    string
	}{
		{nil, ""},
		{dialing(&net.DNSError{Err: "no such host", Name: "m9"}), "cannot be resolved"},
		{dialing(syscall.ECONNREFUSED), "nothing listens"},
		{dialing(syscall.EHOSTUNREACH), "routes and firewalls"},
		{tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, "does not speak TLS"},
		{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "tls_trust_pool"},
		{&tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: new(x509.Certificate)}}, "tls_server_name"},
		{&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}, "dates"},
		{StatusError(502), "gadmin restart gsql"},
		{StatusError(504), "gadmin status gsql"},
		{StatusError(400), "https://"},
		{StatusError(401), "asks for a login"},
		{StatusError(404), "something else answers"},
		{fmt.Errorf("%w: no JSON object", ErrBody), "something else answers"},
		{ErrTooLong, "something else answers"},
		{fmt.Errorf("asking: %w", ErrNoRoute), "in health_check, set the path of a request that the node's nginx hands on by a line 'gsql <path>'"},
		{errors.New("remote error: tls: certificate required"), "tls_client_auth"},
		{errors.New("http: server gave HTTP response to HTTPS client"), "does not speak TLS"},
		{EvidenceError{Refused}, "nothing listens"},
		{EvidenceError{Unreachable}, "routes and firewalls"},
		{EvidenceError{TimedOut}, "firewall drops"},
		{TimeoutError{Limit: 2 * time.Second}, "firewall drops"},
		{errors.New("unexpected EOF"), "connection broke"},
	} {
		if got := Advice("gsql", test.failure); !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
			t.Errorf("%v: %q, want it to contain %q", test.failure, got, test.want)
		}
	}
}
