package browser_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/chromedp"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// open opens an edge's page, and marks it so that a reload of the page would show.
func (b *tab) open(url string) {
	b.t.Helper()
	b.do(chromedp.Navigate(url))
	b.await("Live")
	eval[bool](b, "window.sameDocument = true")
}

// checkSameDocument checks that the page was not loaded again.
func (b *tab) checkSameDocument() {
	b.t.Helper()
	if !eval[bool](b, "window.sameDocument === true") {
		b.t.Error("the page was loaded again")
	}
}

// allUp waits until the page shows that all is well.
func (b *tab) allUp(nodes []*tgnode.Node) {
	b.t.Helper()
	want := fmt.Sprintf("%d of %d up", len(nodes), len(nodes))
	eventually(b.t, "all is up on the page", func() bool {
		return strings.Count(eval[string](b, `document.querySelector("#services").innerText`), want) == 3
	})
}

func TestANodeOfTheDemoFallsBeforeOnesEyes(t *testing.T) {
	p := start(t, demoBinary, "-listen", "localhost:0")
	eventually(t, "the demo's welcome", func() bool { return strings.Contains(p.said(), "Commands:") })
	var demo, status string
	for word := range strings.FieldsSeq(p.said()) {
		switch {
		case strings.HasPrefix(word, "https://") && strings.HasSuffix(word, statusPath):
			status = word
		case strings.HasPrefix(word, "https://") && demo == "":
			demo = word
		}
	}
	if status != demo+statusPath {
		t.Fatalf("the demo is at %q, its status page at %q", demo, status)
	}
	b := newTab(t, strings.TrimPrefix(demo, "https://"))
	b.do(chromedp.Navigate(demo), chromedp.WaitVisible("#login"), chromedp.Click("#login button"), chromedp.WaitVisible("#home"))
	home := eval[string](b, `document.querySelector("#home").textContent`)
	b.forgive("401") // the demo's page asks who one is before the login

	b.open(status)
	var address string
	for line := range strings.Lines(p.said()) {
		if fields := strings.Fields(strings.TrimPrefix(line, "Nodes")); len(fields) > 1 && fields[0] == home {
			address = fields[1]
		}
	}
	row := func() string {
		return eval[string](b, fmt.Sprintf(`[...document.querySelectorAll("#table tbody")].filter(r => r.innerText.includes(%q)).map(r => r.innerText).join()`, address))
	}
	isUp := func() bool { return strings.Count(row(), "up") == 3 && !strings.Contains(row(), "down") }
	eventually(t, "the node is up", isUp)
	obey := func(command, answer string) {
		t.Helper()
		told := strings.Count(p.said(), answer)
		if _, err := p.stdin.Write([]byte(command + "\n")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the demo obeys "+command, func() bool { return strings.Count(p.said(), answer) > told })
	}
	// A machine with other things to do may be late; it is not every time.
	const promised, attempts = 5 * time.Second, 3
	for attempt := 1; ; attempt++ {
		obey("stop "+home, home+" stopped")
		began := time.Now()
		eventually(t, "the page shows that the node is down", func() bool { return strings.Contains(row(), "down") })
		took := time.Since(began)
		t.Logf("the page showed it after %s", took)
		eventually(t, "the page says why, and what to do", func() bool {
			return strings.Contains(row(), "connection refused") && strings.Contains(row(), "gadmin start all")
		})
		obey("start "+home, home+" started")
		eventually(t, "the page shows that the node is up again", isUp)
		if took <= promised {
			break
		}
		if attempt == attempts {
			t.Errorf("the page never showed it within %s", promised)
			break
		}
	}
	b.checkSameDocument()
}

func TestDrainsStandbysAndWeightsAreShown(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 4, tgnode.Options{})
	e := newEdge(t)
	e.run(behind(nodes, "weight "+nodes[0].Addr()+" 3\nbackup "+nodes[3].Addr()+"\n"+quick))
	b := newTab(t, e.address)
	b.open(e.url())
	b.allUp(nodes)
	for i, want := range []string{"75 %", "0 %", "25 %", "0 %"} {
		if i == 1 {
			e.drain(nodes[1], "90m")
		}
		eventually(t, fmt.Sprintf("node %d has %s of the new clients", i, want), func() bool {
			return strings.Count(b.row(nodes[i]), want) == 3 || i == 0 && strings.Count(b.row(nodes[0]), "60 %") == 3
		})
	}
	if row := b.row(nodes[0]); !strings.Contains(row, "weight 3") {
		t.Errorf("%s", row)
	}
	if row := b.row(nodes[1]); !strings.Contains(row, "draining, 1 h 29 min left") && !strings.Contains(row, "draining, 1 h 30 min left") {
		t.Errorf("%s", row)
	}
	if row := b.row(nodes[3]); !strings.Contains(row, "standby") {
		t.Errorf("%s", row)
	}
	b.await("an operator drained it for 1h30m")
	e.call("/tigergraph/ready", "application/json", fmt.Sprintf(`{"node": %q}`, nodes[1].Addr()))
	eventually(t, "the end of the drain is shown", func() bool { return !strings.Contains(b.row(nodes[1]), "draining") })
	e.drain(nodes[2], "0s")
	eventually(t, "a drain without end is shown", func() bool { return strings.Contains(b.row(nodes[2]), "until said to be ready") })
	b.checkSameDocument()
}

func TestTheBannerSaysThatAServiceFailsOpen(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 2, tgnode.Options{})
	e := newEdge(t)
	e.run(behind(nodes, quick))
	b := newTab(t, e.address)
	b.open(e.url())
	b.allUp(nodes)
	banner := func() string { return eval[string](b, `document.querySelector("#banners").innerText`) }
	if text := banner(); text != "" {
		t.Errorf("while all is well the banner says %q", text)
	}
	for _, node := range nodes {
		node.SetFault(tgnode.GSQL, tgnode.Fault{Mode: tgnode.Dead})
	}
	eventually(t, "the banner is there", func() bool { return strings.Contains(banner(), "Failing open: GSQL.") })
	if role := eval[string](b, `document.querySelector("#banners").getAttribute("role")`); role != "alert" {
		t.Errorf("its role is %q", role)
	}
	nodes[0].ClearFaults()
	eventually(t, "the banner is gone", func() bool { return banner() == "" })
	nodes[1].ClearFaults()
	e.reload(behind(nodes, "fail_closed\n"+quick))
	b.allUp(nodes)
	for _, node := range nodes {
		node.SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.Dead})
	}
	eventually(t, "the banner says that nobody serves", func() bool { return strings.Contains(banner(), "Nobody serves RESTPP.") })
	b.checkSameDocument()
}

// A name is all that a page shows of a node that somebody else may have chosen, and
// an error the only thing that a node may have a say in.
func TestMarkupIsShownAsText(t *testing.T) {
	t.Parallel()
	const evil = `<script>document.title="evil"</script><img src=x onerror="document.title='evil'">`
	nodes := startCluster(t, 2, tgnode.Options{})
	e := newEdge(t)
	e.run(behind(nodes, quick))
	b := newTab(t, e.address)
	b.open(e.url())
	b.allUp(nodes)
	nodes[0].SetFault(tgnode.GUI, tgnode.Fault{Mode: tgnode.Answer, Status: 500, ContentType: "text/html", Body: evil})
	nodes[0].SetFault(tgnode.GSQL, tgnode.Fault{Mode: tgnode.Raw, Body: "HTTP/1.1 " + evil + "\r\n\r\n"})
	eventually(t, "both services are down", func() bool { return strings.Count(b.row(nodes[0]), "down") == 2 })

	// Should a word of a node's ever get into an error, the page must not mind. A
	// snapshot with one is shown as the edge would send it.
	shown := eval[string](b, fmt.Sprintf(`(async () => {
		const snapshot = await (await fetch("?format=json")).json();
		const evil = %q;
		for (const node of snapshot.nodes) {
			node.address = evil;
			for (const service of Object.values(node.services)) {
				Object.assign(service, {verdict: "down", last_error: evil, advice: evil});
			}
		}
		snapshot.version = snapshot.caddy_version = evil;
		snapshot.history = [{time: snapshot.time, node: evil, service: evil, from: evil, to: evil, why: evil}];
		window.EventSource = class extends EventTarget {
			constructor() {
				super();
				setTimeout(() => this.dispatchEvent(new MessageEvent("snapshot", {data: JSON.stringify(snapshot)})));
			}
			close() {}
		};
		Object.defineProperty(document, "hidden", {get: () => false});
		document.dispatchEvent(new Event("visibilitychange"));
		await new Promise(resolve => setTimeout(resolve, 500));
		return document.body.innerText;
	})()`, evil), chromedp.EvalAwaitPromise)
	if strings.Count(shown, evil) < 5 {
		t.Errorf("the text is not shown as it is: %s", shown)
	}
	if count := eval[int](b, `document.querySelectorAll("img").length + document.querySelectorAll("script").length`); count != 1 {
		t.Errorf("there are %d scripts and images, want the page's own script", count)
	}
	if title := eval[string](b, "document.title"); strings.Contains(title, "evil") {
		t.Errorf("the title is %q", title)
	}
	if blocked := eval[bool](b, `(() => { try { document.body.innerHTML = "<b>x</b>"; return false } catch { return true } })()`); !blocked {
		t.Error("text can become markup")
	}
	b.forgive("TrustedHTML")
}

func TestThePageSaysThatTheConnectionIsLostAndComesBack(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 2, tgnode.Options{})
	e := newEdge(t)
	e.run(behind(nodes, quick))
	b := newTab(t, e.address)
	b.open(e.url())
	b.allUp(nodes)

	e.process.kill()
	b.await("The connection to the edge is lost.")
	b.await("Connection lost")
	e.run(behind(nodes, quick))
	eventually(t, "the page is live again", func() bool { return b.shows("Live") && !b.shows("is lost") })
	b.allUp(nodes)
	b.forgive("net::ERR_")

	// A process that hangs sends no word, nor does it end the connection.
	if err := e.process.command.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	b.await("The connection to the edge is lost.")
	if err := e.process.command.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the page is live again", func() bool { return b.shows("Live") && !b.shows("is lost") })
	b.forgive("net::ERR_")
	b.checkSameDocument()
	// This edge began after the tab, so it will end before it.
	b.do(chromedp.Navigate("about:blank"))
}

func TestAReloadOfTheConfigurationIsFollowed(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3, tgnode.Options{})
	e := newEdge(t)
	e.run(behind(nodes[:2], quick))
	b := newTab(t, e.address)
	b.open(e.url())
	b.allUp(nodes[:2])
	eval[bool](b, `(() => {
		window.lost = false;
		new MutationObserver(() => { if (document.querySelector("#lost").firstChild) window.lost = true; }).observe(document.body, {subtree: true, childList: true});
		return true;
	})()`)
	e.reload(behind(nodes, quick))
	b.allUp(nodes)
	b.await("Live")
	if eval[bool](b, "window.lost") {
		t.Error("meanwhile the page says that the connection is lost")
	}
	b.checkSameDocument()
}

func TestWithoutEventsThePageAsksAgainAndAgain(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 2, tgnode.Options{})
	e := newEdge(t)
	e.run("@events {\nquery format=events\n}\nrespond @events 404\n" + behind(nodes, quick))
	b := newTab(t, e.address)
	b.do(chromedp.Navigate(e.url()))
	b.await("Asking every 2 s")
	eval[bool](b, "window.sameDocument = true")
	b.allUp(nodes)
	nodes[0].Stop()
	eventually(t, "the node is down", func() bool { return strings.Count(b.row(nodes[0]), "down") == 3 })
	b.checkSameDocument()
	b.forgive("404")
}

func TestThePageWorksUnderAPrefixThatIsStripped(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 1, tgnode.Options{})
	e := newEdge(t)
	e.run("handle_path /ops/* {\n" + behind(nodes, quick) + "\n}\n" + "handle {\nrespond no 404\n}")
	b := newTab(t, e.address)
	b.open("http://" + e.address + "/ops" + statusPath)
	b.allUp(nodes)
}

func TestAPasswordOpensThePage(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 1, tgnode.Options{})
	e := newEdge(t)
	// caddy hash-password --plaintext swordfish
	e.run("basic_auth " + statusPath + "* {\noperator " + hash(t, "swordfish") + "\n}\n" + behind(nodes, quick))
	b := newTab(t, e.address)
	b.open("http://operator:swordfish@" + e.address + statusPath)
	b.allUp(nodes)
	nodes[0].Stop()
	eventually(t, "the node is down", func() bool { return strings.Count(b.row(nodes[0]), "down") >= 3 })
}

func TestThePageFollowsThePreferenceForDarkness(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 1, tgnode.Options{})
	e := newEdge(t)
	e.run(behind(nodes, quick))
	b := newTab(t, e.address)
	for _, dark := range []bool{false, true} {
		b.dark(dark)
		b.open(e.url())
		b.allUp(nodes)
		// Every text has the contrast that WCAG 2 asks for.
		poor := eval[[]string](b, contrast)
		for _, text := range poor {
			t.Errorf("dark %t: %s", dark, text)
		}
		luminance := eval[float64](b, `(() => { const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number); return (r + g + b) / 765; })()`)
		if dark != (luminance < 0.3) {
			t.Errorf("dark %t: the ground's brightness is %.2f", dark, luminance)
		}
	}
}

// contrast returns the texts whose contrast with what is behind them is below 4.5.
const contrast = `(() => {
	const channels = (color) => color.match(/[\d.]+/g).map(Number);
	const luminance = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
		.reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
	const ground = (element) => {
		for (; element; element = element.parentElement) {
			const color = channels(getComputedStyle(element).backgroundColor);
			if (color.length === 3 || color[3] === 1) return color;
		}
		return [255, 255, 255];
	};
	const poor = [];
	for (const element of document.body.querySelectorAll("*")) {
		const text = [...element.childNodes].filter(n => n.nodeType === 3 && n.data.trim()).map(n => n.data).join(" ");
		if (!text || !element.checkVisibility() || element.closest(".unseen, noscript, script, style")) continue;
		const [a, b] = [luminance(channels(getComputedStyle(element).color)), luminance(ground(element))].sort((x, y) => y - x);
		const ratio = (a + 0.05) / (b + 0.05);
		if (ratio < 4.5) poor.push(ratio.toFixed(2) + ": " + text);
	}
	return poor;
})()`

func TestThePageIsReadableOnAPhoneAndToAScreenReader(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3, tgnode.Options{})
	nodes[1].SetFault(tgnode.GSQL, tgnode.Fault{Mode: tgnode.Dead})
	e := newEdge(t)
	e.run(behind(nodes, quick))
	e.drain(nodes[2], "1h")
	b := newTab(t, e.address)
	for _, width := range []int64{1280, 360} {
		b.do(chromedp.EmulateViewport(width, 740))
		b.open(e.url())
		b.await("reach the service")
		b.await("draining")
		if scrolled := eval[int64](b, "document.scrollingElement.scrollWidth"); scrolled > width {
			t.Errorf("at %d pixels the page is %d wide", width, scrolled)
		}
		if narrow := eval[int](b, tooNarrow); narrow != 0 {
			t.Errorf("at %d pixels %d cells are too narrow for what they say", width, narrow)
		}
		cut := eval[[]string](b, `[...document.querySelectorAll("main *, header *")].filter(e => e.checkVisibility() && !e.closest("svg, .unseen, thead") && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.className + " " + e.textContent)`)
		if len(cut) > 0 {
			t.Errorf("at %d pixels these are cut off: %q", width, cut)
		}
		roles := make(map[string]int)
		names := make(map[string]bool)
		for _, node := range call(b, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes {
			if node.Ignored || node.Role == nil {
				continue
			}
			roles[text(node.Role)]++
			names[text(node.Role)+" "+text(node.Name)] = true
		}
		if roles["columnheader"] != 5 || roles["rowheader"] != 3 || roles["row"] < 4 || roles["table"] != 1 || roles["alert"] < 1 {
			t.Errorf("at %d pixels a screen reader finds %v", width, roles)
		}
		for _, name := range []string{"heading Nodes", "heading What has changed", "searchbox Find", "checkbox Only those with trouble", "table Nodes", "link Skip to the nodes"} {
			if !names[name] {
				t.Errorf("at %d pixels a screen reader does not find %q", width, name)
			}
		}
	}
}

// tooNarrow returns how many cells something sticks out of.
const tooNarrow = `[...document.querySelectorAll(".service > div")].filter(cell => {
	const { left, right } = cell.getBoundingClientRect();
	return [...cell.querySelectorAll("*")].some(part => {
		const box = part.getBoundingClientRect();
		return !part.closest("svg.spark > *, svg.bar > *, .unseen") && box.width > 0 && (box.right > right + 1 || box.left < left - 1);
	});
}).length`

// text returns the text of a value of the accessibility tree.
func text(value *accessibility.Value) string {
	if value == nil {
		return ""
	}
	return strings.Trim(string(value.Value), `"`)
}

func TestThePageCanBeUsedWithTheKeyboard(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3, tgnode.Options{})
	e := newEdge(t)
	e.run(behind(nodes, quick))
	b := newTab(t, e.address)
	b.open(e.url())
	b.allUp(nodes)
	focused := func() string {
		return eval[string](b, `document.activeElement.id || document.activeElement.className || document.activeElement.tagName`)
	}
	b.do(chromedp.KeyEvent("\t"))
	if got := focused(); got != "skip" {
		t.Errorf("first one gets to %q", got)
	}
	b.do(chromedp.KeyEvent("\r"))
	if got := focused(); got != "nodes" {
		t.Errorf("the link leads to %q", got)
	}
	b.do(chromedp.KeyEvent("\t"))
	if got := focused(); got != "find" {
		t.Errorf("then one gets to %q", got)
	}
	_, port, _ := strings.Cut(nodes[1].Addr(), ":")
	b.do(chromedp.KeyEvent(port))
	b.await("1 of 3 nodes")
	for range port {
		b.do(chromedp.KeyEvent("\b"))
	}
	b.await("3 nodes")
	b.do(chromedp.KeyEvent("\t"), chromedp.KeyEvent(" "))
	b.await("No node has trouble.")
	nodes[2].SetFault(tgnode.GSQL, tgnode.Fault{Mode: tgnode.Dead})
	b.await("1 of 3 nodes")
	if !strings.Contains(b.row(nodes[2]), "down") {
		t.Error("the node with trouble is not shown")
	}
	eventually(t, "a screen reader is told", func() bool {
		return strings.Contains(eval[string](b, `document.querySelector("[aria-live=polite]").textContent`), "GSQL down")
	})
}

func TestAHundredNodes(t *testing.T) {
	nodes := startCluster(t, 100, tgnode.Options{NoRecord: true})
	e := newEdge(t)
	e.run(behind(nodes, ""))
	b := newTab(t, e.address)
	b.open(e.url())
	b.allUp(nodes)
	if shown := eval[int](b, `[...document.querySelectorAll("#table tbody")].filter(row => row.checkVisibility()).length`); shown != 100 {
		t.Errorf("%d nodes are shown", shown)
	}
	if tallest := eval[float64](b, `Math.max(...[...document.querySelectorAll("#table tbody")].map(row => row.getBoundingClientRect().height))`); tallest > 45 {
		t.Errorf("a node takes %v pixels", tallest)
	}
	if narrow := eval[int](b, tooNarrow); narrow != 0 {
		t.Errorf("%d cells are too narrow for what they say", narrow)
	}
	nodes[77].Stop()
	eventually(t, "the node is down", func() bool { return strings.Count(b.row(nodes[77]), "down") == 3 })
	eval[bool](b, `document.querySelector("#trouble").click() === undefined`)
	b.await("1 of 100 nodes")

	// What the page costs the browser that shows it.
	eval[bool](b, `document.querySelector("#trouble").click() === undefined`)
	b.await("100 nodes")
	call(b, performance.Enable, performance.EnableParams{TimeDomain: performance.EnableTimeDomainThreadTicks})
	busy := func() map[string]float64 {
		seconds := make(map[string]float64)
		for _, metric := range call(b, performance.GetMetrics, cdp.Empty{}).Metrics {
			seconds[metric.Name] = metric.Value
		}
		return seconds
	}
	before, began := busy(), time.Now()
	time.Sleep(10 * time.Second)
	after, wall := busy(), time.Since(began).Seconds()
	for _, kind := range []string{"TaskDuration", "ScriptDuration", "LayoutDuration", "RecalcStyleDuration"} {
		t.Logf("%s is %.2f %% of a core", kind, 100*(after[kind]-before[kind])/wall)
	}
	if share := (after["TaskDuration"] - before["TaskDuration"]) / wall; share > 0.1 {
		t.Errorf("the page costs the browser %.0f %% of a core", 100*share)
	}
}
