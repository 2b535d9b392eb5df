package environment_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/environment"
)

func TestASocketNeedsAFolderThatCanBeWrittenTo(t *testing.T) {
	if err := environment.CheckSocket(filepath.ToSlash(t.TempDir()) + "/admin.sock|0220"); err != nil {
		t.Error(err)
	}
	for _, file := range []string{"/nonesuch/admin.sock", "/proc/self/admin.sock"} { // to which not even root can write
		if err := environment.CheckSocket(file); err == nil || !strings.Contains(err.Error(), "no socket can be made in the folder '"+filepath.Dir(file)+"'") {
			t.Errorf("%s: %v", file, err)
		}
	}
}
