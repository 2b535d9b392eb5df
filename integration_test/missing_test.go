package integration_test

import (
	"fmt"
	"os"
	"testing"
)

// skip skips a test that was asked for, and says so also where go test keeps the
// reasons of skipped tests to itself.
func skip(t testing.TB, format string, arguments ...any) {
	t.Helper()
	reason := fmt.Sprintf(format, arguments...)
	fmt.Fprintf(os.Stderr, "NOT TESTED: %s: %s\n", t.Name(), reason)
	t.Skip(reason)
}

// missing ends a test that was asked for and lacks what can be installed. In CI, as root,
// .ci/run has installed it, and the test fails; elsewhere it is skipped.
func missing(t testing.TB, format string, arguments ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" && os.Getuid() == 0 {
		t.Fatalf(format, arguments...)
		return
	}
	skip(t, format, arguments...)
}

// ending is a test of which only its end is of interest.
type ending struct {
	testing.TB
	failed, skipped string
}

func (*ending) Name() string { return "nothing, for this is a test of skipping" }
func (e *ending) Fatalf(format string, arguments ...any) {
	e.failed = fmt.Sprintf(format, arguments...)
}
func (e *ending) Skip(reasons ...any) { e.skipped = fmt.Sprint(reasons...) }

func TestWhatCanBeInstalledIsNotSkippedInCI(t *testing.T) {
	for _, ci := range []string{"", "true"} {
		t.Setenv("CI", ci)
		e := &ending{TB: t}
		missing(e, "%s is not installed", "nothing")
		fails := ci == "true" && os.Getuid() == 0
		if (e.failed != "") != fails || (e.skipped != "") == fails || e.failed+e.skipped != "nothing is not installed" {
			t.Errorf("with CI=%s it fails with %q, is skipped with %q", ci, e.failed, e.skipped)
		}
	}
}
