package tigergraph

import (
	"bytes"
	"sync"
	"testing"

	"github.com/caddyserver/certmagic"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/cookiekey"
)

func TestEdgesThatStartAtOnceAdoptOneKey(t *testing.T) {
	folder := t.TempDir()
	keys := make([][]byte, 3)
	start := make(chan struct{})
	var group sync.WaitGroup
	for i := range keys {
		group.Go(func() {
			edge := cookiekey.Key{Storage: &certmagic.FileStorage{Path: folder}}
			<-start
			key, _, err := edge.Load(t.Context(), new(cookiekey.Known))
			if err != nil {
				t.Error(err)
			}
			keys[i] = key
		})
	}
	close(start)
	group.Wait()
	for _, key := range keys {
		if len(key) != cookiekey.Bytes || !bytes.Equal(key, keys[0]) {
			t.Fatalf("the keys differ: %x", keys)
		}
	}
}
