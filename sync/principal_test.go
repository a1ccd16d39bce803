package sync_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/offline"
	varsync "github.com/commy-project/commyfs/sync"
)

// posing is a connection whose server takes the client for somebody: to it the clients of others are others.
type posing struct {
	varsync.Conn
	who string
}

func (c posing) Hello(ctx context.Context, who *model.Client, w model.Watcher) (*model.Welcome, error) {
	as := *who
	as.ID = bytes.Clone(who.ID)
	for i := range c.who {
		as.ID[i] ^= c.who[i]
	}
	welcome, err := c.Conn.Hello(ctx, &as, w)
	if err == nil {
		welcome.Principal = c.who
	}
	return welcome, err
}

// pose has the server take a client for who says.
func pose(who func() string) func(*varsync.Options) {
	return func(o *varsync.Options) {
		dial := o.Dial
		o.Dial = func(ctx context.Context) (varsync.Conn, error) {
			conn, err := dial(ctx)
			if err != nil {
				return nil, err
			}
			return posing{conn, who()}, nil
		}
	}
}

func as(name string) func() string { return func() string { return name } }

// TestPrincipal_Replaced: a change whose answer was lost is not made a second time in another's name.
func TestPrincipal_Replaced(t *testing.T) {
	h := newHost(t)
	other := h.client(t, true)
	store(t, other, "t", "s", "log", "first,")
	l := &cable{h: h, crash: 2}
	l.steps = -1 << 20
	var name atomic.Value
	name.Store("one")
	c := h.client(t, true, func(o *varsync.Options) { o.Dial, o.Timeout = l.dial, 5*time.Second }, pose(func() string { return name.Load().(string) }))
	v := variable(t, c, "t", "s", "log")
	l.mu.Lock()
	l.steps = 0
	l.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		_, err := v.Commit(context.Background(), appended("second,"))
		done <- err
	}()
	eventually(t, l.isDead) // it was carried out, and the answer is lost
	l.cut()
	l.mu.Lock()
	l.crash, l.dead = 0, false
	l.mu.Unlock()
	name.Store("two")
	l.mend()
	if err := <-done; !errors.Is(err, model.ErrForgotten) {
		t.Errorf("%v", err)
	}
	commit(t, v, appended("third,"))
	wantValue(t, variable(t, other, "t", "s", "log"), "first,second,third,")
}

// TestOffline_PrincipalReplaced: the same for what is in a queue. Whether it was carried out is judged by the value.
func TestOffline_PrincipalReplaced(t *testing.T) {
	t.Parallel()
	for _, dies := range []bool{false, true} {
		for _, batch := range []bool{false, true} {
			t.Run(fmt.Sprintf("dies %v, in replay %v", dies, batch), func(t *testing.T) {
				t.Parallel()
				h := newHost(t)
				other := h.client(t, true)
				store(t, other, "t", "s", "log", "first,")
				l := &cable{h: h}
				dir := filepath.Join(t.TempDir(), "q")
				var name atomic.Value
				name.Store("one")
				c := h.client(t, true, withQueue(t, dir, l), pose(func() string { return name.Load().(string) }))
				log := variable(t, c, "t", "s", "log")
				if batch {
					goOffline(t, c, l)
				}
				l.mu.Lock()
				l.steps, l.crash = 0, 2 // it is carried out, and nobody hears of it
				l.mu.Unlock()
				commit(t, log, appended("second,"))
				commit(t, log, appended("third,"))
				if batch {
					l.mend()
					eventually(t, l.isDead)
				}
				l.cut()
				state := dir
				if dies {
					state = crashImage(t, dir)
					c.Close()
					l = &cable{h: h}
					c = h.client(t, true, withQueue(t, state, l), pose(as("two")))
				} else {
					name.Store("two")
					l.mu.Lock()
					l.crash, l.dead = 0, false
					l.mu.Unlock()
					l.mend()
				}
				eventually(t, func() bool { return queued(t, c) == 0 })
				got, _ := load(t, variable(t, h.client(t, true), "t", "s", "log"))
				list, _ := offline.Asides(state)
				// Of a whole batch of appends nobody can tell: it is set aside, and marked.
				if whole := got == "first,second,third,"; !whole || (len(list) > 0) != batch || batch && !list[0].Doubt {
					t.Errorf("%q, set aside: %+v", got, list)
				}
			})
		}
	}
}

// TestResume_PrincipalReplaced: an heir whose credentials were replaced does not take what was carried out for refused.
func TestResume_PrincipalReplaced(t *testing.T) {
	h := newHost(t)
	other := h.client(t, true)
	store(t, other, "t", "s", "log", "")
	var how atomic.Int32
	var last atomic.Uint64
	c := h.client(t, true, func(o *varsync.Options) {
		o.OnNumber = func(n uint64) { last.Store(n) }
		dial := o.Dial
		o.Dial = func(ctx context.Context) (varsync.Conn, error) {
			inner, err := dial(ctx)
			return dying{inner, &how}, err
		}
	}, pose(as("one")))
	v := variable(t, c, "t", "s", "log")
	how.Store(2)
	n := &noted{}
	v.Enqueue(varsync.Edit{Kind: varsync.EditAppend, Data: []byte("a"), Journal: n})
	wantValue(t, variable(t, other, "t", "s", "log"), "a")
	heir := h.client(t, true, func(o *varsync.Options) {
		o.Resume = &varsync.Resume{ID: c.ID(), Last: last.Load(), Ask: []uint64{n.number.Load()}, Principal: "one"}
	}, pose(as("two")))
	if out, err := heir.Became(t.Context(), n.number.Load()); !errors.Is(err, model.ErrForgotten) {
		t.Errorf("%v, %v", out, err)
	}
}
