// Package cookiekey has the key of the cookies where none is configured: it is made once
// and kept in a storage, so that cookies outlive a restart and edges that share the
// storage agree.
package cookiekey

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"
)

const (
	// Path is where the key lies in the storage.
	Path = "tigergraph/cookie.key"
	// Bytes is its length: as long as the HMAC's output.
	Bytes = 32
	// storageTimeout bounds how long a storage that hangs holds up the start, and
	// knownTimeout how long while the key is known.
	storageTimeout = 30 * time.Second
	knownTimeout   = 5 * time.Second
)

// Storage is where the key is kept. Edges may share it. A text that is not there is
// fs.ErrNotExist.
type Storage interface {
	Lock(ctx context.Context, path string) error
	Unlock(ctx context.Context, path string) error
	Load(ctx context.Context, path string) ([]byte, error)
	Store(ctx context.Context, path string, text []byte) error
}

// Known are the keys that were read, by the name of their storage. A storage that is
// emptied while they are known gets its key back at the next reload, which so costs
// nobody the session. Nor does one that fails.
type Known struct{ keys sync.Map }

// Key is the key of a configuration's cookies.
type Key struct {
	Storage Storage

	mu    sync.Mutex
	value []byte
}

// Load returns the key, from storage at the first call. If the storage has no key, it is
// given the one that is known, or a new one. If the storage fails, the known key stays in
// force, and kept says what failed.
func (k *Key) Load(ctx context.Context, all *Known) (key []byte, kept, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.value != nil {
		return k.value, nil, nil
	}
	name := nameOf(k.Storage)
	found, _ := all.keys.Load(name)
	known, isKnown := found.([]byte)
	timeout := storageTimeout
	if isKnown {
		timeout = knownTimeout
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	value, err := adoptOrGenerate(limited, k.Storage, known)
	switch {
	case err != nil && isKnown && ctx.Err() == nil:
		value, kept = known, err
	case err != nil:
		return nil, nil, fmt.Errorf("the cookie key in Caddy's storage (%s): %w; the cookie option 'secret' does without it", Path, err)
	}
	k.value = value
	if name != "" {
		all.keys.Store(name, value)
	}
	return value, kept, nil
}

// nameOf returns what tells a storage from others, "" if nothing does.
func nameOf(storage Storage) string {
	if named, ok := storage.(fmt.Stringer); ok {
		return fmt.Sprintf("%T %s", storage, named)
	}
	settings, err := json.Marshal(storage) // most are modules of Caddy
	if err != nil || len(settings) <= len("{}") {
		return ""
	}
	return fmt.Sprintf("%T %x", storage, sha256.Sum256(settings)) // which may hold a password
}

// adoptOrGenerate reads the key or, as the only one who may at this moment,
// stores the one that is known or a new one.
func adoptOrGenerate(ctx context.Context, storage Storage, known []byte) (key []byte, err error) {
	key, err = readKey(ctx, storage)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := storage.Lock(ctx, Path); err != nil {
		return nil, fmt.Errorf("locking: %w", err)
	}
	defer func() {
		if unlockErr := storage.Unlock(context.WithoutCancel(ctx), Path); err == nil && unlockErr != nil {
			err = fmt.Errorf("unlocking: %w", unlockErr)
		}
	}()
	key, err = readKey(ctx, storage)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key = known
	if key == nil {
		key = make([]byte, Bytes)
		if _, err := rand.Read(key); err != nil {
			return nil, fmt.Errorf("generating: %w", err)
		}
	}
	text := base64.StdEncoding.EncodeToString(key) + "\n"
	if err := storage.Store(ctx, Path, []byte(text)); err != nil {
		return nil, fmt.Errorf("storing: %w", err)
	}
	return key, nil
}

func readKey(ctx context.Context, storage Storage) ([]byte, error) {
	text, err := storage.Load(ctx, Path)
	if err != nil {
		return nil, fmt.Errorf("loading: %w", err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != Bytes {
		return nil, fmt.Errorf("it must be %d bytes in base64, but is not; remove it and restart Caddy to have a new one made", Bytes)
	}
	return key, nil
}
