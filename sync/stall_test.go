package sync_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/offline"
	varsync "github.com/commy-project/commyfs/sync"
)

// refusing is a connection to a server that refuses what changes certain variables, and says for what reason.
type refusing struct {
	varsync.Conn
	ids func(id uint64) model.Code // CodeOK: it takes the change
}

func (c *refusing) Report(ctx context.Context, r *model.Report, handle func(*model.Outcome, error)) error {
	for _, ch := range r.Changes {
		if code := c.ids(ch.ID); code != model.CodeOK {
			go handle(&model.Outcome{Seq: r.Seq, Code: code, Message: "it cannot be stored"}, nil)
			return nil
		}
	}
	return c.Conn.Report(ctx, r, handle)
}

// TestOffline_OneRefused: a variable that the server cannot take does not hold up the others, is told of, and is set aside in the end,
// with all that is queued of it.
func TestOffline_OneRefused(t *testing.T) {
	t.Parallel()
	for _, code := range []model.Code{model.CodeInternal, model.CodeNoSpace} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			other := h.client(t, true)
			const variables = 40
			for i := range variables {
				store(t, other, "t", "s", fmt.Sprint("v", i), "0")
			}
			bad := variable(t, other, "t", "s", "v7").ID()
			l := &cable{h: h}
			dir := filepath.Join(t.TempDir(), "q")
			c := h.client(t, true, withQueue(t, dir, l), func(o *varsync.Options) {
				dial := o.Dial
				o.Dial = func(ctx context.Context) (varsync.Conn, error) {
					conn, err := dial(ctx)
					if err != nil {
						return nil, err
					}
					return &refusing{conn, func(id uint64) model.Code {
						if id == bad {
							return code
						}
						return model.CodeOK
					}}, nil
				}
			})
			for i := range variables {
				variable(t, c, "t", "s", fmt.Sprint("v", i))
			}
			goOffline(t, c, l)
			for round := range 3 {
				for i := range variables {
					commit(t, variable(t, c, "t", "s", fmt.Sprint("v", i)), appended(fmt.Sprint(round)))
				}
			}
			l.mend()
			eventually(t, func() bool { return queued(t, c) == 3 })
			for i := range variables {
				if i != 7 {
					wantValue(t, variable(t, other, "t", "s", fmt.Sprint("v", i)), "0012")
				}
			}
			eventually(t, func() bool { s, _ := c.Offline(); return s.Refused == 1 && strings.Contains(s.Why, "cannot be stored") })
			begun := time.Now()
			v := variable(t, c, "t", "s", "v7")
			commit(t, v, appended("3")) // goes behind the others, and waits for nothing
			if d := time.Since(begun); d > 300*time.Millisecond {
				t.Errorf("a write of the variable took %v", d)
			}
			wantValue(t, v, "00123")
			commit(t, variable(t, c, "t", "s", "v8"), appended("3")) // it takes others meanwhile
			eventually(t, func() bool { return queued(t, c) == 0 })
			list, err := offline.Asides(dir)
			if err != nil || len(list) != 1 || list[0].Variable != bad || list[0].Edits != 4 || !strings.Contains(list[0].Reason, "cannot be stored") {
				t.Fatalf("set aside: %+v, %v", list, err)
			}
			if b, err := offline.AsideValue(dir, list[0].ID); err != nil || string(b) != "0123" {
				t.Errorf("%q, %v", b, err)
			}
			wantValue(t, v, "0")
			wantSame(t, c, other)
			if s, _ := c.Offline(); s.Refused != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestOffline_AllRefused: nothing is set aside while the server takes nothing, and it is replayed once the server does.
func TestOffline_AllRefused(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	other := h.client(t, true)
	store(t, other, "t", "s", "v", "0")
	l := &cable{h: h}
	dir := filepath.Join(t.TempDir(), "q")
	var tries atomic.Int32
	const most = 10
	c := h.client(t, true, withQueue(t, dir, l), func(o *varsync.Options) {
		dial := o.Dial
		o.Dial = func(ctx context.Context) (varsync.Conn, error) {
			conn, err := dial(ctx)
			if err != nil {
				return nil, err
			}
			return &refusing{conn, func(uint64) model.Code {
				if tries.Add(1) <= most {
					return model.CodeNoSpace
				}
				return model.CodeOK
			}}, nil
		}
	})
	v := variable(t, c, "t", "s", "v")
	goOffline(t, c, l)
	commit(t, v, appended("1"))
	l.mend()
	testenv.Eventually(t, time.Minute, func() error {
		if n := queued(t, c); n > 0 {
			return fmt.Errorf("%d entries after %d tries", n, tries.Load())
		}
		return nil
	})
	wantValue(t, variable(t, other, "t", "s", "v"), "01")
	if list, _ := offline.Asides(dir); len(list) > 0 {
		t.Errorf("set aside: %+v", list)
	}
}
