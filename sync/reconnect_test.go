package sync_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

func TestReconnectResumes(t *testing.T) {
	eachAccessor(t, func(t *testing.T, h *host, noMap bool) {
		c := h.client(t, noMap)
		store(t, c, "t", "s", "stays", "1")
		store(t, c, "t", "s", "goes", "1")
		store(t, c, "t", "s", "dir/moves", "1")
		stays, goes := variable(t, c, "t", "s", "stays"), variable(t, c, "t", "s", "goes")
		moves := variable(t, c, "t", "s", "dir/moves")
		h.stop(t)
		eventually(t, func() bool { up, _, _ := c.Connection(); return !up })
		if got, _ := load(t, stays); got != "1" {
			t.Errorf("offline: %q", got)
		}
		// While the client is away the world changes.
		h.start(t)
		other := h.client(t, true)
		store(t, other, "t", "s", "stays", "2")
		store(t, other, "t", "s", "comes", "1")
		for _, ch := range []model.Change{
			{Op: model.OpDelete, Tenant: "t", Service: "s", Name: "goes"},
			{Op: model.OpRename, Tenant: "t", Service: "s", Name: "dir/moves", ToTenant: "t", ToService: "s", ToName: "moved"},
			{Op: model.OpRmdir, Tenant: "t", Service: "s", Name: "dir"},
		} {
			if _, err := other.Report(t.Context(), ch); err != nil {
				t.Fatal(err)
			}
		}
		wantValue(t, stays, "2")
		wantValue(t, variable(t, c, "t", "s", "comes"), "1")
		eventually(t, goes.Gone)
		eventually(t, func() bool { return moves.Name() == "moved" && !moves.Gone() })
		wantSame(t, c, other)
	})
}

// The server is replaced again and again under writers: every append is there exactly once, and none of the writers saw
// an error.
func TestExactlyOnceAcrossServers(t *testing.T) {
	eachAccessor(t, func(t *testing.T, h *host, noMap bool) {
		t.Parallel() // it waits for the disk most of the time
		const writers, each = 4, 60
		seed := h.client(t, noMap, slow)
		store(t, seed, "t", "s", "log", "")
		var (
			wg   sync.WaitGroup
			done atomic.Int32
			acks atomic.Int32
		)
		for w := range writers {
			c := h.client(t, noMap, slow)
			v := variable(t, c, "t", "s", "log")
			wg.Go(func() {
				defer done.Add(1)
				for n := range each {
					if _, err := v.Commit(t.Context(), varsync.Edit{Kind: varsync.EditAppend, Data: fmt.Appendf(nil, "%d-%d\n", w, n)}); err != nil {
						t.Errorf("writer %d: %v", w, err)
						return
					}
					acks.Add(1)
				}
			})
		}
		for done.Load() < writers {
			before := acks.Load()
			h.stop(t)
			h.start(t)
			eventually(t, func() bool { return acks.Load() > before+8 || done.Load() == writers })
		}
		wg.Wait()
		check := h.client(t, true)
		got, _ := load(t, variable(t, check, "t", "s", "log"))
		if n := strings.Count(got, "\n"); n != writers*each {
			t.Errorf("%d lines, want %d", n, writers*each)
		}
		for w := range writers {
			for n := range each {
				if line := fmt.Sprintf("%d-%d\n", w, n); strings.Count("\n"+got, "\n"+line) != 1 {
					t.Errorf("%q is there %d times", line, strings.Count("\n"+got, "\n"+line))
				}
			}
		}
	})
}

func slow(o *varsync.Options) { o.Timeout = 30 * time.Second }

func TestOfflineFailsWithinTheBound(t *testing.T) {
	h := newHost(t)
	c := h.client(t, false, func(o *varsync.Options) { o.Timeout = 2 * time.Second })
	store(t, c, "t", "s", "v", "1")
	v := variable(t, c, "t", "s", "v")
	h.stop(t)
	for range 2 { // waiting for a server, then knowing that there is none
		if _, err := v.Store(t.Context(), []byte("2")); !errors.Is(err, model.ErrDisconnected) {
			t.Fatalf("err = %v, want ErrDisconnected", err)
		}
	}
	if _, err := c.Probe(t.Context(), &model.Probe{ID: v.ID(), Want: model.RightWrite}); !errors.Is(err, model.ErrDisconnected) {
		t.Errorf("probe: %v", err)
	}
	h.start(t)
	eventually(t, func() bool { _, err := v.Store(t.Context(), []byte("3")); return err == nil })
	// What was given up stays given up: it is not sent behind the caller's back.
	if got, meta := load(t, v); got != "3" || meta.Version != 2 {
		t.Errorf("%q version %d, want 3 version 2", got, meta.Version)
	}
}

func TestNotices(t *testing.T) {
	h := newHost(t)
	writer := h.client(t, false)
	store(t, writer, "t", "s", "v", "1")
	var (
		mu  sync.Mutex
		got []string
	)
	kinds := map[varsync.NoticeKind]string{varsync.Modified: "modified", varsync.Created: "created", varsync.Deleted: "deleted", varsync.Renamed: "renamed"}
	c := h.client(t, true, func(o *varsync.Options) {
		o.OnChange = func(ns []varsync.Notice) {
			mu.Lock()
			defer mu.Unlock()
			for _, n := range ns {
				s := kinds[n.Kind] + " " + strings.Join(n.Path, "/")
				if n.Kind == varsync.Renamed {
					s += " from " + strings.Join(n.OldPath, "/")
				}
				got = append(got, s)
			}
		}
	})
	variable(t, c, "t", "s", "v")
	for _, ch := range []model.Change{
		{Op: model.OpStore, Tenant: "t", Service: "s", Name: "v", Data: []byte("2")},
		{Op: model.OpMkdir, Tenant: "t", Service: "s", Name: "d"},
		{Op: model.OpRename, Tenant: "t", Service: "s", Name: "v", ToTenant: "t", ToService: "s", ToName: "d/w"},
		{Op: model.OpRename, Tenant: "t", Service: "s", Name: "d", ToTenant: "t", ToService: "s", ToName: "e"},
		{Op: model.OpDelete, Tenant: "t", Service: "s", Name: "e/w"},
		{Op: model.OpRmdir, Tenant: "t", Service: "s", Name: "e"},
		{Op: model.OpMkdir, Tenant: "u"},
		{Op: model.OpRename, Tenant: "t", Service: "s", ToTenant: "u", ToService: "z"},
		{Op: model.OpRmdir, Tenant: "u", Service: "z"},
		{Op: model.OpRmdir, Tenant: "u"},
	} {
		if _, err := writer.Report(t.Context(), ch); err != nil {
			t.Fatalf("%+v: %v", ch, err)
		}
	}
	want := []string{"modified t/s/v", "created t/s/d", "renamed t/s/d/w from t/s/v", "renamed t/s/e from t/s/d",
		"deleted t/s/e/w", "deleted t/s/e", "created u", "renamed u/z from t/s", "deleted u/z", "deleted u"}
	eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) >= len(want)
	})
	mu.Lock()
	defer mu.Unlock()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
