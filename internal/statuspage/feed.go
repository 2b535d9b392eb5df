package statuspage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// pace is how often it is looked what has changed, however many look on.
	pace = time.Second
	// longestSilence is how long a stream is silent at most: the page takes more
	// for a lost connection.
	longestSilence = 4 * time.Second
	// mostStreams bounds what the streams cost. A page without one asks again and
	// again instead.
	mostStreams = 256
	// mostPending is how many updates one may lag behind.
	mostPending = 4
)

// Errors of Subscribe.
var (
	ErrTooMany = fmt.Errorf("there are %d streams already", mostStreams)
	ErrEnded   = errors.New("this configuration is being replaced")
)

// Feed sends what changes to all that look on. It makes one snapshot a second for
// all of them, and none while there is nobody.
type Feed struct {
	build func(now time.Time) *Snapshot
	fail  func(error) // told of what should never happen

	mu            sync.Mutex
	subscriptions map[*Subscription]struct{}
	current       *frame
	built         time.Time // when current was
	said          time.Time // when the streams were last sent something
	stop          chan struct{}
	ended         bool
}

// NewFeed returns a feed of what build makes.
func NewFeed(build func(now time.Time) *Snapshot, fail func(error)) *Feed {
	return &Feed{build: build, fail: fail, subscriptions: make(map[*Subscription]struct{})}
}

// Subscription is one stream.
type Subscription struct {
	feed   *Feed
	events chan []byte
}

// Events are the stream's, ready to be written. The channel is closed at the end
// of the feed, and where the reader is too slow.
func (s *Subscription) Events() <-chan []byte { return s.events }

// Close ends the stream. It may be closed already.
func (s *Subscription) Close() {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	s.feed.drop(s)
}

// Snapshot returns what is known, at most a second old, as JSON.
func (f *Feed) Snapshot() ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.refresh(time.Now()); err != nil {
		return nil, err
	}
	return f.current.encode()
}

// refresh makes sure that what is known is not old. The caller holds the lock.
func (f *Feed) refresh(now time.Time) error {
	// While there are streams their snapshot does for everybody: an update tells
	// the difference from it.
	if f.current != nil && (f.stop != nil || now.Sub(f.built) < pace) {
		return nil
	}
	current, err := newFrame(f.build(now))
	if err != nil {
		return err
	}
	f.current, f.built = current, now
	return nil
}

// Subscribe begins a stream. Its first event is a whole snapshot.
func (f *Feed) Subscribe() (*Subscription, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.ended:
		return nil, ErrEnded
	case len(f.subscriptions) >= mostStreams:
		return nil, ErrTooMany
	}
	now := time.Now()
	if err := f.refresh(now); err != nil {
		return nil, err
	}
	encoded, err := f.current.encode()
	if err != nil {
		return nil, err
	}
	s := &Subscription{feed: f, events: make(chan []byte, mostPending)}
	s.events <- event("snapshot", encoded)
	f.subscriptions[s] = struct{}{}
	if f.stop == nil {
		f.stop, f.said = make(chan struct{}), now
		go f.run(f.stop)
	}
	return s, nil
}

// End ends all streams, and lets none begin.
func (f *Feed) End() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	for s := range f.subscriptions {
		f.drop(s)
	}
}

// drop forgets a stream. The caller holds the lock.
func (f *Feed) drop(s *Subscription) {
	if _, known := f.subscriptions[s]; !known {
		return
	}
	delete(f.subscriptions, s)
	close(s.events)
	if len(f.subscriptions) == 0 {
		close(f.stop)
		f.stop = nil
	}
}

// run looks once a second what has changed, until there is nobody to tell.
func (f *Feed) run(stop <-chan struct{}) {
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
			f.tickOnce(stop)
		}
	}
}

// tickOnce survives a panic in what makes the snapshot.
func (f *Feed) tickOnce(stop <-chan struct{}) {
	defer func() {
		if panicked := recover(); panicked != nil {
			f.fail(fmt.Errorf("panic: %v", panicked))
		}
	}()
	f.tick(stop, time.Now())
}

// tick sends what has changed since the last one.
func (f *Feed) tick(stop <-chan struct{}, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stop == nil || (<-chan struct{})(f.stop) != stop { // the last stream has ended, and maybe another has begun
		return
	}
	next, err := newFrame(f.build(now))
	if err != nil {
		f.fail(err)
		return
	}
	update, changed := next.since(f.current)
	f.current, f.built = next, now
	if !changed && now.Sub(f.said) < longestSilence {
		return
	}
	name := "update"
	var content []byte
	if update != nil {
		content, err = json.Marshal(update)
	} else {
		name = "snapshot"
		content, err = next.encode()
	}
	if err != nil {
		f.fail(err)
		return
	}
	f.said = now
	message := event(name, content)
	for s := range f.subscriptions {
		select {
		case s.events <- message:
		default: // it begins anew
			f.drop(s)
		}
	}
}

// event returns an event as it is written to a stream. JSON has no line breaks.
func event(name string, content []byte) []byte {
	var b bytes.Buffer
	b.Grow(len(name) + len(content) + 20)
	b.WriteString("event: ")
	b.WriteString(name)
	b.WriteString("\ndata: ")
	b.Write(content)
	b.WriteString("\n\n")
	return b.Bytes()
}
