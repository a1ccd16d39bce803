package core

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
)

// lockedBuffer is a log that a server writes while a test reads it.
type lockedBuffer struct {
	mu sync.Mutex // guards the following
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.b.Bytes(), []byte(text))
}

// TestServiceThatDoesNotLoad: a service with a record that makes no sense is an error for who wants it, whoever and
// however often, and logged once; listings have all the others, and the committer goes on.
func TestServiceThatDoesNotLoad(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	for _, service := range []string{"a", "bad", "z"} {
		p.do(model.Change{Op: model.OpStore, Tenant: "t", Service: service, Name: "v", Data: []byte("1"), Create: true, Parents: true})
	}
	bad := p.service("t", "bad")
	v := p.list(&model.List{Tenant: "t", Service: "bad"})[0].ID
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	e, err := engine.Open(t.Context(), engine.Options{Dir: filepath.Join(d.state, "store"), MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Commit(t.Context(), []engine.Op{engine.PutVariable(bad, engine.Variable{ID: 1 << 40, Name: "missing/x", Version: 1})}); err != nil {
		t.Error(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}

	var said lockedBuffer
	p = connect(t, d.start(t, func(o *setup) { o.Logger = slog.New(slog.NewTextHandler(&said, nil)) }))
	for range 3 {
		_, err := p.watch(&model.Watch{Service: bad})
		p.wantCode(err, model.CodeInternal)
		_, err = p.tryList(&model.List{Tenant: "t", Service: "bad"})
		p.wantCode(err, model.CodeInternal)
		p.refused(model.CodeInternal, model.Change{Op: model.OpStore, Tenant: "t", Service: "bad", Name: "v"})
		p.refused(model.CodeInternal, model.Change{Op: model.OpStore, ID: v, Tenant: "t", Service: "bad"})
		p.refused(model.CodeInternal, model.Change{Op: model.OpRmdir, Tenant: "t", Service: "bad"})
		p.do(model.Change{Op: model.OpStore, Tenant: "t", Service: "z", Name: "v", Data: []byte("2")})
	}
	for _, m := range []*model.List{{Recursive: true}, {Tenant: "t", Recursive: true}} {
		list, err := p.tryList(m)
		p.wantCode(err, model.CodeInternal)
		got := pathsIn(list)
		want := []string{"t a ", "t a v", "t bad ", "t z ", "t z v"}
		if m.Tenant == "" {
			want = append([]string{"t  "}, want...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("listed %q, want %q", got, want)
		}
	}
	if n := said.count("load service"); n != 1 {
		t.Errorf("it was logged %d times", n)
	}
}
