package browser_test

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

func TestTheDemosPageShowsSpreadingAndTheOtherCluster(t *testing.T) {
	t.Parallel()
	p := start(t, demoBinary, "-listen", "localhost:0")
	eventually(t, "the demo's welcome", func() bool { return strings.Contains(p.said(), "Commands:") })
	demo := "https://" + strings.Fields(strings.SplitN(p.said(), "https://", 2)[1])[0]
	b := newTab(t, strings.TrimPrefix(demo, "https://"))
	b.do(chromedp.Navigate(demo), chromedp.WaitVisible("#login"), chromedp.Click("#login button"), chromedp.WaitVisible("#home"))
	b.do(chromedp.Click("#queries"))
	b.await("60 queries were answered by m1: ")
	if told := eval[string](b, `document.querySelector("#spread").innerText`); !strings.Contains(told, "m2") || !strings.Contains(told, "m3") {
		t.Errorf("one client's queries were answered by %s", told)
	}
	b.do(chromedp.Click("#switch"))
	b.await("belongs to the cluster that was switched away from")
	b.await("Everybody is on dr.")
	b.do(chromedp.WaitVisible("#login"), chromedp.Click("#login button"), chromedp.WaitVisible("#home"))
	if home := eval[string](b, `document.querySelector("#home").textContent`); !strings.HasPrefix(home, "dr") {
		t.Errorf("after the switch the session lives on %s", home)
	}
	b.forgive("401") // the page asks who one is without a session
	if wide := eval[int](b, `document.documentElement.scrollWidth - innerWidth`); wide > 0 {
		t.Errorf("the page is %d pixels wider than the window", wide)
	}
}
