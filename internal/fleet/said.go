package fleet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"
)

// Storage is where edges that share it keep the word, under one key. Locks are its own.
type Storage interface {
	Lock(ctx context.Context, key string) error
	Unlock(ctx context.Context, key string) error
	Load(ctx context.Context, key string) ([]byte, error)
	Store(ctx context.Context, key string, text []byte) error
	// Look returns what changes with the text.
	Look(ctx context.Context, key string) (modified time.Time, size int64, err error)
}

// Said is the word, as an edge knows it. Until it can be read, and while it cannot, what
// was known last is in force.
type Said struct {
	Storage Storage
	Key     string

	mu       sync.Mutex
	word     Word
	modified time.Time // of what was read last
	size     int64
	failing  bool // it could not be read the last time
}

// Known returns the word that is in force.
func (s *Said) Known() Word {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.word
}

// IsFailing reports whether the word could not be read the last time.
func (s *Said) IsFailing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failing
}

// Learn takes over a word that is newer than what is known, and reports whether it is.
func (s *Said) Learn(word Word) (newer bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if newer = word.Version > s.word.Version; newer {
		s.word = word.Settle(s.word, time.Now())
	}
	return newer
}

// Follow reads the word if the text has changed, and reports whether it is a newer one.
// Of several failures in a row only the first is an error.
func (s *Said) Follow(ctx context.Context) (changed bool, err error) {
	modified, size, err := s.Storage.Look(ctx, s.Key)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // nothing was said, or it is lost: what is known stays in force
	}
	s.mu.Lock()
	same := err == nil && modified.Equal(s.modified) && size == s.size && !s.modified.IsZero()
	s.mu.Unlock()
	if same {
		return false, nil
	}
	var word Word
	if err == nil {
		word, err = s.read(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if s.failing || ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = nil
		}
		s.failing = true
		return false, err
	}
	s.failing, s.modified, s.size = false, modified, size
	if changed = word.Version > s.word.Version; changed {
		s.word = word.Settle(s.word, time.Now())
	}
	return changed, nil
}

func (s *Said) read(ctx context.Context) (Word, error) {
	text, err := s.Storage.Load(ctx, s.Key)
	if err != nil {
		return Word{}, fmt.Errorf("loading: %w", err)
	}
	return ParseWord(text)
}

// StorageError says what the storage could not do, so that nothing has changed.
type StorageError struct {
	Doing string
	Err   error
}

func (e StorageError) Error() string { return fmt.Sprintf("%s failed: %v", e.Doing, e.Err) }

func (e StorageError) Unwrap() error { return e.Err }

// Change changes the word, in the storage first. What is newer there than what is known
// is taken over before, and learned is called: change decides on all that edges were
// told. Its own error, or the same version, changes nothing. Locked is why the word stays
// locked, whatever became of the change.
func (s *Said) Change(ctx context.Context, learned func(), change func(Word) (Word, error)) (locked, err error) {
	if err := s.Storage.Lock(ctx, s.Key); err != nil {
		return nil, StorageError{"locking", err}
	}
	err = s.change(ctx, learned, change)
	return s.Storage.Unlock(context.WithoutCancel(ctx), s.Key), err
}

// change changes the word in the storage. The caller holds the storage's lock.
func (s *Said) change(ctx context.Context, learned func(), change func(Word) (Word, error)) error {
	word, err := s.read(ctx)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return StorageError{"reading", err}
	}
	if s.Learn(word) {
		learned()
	}
	known := s.Known() // more than that if the storage is another, or was reset
	if word, err = change(known); err != nil || word.Version == known.Version {
		return err
	}
	text, err := word.Encode()
	if err == nil {
		err = s.Storage.Store(ctx, s.Key, text)
	}
	if err != nil {
		return StorageError{"writing", err}
	}
	modified, size, err := s.Storage.Look(ctx, s.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.word = word.Settle(s.word, time.Now()); err == nil {
		s.modified, s.size = modified, size
	}
	return nil
}
