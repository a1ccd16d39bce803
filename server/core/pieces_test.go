package core

import (
	"bytes"
	"context"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/mvcc"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/memfile"
	"github.com/commy-project/commyfs/model"
)

// pieceKeys counts the pieces of large values in the store.
func pieceKeys(t *testing.T, e *engine.Engine) int {
	t.Helper()
	p := unsafe.Pointer(reflect.ValueOf(e).Elem().FieldByName("etcd").UnsafeAddr())
	kv := (*(**embed.Etcd)(p)).Server.KV()
	r, err := kv.Range(context.Background(), []byte("/1/p/"), []byte("/1/p0"), mvcc.RangeOptions{CountOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	return r.Count
}

// large makes changes ones of large values: of several pieces, just whole, and in between.
func large(rnd *rand.Rand, list []model.Change) []model.Change {
	sizes := []int64{0, 1, engine.MaxWhole - 1, engine.MaxWhole, engine.MaxWhole + 1, 5 * engine.PieceSize, 5*engine.PieceSize + 1, 150_000}
	size := func() int64 { return sizes[rnd.IntN(len(sizes))] }
	for i := range list {
		switch c := &list[i]; c.Op {
		case model.OpStore:
			c.Data = bytes.Repeat([]byte{byte(rnd.IntN(3))}, int(size()))
		case model.OpTruncate:
			c.Size = size()
		case model.OpWrite:
			c.Ranges = []model.RangeData{{Off: size(), Data: []byte{byte(rnd.IntN(200))}}, {Off: size(), Data: []byte{1, 2}}}
		case model.OpAppend:
			c.Data = bytes.Repeat([]byte{byte(rnd.IntN(3))}, int(size()/2))
		}
	}
	return list
}

// TestLargeValues: whatever happens to large values, the store holds what is shown, and no pieces of anything else; the
// memory files hold it too.
func TestLargeValues(t *testing.T) {
	rnd := rand.New(rand.NewPCG(testenv.Seed(t), 1))
	d := newDirs(t)
	stay := func(o *setup) { o.interval = time.Hour } // nothing is let go
	s := d.start(t, stay)
	writers := []*peer{connect(t, s), connect(t, s)}
	codes := map[model.Code]int{}
	most := 0
	check := func(round int) {
		t.Helper()
		st := readStore(t, s.engine)
		pieces, vars := 0, 0
		for at, v := range st.vars {
			vars++
			now := s.view.variable(v.ID)
			if now == nil || now.at().stored() != at || now.version != v.Version || !bytes.Equal(now.data(), v.Data) {
				t.Fatalf("round %d: %v is another in the store", round, at)
			}
			pieces += engine.Pieces(len(v.Data))
		}
		if n := s.view.byID.count; n != vars {
			t.Fatalf("round %d: %d variables, %d in the store", round, n, vars)
		}
		if got := pieceKeys(t, s.engine); got != pieces {
			t.Fatalf("round %d: %d pieces in the store, want %d", round, got, pieces)
		}
		most = max(most, pieces)
		files := map[uint64]*memfile.Reader{}
		for at, v := range st.vars {
			now := s.view.variable(v.ID)
			sid := now.dir.service.id
			if files[sid] == nil {
				r, err := memfile.Open(writers[0].file(sid).Path)
				if err != nil {
					t.Fatal(err)
				}
				files[sid] = r
			}
			m, data, err := files[sid].Read(now.slot, v.ID, nil)
			if err != nil || m.Version != now.dir.version(v.Version) || m.MTime != v.MTime || !bytes.Equal(data, v.Data) {
				t.Fatalf("round %d: %v is another in the memory file (%v)", round, at, err)
			}
		}
		for _, r := range files {
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for round := range 100 {
		release := s.holdCommits(t)
		var calls []<-chan any
		for _, p := range writers[:1+rnd.IntN(len(writers))] {
			for range 1 + rnd.IntN(3) {
				p.seq++
				r := &model.Report{Seq: p.seq, Acked: p.seq - min(p.seq, 10), Changes: large(rnd, randomTreeChanges(rnd))}
				calls = append(calls, p.begin(r))
			}
		}
		s.awaitQueued(t, len(calls))
		release()
		for _, c := range calls {
			codes[writers[0].outcome(c).Code]++
		}
		check(round)
		if round%25 == 24 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = d.start(t, stay)
			for _, svc := range s.view.services {
				if err := s.load(t.Context(), svc); err != nil {
					t.Fatal(err)
				}
			}
			writers = []*peer{connect(t, s), connect(t, s)}
			check(round)
		}
	}
	t.Logf("answers by code %v, %d pieces at most", codes, most)
	if codes[model.CodeOK] < 50 || codes[model.CodeInternal] > 0 || most < 10 {
		t.Error("too little has happened")
	}
}

// TestDamagedValue: a large value of which a piece is damaged is an error for who needs it and stays as it is, and its
// name too; its service is served.
func TestDamagedValue(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	value := string(bytes.Repeat([]byte("0123456789"), 10_000))
	id := p.do(store("d/bad", value))[0].ID
	p.do(store("d/good", value))
	p.do(store("e/good", "1"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	e, err := engine.Open(t.Context(), engine.Options{Dir: filepath.Join(d.state, "store"), MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Commit(t.Context(), []engine.Op{engine.DeletePieces(id, len(value))}); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s = d.start(t)
		p = connect(t, s)
		p.wantValue("d/good", value)
		p.do(model.Change{Op: model.OpAppend, Tenant: "t", Service: "s", Name: "e/good", Data: []byte("1")})
		in := p.service("t", "s")
		for _, name := range []string{"d/bad", "d/bad/x"} {
			_, err := p.get("t", "s", name)
			p.wantCode(err, model.CodeInternal)
		}
		for _, c := range []model.Change{
			store("d/bad", "1"), store("d/bad/x", "1"), at(model.OpCreate, "t", "s", "d/bad"), at(model.OpMkdir, "t", "s", "d/bad"),
			at(model.OpDelete, "t", "s", "d/bad"), at(model.OpRmdir, "t", "s", "d/bad"),
			renameTo(at(model.OpRename, "t", "s", "e/good"), "d/bad"), renameTo(at(model.OpRename, "t", "s", "d/bad"), "e/bad"),
			renameTo(at(model.OpRename, "t", "s", "e"), "d/bad"),
			{Op: model.OpStore, ID: id, In: in, Data: []byte("1")},
			{Op: model.OpDelete, ID: id, In: in},
		} {
			p.refused(model.CodeInternal, c)
		}
		if st := p.Status(); st.Damaged != 1 {
			t.Errorf("the status has %d damaged records, want 1", st.Damaged)
		}
		// What is left of its directory and service cannot go either.
		p.do(renameTo(at(model.OpRename, "t", "s", "d/good"), "g"))
		p.refused(model.CodeInternal, at(model.OpRmdir, "t", "s", "d"))
		p.do(renameTo(at(model.OpRename, "t", "s", "g"), "d/good"))
		// It goes along with its directory.
		p.do(renameTo(at(model.OpRename, "t", "s", "d"), "f"))
		for name, code := range map[string]model.Code{"f/bad": model.CodeInternal, "d/bad": model.CodeNotFound} {
			_, err := p.get("t", "s", name)
			p.wantCode(err, code)
		}
		p.do(renameTo(at(model.OpRename, "t", "s", "f"), "d"))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
