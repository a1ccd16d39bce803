package engine

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// noise is n bytes of which no two pieces are alike.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed)})
	_, _ = r.Read(b)
	return b
}

// keysBelow counts the keys that begin with prefix.
func keysBelow(t *testing.T, e *Engine, prefix string) int64 {
	t.Helper()
	resp, err := e.kv.Get(t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	return resp.Count
}

// Whatever a value becomes, it is read back, and the store holds its pieces and no others.
func TestPieces(t *testing.T) {
	e := open(t, Options{})
	v := Variable{ID: 5, Name: "v", Writer: "w", Version: 1, MTime: 3, Mode: 4, Type: 1}
	whole, large := noise(1, MaxWhole), noise(2, 1<<20)
	changed := bytes.Clone(large)
	changed[500_000]++
	middle := bytes.Clone(changed[:PieceSize*7+5])
	for i, data := range [][]byte{
		{}, large, changed, large[:len(large)-1], large, append(bytes.Clone(large), 1), append(bytes.Clone(large), 1, 2),
		middle, append(bytes.Clone(middle), changed[len(middle):]...), whole, append(bytes.Clone(whole), 1), whole[:10],
		noise(3, MaxValue), noise(3, MaxValue-PieceSize), make([]byte, 2*MaxWhole), nil, large,
	} {
		was := Stored{Data: v.Data}
		if i%2 == 0 && len(v.Data) > 0 { // it may be told where they differ
			was.Changed = []Range{}
			for at := 0; at < max(len(data), len(v.Data)); at++ {
				if at >= len(data) || at >= len(v.Data) || data[at] != v.Data[at] {
					was.Changed = append(was.Changed, Range{at, max(len(data), len(v.Data)) - at})
					break
				}
			}
		}
		v.Data = data
		v.Version++
		commit(t, e, AppendVariable(nil, 1, v, was)...)
		s := load(t, e, 1)
		if len(s.vars) != 1 || !bytes.Equal(s.vars[0].Data, data) || s.vars[0].Version != v.Version || s.vars[0].Type != 1 {
			t.Fatalf("value %d of %d bytes did not come back", i, len(data))
		}
		if got := keysBelow(t, e, prefixPiece); got != int64(Pieces(len(data))) {
			t.Fatalf("value %d of %d bytes: %d pieces, want %d", i, len(data), got, Pieces(len(data)))
		}
	}
	// Another name, and another service: nothing but the records is written.
	renamed := v
	renamed.Name = "other"
	ops := append(AppendVariable(nil, 2, renamed, Stored{Data: v.Data}), DeleteVariable(1, "v"))
	if len(ops) != 2 {
		t.Errorf("%d operations for a new name, want 2", len(ops))
	}
	commit(t, e, ops...)
	if s := load(t, e, 2); len(s.vars) != 1 || !bytes.Equal(s.vars[0].Data, large) {
		t.Error("the value did not come with the name")
	}
	commit(t, e, DeleteVariable(2, "other"), DeletePieces(v.ID, len(v.Data)))
	if got := keysBelow(t, e, prefixPiece); got != 0 {
		t.Errorf("%d pieces are left", got)
	}
}

// A change of one byte writes one piece.
func TestChangeOfLargeValue(t *testing.T) {
	data := noise(1, 1<<20)
	changed := bytes.Clone(data)
	changed[300_000]++
	for _, was := range []Stored{{Data: data}, {Data: data, Changed: []Range{{300_000, 1}}}} {
		size := 0
		for _, op := range AppendVariable(nil, 1, Variable{ID: 1, Name: "v", Data: changed}, was) {
			size += op.Size()
		}
		if size > PieceSize+1024 {
			t.Errorf("%d bytes for a change of one", size)
		}
	}
}

// Pieces that are not as they were written are found, each in its own variable, and nothing else is lost.
func TestDamagedPieces(t *testing.T) {
	e := open(t, Options{})
	data := noise(1, 100_000)
	damage := []func() error{
		func() error { _, err := e.kv.Delete(t.Context(), pieceKey(1, 3)); return err },
		func() error { _, err := e.kv.Delete(t.Context(), pieceKey(2, 6)); return err },
		func() error { _, err := e.kv.Put(t.Context(), pieceKey(3, 0), ""); return err },
		func() error { _, err := e.kv.Put(t.Context(), pieceKey(4, 7), "x"); return err },
		func() error {
			_, err := e.kv.Put(t.Context(), pieceKey(5, 2), string(encodePiece(data[:100])))
			return err
		},
		func() error {
			b := encodePiece(data[PieceSize : 2*PieceSize])
			b[1000]++
			_, err := e.kv.Put(t.Context(), pieceKey(6, 1), string(b))
			return err
		},
		func() error {
			b := encodePiece(data[PieceSize : 2*PieceSize])
			b[0] = recordFormat + 1
			_, err := e.kv.Put(t.Context(), pieceKey(7, 1), string(b))
			return err
		},
		func() error { _, err := e.kv.Delete(t.Context(), piecePrefix(8), clientv3.WithPrefix()); return err },
	}
	for i := range len(damage) + 1 {
		commit(t, e, AppendVariable(nil, 1, Variable{ID: uint64(1 + i), Name: name(i), Data: data}, Stored{})...)
	}
	for _, f := range damage {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	var vars []Variable
	var damaged []DamagedVariable
	_, _, err := e.LoadService(t.Context(), 1, pageFunc(func(p Page) error {
		vars, damaged = append(vars, p.Variables...), append(damaged, p.Damaged...)
		if len(p.InPieces) != len(p.Variables) {
			t.Errorf("%d of %d variables are in pieces", len(p.InPieces), len(p.Variables))
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	if len(vars) != 1 || vars[0].Name != name(len(damage)) || !bytes.Equal(vars[0].Data, data) {
		t.Errorf("%d variables are whole, want 1", len(vars))
	}
	if len(damaged) != len(damage) {
		t.Fatalf("%d variables are damaged, want %d", len(damaged), len(damage))
	}
	for i, d := range damaged {
		if d.ID != uint64(1+i) || d.Name != name(i) || !errors.Is(d.Err, ErrCorrupt) && !errors.Is(d.Err, ErrSchema) {
			t.Errorf("got %+v", d)
		}
	}
}

// Schema 2 had large values whole. They are read, and stored in pieces when they change.
func TestLargeValueOfSchema2(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Options{Dir: dir})
	id := e.StoreID()
	data := noise(1, 1<<20)
	for key, value := range map[string]string{keyStore: "2 " + id, variableKey(7, "v"): "\x02\x09\x03\x0c\x00\x01w\x00" + string(data)} {
		if _, err := e.kv.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	e.Close()
	e = open(t, Options{Dir: dir})
	s := load(t, e, 7)
	if len(s.vars) != 1 || !bytes.Equal(s.vars[0].Data, data) || s.vars[0].ID != 9 || s.vars[0].Writer != "w" {
		t.Fatal("the value is not what it was")
	}
	v := s.vars[0]
	v.Data = bytes.Clone(data)
	v.Data[5]++
	commit(t, e, AppendVariable(nil, 7, v, Stored{})...)
	if got := load(t, e, 7).vars; len(got) != 1 || !bytes.Equal(got[0].Data, v.Data) {
		t.Error("the value did not come back")
	}
	if got := keysBelow(t, e, prefixPiece); got != int64(Pieces(len(data))) {
		t.Errorf("%d pieces, want %d", got, Pieces(len(data)))
	}
}

// A change for which there is no room leaves the value as it was.
func TestPiecesOnFullDisk(t *testing.T) {
	testenv.Root(t)
	disk := t.TempDir()
	if err := unix.Mount("engine-test", disk, "tmpfs", 0, "size=300m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	opts := Options{Dir: filepath.Join(disk, "state"), MinFree: 64 << 20}
	e := open(t, opts)
	v := Variable{ID: 1, Name: "v", Data: noise(1, 4<<20)}
	commit(t, e, AppendVariable(nil, 1, v, Stored{})...)
	empty := fill(t, disk)
	changed := v
	changed.Data = bytes.Clone(v.Data)
	changed.Data[1<<20]++
	if _, err := e.Commit(t.Context(), AppendVariable(nil, 1, changed, Stored{Data: v.Data})); !errors.Is(err, ErrNoSpace) {
		t.Errorf("on a full disk: got error %v, want %v", err, ErrNoSpace)
	}
	empty()
	commit(t, e, AppendVariable(nil, 1, changed, Stored{Data: v.Data})...)
	e.Close()
	e = open(t, opts)
	if vs := load(t, e, 1).vars; len(vs) != 1 || !bytes.Equal(vs[0].Data, changed.Data) {
		t.Error("the value is not what was written last")
	}
}

// However large values were, as many can be removed in a batch as small ones: it is not more to ask.
func TestDeleteManyPieces(t *testing.T) {
	e := open(t, Options{})
	v := Variable{ID: 1, Name: "v", Data: noise(1, 2*MaxWhole)}
	commit(t, e, AppendVariable(nil, 1, v, Stored{})...)
	ops := []Op{DeletePieces(v.ID, len(v.Data))}
	for id := uint64(2); id < 1000; id++ {
		ops = append(ops, DeletePieces(id, MaxValue))
	}
	if _, err := e.CommitFreeing(t.Context(), ops); err != nil {
		t.Error(err)
	}
	if got := keysBelow(t, e, prefixPiece); got != 0 {
		t.Errorf("%d pieces are left", got)
	}
}
