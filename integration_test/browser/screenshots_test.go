package browser_test

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

var (
	screenshots = flag.String("screenshots", "", "write the pictures of the documentation into this `folder`")
	settle      = flag.Duration("settle", 4*time.Minute, "how long the lines in the pictures are to be")
)

// dark emulates the preference for a dark page, or a light one.
func (b *tab) dark(dark bool) {
	b.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}

// TestScreenshots makes the pictures of the documentation:
//
//	GOWORK=off go test -C integration_test/browser -run TestScreenshots -screenshots ../../docs
//
// Without a folder they are made in a hurry, and thrown away.
func TestScreenshots(t *testing.T) {
	folder, wait := *screenshots, *settle
	if folder == "" {
		folder, wait = t.TempDir(), 2*time.Second
	}
	few, many := newScene(t, "127.0.1.", 5), newScene(t, "127.0.2.", 100)
	_, port, _ := net.SplitHostPort(few.address)
	_, portOfMany, _ := net.SplitHostPort(many.address)
	const host = "graph.example.com"
	b := newTab(t, host+":"+port, host+":"+portOfMany)

	time.Sleep(wait * 3 / 4) // the lines grow with the time
	few.mishaps()
	many.mishaps()
	time.Sleep(wait / 4)
	few.users(12)
	many.users(150)
	for _, picture := range []struct {
		name          string
		port          string
		dark          bool
		width, height int64
		scale         float64
	}{
		{"status-light", port, false, 1280, 1250, 1},
		{"status-dark", port, true, 1280, 1250, 1},
		{"status-phone", port, false, 360, 1250, 2},
		{"status-phone-dark", port, true, 360, 1250, 2},
		{"status-100-nodes", portOfMany, false, 1280, 1250, 1},
	} {
		b.dark(picture.dark)
		b.do(
			chromedp.EmulateViewport(picture.width, picture.height, chromedp.EmulateScale(picture.scale)),
			chromedp.Navigate("http://"+net.JoinHostPort(host, picture.port)+statusPath),
		)
		b.await("Live")
		if *screenshots != "" {
			time.Sleep(2 * time.Second) // for what is in flight to be seen
		}
		b.keepWindow(filepath.Join(folder, picture.name+".png"))
	}
}

// scene is an edge in front of nodes that had mishaps.
type scene struct {
	*edge
	nodes []*tgnode.Node
}

func newScene(t *testing.T, network string, count int) *scene {
	t.Helper()
	cluster := tgnode.NewCluster()
	t.Cleanup(cluster.Close)
	for i := range count {
		options := tgnode.Options{NoRecord: true}
		if *screenshots != "" {
			options.Address = fmt.Sprintf("%s%d:14240", network, i+1)
		}
		if _, err := cluster.Start(options); err != nil {
			t.Fatal(err)
		}
	}
	s := &scene{newEdge(t), cluster.Nodes()}
	for i, node := range s.nodes {
		pace := tgnode.Fault{Mode: tgnode.SlowHeader, Delay: time.Duration(2+i%4) * time.Millisecond, Jitter: 4 * time.Millisecond}
		slow := tgnode.Fault{Mode: tgnode.SlowHeader, Path: "/restpp/query", Delay: time.Hour}
		node.SetFault(tgnode.All, slow, pace)
	}
	s.run(behind(s.nodes[:count-1], "weight "+s.nodes[0].Addr()+" 2\nstandby dr "+s.nodes[count-1].Addr()))
	s.traffic()
	return s
}

// traffic sends short requests to each service until the test ends.
func (s *scene) traffic() {
	ctx := s.t.(*testing.T).Context()
	client := &http.Client{Timeout: enough, Transport: &http.Transport{}}
	s.t.Cleanup(client.CloseIdleConnections)
	for i, path := range []string{"/restpp/version", "/api/ping", "/gsql/v1/version"} {
		go func() {
			pause := time.NewTicker(time.Duration(i+1) * 40 * time.Millisecond)
			defer pause.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-pause.C:
				}
				request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+path, nil)
				if err != nil {
					return
				}
				if response, err := client.Do(request); err == nil {
					_, _ = io.Copy(io.Discard, response.Body)
					_ = response.Body.Close()
				}
			}
		}()
	}
}

// mishaps lets a node fall, and a service of another, and drains a third.
func (s *scene) mishaps() {
	s.nodes[1].SetFault(tgnode.GSQL, tgnode.Fault{Mode: tgnode.Dead})
	s.nodes[2].Stop()
	s.drain(s.nodes[3], "1h")
	if len(s.nodes) > 50 {
		s.nodes[40].SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.Hang})
		s.drain(s.nodes[41], "0s")
	}
}

// users send requests that take long.
func (s *scene) users(count int) {
	for i := range count {
		request, err := http.NewRequestWithContext(s.t.(*testing.T).Context(), http.MethodGet, "http://"+s.address+"/restpp/query/g/q", nil)
		if err != nil {
			s.t.Fatal(err)
		}
		client := &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 3, byte(i+1))}}).DialContext}}
		go func() {
			if response, err := client.Do(request); err == nil {
				response.Body.Close()
			}
		}()
	}
}

// keepWindow saves what is to be seen without scrolling.
func (b *tab) keepWindow(file string) {
	b.t.Helper()
	image, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(file, image, 0o644); err != nil {
		b.t.Fatal(err)
	}
}
