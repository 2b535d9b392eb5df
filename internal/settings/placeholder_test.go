package settings

import "testing"

func TestWhatWasMeantToBeExpandedIsNoSecret(t *testing.T) {
	for secret, want := range map[string][2]bool{ // whether it is a placeholder, and holds one
		"0123456789abcdef":           {false, false},
		"":                           {false, false},
		"{file./run/secrets/k}\n":    {true, true},
		"{env.KEY}":                  {true, true},
		"{$KEY}":                     {true, true},
		"{KEY}":                      {true, false},
		"Bearer {env.TOKEN}":         {true, true},
		"Bearer {file./run/token} x": {true, true},
		"a{b}c":                      {false, false},
		"$(openssl rand -hex 32)":    {true, true},
		"${EDGE_COOKIE_KEY}":         {true, true},
		"0123456789${MORE}":          {true, true},
		"Bearer $(cat /run/token)":   {true, true},
		"$EDGE_COOKIE_KEY":           {true, true},
		"Bearer $TOKEN":              {true, true},
		"`openssl rand -hex 32`":     {true, false},
		"0123456789$abc":             {false, false},
		"$2a$14$hF573SbRwUhh0NVp":    {false, false}, // a hash
		"Basic JDFhYg==":             {false, false},
		`{"json":"in a header"}`:     {true, false},
	} {
		if got := [2]bool{LooksUnexpanded(secret), HoldsPlaceholder(secret)}; got != want {
			t.Errorf("%q: %v, want %v", secret, got, want)
		}
	}
}
