package tigergraph

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
	"weak"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// probers are shared by all sites, and by the configurations before and after a
// reload, that check the same node in the same way. So verdicts survive.
var probers = caddy.NewUsagePool()

// proberKeys returns what identifies a prober: what is checked and how, which is the
// address, the transport's settings and the check's. Kin is, for each service, what
// decides whether a verdict of one prober is true for another: all of that but when
// it is probed and what the results are worth.
func proberKeys(address string, transport http.RoundTripper, checker HealthChecker, check json.RawMessage) (key string, kin [service.Count]string, err error) {
	settings := []byte("default")
	if transport != nil {
		if settings, err = json.Marshal(transport); err != nil {
			return "", kin, fmt.Errorf("encoding the transport's settings: %w", err)
		}
	}
	number := trusted.number(authorities(transport))
	digest := func(transportSettings, checkSettings []byte) string {
		sum := sha256.New()
		_, _ = fmt.Fprintf(sum, "%q\n%T\n%s\n%T\n%s\n%d\n", // never fails
			address, transport, transportSettings, checker, checkSettings, number)
		return hex.EncodeToString(sum.Sum(nil))
	}
	for s := range service.Count {
		way, what := settings, []byte(check)
		if httpTransport(transport) != nil {
			way = without(settings, "dial_timeout")
		}
		if _, ours := checker.(*Services); ours {
			what = without(check, rhythmSettings(s)...)
		}
		kin[s] = s.String() + digest(way, what)
	}
	return digest(settings, check), kin, nil
}

// rhythmSettings are those of the health check `services` that say nothing of how a
// service is.
func rhythmSettings(s service.Service) []string {
	settings := []string{"checker", "interval", "timeout", "jitter", "passes", "fails", "start"}
	for other := range service.Count {
		if other != s {
			settings = append(settings, other.String())
		}
	}
	return settings
}

// without returns an object of JSON without these keys.
func without(object []byte, keys ...string) []byte {
	var values map[string]json.RawMessage
	if json.Unmarshal(object, &values) != nil {
		return object
	}
	for _, key := range keys {
		delete(values, key)
	}
	left, err := json.Marshal(values)
	if err != nil {
		return object
	}
	return left
}

// authorities returns the authorities that a transport trusts, nil if they are
// the system's. Its settings lack them, for they are a module of their own.
func authorities(transport http.RoundTripper) *x509.CertPool {
	if t := httpTransport(transport); t != nil && t.Transport != nil && t.Transport.TLSClientConfig != nil {
		return t.Transport.TLSClientConfig.RootCAs
	}
	return nil
}

// trusted numbers the authorities that transports trust. There is no other way to
// tell two pools apart than to compare them.
var trusted trustedPools

// trustedPools knows the pools for as long as somebody uses them. Numbers are never
// given twice.
type trustedPools struct {
	mu    sync.Mutex
	last  int
	known []numberedPool
}

type numberedPool struct {
	pool   weak.Pointer[x509.CertPool]
	number int
}

// number returns the number of a pool, 0 for the system's.
func (t *trustedPools) number(pool *x509.CertPool) int {
	if pool == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	number := 0
	kept := t.known[:0]
	for _, known := range t.known {
		alive := known.pool.Value()
		if alive == nil {
			continue
		}
		kept = append(kept, known)
		if alive == pool {
			number = known.number
		} else if number == 0 && pool.Equal(alive) {
			number = -known.number // to be noted
		}
	}
	clear(t.known[len(kept):])
	t.known = kept
	if number > 0 {
		return number
	}
	if number = -number; number == 0 {
		t.last++
		number = t.last
	}
	t.known = append(t.known, numberedPool{weak.Make(pool), number})
	return number
}

// relatives are all probers there are, by each of their kin.
var relatives = kinship{byKin: make(map[string][]*prober)}

type kinship struct {
	mu    sync.Mutex
	byKin map[string][]*prober
}

func (k *kinship) add(p *prober) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, kin := range p.kin {
		k.byKin[kin] = append(k.byKin[kin], p)
	}
}

func (k *kinship) remove(p *prober) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, kin := range p.kin {
		left := slices.DeleteFunc(k.byKin[kin], func(other *prober) bool { return other == p })
		if k.byKin[kin] = left; len(left) == 0 {
			delete(k.byKin, kin)
		}
	}
}

// ancestor returns the prober that knows most lately how a service is, nil if no
// relative of this prober does.
func (k *kinship) ancestor(p *prober, s service.Service) *prober {
	k.mu.Lock()
	defer k.mu.Unlock()
	var newest *prober
	var probed time.Time
	for _, other := range k.byKin[p.kin[s]] {
		if last := other.Report(s).LastProbe; other != p && last.After(probed) {
			newest, probed = other, last
		}
	}
	return newest
}
