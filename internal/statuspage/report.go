package statuspage

import (
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/clock"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/fleet"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// Moment returns a time for JSON, nil if it never was.
func Moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	date := clock.Date(t)
	return &date
}

// ProbesOf returns how long the last minutes' probes of a service took, up to a step.
func ProbesOf(p *fleet.Prober, s service.Service, before int64) *Latency {
	slowest, failed := p.Latency(s, before)
	return &Latency{SlowestMS: slowest, Failed: failed}
}

// StatusOf returns what is known of a service that is checked.
func StatusOf(p *fleet.Prober, s service.Service) ServiceStatus {
	report := p.Report(s)
	status := ServiceStatus{
		Verdict:   report.Verdict.String(),
		Since:     Moment(report.Since),
		Streak:    report.Streak,
		LastProbe: Moment(report.LastProbe),
		LatencyMS: float64(report.Latency.Microseconds()) / 1000,
		LastError: report.LastError(),
	}
	if report.Verdict == health.Down || report.Unroutable {
		status.Advice = health.Advice(s.String(), report.Failure)
	}
	if met := report.Evidence; met.Last != health.Nothing {
		status.Evidence = &Evidence{Last: met.Last.String(), At: *Moment(met.At), Count: met.Count}
	}
	return status
}
