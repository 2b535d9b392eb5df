// Package affinity says what ties a client to a node: rendezvous hashing, cookies and their
// tokens, client keys, moved clients and GSQL sessions. Standings and the choice are in
// internal/balance.
package affinity

import (
	"math"

	"github.com/cespare/xxhash/v2"
)

// Seed is the part of a node's rendezvous hash that depends on its address
// alone, so that it can be computed once. Two edges agree on a client's node
// because nothing but the address enters: no order, no process, no machine.
func Seed(address string) uint64 {
	return xxhash.Sum64String(address)
}

// Score is the rendezvous hash of a client's key and a node's seed. The node
// with the highest score is the client's home; without it, the next highest is,
// and nobody else moves. See https://en.wikipedia.org/wiki/Rendezvous_hashing.
//
// The mixing steps are the finalizer of SplitMix64 (Steele, Lea and Flood,
// "Fast splittable pseudorandom number generators", 2014).
func Score(key, seed uint64) uint64 {
	h := key ^ seed
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	h ^= h >> 31
	return h
}

// Home returns the index of the seed with the highest score, -1 if there is
// none.
func Home(key uint64, seeds []uint64) int {
	home, highest := -1, uint64(0)
	for i, seed := range seeds {
		if score := Score(key, seed); score > highest || home < 0 {
			home, highest = i, score
		}
	}
	return home
}

// WeightedScore is a Score for nodes of unequal weight: a node with twice the
// weight is the home of twice as many clients. Among equal weights it orders
// nodes as Score does, which costs no logarithm.
//
// The method is that of Schindelhauer and Schomaker, "Weighted distributed hash
// tables", 2005.
func WeightedScore(key, seed uint64, weight float64) float64 {
	// 53 bits, in the middle of their steps, make a number between 0 and 1.
	uniform := (float64(Score(key, seed)>>11) + 0.5) / (1 << 53)
	return weight / -math.Log(uniform)
}

// WeightedHome is Home for nodes of unequal weight. Those without weight are
// nobody's home.
func WeightedHome(key uint64, seeds []uint64, weights []float64) int {
	home, highest := -1, 0.0
	for i, seed := range seeds {
		if weights[i] <= 0 {
			continue
		}
		if score := WeightedScore(key, seed, weights[i]); score > highest {
			home, highest = i, score
		}
	}
	return home
}
