package cookiekey

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io/fs"
	"maps"
	"strings"
	"sync"
	"testing"
)

// shelf is a storage that is told from others by its host.
type shelf struct {
	Host string `json:"host"`

	lock     sync.Mutex
	mu       sync.Mutex
	texts    map[string]string
	loads    int
	fails    error
	unlocked error
}

func newShelf(host string) *shelf { return &shelf{Host: host, texts: make(map[string]string)} }

func (s *shelf) Lock(context.Context, string) error {
	s.lock.Lock()
	return nil
}

func (s *shelf) Unlock(context.Context, string) error {
	s.lock.Unlock()
	return s.unlocked
}

func (s *shelf) Load(_ context.Context, path string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loads++
	text, is := s.texts[path]
	if s.fails == nil && !is {
		return nil, fs.ErrNotExist
	}
	return []byte(text), s.fails
}

func (s *shelf) Store(_ context.Context, path string, text []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.texts == nil {
		return errors.New("the shelf is full")
	}
	s.texts[path] = string(text)
	return nil
}

var errAway = errors.New("the storage is away")

func TestEdgesThatShareAStorageAdoptOneKey(t *testing.T) {
	storage := newShelf("shared")
	keys := make([][]byte, 3)
	var edges sync.WaitGroup
	for i := range keys {
		edges.Go(func() {
			edge := Key{Storage: storage}
			key, kept, err := edge.Load(t.Context(), new(Known))
			if err != nil || kept != nil {
				t.Errorf("%v, %v", err, kept)
			}
			keys[i] = key
		})
	}
	edges.Wait()
	for _, key := range keys {
		if len(key) != Bytes || !bytes.Equal(key, keys[0]) {
			t.Fatalf("the keys differ: %x", keys)
		}
	}
}

func TestTheStorageIsAskedOnce(t *testing.T) {
	storage := newShelf("one")
	edge, known := Key{Storage: storage}, new(Known)
	first, _, err := edge.Load(t.Context(), known)
	if err != nil {
		t.Fatal(err)
	}
	asked := storage.loads
	storage.texts = map[string]string{}
	if again, _, err := edge.Load(t.Context(), known); err != nil || !bytes.Equal(again, first) || storage.loads != asked {
		t.Errorf("the key is %x after %x, %d times asked: %v", again, first, storage.loads-asked, err)
	}
}

func TestWhatBecomesOfAKey(t *testing.T) {
	written := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, Bytes)) + "\n"
	for _, test := range []struct {
		name    string
		known   bool
		change  func(*shelf)
		same    bool   // the key of before is in force
		kept    string // what is said while the known key stays in force
		refused string
	}{
		{name: "nothing happens", known: true, same: true},
		{name: "a restart", same: true},
		{name: "the storage is emptied", known: true, change: func(s *shelf) { s.texts = map[string]string{} }, same: true},
		{name: "emptied before a restart", change: func(s *shelf) { s.texts = map[string]string{} }},
		{name: "the storage fails", known: true, change: func(s *shelf) { s.fails = errAway }, same: true, kept: "loading: the storage is away"},
		{name: "fails at a restart", change: func(s *shelf) { s.fails = errAway }, refused: "the cookie key in Caddy's storage (tigergraph/cookie.key): loading: the storage is away; the cookie option 'secret' does without it"},
		{name: "another key is written", known: true, change: func(s *shelf) { s.texts[Path] = written }},
		{name: "the key is spoilt", known: true, change: func(s *shelf) { s.texts[Path] = "no key" }, same: true, kept: "it must be 32 bytes in base64, but is not"},
		{name: "spoilt before a restart", change: func(s *shelf) { s.texts[Path] = "AAAA" }, refused: "it must be 32 bytes in base64, but is not"},
		{name: "nothing can be stored", change: func(s *shelf) { s.texts = nil }, refused: "storing: the shelf is full"},
		{name: "the lock stays", change: func(s *shelf) { s.texts, s.unlocked = map[string]string{}, errAway }, refused: "unlocking: the storage is away"},
	} {
		t.Run(test.name, func(t *testing.T) {
			storage, known := newShelf("one"), new(Known)
			before := Key{Storage: storage}
			key, _, err := before.Load(t.Context(), known)
			if err != nil {
				t.Fatal(err)
			}
			if !test.known {
				known = new(Known)
			}
			if test.change != nil {
				test.change(storage)
			}
			after := Key{Storage: storage}
			again, kept, err := after.Load(t.Context(), known)
			if err != nil || test.refused != "" {
				if err == nil || test.refused == "" || !strings.Contains(err.Error(), test.refused) || strings.Contains(err.Error(), string(key)) {
					t.Errorf("%v, want %q", err, test.refused)
				}
				return
			}
			if bytes.Equal(again, key) != test.same {
				t.Errorf("the key is %x, and was %x", again, key)
			}
			if (kept == nil) != (test.kept == "") || kept != nil && !strings.HasPrefix(kept.Error(), test.kept) {
				t.Errorf("kept for %v, want %q", kept, test.kept)
			}
			if test.kept == "" && storage.texts[Path] != base64.StdEncoding.EncodeToString(again)+"\n" {
				t.Errorf("what is stored is not the key: %v", maps.Collect(maps.All(storage.texts)))
			}
		})
	}
}

func TestAnotherStorageIsNotGivenTheKey(t *testing.T) {
	known := new(Known)
	one, two := Key{Storage: newShelf("one")}, Key{Storage: newShelf("two")}
	first, _, err := one.Load(t.Context(), known)
	second, _, otherErr := two.Load(t.Context(), known)
	if err != nil || otherErr != nil || bytes.Equal(first, second) {
		t.Errorf("%x and %x: %v, %v", first, second, err, otherErr)
	}
}

// namedShelf says itself how it is called.
type namedShelf struct{ Storage }

func (namedShelf) String() string { return "in the corner" }

func TestStoragesAreToldApartByTheirSettings(t *testing.T) {
	one, two := nameOf(newShelf("one")), nameOf(newShelf("two"))
	if one == "" || one == two || one != nameOf(newShelf("one")) || strings.Contains(one, "host") {
		t.Errorf("they are called %q and %q", one, two)
	}
	if name := nameOf(namedShelf{}); name != "cookiekey.namedShelf in the corner" {
		t.Errorf("a storage that names itself is called %q", name)
	}
	if name := nameOf(struct {
		Storage `json:"-"`
	}{}); name != "" {
		t.Errorf("a storage that says nothing of itself is called %q", name)
	}
}
