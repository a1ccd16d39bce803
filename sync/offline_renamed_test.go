package sync_test

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/offline"
	varsync "github.com/commy-project/commyfs/sync"
	"github.com/commy-project/commyfs/transport"
)

// TestOffline_RenamedWhileItIsReplayed: a directory is renamed while the variable that was made in it offline is on its way to the server,
// which refuses it for that. It is made where the directory is by then.
func TestOffline_RenamedWhileItIsReplayed(t *testing.T) {
	t.Parallel()
	const dir = 110
	f := &fake{t: t}
	f.watch = func(send func(uint64, transport.Message), id uint64) bool {
		send(id, &transport.Snapshot{Service: fakeService, Rev: 1, Dirs: []model.Dir{{ID: dir, Name: "d"}}})
		return true
	}
	var (
		mu    sync.Mutex
		tries []string
	)
	f.handle = func(send func(uint64, transport.Message), id uint64, m transport.Message) {
		r, ok := m.(*transport.ReportVariableChanges)
		if !ok {
			send(id, &transport.Done{})
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if tries = append(tries, r.Changes[0].Name); len(tries) > 1 {
			send(id, accept(r))
			return
		}
		send(0, &transport.VariableChanged{Service: fakeService, Rev: 2, Changes: []model.Event{
			{Kind: model.EventRenameDir, ID: dir, OldName: "d", Name: "e"}}})
		send(id, &transport.VariableChangesAcknowledged{Seq: r.Seq, Code: model.CodeNotFound, Message: "the path leads into another directory by now"})
	}
	queue := filepath.Join(t.TempDir(), "q")
	q, err := offline.Open(queue, offline.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	var cut atomic.Bool
	c := f.client(func(o *varsync.Options) {
		o.Offline, o.Timeout = q, 400*time.Millisecond
		o.Dial = func(ctx context.Context) (varsync.Conn, error) {
			if cut.Load() {
				return nil, errCut
			}
			return f.dial(ctx)
		}
	})
	s := c.Tenant("t").Service("s")
	if _, err := s.Root(t.Context()); err != nil {
		t.Fatal(err)
	}
	cut.Store(true)
	f.mu.Lock()
	conn := f.conn
	f.mu.Unlock()
	_ = conn.Close()
	eventually(t, func() bool {
		ok, _ := s.Keeps(0)
		return ok
	})
	ch := model.Change{Op: model.OpStore, Create: true, Tenant: "t", Service: "s", Name: "d/new", Data: []byte("new"), Within: dir}
	if _, kept, err := c.CreateOrKeep(t.Context(), 1<<63, ch, 0); err != nil || !kept {
		t.Fatalf("%v, %v", kept, err)
	}
	cut.Store(false)
	eventually(t, func() bool { return queued(t, c) == 0 })
	list, err := offline.Asides(queue)
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(list) != 0 || len(tries) != 2 || tries[1] != "e/new" {
		t.Errorf("set aside are %+v, tried was %q", list, tries)
	}
}
