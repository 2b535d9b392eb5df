package tigergraph

import (
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
)

// warnOfRetries says when a proxy is set up to repeat requests that may have been
// carried out. It has to be asked before the proxy loads its matchers.
func warnOfRetries(balancing *reverseproxy.LoadBalancing, logger *zap.Logger) {
	switch {
	case balancing == nil:
	case len(balancing.RetryMatchRaw) > 0:
		for i, set := range balancing.RetryMatchRaw {
			// All of a set must match.
			if _, repeatable := set["tigergraph_repeatable"]; !repeatable {
				logger.Warn("lb_retry_match lets requests be repeated that a node may have carried out already: in TigerGraph even a GET can drop all data; add tigergraph_repeatable to what must match",
					zap.Int("matcher", i+1))
			}
		}
	case balancing.Retries > 0 || balancing.TryDuration > 0:
		logger.Warn("lb_retries and lb_try_duration without lb_retry_match have every GET repeated that a node may have carried out already: in TigerGraph a GET can drop all data; write lb_retry_match { tigergraph_repeatable }")
	}
}
