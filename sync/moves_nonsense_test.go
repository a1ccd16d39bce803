package sync

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
)

// TestMovesThatCannotBe has a server tell of moves that make no sense: to and from services that do not exist, of one half alone, of
// services and directories that are in themselves, with ids of other kinds of nodes. The client goes on, keeps nothing of it, and is
// right again once the server is.
func TestMovesThatCannotBe(t *testing.T) {
	rnd := rand.New(rand.NewPCG(testenv.Seed(t), 0))
	services := []uint64{serviceS, serviceU, serviceV}
	ids := []uint64{0, tenantT, serviceS, serviceU, serviceV, dirD, dirE, varX, varY, varTop, 30, 31, 32, 1 << 63}
	names := []string{"", "d", "n", "d/e", "d/x", "d/e/y", "e", "e/d", "e/d/e", "v", "x", "n/x", "/", "d/", "//", "d/e/y/z"}
	one := func(list []uint64) uint64 { return list[rnd.IntN(len(list))] }
	name := func() string { return names[rnd.IntN(len(names))] }
	for range 300 {
		b := newBench(t)
		for _, id := range services {
			dirs, vars := content("d", 1)
			b.lists[id] = &model.Snapshot{Service: id, Rev: 1, Dirs: dirs, Vars: vars}
		}
		b.loadS(serviceU, serviceV)
		rev := int64(1)
		for range 100 {
			s := b.service(one(services))
			if !s.Watched() || rnd.IntN(20) == 0 {
				dirs, vars := content(name(), uint64(rnd.IntN(4)))
				if rnd.IntN(3) == 0 {
					dirs, vars = nil, nil
				}
				// A listing that is refused leaves the service as it was, and the connection ends.
				_ = b.sess.page(s, &snapshot{}, &model.Snapshot{Service: s.id, Rev: rev, Dirs: dirs, Vars: vars}, bufferAccessor{})
				continue
			}
			if rnd.IntN(20) == 0 {
				b.c.gather(true)
				b.c.gather(false)
			}
			var events []model.Event
			for range 1 + rnd.IntN(4) {
				e := model.Event{Kind: model.EventKind(rnd.IntN(9)), ID: one(ids), Name: name(), OldName: name(), Version: uint64(rnd.IntN(4)), MTime: 1, Time: 1,
					Created: rnd.IntN(2) == 0, Writer: "w"}
				if rnd.IntN(2) == 0 {
					e.Moved = one(ids)
				}
				if rnd.IntN(3) == 0 {
					e.Other = one(ids)
				}
				if e.Data = []byte(fmt.Sprint(rnd.IntN(3))); rnd.IntN(2) == 0 {
					e.Size = int64(len(e.Data))
				}
				events = append(events, e)
			}
			if rnd.IntN(10) > 0 {
				rev += int64(rnd.IntN(3))
			}
			b.sess.Changed(&model.Changes{Service: s.id, Rev: rev + int64(rnd.IntN(3)) - 1, Changes: events})
		}
		m := &b.c.moves
		later := func() { // what was told behind a half that does not come can be another one
			for range 100 {
				b.c.wg.Wait()
				b.c.overdue(0)
			}
		}
		later()
		b.c.steps.Lock()
		// What two services say that they have can stay so.
		for id, h := range m.come {
			if isGone(h.over) || !b.service(serviceID(h.over)).holdsLocked(h.over, id) {
				t.Errorf("kept: %v", h)
			}
		}
		if n := len(m.left) + len(m.joined) + len(m.paused) + len(m.at) + len(m.under) + len(m.loading); n > 0 {
			t.Errorf("kept: left %v, joined %v, paused %v, %d, %d, %d", m.left, m.joined, m.paused, len(m.at), len(m.under), len(m.loading))
		}
		b.c.steps.Unlock()
		if n := b.c.away.n.Load(); n > 0 {
			t.Errorf("%d are waited for", n)
		}
		// The truth again.
		dirs, vars := content("d", 9)
		for _, id := range services {
			b.list(id, rev+10, nil, nil)
		}
		b.list(serviceU, rev+11, dirs, vars)
		later()
		b.wantIn(serviceU, "d")
		if t.Failed() {
			return
		}
	}
}
