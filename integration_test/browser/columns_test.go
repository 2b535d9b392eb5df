package browser_test

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// worst makes what the page shows as long as it gets.
const worst = `(() => {
	const dense = document.querySelector("#table").classList.contains("dense");
	for (const element of document.querySelectorAll("#table .since")) element.textContent = dense ? "59 min" : "10 h 59 min";
	for (const element of document.querySelectorAll("#table .word")) element.textContent = "unknown";
	for (const element of document.querySelectorAll("#table .milliseconds")) element.textContent = "1999 ms";
	for (const element of document.querySelectorAll("#table .share .text span:first-child")) element.textContent = "100 %";
	for (const element of document.querySelectorAll("#table .traffic")) {
		element.hidden = false;
		element.textContent = "12345/s · 1234/s errors · 95 % in 59999 ms";
	}
})()`

// collisions says what lies on what else in the cells of the table, and what sticks out
// of the page.
const collisions = `(() => {
	const found = [];
	const box = (element) => element.getBoundingClientRect();
	const meet = (a, b) => a.width && b.width && a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
	for (const cell of document.querySelectorAll("#table td.service")) {
		const parts = [...cell.querySelectorAll(".verdict, .since, .spark, .milliseconds, .bar, .share .text, .traffic")];
		parts.forEach((part, i) => {
			for (const other of parts.slice(i + 1)) if (meet(box(part), box(other))) found.push(part.getAttribute("class") + " and " + other.getAttribute("class"));
			if (box(part).right > box(cell).right + 1) found.push(part.getAttribute("class") + " sticks out");
		});
	}
	if (document.documentElement.scrollWidth > innerWidth) found.push("the page is " + document.documentElement.scrollWidth + " wide");
	return [...new Set(found)].join("; ");
})()`

func TestColumnsDoNotCollideAtAnyWidth(t *testing.T) {
	t.Parallel()
	for _, count := range []int{3, 14} {
		nodes := startCluster(t, count, tgnode.Options{})
		e := newEdge(t)
		e.run(behind(nodes, "backup "+nodes[count-1].Addr()+"\n"+quick))
		b := newTab(t, e.address)
		b.open(e.url())
		b.allUp(nodes[:count])
		for width := int64(320); width <= 1920; width += 40 {
			b.do(chromedp.EmulateViewport(width, 900))
			if found := eval[string](b, fmt.Sprintf("%s; %s", worst, collisions)); found != "" {
				t.Errorf("%d nodes, %d pixels: %s", count, width, found)
			}
		}
	}
}
