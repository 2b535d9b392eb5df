package tigergraph

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/caddyserver/certmagic"
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
