package once_test

import (
	"net/http"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/once"
)

func TestFieldsThatMakeARequestLookLikeAnother(t *testing.T) {
	for field, want := range map[string]bool{
		"X-Real-IP": false, "idempotency-key": true, "GSQL-ASYNC": true, "X-HTTP-Method-Override": true, "{http.request.header.X}": true, "Expect": true,
	} {
		if got := once.Rekeys(nil, http.Header{field: {"v"}}); got != want {
			t.Errorf("%s: %t", field, got)
		}
	}
}
