package sync_test

import (
	"testing"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server"
	varsync "github.com/commy-project/commyfs/sync"
)

// BenchmarkLoad reads 8 bytes of a variable at hand.
func BenchmarkLoad(b *testing.B) {
	for name, noMap := range map[string]bool{"shared": false, "own": true} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			srv, err := server.Start(b.Context(), server.Options{StateDir: dir + "/state", RuntimeDir: dir + "/run"})
			if err != nil {
				b.Fatal(err)
			}
			defer srv.Close()
			h := &host{run: dir + "/run"}
			c, err := varsync.New(b.Context(), varsync.Options{Dial: h.dial, NoMap: noMap})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			_, err = c.Report(b.Context(), model.Change{Op: model.OpStore, Tenant: "t", Service: "s", Name: "v", Data: make([]byte, 8),
				Create: true, Parents: true})
			if err != nil {
				b.Fatal(err)
			}
			v, err := c.Tenant("t").Service("s").Variable(b.Context(), "v")
			if err != nil {
				b.Fatal(err)
			}
			buf := make([]byte, 8)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := v.Load(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
