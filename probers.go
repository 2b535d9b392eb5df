package tigergraph

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/fleet"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// proberKeys returns what identifies a prober: what is checked and how, which is the
// address, the transport's settings and the check's. Kin is, for each service, what
// decides whether a verdict of one prober is true for another: all of that but when
// it is probed and what the results are worth.
func proberKeys(f *fleet.Fleet, address string, transport http.RoundTripper, checker HealthChecker, check json.RawMessage) (key string, kin [service.Count]string, err error) {
	settings := []byte("default")
	if transport != nil {
		if settings, err = json.Marshal(transport); err != nil {
			return "", kin, fmt.Errorf("encoding the transport's settings: %w", err)
		}
	}
	number := f.Authorities.Number(authorities(transport))
	digest := func(transportSettings, checkSettings []byte) string {
		sum := sha256.New()
		_, _ = fmt.Fprintf(sum, "%q\n%T\n%s\n%T\n%s\n%d\n", // never fails
			address, transport, transportSettings, checker, checkSettings, number)
		return hex.EncodeToString(sum.Sum(nil))
	}
	for s := range service.Count {
		way, what := settings, []byte(check)
		if httpTransport(transport) != nil {
			way = fleet.Without(settings, "dial_timeout")
		}
		if _, ours := checker.(*Services); ours {
			what = fleet.Without(check, fleet.RhythmSettings(s)...)
		}
		kin[s] = s.String() + digest(way, what)
	}
	return digest(settings, check), kin, nil
}

// proberKeys returns what identifies the prober of a node.
func (p *Policy) proberKeys(address string) (key string, kin [service.Count]string, err error) {
	return proberKeys(p.app.fleet, address, p.transport, p.checker, p.checkSettings)
}

// authorities returns the authorities that a transport trusts, nil if they are
// the system's. Its settings lack them, for they are a module of their own.
func authorities(transport http.RoundTripper) *x509.CertPool {
	if t := httpTransport(transport); t != nil && t.Transport != nil && t.Transport.TLSClientConfig != nil {
		return t.Transport.TLSClientConfig.RootCAs
	}
	return nil
}
