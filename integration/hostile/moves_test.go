package hostile

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

// TestMoves: renames of directories from one service to another, as fast as they are taken: a directory with much in it to and fro, two
// directories into each other, and what leads nowhere.
func TestMoves(t *testing.T) {
	withstand(t, "moves", writer, func(g *good) {
		crowd(t, "m0", 2_000)(g)
		for _, service := range []string{"m1", "m2"} {
			if err := g.report(store(service, "v", []byte("x"))); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func moves(ctx context.Context, v victim) {
	dirs := []string{"directory", "a", "b", "a/b", "b/a", "a/b/a", "b/a/b/a", "none/none", "v"}
	clients(ctx, v, 4, func(conn *transport.Conn) error {
		watchAll(conn)
		return hearing(conn, 14, func(i uint64) transport.Message {
			report := &transport.ReportVariableChanges{Seq: i + 1, Acked: i + 1 - min(i, 13)}
			pick := func() (string, string) { return fmt.Sprint("m", rand.IntN(3)), dirs[rand.IntN(len(dirs))] }
			for range 1 + rand.IntN(3) {
				c := model.Change{Op: model.OpRename, Tenant: "t", ToTenant: "t", Parents: rand.IntN(2) == 0, NoReplace: rand.IntN(4) == 0}
				c.Service, c.Name = pick()
				c.ToService, c.ToName = pick()
				switch rand.IntN(8) {
				case 0:
					c.Op = model.OpExchange
				case 1:
					c.ID, c.In = rand.Uint64N(1<<12), rand.Uint64N(1<<12)
				case 2:
					c.Expect, c.ToExpect, c.Within, c.ToWithin = rand.Uint64N(1<<11), rand.Uint64N(1<<11), rand.Uint64N(1<<11), rand.Uint64N(1<<11)
				case 3:
					c.HasVersion, c.IfVersion = true, rand.Uint64N(100)
				case 4:
					c.Op, c.ToName = model.OpMkdir, ""
				case 5:
					c.Op, c.ToName, c.Name, c.Data, c.Create = model.OpStore, "", c.Name+"/v", []byte("x"), true
				case 6:
					c.Name, c.ToName = "", "" // the services themselves
				}
				report.Changes = append(report.Changes, c)
			}
			return report
		})
	})
}

// watchAll has a client be told of all that there is.
func watchAll(conn *transport.Conn) {
	_ = conn.Send(transport.Envelope{ID: 2, Message: &transport.WatchTree{}})
	for id := range uint64(20) { // ids are given one after the other
		_ = conn.Send(transport.Envelope{ID: 3 + id, Message: &transport.Watch{Service: 1024 + id, Values: true}})
	}
}
