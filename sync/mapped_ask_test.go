package sync

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/commy-project/commyfs/memfile"
	"github.com/commy-project/commyfs/model"
)

// teller is a connection that tells values.
type teller struct {
	stub
	values map[string]*model.Variable
}

func (s teller) Read(_ context.Context, r *model.Read) (*model.Variable, error) {
	if v := s.values[r.Tenant+"/"+r.Service+"/"+r.Name]; v != nil {
		return v, nil
	}
	return nil, model.ErrNotFound
}

// TestValueNotInFileYet: a value that the memory file does not have is asked for, and is that of the variable and of no other.
func TestValueNotInFileYet(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "m")
	w, err := memfile.Create(path, memfile.WriterOptions{Service: serviceS}, slices.Values([]memfile.Initial{{Slot: 0, ID: varTop, Version: 1, Name: "top", Value: []byte("mapped")}}))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	dirs, vars := content("d", 1)
	vars = append(vars, model.Variable{ID: varTop, Name: "top", Version: 1, Size: 6, Data: []byte("listed")})
	for i := range vars {
		vars[i].Slot = uint32(i+1) % 3
	}
	b.list(serviceS, 1, dirs, vars)
	read := teller{stub{b: b}, map[string]*model.Variable{
		"t/s/d/x":   {ID: varX, Version: 5, MTime: 6, Size: 5, Data: []byte("asked")},
		"t/s/d/e/y": {ID: varX, Version: 5, MTime: 6, Size: 5, Data: []byte("other")},
		"t/s/top":   {ID: varTop, Version: 5, MTime: 6, Size: 5, Data: []byte("asked")},
	}}
	b.sess.conn = read
	b.c.opts.Timeout = 20 * time.Millisecond
	r, err := openReader(path, serviceS)
	if err != nil {
		t.Fatal(err)
	}
	a := &mappedAccessor{c: b.c, path: path}
	a.r.Store(r)
	defer a.Close()
	for id, want := range map[uint64]string{varX: "asked", varTop: "mapped", varY: ""} {
		v := b.c.index.get(id).(*Variable)
		data, meta, err := a.Load(v, nil)
		switch {
		case want == "" && !errors.Is(err, model.ErrNotFound), want != "" && err != nil, string(data) != want:
			t.Errorf("%d is %q, %v, want %q", id, data, err, want)
		case want == "asked" && meta != (Meta{5, 6, 5}):
			t.Errorf("%d: %+v", id, meta)
		}
	}
}
