package commyfs_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/commy-project/commyfs"
	"github.com/commy-project/commyfs/internal/testenv"
)

// following is a watch that a test takes events from one by one.
type following struct {
	t    *testing.T
	next func() (commyfs.Event, error, bool)
}

func follow(t *testing.T, seq iter.Seq2[commyfs.Event, error]) *following {
	next, stop := iter.Pull2(seq)
	t.Cleanup(stop)
	return &following{t, next}
}

func (f *following) event() commyfs.Event {
	f.t.Helper()
	ev, err, ok := f.next()
	if err != nil || !ok {
		f.t.Fatalf("the watch has ended: %v, %v", err, ok)
	}
	return ev
}

// want takes as many events as are wanted, each written as "kind path=value" or "renamed old>path".
func (f *following) want(want ...string) (last commyfs.Event) {
	f.t.Helper()
	for _, w := range want {
		last = f.event()
		if got := show(last); got != w {
			f.t.Fatalf("event %q, want %q", got, w)
		}
	}
	return last
}

func show(ev commyfs.Event) string {
	s := ev.Kind.String()
	switch {
	case ev.Kind == commyfs.EventSynced:
		return s
	case ev.Kind == commyfs.EventRenamed:
		s += " " + ev.Old.String() + ">"
	default:
		s += " "
	}
	s += ev.Path().String()
	if ev.Dir {
		s += "/"
	}
	if ev.Value != nil {
		s += "=" + string(ev.Value)
	}
	return s
}

// both runs a test with and without shared memory.
func both(t *testing.T, f func(t *testing.T, h *host, c *commyfs.Client)) {
	for name, noMap := range map[string]bool{"shared memory": false, "own memory": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			f(t, h, h.connect(t, func(o *commyfs.Options) { o.NoMap = noMap }))
		})
	}
}

func TestWatch_Service(t *testing.T) {
	both(t, func(t *testing.T, h *host, c *commyfs.Client) {
		s := c.Service("t", "s")
		put(t, s, "b", "1")
		put(t, s, "a/x", "1")
		w := follow(t, s.Watch(t.Context(), commyfs.WatchOptions{}))
		synced := w.want("initial t/s/a/", "initial t/s/a/x=1", "initial t/s/b=1", "synced")
		if synced.Token == (commyfs.Token{}) {
			t.Error("the mark has no token")
		}
		put(t, s, "b", "2")
		ev := w.want("modified t/s/b=2")
		if !ev.Own || ev.Version != 2 || ev.Writer == "" || ev.Size != 1 || time.Since(ev.Time).Abs() > time.Minute || ev.Token == synced.Token {
			t.Errorf("event %+v", ev)
		}
		other := h.connect(t).Service("t", "s")
		put(t, other, "a/y", "")
		if ev := w.want("created t/s/a/y="); ev.Own {
			t.Error("somebody else's change is taken for our own")
		}
		check(t, other.Rename(t.Context(), "a", other, "c"))
		check(t, other.Delete(t.Context(), "c/y"))
		w.want("renamed t/s/a>t/s/c/", "deleted t/s/c/y")
		check(t, other.Delete(t.Context(), "c/x"))
		check(t, other.Rmdir(t.Context(), "c"))
		check(t, other.Delete(t.Context(), "b"))
		check(t, other.Rmdir(t.Context(), ""))
		w.want("deleted t/s/c/x", "deleted t/s/c/", "deleted t/s/b", "deleted t/s/")
		put(t, other, "again", "1")
		w.want("created t/s/", "created t/s/again=1")
	})
}

func TestWatch_Names(t *testing.T) {
	both(t, func(t *testing.T, h *host, c *commyfs.Client) {
		s := c.Service("t", "s")
		put(t, s, "d/v", "1")
		put(t, s, "dv", "1")
		put(t, s, "other", "1")
		w := follow(t, s.Watch(t.Context(), commyfs.WatchOptions{UpdatesOnly: true}, "d", "up/above/v", "new"))
		w.want("synced")
		put(t, s, "dv", "2")
		put(t, s, "d/v", "2")
		put(t, s, "new", "1")
		w.want("modified t/s/d/v=2", "created t/s/new=1")
		put(t, s, "x/above/v", "1")
		put(t, s, "x/other", "1")
		check(t, s.Rename(t.Context(), "x", nil, "up")) // in the same service
		w.want("renamed t/s/x>t/s/up/")
		put(t, s, "up/above/v", "2")
		check(t, s.Rename(t.Context(), "d/v", s, "away"))
		w.want("modified t/s/up/above/v=2", "renamed t/s/d/v>t/s/away=2")
		check(t, s.Exchange(t.Context(), "up", nil, "new"))
		w.want("renamed t/s/up>t/s/new/", "renamed t/s/new>t/s/up=1")
	})
}

// Services that come later are watched too, and what they hold by then is reported once.
func TestWatch_Tree(t *testing.T) {
	both(t, func(t *testing.T, h *host, c *commyfs.Client) {
		put(t, c.Service("a", "s"), "v", "1")
		put(t, c.Service("b", "s"), "v", "1")
		w := follow(t, c.Watch(t.Context(), commyfs.WatchOptions{}, commyfs.Path{Tenant: "a"}, commyfs.Path{Tenant: "c", Service: "s", Name: "only"}))
		w.want("initial a/s/v=1", "synced")
		other := h.connect(t)
		for i := range 20 {
			put(t, other.Service("a", "new"), "v", fmt.Sprint(i))
		}
		put(t, other.Service("b", "s"), "v", "2")
		put(t, other.Service("c", "s"), "other", "1")
		put(t, other.Service("c", "s"), "only", "1")
		put(t, other.Service("a", "new"), "z", "")
		events := map[string][]string{}
		var version uint64
		for events["a/new/z"] == nil || events["c/s/only"] == nil { // services are in no order
			ev := w.event()
			path := ev.Path().String()
			events[path] = append(events[path], ev.Kind.String())
			if path == "a/new/v" && ev.Version <= version {
				t.Errorf("version %d after %d", ev.Version, version)
			}
			if path == "a/new/v" {
				version = ev.Version
			}
		}
		if v := events["a/new/v"]; version != 20 || v[0] != "created" || slices.Contains(v[1:], "created") {
			t.Errorf("events of a/new/v: %q, last version %d", v, version)
		}
		delete(events, "a/new/v")
		if want := "map[a/new:[created] a/new/z:[created] c/s/only:[created]]"; fmt.Sprint(events) != want {
			t.Errorf("events %v, want %s", events, want)
		}
	})
}

func TestWatch_Since(t *testing.T) {
	both(t, func(t *testing.T, h *host, c *commyfs.Client) {
		s := c.Service("t", "s")
		put(t, s, "v", "1")
		put(t, s, "gone", "1")
		w := follow(t, s.Watch(t.Context(), commyfs.WatchOptions{UpdatesOnly: true}))
		var token commyfs.Token
		text, _ := w.want("synced").Token.MarshalText()
		check(t, token.UnmarshalText(text))
		put(t, s, "v", "2")
		put(t, s, "d/new", "1")
		check(t, s.Delete(t.Context(), "gone"))

		c2 := h.connect(t)
		again := follow(t, c2.Service("t", "s").Watch(t.Context(), commyfs.WatchOptions{Since: token}))
		again.want("modified t/s/v=2", "created t/s/d/", "created t/s/d/new=1")
		last := again.want("deleted t/s/gone", "synced")
		put(t, s, "v", "3")
		again.want("modified t/s/v=3")
		named := follow(t, c2.Service("t", "s").Watch(t.Context(), commyfs.WatchOptions{Since: token}, "d", "gone"))
		named.want("created t/s/d/", "created t/s/d/new=1", "deleted t/s/gone", "synced")
		follow(t, s.Watch(t.Context(), commyfs.WatchOptions{Since: last.Token})).want("modified t/s/v=3", "synced")

		// All events of a transaction have a token from which it comes again, but for the last.
		if _, err := c.Txn(t.Context(), s.OpPut("x", []byte("1")), s.OpPut("y", []byte("1"))); err != nil {
			t.Fatal(err)
		}
		x, y := again.want("created t/s/x=1"), again.want("created t/s/y=1")
		follow(t, s.Watch(t.Context(), commyfs.WatchOptions{Since: x.Token})).want("created t/s/x=1", "created t/s/y=1", "synced")
		follow(t, s.Watch(t.Context(), commyfs.WatchOptions{Since: y.Token})).want("synced")

		// A server forgets them when it ends.
		h.restart(t)
		testenv.Eventually(t, 10*time.Second, func() error {
			_, err := c.Status(t.Context())
			return err
		})
		for _, err := range s.Watch(t.Context(), commyfs.WatchOptions{Since: token}) {
			if !errors.Is(err, commyfs.ErrTokenExpired) {
				t.Errorf("after a restart: %v", err)
			}
		}
		for _, err := range c.Watch(t.Context(), commyfs.WatchOptions{Since: token}) {
			if !errors.Is(err, commyfs.ErrInvalid) {
				t.Errorf("of everything: %v", err)
			}
		}
	})
}

func TestWatch_Ends(t *testing.T) {
	testenv.NoLeaks(t)
	h := newHost(t)
	c := h.connect(t)
	ctx, cancel := context.WithCancel(t.Context())
	begun := make(chan struct{})
	ended := make(chan error, 2)
	for _, ctx := range []context.Context{ctx, t.Context()} {
		go func() {
			for ev, err := range c.Watch(ctx, commyfs.WatchOptions{}) {
				if err != nil {
					ended <- err
				} else if ev.Kind == commyfs.EventSynced {
					begun <- struct{}{}
				}
			}
		}()
		<-begun
	}
	for _, err := range c.Watch(t.Context(), commyfs.WatchOptions{}) {
		check(t, err)
		break
	}
	for _, err := range c.List(t.Context(), commyfs.Path{}) {
		check(t, err)
		break
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	check(t, c.Close())
	if err := <-ended; !errors.Is(err, commyfs.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	check(t, c.Close())
	for _, err := range c.Watch(t.Context(), commyfs.WatchOptions{}) {
		if !errors.Is(err, commyfs.ErrClosed) {
			t.Errorf("a watch of a closed client: %v", err)
		}
	}
	if _, err := c.Service("t", "s").Put(t.Context(), "v", nil); !errors.Is(err, commyfs.ErrClosed) {
		t.Errorf("a put of a closed client: %v", err)
	}
}

// Who applies all events to what was there in the beginning has what there is, also when the server ends in between.
func TestWatch_AddsUp(t *testing.T) {
	both(t, func(t *testing.T, h *host, c *commyfs.Client) {
		writer := h.connect(t)
		services := []*commyfs.Service{writer.Service("t", "a"), writer.Service("t", "b"), writer.Service("u", "a")}
		rnd := rand.New(rand.NewPCG(1, 2))
		step := func() {
			s, to := services[rnd.IntN(3)], services[rnd.IntN(3)]
			name := func() string { return []string{"v", "w", "d/v", "d/w", "e/f/v", "d", "e/f"}[rnd.IntN(7)] }
			var err error
			switch rnd.IntN(8) {
			case 0:
				err = s.Delete(t.Context(), name())
			case 1:
				err = s.Rename(t.Context(), name(), to, name())
			case 2:
				err = s.Rmdir(t.Context(), name())
			case 3:
				_, err = s.Append(t.Context(), name(), []byte("+"))
			default:
				_, err = s.Put(t.Context(), name(), fmt.Append(nil, rnd.IntN(1000)))
			}
			if errors.Is(err, commyfs.ErrUnreachable) || errors.Is(err, commyfs.ErrUnavailable) {
				t.Fatal(err)
			}
		}
		for range 50 {
			step()
		}
		w := follow(t, c.Watch(t.Context(), commyfs.WatchOptions{}))
		have := map[commyfs.Path]string{}
		until := func(done func(commyfs.Event) bool) {
			for {
				ev := w.event()
				apply(have, ev)
				if done(ev) {
					return
				}
			}
		}
		until(func(ev commyfs.Event) bool { return ev.Kind == commyfs.EventSynced })
		for round := range 5 {
			for range 100 {
				step()
			}
			if round == 2 {
				h.restart(t)
			}
			// The events of services are not in one order: each has its own mark.
			for _, s := range services {
				put(t, s, "mark", fmt.Sprint(round))
				until(func(ev commyfs.Event) bool {
					return have[commyfs.Path{Tenant: s.Path().Tenant, Service: s.Path().Service, Name: "mark"}] == fmt.Sprint(round)
				})
			}
			want := map[commyfs.Path]string{}
			for info, err := range writer.Walk(t.Context(), commyfs.Path{}) {
				if err != nil {
					t.Fatal(err)
				}
				if info.Dir {
					continue
				}
				e, err := writer.Service(info.Tenant, info.Service).Get(t.Context(), info.Name)
				check(t, err)
				want[info.Path()] = string(e.Value)
			}
			if !maps.Equal(have, want) {
				t.Fatalf("round %d: the events add up to\n%v, there is\n%v", round, have, want)
			}
		}
	})
}

func apply(have map[commyfs.Path]string, ev commyfs.Event) {
	below := func(at, p commyfs.Path) (string, bool) {
		rest, ok := strings.CutPrefix(p.String()+"/", at.String()+"/")
		return strings.TrimSuffix(rest, "/"), ok
	}
	switch {
	case ev.Kind == commyfs.EventRenamed:
		for _, p := range slices.Collect(maps.Keys(have)) {
			rest, ok := below(ev.Old, p)
			if !ok {
				continue
			}
			value := have[p]
			delete(have, p)
			parts := strings.SplitN(strings.TrimSuffix(ev.Path().String()+"/"+rest, "/"), "/", 3)
			have[commyfs.Path{Tenant: parts[0], Service: parts[1], Name: parts[2]}] = value
		}
	case ev.Kind == commyfs.EventDeleted:
		for _, p := range slices.Collect(maps.Keys(have)) {
			if _, ok := below(ev.Path(), p); ok {
				delete(have, p)
			}
		}
	case ev.Value != nil:
		have[ev.Path()] = string(ev.Value)
	}
}

func TestToken(t *testing.T) {
	var token commyfs.Token
	check(t, token.UnmarshalText(nil))
	if token != (commyfs.Token{}) || token.String() != "" {
		t.Errorf("no token is %q", token)
	}
	check(t, token.UnmarshalText([]byte("ab:7")))
	if token.String() != "ab:7" {
		t.Errorf("ab:7 is %q", token)
	}
	for _, bad := range []string{"x", ":", "ab:", ":7", "ab:-7", "ab:7:8"} {
		if err := token.UnmarshalText([]byte(bad)); !errors.Is(err, commyfs.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestWatchOfABusyServiceEnds(t *testing.T) {
	h := newHost(t)
	c := h.connect(t)
	s := c.Service("t", "s")
	put(t, s, "a", "")
	put(t, s, "b", "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	after := 0
	for ev, err := range h.connect(t).Service("t", "s").Watch(ctx, commyfs.WatchOptions{}) {
		if last = err; err != nil {
			break
		}
		if ctx.Err() != nil {
			after++
		}
		if after > 10 {
			break
		}
		if ev.Kind == commyfs.EventSynced {
			cancel()
		}
		for i := range 2 { // there is always more to report
			put(t, s, fmt.Sprint("v", after, i), "")
		}
	}
	if after > 0 || !errors.Is(last, context.Canceled) {
		t.Errorf("%d events after the context had ended, %v", after, last)
	}
}

// Changes of several revisions can come in one step: who stops in the middle of it must not miss the rest.
func TestResumeInTheMiddleOfAStep(t *testing.T) {
	h := newHost(t)
	a, b := h.connect(t), h.connect(t)
	s := a.Service("t", "s")
	put(t, s, "seed", "")
	const n = 200
	tokens := map[string]commyfs.Token{}
	var order []string
	var wg sync.WaitGroup
	defer wg.Wait()
	for ev, err := range b.Service("t", "s").Watch(t.Context(), commyfs.WatchOptions{}) {
		check(t, err)
		if ev.Kind == commyfs.EventSynced {
			for i := range n {
				wg.Go(func() { _, _ = s.Put(t.Context(), fmt.Sprint("v", i), nil) })
			}
		}
		if ev.Kind == commyfs.EventCreated {
			order = append(order, ev.Name)
			tokens[ev.Name] = ev.Token
		}
		if len(order) == n {
			break
		}
	}
	for i := 0; i < n; i += 10 {
		seen := map[string]bool{}
		for ev, err := range b.Service("t", "s").Watch(t.Context(), commyfs.WatchOptions{Since: tokens[order[i]]}) {
			check(t, err)
			if ev.Kind == commyfs.EventSynced {
				break
			}
			seen[ev.Name] = true
		}
		for _, name := range order[i+1:] {
			if !seen[name] {
				t.Fatalf("%s, reported after %s, is not reported again after its token %v", name, order[i], tokens[order[i]])
			}
		}
	}
}
