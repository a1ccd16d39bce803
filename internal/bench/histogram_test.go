package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// exact is the quantile by nearest rank.
func exact(sorted []time.Duration, q float64) time.Duration {
	return sorted[max(int(math.Ceil(q*float64(len(sorted)))), 1)-1]
}

func TestQuantile(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	spread := make([]time.Duration, 10_000)
	for i := range spread {
		spread[i] = time.Duration(math.Exp(random.Float64() * math.Log(1e10)))
	}
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for _, c := range []struct {
		name   string
		values []time.Duration
	}{
		{"one", []time.Duration{77}},
		{"two", []time.Duration{10, 20}},
		{"1 to 100", hundred},
		{"zero and the longest", []time.Duration{0, math.MaxInt64}},
		{"one outlier in a hundred", append(slices.Repeat([]time.Duration{5}, 99), time.Second)},
		{"two outliers in a hundred", append(slices.Repeat([]time.Duration{5}, 98), time.Second, time.Second)},
		{"spread", spread},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h histogram
			for _, v := range c.values {
				h.add(v)
			}
			sorted := slices.Sorted(slices.Values(c.values))
			for _, q := range []float64{0, 0.01, 0.5, 0.98, 0.99, 0.999, 1} {
				got, want := h.quantile(q), exact(sorted, q)
				if diff := math.Abs(float64(got - want)); diff > float64(want)/(1<<precision) || want < 2<<precision && got != want {
					t.Errorf("quantile(%g) = %d, want %d", q, got, want)
				}
			}
			if h.n != uint64(len(c.values)) {
				t.Errorf("count %d, want %d", h.n, len(c.values))
			}
		})
	}
}

func TestQuantile_Empty(t *testing.T) {
	var h histogram
	if got := h.quantile(0.5); got != 0 {
		t.Errorf("quantile of nothing = %v", got)
	}
}

func TestBucket(t *testing.T) {
	last := -1
	for _, v := range []time.Duration{math.MinInt64, -1, 0, 1, 127, 128, 255, 256, 257, 258, 511, 512, 1023, 1024, math.MaxInt64} {
		b := bucket(v)
		if b < last || b >= len(histogram{}.counts) {
			t.Errorf("bucket(%d) = %d after %d", v, b, last)
		}
		if m := middle(b); bucket(m) != b {
			t.Errorf("middle(%d) = %d, which is in bucket %d", b, m, bucket(m))
		}
		last = b
	}
	for b := range bucket(math.MaxInt64) {
		if middle(b) >= middle(b+1) || bucket(middle(b)) != b {
			t.Fatalf("bucket %d has middle %d, the next %d", b, middle(b), middle(b+1))
		}
	}
}
