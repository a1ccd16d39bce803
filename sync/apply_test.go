package sync

import (
	"path/filepath"
	"testing"

	"github.com/commy-project/commyfs/memfile"
	"github.com/commy-project/commyfs/model"
)

// newCopy is a service's copy without a connection, holding dirs a and a/b and variable v.
func newCopy(t *testing.T, acc accessor) *Service {
	t.Helper()
	c := newClient(Options{})
	s := newService(c, 1)
	s.tenant, s.name = &Tenant{c: c, name: "t"}, "s"
	s.replace(nil, &snapshot{
		dirs: []model.Dir{{ID: 2, Name: "a"}, {ID: 3, Name: "a/b"}},
		vars: []model.Variable{{ID: 4, Name: "v", Version: 1, Size: 3, Data: []byte("old")}},
	}, 1, acc)
	return s
}

func TestEventsThatDoNotFit(t *testing.T) {
	for _, tt := range []struct {
		name string
		e    model.Event
		fits bool
	}{
		{"patch", model.Event{Kind: model.EventSet, ID: 4, Version: 2, Base: 1, Size: 4}, true},
		{"patch of another version", model.Event{Kind: model.EventSet, ID: 4, Version: 3, Base: 2, Size: 4}, false},
		{"patch to less than nothing", model.Event{Kind: model.EventSet, ID: 4, Version: 2, Base: 1, Size: -1}, false},
		{"patch beyond every limit", model.Event{Kind: model.EventSet, ID: 4, Version: 2, Base: 1, Size: memfile.MaxValue + 1}, false},
		{"range before the value", model.Event{Kind: model.EventSet, ID: 4, Version: 2, Base: 1, Size: 4,
			Ranges: []model.RangeData{{Off: -1, Data: []byte("x")}}}, false},
		{"range over the end", model.Event{Kind: model.EventSet, ID: 4, Version: 2, Base: 1, Size: 4,
			Ranges: []model.RangeData{{Off: 4, Data: []byte("x")}}}, false},
		{"size of other data", model.Event{Kind: model.EventSet, ID: 4, Version: 2, Size: 4, Data: []byte("x")}, false},
		{"known version", model.Event{Kind: model.EventSet, ID: 4, Version: 1, Size: 4}, true},
		{"new variable where one is", model.Event{Kind: model.EventSet, ID: 5, Name: "v", Version: 1}, false},
		{"new variable nowhere", model.Event{Kind: model.EventSet, ID: 5, Name: "x/y", Version: 1}, false},
		{"new variable without a name", model.Event{Kind: model.EventSet, ID: 5, Version: 1}, false},
		{"directory", model.Event{Kind: model.EventMkdir, ID: 5, Name: "a/c"}, true},
		{"known directory", model.Event{Kind: model.EventMkdir, ID: 2, Name: "elsewhere"}, true},
		{"directory where one is", model.Event{Kind: model.EventMkdir, ID: 5, Name: "a"}, false},
		{"directory nowhere", model.Event{Kind: model.EventMkdir, ID: 5, Name: "x/y"}, false},
		{"directory below itself", model.Event{Kind: model.EventRenameDir, ID: 2, Name: "a/b/c"}, false},
		{"rename of nothing", model.Event{Kind: model.EventRename, ID: 5, Name: "w"}, false},
		{"rename over something", model.Event{Kind: model.EventRename, ID: 4, Name: "a"}, false},
		{"known rename", model.Event{Kind: model.EventRename, ID: 4, Name: "v", OldName: "u"}, true},
		{"exchange", model.Event{Kind: model.EventRename, ID: 4, Name: "a", OldName: "v", Other: 2}, true},
		{"exchange of what is elsewhere", model.Event{Kind: model.EventRename, ID: 4, Name: "a", OldName: "u", Other: 2}, false},
		{"exchange of nothing", model.Event{Kind: model.EventRename, ID: 5, Name: "a", OldName: "v", Other: 2}, false},
		{"exchange with another", model.Event{Kind: model.EventRename, ID: 4, Name: "a", OldName: "v", Other: 3}, false},
		{"exchange with what is in it", model.Event{Kind: model.EventRenameDir, ID: 2, Name: "a/b", OldName: "a", Other: 3}, false},
		{"exchange with what it is in", model.Event{Kind: model.EventRenameDir, ID: 3, Name: "a", OldName: "a/b", Other: 2}, false},
		{"known exchange", model.Event{Kind: model.EventRename, ID: 4, Name: "v", OldName: "a", Other: 2}, true},
		{"exchange with what is not known here", model.Event{Kind: model.EventRename, ID: 4, Name: "w", OldName: "v", Other: 9}, true},
		{"removal of nothing", model.Event{Kind: model.EventDelete, ID: 5, Name: "x"}, true},
		{"mode", model.Event{Kind: model.EventMeta, ID: 4, Version: 1, Mode: model.NewMode(0)}, true},
		{"mode of a directory", model.Event{Kind: model.EventMeta, ID: 3, Name: "a/b", Mode: model.NewMode(0)}, true},
		{"mode of the service", model.Event{Kind: model.EventMeta, ID: 1, Mode: model.NewMode(0)}, true},
		{"mode of nothing", model.Event{Kind: model.EventMeta, ID: 5, Name: "x"}, false},
		{"something new", model.Event{Kind: 99, ID: 4}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newCopy(t, bufferAccessor{})
			if _, ok := s.apply(2, []model.Event{tt.e}); ok != tt.fits {
				t.Errorf("fits: %v", ok)
			}
		})
	}
}

// The bytes from before a service was mapped are not shown after it.
func TestValueAfterTheServiceWasMapped(t *testing.T) {
	s := newCopy(t, bufferAccessor{})
	v := s.root.childLocked("v").(*Variable)
	now := model.Variable{ID: 4, Name: "v", Version: 2, Size: 3}
	s.replace(nil, &snapshot{vars: []model.Variable{now}}, 2, &mappedAccessor{})
	now.Data = []byte("new")
	s.replace(nil, &snapshot{vars: []model.Variable{now}}, 3, bufferAccessor{})
	if data, meta, err := v.Load(nil); err != nil || string(data) != "new" || meta.Version != 2 {
		t.Errorf("%q, %+v, %v", data, meta, err)
	}
}

// What describes a value does not go back when the server leaves its memory file and the copy is behind.
func TestCurrent_SupersededFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	w, err := memfile.Build(path, memfile.WriterOptions{Service: 1}, func(yield func(memfile.Initial) bool) {
		yield(memfile.Initial{ID: 4, Version: 7, MTime: 9, Name: "v", Value: []byte("new")})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Install(); err != nil {
		t.Fatal(err)
	}
	r, err := memfile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	a := &mappedAccessor{path: path}
	a.r.Store(r)
	defer a.Close()
	s := newCopy(t, bufferAccessor{})
	v := s.root.childLocked("v").(*Variable)
	s.replace(nil, &snapshot{vars: []model.Variable{{ID: 4, Name: "v", Version: 2, Size: 1}}}, 2, a)
	want := Meta{7, 9, 3}
	for _, leave := range []func() error{func() error { return nil }, w.Abandon} {
		if err := leave(); err != nil {
			t.Fatal(err)
		}
		if m := v.Current(); m != want {
			t.Errorf("current is %+v, want %+v", m, want)
		}
	}
}
