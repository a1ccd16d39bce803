package integration

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/commy-project/commyfs"
	"github.com/commy-project/commyfs/internal/testenv"
)

// TestS14_Incr: what the server adds is a change like any other: an event on every mount, a version, a line of watch.
func TestS14_Incr(t *testing.T) {
	h, a, b := twoMounts(t)
	a.Write("t/s/n", "41\n")
	b.WaitValue("t/s/n", "41\n")
	b.List("t/s")
	seen, w := b.Inotify(), h.Watch("t/s")
	mark := seen.Mark()
	if out := h.Must("incr", "t/s/n"); out != "42\n" {
		t.Errorf("incr printed %q", out)
	}
	seen.Expect(mark, "MODIFY t/s/n", "CLOSE_WRITE t/s/n")
	if got := a.Read("t/s/n"); got != "42\n" {
		t.Errorf("the value is %q", got)
	}
	if v := a.Version("t/s/n"); v != 2 {
		t.Errorf("version %d, want 2", v)
	}
	h.Must("incr", "t/s/new", "-3")
	seen.Expect(mark, "CREATE t/s/new", "CLOSE_WRITE t/s/new")
	if got := w.Values("new"); len(got) != 1 || got[0] != "-3\n" {
		t.Errorf("watch has %q", got)
	}

	// Other changes and additions have one order.
	h.MustShell(`printf 100 > "$1"`, a.Path("t/s/n"))
	h.Must("incr", "t/s/n", "5")
	h.MustShell(`printf 0 >> "$1"`, b.Path("t/s/n"))
	h.Must("incr", "t/s/n")
	if got := w.Values("n"); strings.Join(got, " ") != "42\n 100 105 1050 1051" {
		t.Errorf("watch has %q", got)
	}
}

// TestS14_CountersThroughKills: 64 programs add 1,000 times each while servers are killed. Each addition counts once.
func TestS14_CountersThroughKills(t *testing.T) {
	const clients, each, kills = 64, 1000, 3
	h, a, b := twoMounts(t)
	h.crashed = true
	var done atomic.Int64
	var wg sync.WaitGroup
	for range clients {
		c, err := commyfs.Connect(t.Context(), commyfs.Options{URLs: []string{h.Socket()}, Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		s := c.Service("t", "s")
		wg.Go(func() {
			defer c.Close()
			for range each {
				if _, err := s.Add(t.Context(), "n", 1); err != nil {
					t.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	for k := range kills {
		testenv.Eventually(t, readyBound, func() error {
			if n, want := done.Load(), int64(clients*each*(k+1)/(kills+1)); n < want {
				return fmt.Errorf("%d additions are answered, want %d", n, want)
			}
			return nil
		})
		h.KillServer(h.Status().Server.Pid)
	}
	wg.Wait()
	want := fmt.Sprintln(clients * each)
	for _, m := range []*Mount{a, b} {
		m.WaitValue("t/s/n", want)
	}
	if v := a.Version("t/s/n"); v != clients*each {
		t.Errorf("version %d, want one for each addition", v)
	}
}
