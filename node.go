package tigergraph

// node is one TigerGraph node, shared by all policies that use its address.
type node struct {
	address string
}
