package health

import (
	"context"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// Probes overlap while a verdict is in doubt, and the older may end last.
func TestAnOvertakenProbeContradictsNoNewerOne(t *testing.T) {
	for _, test := range []struct {
		name         string
		slow, others error // the second probe's result, which comes late, and those of the next
		want         Verdict
	}{
		{"late failure", StatusError(502), nil, Up},
		{"late pass", nil, StatusError(502), Down},
		{"late failure like the others", StatusError(502), StatusError(502), Down},
		{"late and without a route", ErrNoRoute, nil, Up},
	} {
		t.Run(test.name, func(t *testing.T) {
			watched(t, 2*time.Second, 10*time.Second, func(o *owner) {
				o.answer = func(ctx context.Context, _ service.Service, number int) error {
					switch number {
					case 0:
						return nil
					case 1:
						// Before the third of the others ends.
						return after(ctx, 1200*time.Millisecond, test.slow)
					}
					return after(ctx, 100*time.Millisecond, test.others)
				}
			}, func(t *testing.T, p *Prober, o *owner) {
				for o.count(service.RESTPP) < 2 {
					sleep(time.Millisecond)
				}
				sleep(1190 * time.Millisecond)
				before := p.Report(service.RESTPP)
				if test.others == nil && (before.InDoubt() || !p.Owner().(*owner).overlapped()) {
					t.Fatalf("the newer probe did not end first: %+v", before.State)
				}
				sleep(20 * time.Millisecond) // the late one ends
				if late := p.Report(service.RESTPP); (test.slow == nil) != (test.others == nil) && late.State != before.State ||
					late.LastProbe != before.LastProbe || late.Unroutable {
					t.Errorf("%+v of %s became %+v of %s by an older probe", before.State, before.LastProbe, late.State, late.LastProbe)
				}
				sleep(3 * time.Second)
				if got := p.Verdict(service.RESTPP); got != test.want {
					t.Errorf("the service is %s, want %s", got, test.want)
				}
			})
		})
	}
}
