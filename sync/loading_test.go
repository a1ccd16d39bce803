package sync

import (
	"testing"
	"time"
)

// A server that says that it is loading, and has nothing to show for it, is not waited for for ever.
func TestLoadingEnds(t *testing.T) {
	c := &Client{opts: Options{Timeout: time.Minute}}
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, x := range []struct {
		begun, heard time.Time
		more         bool
	}{
		{ago(time.Minute), time.Unix(0, 0), false},
		{ago(time.Minute), ago(time.Minute), false},
		{ago(time.Minute), ago(30 * time.Second), true},
		{ago((maxLoading - 1) * time.Minute), now, true},
		{ago(maxLoading * time.Minute), now, false},
	} {
		if left := c.loadingLeft(x.begun, x.heard.UnixNano()); (left > 0) != x.more || left > time.Minute {
			t.Errorf("begun %v ago, heard %v ago: %v left", now.Sub(x.begun), now.Sub(x.heard), left)
		}
	}
}
