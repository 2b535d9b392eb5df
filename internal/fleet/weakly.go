package fleet

import (
	"slices"
	"sync"
	"weak"
)

// Weakly holds values for as long as somebody else does.
type Weakly[T any] struct {
	mu     sync.Mutex
	values []weak.Pointer[T]
}

// Add adds a value.
func (w *Weakly[T]) Add(value *T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.values = slices.DeleteFunc(w.values, func(p weak.Pointer[T]) bool { return p.Value() == nil })
	w.values = append(w.values, weak.Make(value))
}

// All returns those that are still there.
func (w *Weakly[T]) All() (values []*T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, pointer := range w.values {
		if value := pointer.Value(); value != nil {
			values = append(values, value)
		}
	}
	return values
}
