package tigergraph

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

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

const (
	// keyPath is where the generated key lies in Caddy's storage.
	keyPath = "tigergraph/cookie.key"
	// keyBytes is its length: as long as the HMAC's output.
	keyBytes = 32
	// storageTimeout bounds how long a storage that hangs holds up the start, and
	// knownTimeout how long while the key is known.
	storageTimeout = 30 * time.Second
	knownTimeout   = 5 * time.Second
)

// generatedKey is the key of the cookies where none is configured. It is made
// once and kept in Caddy's storage, so that cookies outlive a restart and edges
// that share a storage agree.
type generatedKey struct {
	storage certmagic.Storage
	logger  *zap.Logger

	mu    sync.Mutex
	value []byte
}

// knownKeys are the keys that this process has read, by the name of their storage.
// A storage that is emptied while Caddy runs gets its key back at the next reload,
// which so costs nobody the session. Nor does one that fails.
var knownKeys sync.Map

// load returns the key, from storage at the first call.
func (k *generatedKey) load(ctx context.Context) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.value != nil {
		return k.value, nil
	}
	name := storageName(k.storage)
	known, _ := knownKeys.Load(name)
	knownKey, isKnown := known.([]byte)
	timeout := storageTimeout
	if isKnown {
		timeout = knownTimeout
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	value, err := adoptOrGenerate(limited, k.storage, knownKey)
	switch {
	case err != nil && isKnown && ctx.Err() == nil:
		k.logger.Warn("the cookie key in Caddy's storage cannot be read or kept; the known one stays in force until Caddy is restarted",
			zap.String("file", keyPath), zap.Error(err))
		value = knownKey
	case err != nil:
		return nil, fmt.Errorf("the cookie key in Caddy's storage (%s): %w; the cookie option 'secret' does without it", keyPath, err)
	}
	k.value = value
	if name != "" {
		knownKeys.Store(name, value)
	}
	return value, nil
}

// storageName returns what tells a storage from others, "" if nothing does.
func storageName(storage certmagic.Storage) string {
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
func adoptOrGenerate(ctx context.Context, storage certmagic.Storage, known []byte) (key []byte, err error) {
	key, err = readKey(ctx, storage)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := storage.Lock(ctx, keyPath); err != nil {
		return nil, fmt.Errorf("locking: %w", err)
	}
	defer func() {
		if unlockErr := storage.Unlock(context.WithoutCancel(ctx), keyPath); err == nil && unlockErr != nil {
			err = fmt.Errorf("unlocking: %w", unlockErr)
		}
	}()
	key, err = readKey(ctx, storage)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key = known
	if key == nil {
		key = make([]byte, keyBytes)
		if _, err := rand.Read(key); err != nil {
			return nil, fmt.Errorf("generating: %w", err)
		}
	}
	text := base64.StdEncoding.EncodeToString(key) + "\n"
	if err := storage.Store(ctx, keyPath, []byte(text)); err != nil {
		return nil, fmt.Errorf("storing: %w", err)
	}
	return key, nil
}

func readKey(ctx context.Context, storage certmagic.Storage) ([]byte, error) {
	text, err := storage.Load(ctx, keyPath)
	if err != nil {
		return nil, fmt.Errorf("loading: %w", err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != keyBytes {
		return nil, fmt.Errorf("it must be %d bytes in base64, but is not; remove it and restart Caddy to have a new one made", keyBytes)
	}
	return key, nil
}
