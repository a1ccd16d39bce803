package engine

import (
	"bytes"
	"testing"
)

func TestFind(t *testing.T) {
	e := open(t, Options{})
	large := bytes.Repeat([]byte("0123456789abcdef"), MaxWhole/8)
	ops := []Op{
		PutDir(1, Dir{ID: 1, Name: "d"}),
		// It was called d/, then it was moved; another one has taken its place, and its name.
		PutDir(1, Dir{ID: 4, Name: "e", Prefix: "d//", Least: 9}),
		PutDir(1, Dir{ID: 5, Name: "d/", Prefix: DirPrefix(5)}),
		PutVariable(1, Variable{ID: 6, Name: "d//v", Data: []byte("moved")}),
		PutVariable(1, Variable{ID: 7, Name: DirPrefix(5) + "v", Data: []byte("new")}),
		PutVariable(1, Variable{ID: 2, Name: "d/v", Version: 3, MTime: 4, Mode: 5, Writer: "w", Data: []byte("value")}),
	}
	ops = AppendVariable(ops, 1, Variable{ID: 3, Name: "large", Version: 1, Data: large}, Stored{})
	commit(t, e, ops...)
	find := func(service uint64, name string, value bool) (Found, int) {
		t.Helper()
		found, size, err := e.Find(t.Context(), service, name, value)
		if err != nil {
			t.Fatal(err)
		}
		return found, size
	}
	got, size := find(1, "d/v", true)
	v := got.Variable
	if v == nil || v.ID != 2 || v.Name != "d/v" || v.Version != 3 || v.MTime != 4 || v.Mode != 5 || v.Writer != "w" || string(v.Data) != "value" || size != 5 {
		t.Errorf("got %+v of %d bytes", v, size)
	}
	for path, want := range map[string]string{"e/v": "moved", "d//v": "new"} {
		if got, _ := find(1, path, true); got.Variable == nil || string(got.Variable.Data) != want || (got.Variable.Version == 9) != (path == "e/v") {
			t.Errorf("%s is %+v, want %s", path, got.Variable, want)
		}
	}
	if got, size := find(1, "large", true); got.Variable == nil || !bytes.Equal(got.Variable.Data, large) || size != len(large) {
		t.Errorf("the large value is %d bytes", size)
	}
	if got, size := find(1, "large", false); got.Variable == nil || len(got.Variable.Data) > 0 || size != len(large) {
		t.Errorf("the size of the large value is %d", size)
	}
	if got, _ := find(1, "d", true); !got.Dir || got.Variable != nil {
		t.Errorf("a directory is %+v", got)
	}
	for _, name := range []string{"d/v/x", "d/v/x/y", "large/x"} {
		if got, _ := find(1, name, true); got != (Found{Blocked: true}) {
			t.Errorf("%q is %+v", name, got)
		}
	}
	for _, name := range []string{"d/x", "x", "x/y", "", "/5/v", "e//v"} {
		if got, _ := find(1, name, true); got != (Found{}) {
			t.Errorf("%q is %+v", name, got)
		}
	}
	if got, _ := find(2, "d/v", true); got != (Found{}) {
		t.Errorf("another service has %+v", got)
	}
	commit(t, e, DeleteVariable(1, "d/v"), DeletePieces(3, len(large)))
	if got, _ := find(1, "d/v", true); got != (Found{}) {
		t.Errorf("what was deleted is %+v", got)
	}
	if _, _, err := e.Find(t.Context(), 1, "large", true); !Unreadable(err) {
		t.Errorf("a value without its pieces: %v", err)
	}
}
