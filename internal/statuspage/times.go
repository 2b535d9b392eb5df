package statuspage

import (
	"math"
	"slices"
)

// Times are how many answers took how long, in buckets each of which is the 2^-Schema-th
// power of two wide, as Prometheus has them in its native histograms.
type Times struct {
	Schema  int32
	Buckets []Bucket // in the order of their indexes
}

// Bucket is how many answers took longer than the bound of the bucket before this one,
// and not longer than its own: 2^(Index / 2^Schema) seconds.
type Bucket struct {
	Index int32
	Count uint64
}

// NewTimes returns the times of a native histogram, which has spans of buckets with
// gaps between, and of each bucket how many more it holds than the one before.
func NewTimes[S interface {
	GetOffset() int32
	GetLength() uint32
}](schema int32, spans []S, deltas []int64) Times {
	t := Times{Schema: schema}
	index, count := int32(0), int64(0)
	for _, span := range spans {
		index += span.GetOffset()
		for range span.GetLength() {
			if len(deltas) == 0 {
				return t
			}
			count, deltas = count+deltas[0], deltas[1:]
			if count > 0 {
				t.Buckets = append(t.Buckets, Bucket{Index: index, Count: uint64(count)})
			}
			index++
		}
	}
	return t
}

// since returns those that came since earlier ones.
func (t Times) since(earlier Times) Times {
	// Prometheus makes the buckets wider when there are too many of them.
	schema := min(t.Schema, earlier.Schema)
	if len(earlier.Buckets) == 0 {
		schema = t.Schema
	}
	t, earlier = t.widened(schema), earlier.widened(schema)
	if t.sum() < earlier.sum() { // they began anew
		return t
	}
	left := Times{Schema: schema}
	for _, bucket := range t.Buckets {
		if i, found := slices.BinarySearchFunc(earlier.Buckets, bucket.Index, compareIndex); found {
			bucket.Count -= min(earlier.Buckets[i].Count, bucket.Count)
		}
		if bucket.Count > 0 {
			left.Buckets = append(left.Buckets, bucket)
		}
	}
	return left
}

func compareIndex(b Bucket, index int32) int { return int(b.Index) - int(index) }

// widened returns the same times in the wider buckets of a smaller schema.
func (t Times) widened(schema int32) Times {
	if schema >= t.Schema {
		return t
	}
	wide := Times{Schema: schema}
	for _, bucket := range t.Buckets {
		bucket.Index = (bucket.Index-1)>>(t.Schema-schema) + 1
		if last := len(wide.Buckets) - 1; last >= 0 && wide.Buckets[last].Index == bucket.Index {
			wide.Buckets[last].Count += bucket.Count
		} else {
			wide.Buckets = append(wide.Buckets, bucket)
		}
	}
	return wide
}

func (t Times) sum() (sum uint64) {
	for _, bucket := range t.Buckets {
		sum += bucket.Count
	}
	return sum
}

// quantile returns within how many seconds so many of the answers came. It is not known
// without answers.
func (t Times) quantile(q float64) (seconds float64, known bool) {
	sum := t.sum()
	if sum == 0 {
		return 0, false
	}
	rank := max(uint64(math.Ceil(q*float64(sum))), 1)
	for _, bucket := range t.Buckets {
		if rank <= bucket.Count {
			// Within a bucket they are taken to be spread evenly on its scale.
			part := float64(rank) / float64(bucket.Count)
			return math.Exp2((float64(bucket.Index) - 1 + part) / math.Exp2(float64(t.Schema))), true
		}
		rank -= bucket.Count
	}
	return 0, false
}
