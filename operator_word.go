package tigergraph

import (
	"sync"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/fleet"
)

// operatorWord is what the operator said, as an app knows it. Until it can be read,
// and while it cannot, what was known last is in force.
type operatorWord struct {
	storage certmagic.Storage

	mu       sync.Mutex
	word     fleet.Word
	modified time.Time // of what was read last
	size     int64
	failing  bool // it could not be read the last time
}

// known returns the word that is in force.
func (o *operatorWord) known() fleet.Word {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.word
}
