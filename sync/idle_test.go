package sync_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

func idle(d time.Duration) func(*varsync.Options) {
	return func(o *varsync.Options) { o.Idle = d }
}

// A service that nobody uses is not watched any more, and what its variables are is right again at the next use.
func TestIdleServiceIsLetGo(t *testing.T) {
	eachAccessor(t, func(t *testing.T, h *host, noMap bool) {
		other := h.client(t, !noMap)
		for _, name := range []string{"v", "same", "gone", "d/moves"} {
			store(t, other, "t", "s", name, "1")
		}
		c := h.client(t, noMap, idle(20*time.Millisecond), func(o *varsync.Options) {
			o.OnChange = func(notices []varsync.Notice) {
				for _, n := range notices {
					if !n.Dir && n.Path[2] != "new" && n.Path[2] != "held" {
						t.Errorf("told of %+v", n)
					}
				}
			}
		})
		store(t, other, "t", "held", "held", "1")
		held := variable(t, c, "t", "held", "held")
		held.Service().Hold()
		v, same, gone, moves := variable(t, c, "t", "s", "v"), variable(t, c, "t", "s", "same"), variable(t, c, "t", "s", "gone"), variable(t, c, "t", "s", "d/moves")
		s := v.Service()
		eventually(t, func() bool { return !s.Watched() })
		if !held.Service().Watched() {
			t.Error("a service is not watched that is held")
		}
		store(t, other, "t", "s", "v", "22")
		store(t, other, "t", "s", "new", "1")
		for _, ch := range []model.Change{
			{Op: model.OpDelete, Tenant: "t", Service: "s", Name: "gone"},
			{Op: model.OpRename, Tenant: "t", Service: "s", Name: "d/moves", ToName: "moved"},
		} {
			if _, err := other.Report(t.Context(), ch); err != nil {
				t.Fatal(err)
			}
		}
		store(t, other, "t", "held", "held", "2")
		eventually(t, func() bool { return held.Meta().Version == 2 })
		if s.Watched() {
			t.Error("it is watched again")
		}
		for _, tt := range []struct {
			v    *varsync.Variable
			want string
		}{{v, "22"}, {same, "1"}, {moves, "1"}} {
			if got, _ := load(t, tt.v); got != tt.want {
				t.Errorf("%s is %q, want %q", tt.v.Name(), got, tt.want)
			}
		}
		if !s.Watched() || !gone.Gone() || moves.Name() != "moved" || s.Mapped() == noMap {
			t.Errorf("watched %t, gone %t, moved to %s, mapped %t", s.Watched(), gone.Gone(), moves.Name(), s.Mapped())
		}
		held.Service().Release()
		eventually(t, func() bool { return !held.Service().Watched() && !s.Watched() })
		wantSame(t, c, other)
	})
}

// Services come and go under readers and writers: nobody reads what is older than what he was told is stored.
func TestIdleServicesUnderUse(t *testing.T) {
	eachAccessor(t, func(t *testing.T, h *host, noMap bool) {
		c := h.client(t, noMap, idle(2*time.Millisecond), slow)
		var wg sync.WaitGroup
		for w := range 4 {
			store(t, c, "t", fmt.Sprint("s", w%2), fmt.Sprint("v", w), "")
			v := variable(t, c, "t", fmt.Sprint("s", w%2), fmt.Sprint("v", w))
			wg.Go(func() {
				for n := range 100 {
					res, err := v.Store(t.Context(), fmt.Appendf(nil, "%d", n))
					if err != nil {
						t.Error(err)
						return
					}
					got, meta, err := v.Load(nil)
					if err != nil || string(got) != fmt.Sprint(n) || meta.Version != res.Version {
						t.Errorf("%q, version %d, %v; want %d, version %d", got, meta.Version, err, n, res.Version)
					}
					time.Sleep(time.Duration(n%5) * time.Millisecond)
				}
			})
		}
		wg.Wait()
	})
}

// The server can let go of it too.
func TestIdleServiceAtTheServer(t *testing.T) {
	h := newHost(t)
	h.stop(t)
	h.idle = 50 * time.Millisecond
	h.start(t)
	c := h.client(t, false, idle(50*time.Millisecond))
	store(t, c, "t", "s", "v", "1")
	v := variable(t, c, "t", "s", "v")
	eventually(t, func() bool {
		st, err := c.Status(t.Context())
		return err == nil && st.Loaded == 0
	})
	wantValue(t, v, "1")
}
