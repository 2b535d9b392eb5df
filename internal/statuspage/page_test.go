package statuspage

import (
	"regexp"
	"strings"
	"testing"
)

func TestThePageIsAllowedWhatItHasAndNothingElse(t *testing.T) {
	page := string(Page)
	for element, directive := range map[string]string{"style": "style-src", "script": "script-src"} {
		found := regexp.MustCompile(`(?s)<`+element+`>(.*?)</`+element+`>`).FindAllStringSubmatch(page, -1)
		if len(found) != 1 {
			t.Fatalf("the page has %d elements %s", len(found), element)
		}
		if !strings.Contains(Policy, directive+" "+hash(found[0][1])+";") {
			t.Errorf("the policy does not allow the page's %s: %s", element, Policy)
		}
	}
	for _, forbidden := range []string{"<link rel=\"stylesheet", "src=", "@import", "url(", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " style=", " onclick", "/*style*/", "/*script*/"} {
		if strings.Contains(page, forbidden) {
			t.Errorf("the page has %q", forbidden)
		}
	}
	for _, address := range regexp.MustCompile(`https?://[^'" )]+`).FindAllString(page, -1) {
		if address != "http://www.w3.org/2000/svg" { // the name of a namespace
			t.Errorf("the page names %s", address)
		}
	}
}
