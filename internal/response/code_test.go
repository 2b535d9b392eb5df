package response

import "testing"

func TestASickNodeMakesFewCodes(t *testing.T) {
	codes := make(map[string]bool)
	for status := range Code(1000) {
		code := status.Usual()
		if again := code.Usual(); again != code {
			t.Errorf("%d is %s, and that is %s", status, code, again)
		}
		if wrong := status >= 100 && code.IsError() != (status >= 500); wrong {
			t.Errorf("%d is counted as %s, which is an error: %t", status, code, code.IsError())
		}
		codes[code.String()] = true
	}
	if len(codes) > 75 {
		t.Errorf("a node can make %d codes", len(codes))
	}
	for status, want := range map[Code]string{
		200: "200", 404: "404", 503: "503", 599: "5xx", 299: "2xx", 494: "4xx", 999: "9xx", 600: "6xx",
		Failed: "error", Canceled: "canceled", 42: "error",
	} {
		if got := status.Usual().String(); got != want {
			t.Errorf("%d is counted as %s, want %s", status, got, want)
		}
	}
}
