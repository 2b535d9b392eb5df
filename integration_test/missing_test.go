package integration_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
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

// notFetched is what debootstrap says when no archive of Debian gives it the packages.
var notFetched = regexp.MustCompile(`(?m)^E: (Failed getting release|Couldn't download|Couldn't find these debs)`)

// notInstalled ends a test for which debootstrap has failed. What it can do with what it
// has fetched is the kernel's to allow, and kernels of containers do not.
func notInstalled(t testing.TB, err error, output []byte) {
	t.Helper()
	end := skip
	if notFetched.Match(output) {
		end = missing
	}
	end(t, "no Debian can be installed here: %v\n%s", err, output[max(0, len(output)-1000):])
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
	for output, installable := range map[string]bool{
		"E: Failed getting release file http://deb.debian.org/debian/dists/bookworm/Release\n":              true,
		"I: Retrieving curl\nW: Couldn't download package curl\nE: Couldn't download packages: curl\n":      true,
		"E: Cannot install into target '/tmp/debian' mounted with noexec or nodev\n":                        false,
		"I: Extracting base-files...\nW: Failure trying to run: chroot \"/tmp/debian\" mount /proc /proc\n": false,
	} {
		for _, ci := range []string{"", "true"} {
			t.Setenv("CI", ci)
			e := &ending{TB: t}
			notInstalled(e, os.ErrPermission, []byte(output))
			fails := installable && ci == "true" && os.Getuid() == 0
			if (e.failed != "") != fails || (e.skipped != "") == fails || !strings.Contains(e.failed+e.skipped, output) {
				t.Errorf("with CI=%s it fails with %q, is skipped with %q", ci, e.failed, e.skipped)
			}
		}
	}
}
