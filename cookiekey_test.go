package tigergraph

import (
	"bytes"
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
