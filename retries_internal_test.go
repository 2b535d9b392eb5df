package tigergraph

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestWhatRepeatsTooMuchIsWarnedAbout(t *testing.T) {
	for settings, warning := range map[string]string{
		`{}`:                     "",
		`{"retries": 2}`:         "without lb_retry_match",
		`{"try_duration": "5s"}`: "without lb_retry_match",
		`{"retries": 2, "retry_match": [{"tigergraph_repeatable": {}}]}`:                            "",
		`{"retries": 2, "retry_match": [{"tigergraph_repeatable": {}, "path": ["/x"]}]}`:            "",
		`{"retries": 2, "retry_match": [{"method": ["GET"]}]}`:                                      "lb_retry_match lets",
		`{"retries": 2, "retry_match": [{"tigergraph_repeatable": {}}, {"method": ["POST"]}]}`:      "lb_retry_match lets",
		`{"try_duration": "5s", "retry_match": [{"expression": "{rp.status_code} in [502, 503]"}]}`: "lb_retry_match lets",
	} {
		balancing := new(reverseproxy.LoadBalancing)
		if err := json.Unmarshal([]byte(settings), balancing); err != nil {
			t.Fatal(err)
		}
		core, seen := observer.New(zap.WarnLevel)
		warnOfRetries(balancing, zap.New(core))
		switch logged := seen.All(); {
		case warning == "" && len(logged) > 0:
			t.Errorf("%s: %s", settings, logged[0].Message)
		case warning != "" && (len(logged) != 1 || !strings.Contains(logged[0].Message, warning)):
			t.Errorf("%s: %d warnings", settings, len(logged))
		}
	}
	warnOfRetries(nil, zap.NewNop())
}
