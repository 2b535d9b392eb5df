package health

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
)

// TimeoutError is the failure of a probe that got no answer in time.
type TimeoutError struct {
	Limit fmt.Stringer
}

// Error says how long was waited.
func (e TimeoutError) Error() string { return fmt.Sprintf("no answer within %s", e.Limit) }

// Timeout implements net.Error's method.
func (TimeoutError) Timeout() bool { return true }

// Advice says what an administrator should look at when a probe of a service on
// a node failed in this way, "" if there is nothing to say.
func Advice(service string, failure error) string {
	var (
		status       StatusError
		dns          *net.DNSError
		notTLS       tls.RecordHeaderError
		authority    x509.UnknownAuthorityError
		hostname     x509.HostnameError
		invalid      x509.CertificateInvalidError
		verification *tls.CertificateVerificationError
		page         PageError
	)
	switch {
	case failure == nil:
		return ""
	case errors.Is(failure, ErrNoRoute):
		return fmt.Sprintf("nobody knows whether it lives, so it counts as up: in health_check, set the path of a request that the node's nginx hands on by a line '%s <path>', or switch the check off by '%[1]s off'", service)
	case errors.As(failure, &page):
		return adviceForPage(service, page)
	case errors.As(failure, &dns), says(failure, "no such host"), says(failure, "lookup "): // whatever the name server did
		return "the name cannot be resolved: check its spelling, DNS or /etc/hosts"
	case says(failure, syscall.ECONNREFUSED.Error()):
		return "nothing listens there: is TigerGraph started (gadmin start all), is this the port of its nginx (gadmin config get Nginx.Port)?"
	case says(failure, syscall.EHOSTUNREACH.Error()), says(failure, syscall.ENETUNREACH.Error()):
		return "there is no way to this address: check routes and firewalls"
	case is(failure, syscall.ECONNRESET), is(failure, syscall.EPIPE):
		return brokenAdvice
	case says(failure, "certificate required"), says(failure, "bad certificate"):
		return adviceForPage(service, PageError{reason: wantsClientCert})
	case errors.As(failure, &notTLS), says(failure, "server gave HTTP response to HTTPS client"):
		return "the node does not speak TLS on this port: write the node without https://"
	case errors.As(failure, &authority):
		return "the node's certificate is not from an authority that this machine trusts: give its authority to the transport (tls_trust_pool)"
	case errors.As(failure, &hostname):
		return "the node's certificate is for another name: use that name, or set it in the transport (tls_server_name)"
	case errors.As(failure, &invalid), errors.As(failure, &verification):
		return "the node's certificate is not valid: look at its dates and its chain"
	case errors.As(failure, &status):
		return adviceForStatus(service, int(status))
	case errors.Is(failure, ErrBody), errors.Is(failure, ErrTooLong):
		return "something else answers there, or the service is not well: open the path in a browser"
	case isTimeout(failure):
		return "the machine is off, a firewall drops the packets, or the service hangs or is slow: try gadmin status -v on the node"
	}
	return brokenAdvice
}

const brokenAdvice = "the connection broke: look at nginx's error log on the node"

func adviceForPage(service string, page PageError) string {
	switch {
	case page.reason == wantsTLS:
		return "the node speaks TLS on this port: write https:// before it"
	case page.reason == wantsClientCert:
		return "the node's nginx wants a client certificate (mTLS): give the transport one that it trusts (tls_client_auth)"
	case page.Status == http.StatusNotFound:
		return fmt.Sprintf("nginx has no such route there: is this the port of TigerGraph's nginx? If so, in health_check, set the path of a request that it hands on by a line '%s <path>'", service)
	}
	return "the node's nginx refuses the request before the service sees it: look at its configuration (gadmin config get Nginx) and its error log"
}

// says looks for a system's message by its text: the proxy's transport hides the
// cause of an error in dialling.
func says(failure error, message string) bool {
	return strings.Contains(failure.Error(), message)
}

func adviceForStatus(service string, status int) string {
	switch status {
	case http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return fmt.Sprintf("the service answers, but is not well: gadmin status %s -v, and its log (gadmin log %[1]s)", service)
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return fmt.Sprintf("the node is up, its %s is not: gadmin status %[1]s, then gadmin restart %[1]s#N for this one alone; nodes beyond the third have no GUI, beyond the fifth no GSQL", service)
	case http.StatusUnauthorized:
		return "something there asks for a login first: give the checks one (health_check, header), or a path that needs none"
	case http.StatusBadRequest:
		return "if the node speaks TLS, write https:// before it"
	}
	return "something else answers there: is this the port of TigerGraph's nginx?"
}
