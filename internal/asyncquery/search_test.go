package asyncquery

import (
	"bytes"
	"context"
	"encoding/json"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// kept returns how much memory is in use that somebody still needs.
func kept() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func TestWhatIsLookedForIsNotKept(t *testing.T) {
	var searches Searches
	const size = 1 << 20
	before := kept()
	for i := range 32 {
		if !searches.Do(1, strings.Repeat(string(rune('a'+i)), size), func() {}) {
			t.Fatal("a search did not begin")
		}
	}
	if grown := int64(kept()) - int64(before); grown > 4*size {
		t.Errorf("32 searches for %d KiB each keep %d KiB", size>>10, grown>>10)
	}
	runtime.KeepAlive(&searches)
}

func TestNobodyLooksForTheSameTwiceAtOnce(t *testing.T) {
	var searches Searches
	var searched atomic.Int32
	begun, end := make(chan struct{}), make(chan struct{})
	ended := make(chan bool)
	go func() {
		ended <- searches.Do(1, "a", func() {
			searched.Add(1)
			close(begun)
			<-end
		})
	}()
	<-begun
	go func() { ended <- searches.Do(1, "a", func() { searched.Add(1) }) }()
	began := time.Now()
	close(end)
	if first, second := <-ended, <-ended; !first && !second {
		t.Error("neither heard of the end")
	}
	again := searches.Do(1, "a", func() { searched.Add(1) })
	if (again || searched.Load() != 1) && time.Since(began) < searchAgain {
		t.Errorf("looked for %d times", searched.Load())
	}
}

func TestWhatIsTooLongForAnIDIsNotLookedFor(t *testing.T) {
	long := strings.Repeat("x", longestID+1)
	if found := Unknown("requestid=" + long + "&requestid=a"); len(found) != 1 || found[0] != "a" {
		t.Errorf("looks for %q", found)
	}
}

func TestOneClientsSearchesKeepNobodyFromTheirs(t *testing.T) {
	var searches Searches
	var begun, over sync.WaitGroup
	end := make(chan struct{})
	for i := range mostSearches / mostShare {
		begun.Add(1)
		over.Go(func() {
			searches.Do(1, strconv.Itoa(i), func() {
				begun.Done()
				<-end
			})
		})
	}
	begun.Wait()
	if searches.Do(1, "one more", func() {}) {
		t.Error("one client may have all searches")
	}
	if !searches.Do(2, "another's", func() {}) {
		t.Error("one client's searches keep another from theirs")
	}
	close(end)
	over.Wait()
	for i := range 2 * mostSearched {
		searches.Do(1, strconv.Itoa(i), func() {})
	}
	if !searches.Do(2, "another's second", func() {}) {
		t.Error("what one client looked for in vain keeps another from looking")
	}
	if len(searches.ended) > mostSearched || len(searches.shares) != 2 {
		t.Errorf("%d searches of %d clients are kept", len(searches.ended), len(searches.shares))
	}
}

func TestLongCredentialsAreNotSentToAllNodes(t *testing.T) {
	if target := SearchTarget("/restpp/query_status", "graph_name=g", "a"); !MaySearch(target, "Bearer a") || MaySearch(target, strings.Repeat("x", mostTarget)) {
		t.Error("what no node would take in is sent to all of them")
	}
}

// Whatever a node answers, it knows an id only if that stands in the answer.
func FuzzKnows(f *testing.F) {
	for _, answer := range []string{
		`{"error":false,"results":[{"requestid":"a","status":"success"}]}`, `{"results":[{"request_id":"a"}],"unknown_requestid":["b"]}`,
		`{"results":[{"requestid":"a"}],"unknown_requestid":["a"]}`, `{"results":[{"requestid":"a"}]`, `{"results":[{"requestid":"\u0061"}]}`,
		`{"results":{"requestid":"a"}}`, `{"results":[null,7]}`, "[[[[[[", `null{"results":[{"requestid":"a"}]}`, "<html>a</html>", "",
	} {
		f.Add([]byte(answer), "a")
		f.Add([]byte(answer), "") // which is no id
	}
	f.Fuzz(func(t *testing.T, answer []byte, id string) {
		endless := bytes.NewReader(append(slices.Clip(answer), make([]byte, 2*mostAnswer)...))
		known := Knows(endless, id)
		if left := endless.Len(); left < mostAnswer {
			t.Errorf("of %q, all but %d bytes were read", answer, left)
		}
		named := false
		for tokens := json.NewDecoder(bytes.NewReader(answer)); !named; {
			token, err := tokens.Token()
			if err != nil {
				break
			}
			named = token == id
		}
		if known && !named {
			t.Errorf("%q knows %q", answer, id)
		}
	})
}

func TestTheFirstThatKnowsIsTheAnswer(t *testing.T) {
	ended := make(chan struct{})
	if got := First(t.Context(), 3, func(ctx context.Context, i int) bool {
		switch i {
		case 0:
			<-ctx.Done() // the others are not waited for
			close(ended)
			return false
		case 1:
			return false
		}
		return true
	}); got != 2 {
		t.Errorf("%d, want 2", got)
	}
	<-ended
	if got := First(t.Context(), 3, func(context.Context, int) bool { return false }); got != -1 {
		t.Errorf("%d, want -1", got)
	}
}
