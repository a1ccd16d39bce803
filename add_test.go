package commyfs_test

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/commy-project/commyfs"
)

func TestAdd(t *testing.T) {
	h := newHost(t)
	c := h.connect(t)
	s := c.Service("t", "s")
	ctx := t.Context()
	want := func(name, value string) {
		t.Helper()
		if e, err := s.Get(ctx, name); err != nil || string(e.Value) != value {
			t.Errorf("%s: %q, %v, want %q", name, e.Value, err, value)
		}
	}
	sum := func(got, want any, err error) {
		t.Helper()
		if err != nil || got != want {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	}
	n, err := s.Add(ctx, "d/n", 41)
	sum(n, int64(41), err)
	n, err = s.Add(ctx, "d/n", -83)
	sum(n, int64(-42), err)
	want("d/n", "-42\n")
	f, err := s.AddFloat64(ctx, "d/n", 0.1)
	sum(f, -41.9, err)
	want("d/n", "-41.9\n")
	text, err := s.AddText(ctx, "d/n", ".20", commyfs.AddOptions{IfExists: true})
	sum(text, commyfs.Sum{Text: "-41.70", Version: 4}, err)

	_, err = s.Add(ctx, "d/n", 1)
	wantErr(t, err, commyfs.ErrInvalid)
	_, err = s.AddText(ctx, "none", "1", commyfs.AddOptions{IfExists: true})
	wantErr(t, err, commyfs.ErrNotFound)
	_, err = s.Put(ctx, "big", []byte("9223372036854775807"))
	check(t, err)
	_, err = s.Add(ctx, "big", 1)
	wantErr(t, err, commyfs.ErrRange)
	text, err = s.AddText(ctx, "big", "1", commyfs.AddOptions{})
	sum(text, commyfs.Sum{Text: "9223372036854775808", Version: 2}, err)
	_, err = s.AddFloat64(ctx, "big", math.Inf(1))
	wantErr(t, err, commyfs.ErrInvalid)

	versions, err := c.Txn(ctx, s.OpAdd("one", 1), s.OpAdd("two", 2), s.OpAdd("one", 10))
	if err != nil || len(versions) != 3 {
		t.Errorf("versions %v, %v", versions, err)
	}
	want("one", "11\n")
	_, err = c.Txn(ctx, s.OpAdd("one", 1), s.OpPut("x", nil), s.OpAdd("x/y", 1))
	wantErr(t, err, commyfs.ErrNotDirectory)
	want("one", "11\n")

	// Who follows the service has its own sum at once, and those who watch get every version or the last one.
	_, err = s.Load(ctx, "one", nil)
	check(t, err)
	n, err = s.Add(ctx, "one", 5)
	sum(n, int64(16), err)
	n, err = s.Int64(ctx, "one")
	sum(n, int64(16), err)
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

// Every addition counts once, whatever becomes of servers and connections, and each gets a sum of its own.
func TestS14_CountersAreExact(t *testing.T) {
	for name, lose := range map[string]bool{"nothing is lost": false, "servers and connections are lost": true} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			clients, each := 64, 100
			if lose {
				clients = 16
			}
			url := "unix://" + h.options.RuntimeDir + "/server.sock"
			var wg sync.WaitGroup
			var mu sync.Mutex
			seen := map[int64]bool{}
			var services []*commyfs.Service
			for i := range clients {
				services = append(services, h.connect(t, func(o *commyfs.Options) {
					if lose && i%4 == 0 {
						o.URLs = []string{cutting(t, url)}
					}
					o.Timeout = time.Minute
				}).Service("t", "s"))
			}
			half := make(chan struct{}, clients)
			for _, s := range services {
				wg.Go(func() {
					for i := range each {
						if i == each/2 {
							half <- struct{}{}
						}
						n, err := s.Add(t.Context(), "n", 1)
						if err != nil {
							t.Error(err)
						}
						mu.Lock()
						if seen[n] {
							t.Errorf("two were told %d", n)
						}
						seen[n] = true
						mu.Unlock()
					}
				})
			}
			for range clients {
				<-half
			}
			if lose {
				h.restart(t)
			}
			wg.Wait()
			e, err := services[0].Get(t.Context(), "n")
			check(t, err)
			if want := fmt.Sprintln(clients * each); string(e.Value) != want || e.Version != uint64(clients*each) {
				t.Errorf("%q in version %d, want %q", e.Value, e.Version, want)
			}
		})
	}
}
