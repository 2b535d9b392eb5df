package fleet

import (
	"context"
	"errors"
	"io/fs"
	"testing"
	"time"
)

// shelf is a storage of one text.
type shelf struct {
	text     []byte
	modified time.Time
	locked   int
	// what fails
	lock, unlock, load, store, look error
}

func (s *shelf) Lock(context.Context, string) error {
	if s.lock == nil {
		s.locked++
	}
	return s.lock
}

func (s *shelf) Unlock(context.Context, string) error {
	s.locked--
	return s.unlock
}

func (s *shelf) Load(context.Context, string) ([]byte, error) {
	if s.text == nil && s.load == nil {
		return nil, fs.ErrNotExist
	}
	return s.text, s.load
}

func (s *shelf) Store(_ context.Context, _ string, text []byte) error {
	if s.store == nil {
		s.text, s.modified = text, s.modified.Add(time.Second)
	}
	return s.store
}

func (s *shelf) Look(context.Context, string) (time.Time, int64, error) {
	if s.text == nil && s.look == nil {
		return time.Time{}, 0, fs.ErrNotExist
	}
	return s.modified, int64(len(s.text)), s.look
}

func drainM1(w Word) (Word, error) { return w.Drained("m1:14240", 0, noon), nil }

func TestAChangeThatCannotBeStoredChangesNothing(t *testing.T) {
	broken := errors.New("broken")
	for doing, spoil := range map[string]func(*shelf){
		"locking": func(s *shelf) { s.lock = broken },
		"reading": func(s *shelf) { s.load = broken },
		"writing": func(s *shelf) { s.store = broken },
	} {
		storage := new(shelf)
		said := &Said{Storage: storage}
		if _, err := said.Change(t.Context(), func() {}, drainM1); err != nil {
			t.Fatal(err)
		}
		spoil(storage)
		locked, err := said.Change(t.Context(), func() {}, func(w Word) (Word, error) { return w.Ready("m1:14240", noon), nil })
		failure := StorageError{}
		if !errors.As(err, &failure) || failure.Doing != doing || !errors.Is(err, broken) || locked != nil {
			t.Errorf("%s: %v, %v", doing, err, locked)
		}
		if known := said.Known(); known.Version != 1 || len(known.Drains) != 1 || storage.locked != 0 {
			t.Errorf("%s: %+v, %d locks", doing, known, storage.locked)
		}
	}
}

func TestARefusalChangesNothingAndEndsTheLock(t *testing.T) {
	storage := &shelf{unlock: errors.New("stuck")}
	said := &Said{Storage: storage}
	refused := errors.New("refused")
	locked, err := said.Change(t.Context(), func() {}, func(w Word) (Word, error) { return w, refused })
	if !errors.Is(err, refused) || locked == nil || storage.text != nil || storage.locked != 0 {
		t.Errorf("%v, %v, %q", err, locked, storage.text)
	}
}

// What another edge was told is known before a change is decided.
func TestAChangeIsDecidedOnAllThatWasSaid(t *testing.T) {
	storage := new(shelf)
	one, other := &Said{Storage: storage}, &Said{Storage: storage}
	if _, err := one.Change(t.Context(), func() {}, drainM1); err != nil {
		t.Fatal(err)
	}
	learned := false
	_, err := other.Change(t.Context(), func() { learned = true }, func(w Word) (Word, error) {
		if !learned || len(w.Drains) != 1 {
			t.Errorf("it is decided on %+v", w)
		}
		return w.Switched("dr", 0, noon), nil
	})
	if err != nil || other.Known().Version != 2 {
		t.Errorf("%+v, %v", other.Known(), err)
	}
	if changed, err := one.Follow(t.Context()); !changed || err != nil || len(one.Known().Switches) != 1 {
		t.Errorf("%t, %v, %+v", changed, err, one.Known())
	}
	if changed, err := one.Follow(t.Context()); changed || err != nil {
		t.Errorf("the same again: %t, %v", changed, err)
	}
}

func TestAStorageThatFailsIsToldOfOnceAndLeavesWhatIsKnown(t *testing.T) {
	storage := new(shelf)
	said := &Said{Storage: storage}
	if _, err := said.Change(t.Context(), func() {}, drainM1); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		storage.look = errors.New("broken")
		if _, err := said.Follow(t.Context()); err == nil || !said.IsFailing() {
			t.Errorf("the first failure: %v", err)
		}
		if _, err := said.Follow(t.Context()); err != nil || said.Known().Version != 1 {
			t.Errorf("the second failure: %v, %+v", err, said.Known())
		}
		storage.look, storage.modified = nil, storage.modified.Add(time.Second)
		if changed, err := said.Follow(t.Context()); changed || err != nil || said.IsFailing() {
			t.Errorf("afterwards: %t, %v", changed, err)
		}
	}
	// A text that is gone, or an older one out of a backup, takes nothing back.
	storage.text = nil
	if changed, err := said.Follow(t.Context()); changed || err != nil || said.Known().Version != 1 {
		t.Errorf("without a text: %t, %v", changed, err)
	}
	if _, err := said.Change(t.Context(), func() {}, func(w Word) (Word, error) { return w.Switched("dr", 0, noon), nil }); err != nil || len(said.Known().Drains) != 1 {
		t.Errorf("%+v, %v", said.Known(), err)
	}
}
