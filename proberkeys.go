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

// proberSettings are what the probers of a policy's nodes have in common, which tells
// them from those of other policies: the transport's settings and the check's.
type proberSettings struct {
	whole string
	// kin is, for each service, what decides whether a verdict of one prober is true for
	// another: all of that but when it is probed and what the results are worth.
	kin [service.Count]string
}

func newProberSettings(f *fleet.Fleet, transport http.RoundTripper, checker HealthChecker, check json.RawMessage) (proberSettings, error) {
	settings := []byte("default")
	if transport != nil {
		var err error
		if settings, err = json.Marshal(transport); err != nil {
			return proberSettings{}, fmt.Errorf("encoding the transport's settings: %w", err)
		}
	}
	number := f.Authorities.Number(authorities(transport))
	digest := func(transportSettings, checkSettings []byte) string {
		sum := sha256.New()
		_, _ = fmt.Fprintf(sum, "%T\n%s\n%T\n%s\n%d\n", // never fails
			transport, transportSettings, checker, checkSettings, number)
		return hex.EncodeToString(sum.Sum(nil))
	}
	common := proberSettings{whole: digest(settings, check)}
	for s := range service.Count {
		way, what := settings, []byte(check)
		if httpTransport(transport) != nil {
			way = fleet.Without(settings, "dial_timeout")
		}
		if _, ours := checker.(*Services); ours {
			what = fleet.Without(check, fleet.RhythmSettings(s)...)
		}
		common.kin[s] = digest(way, what) + " " + s.String()
	}
	return common, nil
}

// keys returns what identifies the prober of a node, and what its verdicts may be true
// for.
func (p *proberSettings) keys(address string) (key string, kin [service.Count]string) {
	for s := range kin {
		kin[s] = p.kin[s] + " " + address
	}
	return p.whole + " " + address, kin
}

// authorities returns the authorities that a transport trusts, nil if they are
// the system's. Its settings lack them, for they are a module of their own.
func authorities(transport http.RoundTripper) *x509.CertPool {
	if t := httpTransport(transport); t != nil && t.Transport != nil && t.Transport.TLSClientConfig != nil {
		return t.Transport.TLSClientConfig.RootCAs
	}
	return nil
}
