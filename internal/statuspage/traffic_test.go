package statuspage

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// timesOf returns what a histogram holds of answers that took so long.
func timesOf(schema int32, seconds ...float64) Times {
	t := Times{Schema: schema}
	for _, s := range seconds {
		index := int32(math.Ceil(math.Log2(s) * math.Exp2(float64(schema))))
		i, found := slices.BinarySearchFunc(t.Buckets, index, compareIndex)
		if !found {
			t.Buckets = slices.Insert(t.Buckets, i, Bucket{Index: index})
		}
		t.Buckets[i].Count++
	}
	return t
}

func TestTheQuantileIsWithinABucketOfTheTrueOne(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, count := range []int{1, 2, 19, 20, 100, 5000} {
		var took []float64
		for range count {
			took = append(took, 0.0001*math.Exp(random.Float64()*10))
		}
		sorted := slices.Sorted(slices.Values(took))
		want := sorted[int(math.Ceil(0.95*float64(count)))-1]
		for _, schema := range []int32{2, 1, 0} {
			width := math.Exp2(1 / math.Exp2(float64(schema)))
			got, known := timesOf(2, took...).widened(schema).quantile(0.95)
			if !known || got > want*width*1.0001 || got < want/width*0.9999 {
				t.Errorf("of %d answers 95 %% came in %g s, said is %g at the schema %d", count, want, got, schema)
			}
		}
	}
	if _, known := (Times{}).quantile(0.95); known {
		t.Error("a quantile of nothing is known")
	}
}

func TestTimesSinceOtherTimes(t *testing.T) {
	early, late := []float64{0.01, 0.01, 3}, []float64{0.01, 0.5, 7}
	for _, schemas := range [][2]int32{{2, 2}, {2, 1}, {1, 0}} {
		before := timesOf(schemas[0], early...)
		after := timesOf(schemas[0], append(slices.Clone(early), late...)...).widened(schemas[1])
		want := timesOf(schemas[0], late...).widened(schemas[1])
		if got := after.since(before); got.Schema != want.Schema || !slices.Equal(got.Buckets, want.Buckets) {
			t.Errorf("from the schema %d to %d: %v, want %v", schemas[0], schemas[1], got, want)
		}
	}
	if got := timesOf(2, 1).since(timesOf(2, early...)); got.sum() != 1 {
		t.Errorf("after a reset there are %d answers, want 1", got.sum())
	}
	if got := timesOf(2, 1).since(Times{}); got.Schema != 2 || got.sum() != 1 {
		t.Errorf("since nothing there are %v", got)
	}
}

func TestTheTrafficIsThatOfTheLastMinutes(t *testing.T) {
	var c Counts
	now := time.Unix(1_700_000_000, 0)
	if c.Add(now, Count{}); c.Traffic() != nil {
		t.Error("there is traffic without a request")
	}
	var took []float64
	count := Count{}
	second := func(requests, errors int, seconds float64) {
		now = now.Add(time.Second)
		for range requests {
			took = append(took, seconds)
		}
		count.Requests, count.Errors = count.Requests+uint64(requests), count.Errors+uint64(errors)
		count.Times = timesOf(2, took...)
		if c.IsDue(now) {
			c.Add(now, count)
		}
	}
	near := func(got, want, by float64) bool { return got >= want/by && got <= want*by }
	for range 20 {
		second(10, 1, 0.1)
	}
	if got := c.Traffic(); got == nil || !near(got.PerSecond, 10, 1.01) || !near(got.ErrorsPerSecond, 1, 1.01) || got.P95MS == nil || !near(*got.P95MS, 100, 1.2) {
		t.Errorf("after 20 s: %+v", got)
	}
	for range 600 {
		second(2, 0, 0.01)
	}
	if got := c.Traffic(); !near(got.PerSecond, 2, 1.01) || got.ErrorsPerSecond != 0 || !near(*got.P95MS, 10, 1.2) {
		t.Errorf("what was ten minutes ago still counts: %+v", got)
	}
	if most := int(trafficWindow/trafficPace) + 2; len(c.kept) > most {
		t.Errorf("%d counts are kept, want at most %d", len(c.kept), most)
	}
	for range 600 {
		second(0, 0, 0)
	}
	if got := c.Traffic(); got == nil || got.PerSecond != 0 || got.P95MS != nil {
		t.Errorf("of a service that nobody asks any more: %+v", got)
	}
	second(1, 1, 0.01)
	second(0, 0, 0)
	if got := c.Traffic(); got.PerSecond == 0 || got.ErrorsPerSecond == 0 {
		t.Errorf("one request is none: %+v", got)
	}
}

func TestACounterThatBeginsAnewShowsNothingAbsurd(t *testing.T) {
	var c Counts
	now := time.Unix(1_700_000_000, 0)
	c.Add(now, Count{Requests: 1000, Errors: 1000, Times: timesOf(2, 1, 2, 3)})
	c.Add(now.Add(20*time.Second), Count{Requests: 5, Times: timesOf(2, 1)})
	c.Add(now.Add(10*time.Second), Count{Requests: 6, Times: timesOf(2, 1)}) // and a clock that was set back
	c.Add(now.Add(30*time.Second), Count{Requests: 26, Errors: 20, Times: timesOf(2, 1)})
	if got := c.Traffic(); got.PerSecond != 1 || got.ErrorsPerSecond != 1 {
		t.Errorf("%+v", got)
	}
}
