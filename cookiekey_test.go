package tigergraph

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestEdgesThatStartAtOnceAdoptOneKey(t *testing.T) {
	folder := t.TempDir()
	keys := make([][]byte, 3)
	start := make(chan struct{})
	var group sync.WaitGroup
	for i := range keys {
		group.Go(func() {
			edge := generatedKey{storage: &certmagic.FileStorage{Path: folder}}
			<-start
			key, err := edge.load(t.Context())
			if err != nil {
				t.Error(err)
			}
			keys[i] = key
		})
	}
	close(start)
	group.Wait()
	for _, key := range keys {
		if len(key) != keyBytes || !bytes.Equal(key, keys[0]) {
			t.Fatalf("the keys differ: %x", keys)
		}
	}
}

func TestAStorageThatLostItsKeyGetsItBack(t *testing.T) {
	folder, other := t.TempDir(), t.TempDir()
	load := func(folder string) []byte {
		t.Helper()
		edge := generatedKey{storage: &certmagic.FileStorage{Path: folder}}
		key, err := edge.load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	key := load(folder)
	file := filepath.Join(folder, filepath.FromSlash(keyPath))
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if again := load(folder); !bytes.Equal(again, key) {
		t.Error("the key is another after a reload")
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the key is not stored: %v", err)
	}
	if bytes.Equal(load(other), key) {
		t.Error("another storage was given the key")
	}
}

// brokenStorage fails at whatever it is asked, for a reason of its own.
type brokenStorage struct {
	certmagic.FileStorage
	Broken bool `json:"-"`
}

var errBroken = errors.New("the storage is away")

func (s *brokenStorage) Load(ctx context.Context, key string) ([]byte, error) {
	if s.Broken {
		return nil, errBroken
	}
	return s.FileStorage.Load(ctx, key)
}

func TestAStorageThatFailsIsAWarningWhileTheKeyIsKnown(t *testing.T) {
	folder := t.TempDir()
	load := func(folder string, broken bool) (key []byte, warnings *observer.ObservedLogs, err error) {
		core, warnings := observer.New(zap.WarnLevel)
		edge := generatedKey{storage: &brokenStorage{certmagic.FileStorage{Path: folder}, broken}, logger: zap.New(core)}
		key, err = edge.load(t.Context())
		return key, warnings, err
	}
	key, warnings, err := load(folder, false)
	if err != nil || warnings.Len() != 0 {
		t.Fatalf("%v, %v", err, warnings.All())
	}
	again, warnings, err := load(folder, true)
	if err != nil || !bytes.Equal(again, key) || warnings.Len() != 1 {
		t.Errorf("%v, warnings %v", err, warnings.All())
	}
	for _, warning := range warnings.All() {
		if strings.Contains(fmt.Sprint(warning), base64.StdEncoding.EncodeToString(key)) {
			t.Errorf("the key is logged: %v", warning)
		}
	}
	if _, _, err := load(t.TempDir(), true); !errors.Is(err, errBroken) {
		t.Errorf("without a key the edge starts: %v", err)
	}
}

// namelessStorage is told from others by its settings alone.
type namelessStorage struct {
	certmagic.Storage `json:"-"`
	Host              string `json:"host"`
}

func TestStoragesAreToldApartByTheirSettings(t *testing.T) {
	one, two := storageName(namelessStorage{Host: "one"}), storageName(namelessStorage{Host: "two"})
	if one == "" || one == two || one != storageName(namelessStorage{Host: "one"}) || strings.Contains(one, "host") {
		t.Errorf("they are called %q and %q", one, two)
	}
	if name := storageName(struct {
		certmagic.Storage `json:"-"`
	}{}); name != "" {
		t.Errorf("a storage that says nothing of itself is called %q", name)
	}
}
