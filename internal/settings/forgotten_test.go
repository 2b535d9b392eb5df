package settings

import (
	"strings"
	"testing"
)

func TestANodeInPlaceOfTheStandbysNameIsWarnedOf(t *testing.T) {
	for line, instead := range map[string]string{
		"dr1 dr2:14240 dr3:14240":                          "standby dr dr1 dr2 dr3",
		"dr1 dr2:8080":                                     "standby dr dr1 dr2:8080",
		"m4 m5:14240 m6:14240":                             "standby m m4 m5 m6",
		"tg-1.dr.example.com tg-2.dr.example.com:14240":    "standby tg tg-1.dr.example.com tg-2.dr.example.com",
		"10.0.2.1 10.0.2.2:14240 10.0.2.3:14240":           "standby dr 10.0.2.1 10.0.2.2 10.0.2.3",
		"east west:14240":                                  "standby dr east west", // an upstream too
		"dr dr1:14240 dr2:14240":                           "",
		"green g1:14240 g2:14240":                          "",
		"dc2 m1.dc2:14240 m2.dc2:14240":                    "",
		"dr2 dr2-m1:14240 dr2-m2:14240":                    "",
		"dr1 dr1:14240 dr2:14240":                          "", // named after its first node
		"beta beta:14240":                                  "",
		"v4 10.0.2.1:14240 10.0.2.2:14240":                 "",
		"dr1 {env.DR_ONE} {env.DR_TWO}":                    "",
		"blue-2024 tg-2024-a:14240 tg-2024-b:14240":        "",
		"cluster2 node1.example.com:14240 node2.org:14240": "",
	} {
		words := strings.Fields(line)
		p := &Policy{Standby: []Standby{{Name: words[0], Nodes: words[1:]}}}
		warnings := p.Warnings(&Proxy{Upstreams: append([]string{"m1:14240", "east:14240"}, words[1:]...)}, nil)
		text := ""
		for _, warning := range warnings {
			if warning.Option == "standby" {
				text += warning.Message
			}
		}
		if instead == "" && text != "" || !strings.Contains(text, instead) {
			t.Errorf("'standby %s': warned %q, want %q in it", line, text, instead)
		}
	}
}
