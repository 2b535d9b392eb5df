package address

import (
	"fmt"
	"strings"
)

// Index finds nodes by whatever people call them.
type Index struct {
	nodes  []string
	byText map[string]bool
	byKey  map[string]string
	byHost map[string][]string
}

// NewIndex makes an index of nodes by their addresses. What is no address is found
// only by the same text.
func NewIndex(nodes []string) *Index {
	index := &Index{byText: make(map[string]bool), byKey: make(map[string]string), byHost: make(map[string][]string)}
	for _, node := range nodes {
		index.Add(node)
	}
	return index
}

// Add adds a node. It is not ok if one is there that is only written in another way.
func (i *Index) Add(node string) (ok bool) {
	i.nodes = append(i.nodes, node)
	a, err := Parse(node)
	if err != nil {
		ok = !i.byText[node]
		i.byText[node] = true
		return ok
	}
	i.byText[node] = true
	for _, one := range a.Expand() {
		if _, known := i.byKey[one.key()]; known {
			return false
		}
		dial := node
		if a.Last != "" {
			dial = one.Dial()
		}
		i.byKey[one.key()] = dial
		if !isUnix(one.Network) {
			i.byHost[one.hostKey()] = append(i.byHost[one.hostKey()], dial)
		}
	}
	return true
}

// UnknownError says that nothing is called so.
type UnknownError struct {
	// Node is what was looked for, complete.
	Node string
	// Nodes are all that there are.
	Nodes []string
}

func (e UnknownError) Error() string {
	if len(e.Nodes) == 0 {
		return fmt.Sprintf("there is no node '%s', nor any other", e.Node)
	}
	return fmt.Sprintf("there is no node '%s'; the nodes are %s", e.Node, strings.Join(e.Nodes, ", "))
}

// AmbiguousError says that several are called so.
type AmbiguousError struct {
	Node string
	// Nodes are those that are meant, perhaps.
	Nodes []string
}

func (e AmbiguousError) Error() string {
	return fmt.Sprintf("'%s' may be any of %s: write the port", e.Node, strings.Join(e.Nodes, ", "))
}

// Find returns the nodes that a text means: several if it has a range of ports, else
// one. Without a port it is the node with the default port or, if there is none, the
// only one on its host. The error is an UnknownError, an AmbiguousError, or that of
// Parse.
func (i *Index) Find(text string) ([]string, error) {
	a, err := Parse(text)
	if err != nil {
		if i.byText[text] {
			return []string{text}, nil
		}
		return nil, err
	}
	var found []string
	for _, one := range a.Expand() {
		node, known := i.byKey[one.key()]
		if !known && !a.HasPort && !isUnix(a.Network) {
			switch on := i.byHost[one.hostKey()]; len(on) {
			case 0:
			case 1:
				node, known = on[0], true
			default:
				return nil, AmbiguousError{Node: text, Nodes: on}
			}
		}
		if !known {
			return nil, UnknownError{Node: one.Dial(), Nodes: i.nodes}
		}
		found = append(found, node)
	}
	return found, nil
}
