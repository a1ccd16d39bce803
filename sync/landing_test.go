package sync_test

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// TestReadWhileItMoves: who reads mapped values all the time reads no older one than was acknowledged, and no other, while a directory with
// very much goes to another service and back: of what is in the directory, and of what is beside it.
func TestReadWhileItMoves(t *testing.T) {
	h := newHost(t)
	slow := func(o *varsync.Options) { o.Timeout = time.Minute } // on a busy machine
	reader, writer, mover := h.client(t, false, slow), h.client(t, false, slow), h.client(t, false, slow)
	const many = 21_000 // more than are put into the file at once
	var changes []model.Change
	for i := range many {
		changes = append(changes, model.Change{Op: model.OpStore, Tenant: "t", Service: "s", Name: fmt.Sprintf("d/v%d", i), Data: []byte("0"), Create: true, Parents: true})
		if len(changes) == 1000 {
			if _, err := mover.Report(t.Context(), changes...); err != nil {
				t.Fatal(err)
			}
			changes = changes[:0]
		}
	}
	names := []string{"s/d/v7", "s/beside", "r/beside"}
	for _, name := range names[1:] {
		store(t, mover, "t", name[:1], name[2:], "0")
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	stopped := func() bool {
		select {
		case <-stop:
			return true
		default:
			return false
		}
	}
	reads := make([]atomic.Int64, len(names))
	for i, name := range names {
		mine, seen := variable(t, writer, "t", name[:1], name[2:]), variable(t, reader, "t", name[:1], name[2:])
		for _, v := range []*varsync.Variable{mine, seen} {
			if !v.Service().Mapped() {
				t.Fatal("not mapped")
			}
		}
		var acked atomic.Int64
		wg.Go(func() {
			v := mine
			for n := int64(1); !stopped(); n++ {
				v = v.Now()
				if _, err := v.Store(t.Context(), strconv.AppendInt(nil, n, 10)); err != nil {
					t.Errorf("%s: store %d: %v", name, n, err)
					return
				}
				acked.Store(n)
			}
		})
		wg.Go(func() {
			v := seen
			for !stopped() {
				least := acked.Load()
				v = v.Now()
				data, _, err := v.Load(nil)
				if errors.Is(err, model.ErrNotFound) && reader.Barrier(t.Context()) && v.Gone() {
					continue // what the file tells is ahead of what the client is told
				}
				if got, _ := strconv.ParseInt(string(data), 10, 64); err != nil || got < least {
					t.Errorf("%s is %q, %v, want %d or more", name, data, err, least)
					return
				}
				reads[i].Add(1)
			}
		})
	}
	for n := range 6 {
		from, to := "s", "r"
		if n%2 == 1 {
			from, to = to, from
		}
		before := reads[0].Load()
		if _, err := mover.Report(t.Context(), model.Change{Op: model.OpRename, Tenant: "t", Service: from, Name: "d", ToService: to, ToName: "d"}); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { return reads[0].Load() > before || t.Failed() })
	}
	close(stop)
	wg.Wait()
	if v := variable(t, reader, "t", "s", "d/v7"); !v.Service().Mapped() {
		t.Error("not mapped any more")
	}
}
