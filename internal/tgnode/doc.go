// Package tgnode is a stand-in for the nodes of a TigerGraph cluster, for
// tests, the demo and benchmarks only.
//
// A [Node] answers on one port as a TigerGraph machine does on 14240: an nginx
// that serves static files and routes to the node's application server ([GUI]),
// its [GSQL] server and its [RESTPP] server. A [Cluster] holds what several
// nodes share: who leads GSQL, and the [Ledger] of everything that was really
// executed, by which a test can tell that a request was carried out at most
// once.
//
// It speaks HTTP/1.1 on raw sockets rather than through net/http, because the
// case of header names, half answers and resets are what it is there to imitate.
// Paths, bodies and headers are those of TigerGraph's documentation and of its
// published clients. Every switch ([Node.SetFault], [Node.Update],
// [Node.Stop], ...) works at run time.
package tgnode
