package response

import "testing"

func TestPatternsOfFieldsAreThoseOfCaddy(t *testing.T) {
	for pattern, matches := range map[string]bool{
		"x-real-ip": true, "X-Real-*": true, "*-IP": true, "*real*": true, "*": true,
		"X-Real": false, "X-Other-*": false, "*-Other": false, "*other*": false, "Real*": false,
	} {
		if Deletes(pattern, "X-Real-IP") != matches {
			t.Errorf("%s: deleted: %t", pattern, !matches)
		}
	}
}
