package core

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
)

// moveTo is a rename to another service of the tenant.
func moveTo(from, name, to, toName string) model.Change {
	c := renameTo(at(model.OpRename, "t", from, name), toName)
	c.ToService = to
	return c
}

// beside makes changes until stop is called, which returns how long each has taken, the shortest first.
func beside(t *testing.T, p *peer) (stop func() []time.Duration) {
	t.Helper()
	end := make(chan struct{})
	waits := make(chan []time.Duration)
	go func() {
		var list []time.Duration
		for {
			select {
			case <-end:
				slices.Sort(list)
				waits <- list
				return
			default:
			}
			began := time.Now()
			p.do(store("beside", fmt.Sprint(began)))
			list = append(list, time.Since(began))
		}
	}()
	return func() []time.Duration {
		close(end)
		return <-waits
	}
}

// TestLargeMove: a directory of any size goes to another service at once.
func TestLargeMove(t *testing.T) {
	n := 100_000
	if testing.Short() {
		n = 10_000
	}
	if more, err := strconv.Atoi(os.Getenv("COMMYFS_TEST_ENTRIES")); err == nil {
		n = more
	}
	d := newDirs(t)
	s := d.start(t)
	other, p := connect(t, s), connect(t, s)
	p.do(at(model.OpMkdir, "t", "", ""), at(model.OpMkdir, "t", "s", ""), at(model.OpMkdir, "t", "r", ""), at(model.OpMkdir, "t", "s", "d"))
	fill(t, p, "d", n)
	from, to := p.file(p.service("t", "s")), p.file(p.service("t", "r"))
	p.mustWatch(&model.Watch{Service: p.service("t", "s")})
	p.mustWatch(&model.Watch{Service: p.service("t", "r")})
	stop := beside(t, other)
	testenv.Eventually(t, bound, func() error { // the other one is at it
		if v, err := p.get("t", "s", "beside"); err != nil || v.Version < 50 {
			return fmt.Errorf("%+v, %w", v, err)
		}
		return nil
	})
	began := time.Now()
	p.do(moveTo("s", "d", "r", "e"))
	took := time.Since(began)
	wantNames(t, p, to.Path, map[string]string{"e/d7/v7": "7", "e/d0/v0": "0"})
	wantNames(t, p, from.Path, map[string]string{"d/d0/v0": ""})
	list := stop()
	t.Logf("%d variables moved in %v; of %d changes beside it one took %v, half %v or less", n, took, len(list), list[len(list)-1], list[len(list)/2])
	check := func() {
		t.Helper()
		for name, want := range map[string]string{"e/d7/v7": "7", fmt.Sprintf("e/d%d/v%d", (n-1)%100, n-1): fmt.Sprint(n - 1)} {
			if v, err := p.get("t", "r", name); err != nil || string(v.Data) != want {
				t.Errorf("%s is %q, %v, want %q", name, v.Data, err, want)
			}
		}
		if got := len(p.list(&model.List{Tenant: "t", Service: "r", Recursive: true})); got != n+101 {
			t.Errorf("%d are listed, want %d", got, n+101)
		}
		if got := len(p.list(&model.List{Tenant: "t", Service: "s", Recursive: true})); got != 1 {
			t.Errorf("%d are left", got)
		}
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = d.start(t)
	p = connect(t, s)
	check()
}
