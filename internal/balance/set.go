package balance

// Set is a set of nodes, by their index.
type Set []uint64

// Add adds a node.
func (s *Set) Add(index int) {
	for len(*s) <= index/64 {
		*s = append(*s, 0)
	}
	(*s)[index/64] |= 1 << (index % 64)
}

// Has reports whether a node is in the set.
func (s Set) Has(index int) bool {
	return index/64 < len(s) && s[index/64]&(1<<(index%64)) != 0
}
