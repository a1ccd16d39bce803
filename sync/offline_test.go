package sync_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/offline"
	varsync "github.com/commy-project/commyfs/sync"
)

// cable is what lies between a client and its server. It can be cut, also in the middle of a report.
type cable struct {
	h *host

	mu    sync.Mutex // guards the following
	isCut bool
	conns []varsync.Conn
	steps int // of reports: each is sent, then answered
	crash int // at which step the line is cut for good; 0: at none
	dead  bool
}

var errCut = errors.New("the line is cut")

func (l *cable) dial(ctx context.Context) (varsync.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isCut {
		return nil, errCut
	}
	conn, err := l.h.dial(ctx)
	if err != nil {
		return nil, err
	}
	c := &cutConn{conn, l}
	l.conns = append(l.conns, conn)
	return c, nil
}

// cut ends all connections; mend lets new ones be made.
func (l *cable) cut() {
	l.mu.Lock()
	conns := l.conns
	l.isCut, l.conns = true, nil
	l.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
}

func (l *cable) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isCut = false
}

// step counts, and reports whether the client crashes here.
func (l *cable) step() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.steps++
	if l.crash > 0 && l.steps >= l.crash {
		l.dead, l.isCut = true, true
	}
	return l.dead
}

func (l *cable) isDead() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

// cutConn is a connection over a line.
type cutConn struct {
	varsync.Conn
	l *cable
}

func (c *cutConn) Report(ctx context.Context, r *model.Report, handle func(*model.Outcome, error)) error {
	if c.l.step() {
		<-ctx.Done() // it is never sent
		return ctx.Err()
	}
	return c.Conn.Report(ctx, r, func(o *model.Outcome, err error) {
		if err == nil && c.l.step() {
			return // nobody hears the answer
		}
		if !c.l.isDead() {
			handle(o, err)
		}
	})
}

func (c *cutConn) Goodbye(ctx context.Context) error {
	if c.l.isDead() {
		return errCut
	}
	return c.Conn.Goodbye(ctx)
}

// withQueue has a client use the queue in a directory.
func withQueue(t *testing.T, dir string, l *cable) func(*varsync.Options) {
	t.Helper()
	q, err := offline.Open(dir, offline.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return func(o *varsync.Options) {
		o.Dial, o.Offline, o.Timeout = l.dial, q, 400*time.Millisecond
	}
}

func queued(t *testing.T, c *varsync.Client) int {
	t.Helper()
	s, ok := c.Offline()
	if !ok {
		t.Fatal("no queue")
	}
	return s.Entries
}

func replace(s string) varsync.Edit { return varsync.Edit{Kind: varsync.EditReplace, Data: []byte(s)} }
func appended(s string) varsync.Edit {
	return varsync.Edit{Kind: varsync.EditAppend, Data: []byte(s)}
}

func commit(t *testing.T, v *varsync.Variable, e varsync.Edit) model.Result {
	t.Helper()
	r, err := v.Commit(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// goOffline cuts the line, and returns when the client knows that it cannot reach the server.
func goOffline(t *testing.T, c *varsync.Client, l *cable) {
	t.Helper()
	l.cut()
	eventually(t, func() bool {
		ok, _ := c.Tenant("t").Service("s").Keeps(0)
		return ok
	})
}

func TestOffline(t *testing.T) {
	t.Parallel()
	eachAccessor(t, func(t *testing.T, h *host, noMap bool) {
		other := h.client(t, true)
		store(t, other, "t", "s", "v", "0123456789")
		store(t, other, "t", "s", "w", "w")
		store(t, other, "t", "s", "log", "first,")
		l := &cable{h: h}
		dir := filepath.Join(t.TempDir(), "q")
		c := h.client(t, noMap, withQueue(t, dir, l))
		v, w, log := variable(t, c, "t", "s", "v"), variable(t, c, "t", "s", "w"), variable(t, c, "t", "s", "log")
		before := v.Current().Version
		goOffline(t, c, l)
		for _, e := range []varsync.Edit{
			{Kind: varsync.EditWrite, Off: 2, Data: []byte("AB")}, {Kind: varsync.EditTruncate, Size: 6}, appended("+"),
			{Kind: varsync.EditMeta, Mode: model.NewMode(0o600)},
		} {
			commit(t, v, e)
		}
		commit(t, log, appended("second,"))
		commit(t, w, replace("W"))
		show := func() {
			t.Helper()
			wantValue(t, v, "01AB45+")
			wantValue(t, log, "first,second,")
			wantValue(t, w, "W")
			if m := v.Current(); m.Version != before+3 || m.Size != 7 || v.Mode() != model.NewMode(0o600) {
				t.Errorf("%+v, mode %o", m, v.Mode())
			}
		}
		show()
		if _, err := w.Commit(t.Context(), varsync.Edit{Kind: varsync.EditReplace, HasVersion: true, IfVersion: 1}); !errors.Is(err, model.ErrConflict) {
			t.Errorf("over a version that is not shown any more: %v", err)
		}
		big := varsync.Edit{Kind: varsync.EditWrite, Off: c.MaxValue(), Data: []byte("x")}
		if _, err := w.Commit(t.Context(), big); !errors.Is(err, model.ErrTooLarge) {
			t.Errorf("a value that is too large: %v", err)
		}
		if n := queued(t, c); n != 6 {
			t.Errorf("%d entries", n)
		}
		store(t, other, "t", "s", "w", "theirs")
		l.mend()
		eventually(t, func() bool { return queued(t, c) == 0 })
		wantValue(t, w, "theirs")
		wantValue(t, variable(t, other, "t", "s", "log"), "first,second,")
		wantValue(t, variable(t, other, "t", "s", "v"), "01AB45+")
		wantSame(t, c, other)
		if m := v.Current(); m.Version != before+3 {
			t.Errorf("version %d, want %d", m.Version, before+3)
		}
		list, err := offline.Asides(dir)
		if err != nil || len(list) != 1 || list[0].Path() != "t/s/w" || list[0].Variable != w.ID() || list[0].Edits != 1 {
			t.Errorf("set aside: %+v, %v", list, err)
		}
		commit(t, w, replace("online"))
		wantValue(t, variable(t, other, "t", "s", "w"), "online")
	})
}

// TestOffline_CrashAnywhere has the client die before each report and before each answer of a replay. The next one with its queue
// goes on: all is there once.
func TestOffline_CrashAnywhere(t *testing.T) {
	t.Parallel()      // it waits for the disk most of the time
	const edits = 300 // two batches
	for crash := 1; ; crash++ {
		h := newHost(t)
		other := h.client(t, true)
		store(t, other, "t", "s", "log", "")
		store(t, other, "t", "s", "v", "0")
		l := &cable{h: h}
		dir := filepath.Join(t.TempDir(), "q")
		c := h.client(t, true, withQueue(t, dir, l))
		log, v := variable(t, c, "t", "s", "log"), variable(t, c, "t", "s", "v")
		goOffline(t, c, l)
		var want strings.Builder
		for i := range edits {
			data := fmt.Sprintf("%d,", i)
			want.WriteString(data)
			commit(t, log, appended(data))
		}
		for i := range 3 {
			commit(t, v, replace(fmt.Sprint(i)))
		}
		const key = 1<<63 | 1
		create := model.Change{Op: model.OpAppend, Create: true, Tenant: "t", Service: "s", Name: "new", Data: []byte("a")}
		if _, kept, err := c.CreateOrKeep(t.Context(), key, create, 0); err != nil || !kept {
			t.Fatalf("a new variable: %v, %v", kept, err)
		}
		if err := c.KeepNew(key, appended("b")); err != nil {
			t.Fatal(err)
		}
		l.mu.Lock()
		l.steps, l.crash = 0, crash
		l.mu.Unlock()
		l.mend()
		eventually(t, func() bool { return l.isDead() || queued(t, c) == 0 })
		over := !l.isDead()
		if over {
			l.mu.Lock()
			l.dead = true
			l.mu.Unlock()
		}
		image := crashImage(t, dir)
		l.cut()
		c.Close()
		l = &cable{h: h}
		c = h.client(t, true, withQueue(t, image, l))
		eventually(t, func() bool { return queued(t, c) == 0 })
		for name, value := range map[string]string{"log": want.String(), "v": "2", "new": "ab"} {
			if got, _ := load(t, variable(t, h.client(t, true), "t", "s", name)); got != value {
				t.Fatalf("died at step %d: %s is %q, want %q", crash, name, got, value)
			}
		}
		if list, _ := offline.Asides(image); len(list) > 0 {
			t.Fatalf("died at step %d: set aside: %+v", crash, list)
		}
		h.stop(t)
		if over {
			t.Logf("%d steps", crash-1)
			if crash < 4 {
				t.Error("too few steps")
			}
			return
		}
	}
}

// crashImage is what a crash leaves of a queue.
func crashImage(t *testing.T, dir string) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	if err := os.CopyFS(image, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return image
}

// TestOffline_Doubt: an edit that was sent, and whose answer is lost with the connection, is there once: whether or not the server
// has carried it out, whether the client goes on or is another one.
func TestOffline_Doubt(t *testing.T) {
	for _, carriedOut := range []bool{false, true} {
		for _, dies := range []bool{false, true} {
			for _, makes := range []bool{false, true} {
				t.Run(fmt.Sprintf("carried out %v, dies %v, new %v", carriedOut, dies, makes), func(t *testing.T) {
					t.Parallel()
					h := newHost(t)
					other := h.client(t, true)
					store(t, other, "t", "s", "log", "first,")
					l := &cable{h: h}
					dir := filepath.Join(t.TempDir(), "q")
					c := h.client(t, true, withQueue(t, dir, l))
					log := variable(t, c, "t", "s", "log")
					l.mu.Lock()
					l.steps, l.crash = 0, 1
					if carriedOut {
						l.crash = 2
					}
					l.mu.Unlock()
					const key = 1<<63 | 1
					if makes {
						create := model.Change{Op: model.OpAppend, Create: true, Tenant: "t", Service: "s", Name: "new", Data: []byte("a,")}
						if _, kept, err := c.CreateOrKeep(t.Context(), key, create, 0); err != nil || !kept {
							t.Fatalf("%v, %v", kept, err)
						}
						if err := c.KeepNew(key, appended("b,")); err != nil {
							t.Fatal(err)
						}
					} else {
						commit(t, log, appended("second,"))
						commit(t, log, appended("third,"))
						wantValue(t, log, "first,second,third,")
					}
					l.cut()
					if dies {
						image := crashImage(t, dir)
						c.Close()
						l = &cable{h: h}
						c = h.client(t, true, withQueue(t, image, l))
					} else {
						l.mu.Lock()
						l.crash, l.dead = 0, false
						l.mu.Unlock()
						l.mend()
					}
					eventually(t, func() bool { return queued(t, c) == 0 })
					name, want := "log", "first,second,third,"
					if makes {
						name, want = "new", "a,b,"
					}
					if got, _ := load(t, variable(t, h.client(t, true), "t", "s", name)); got != want {
						t.Errorf("%q, want %q", got, want)
					}
				})
			}
		}
	}
}

// TestOffline_OtherStore: nothing is applied to another store than the one that the edits were made for.
func TestOffline_OtherStore(t *testing.T) {
	h := newHost(t)
	store(t, h.client(t, true), "t", "s", "v", "first")
	l := &cable{h: h}
	dir := filepath.Join(t.TempDir(), "q")
	c := h.client(t, true, withQueue(t, dir, l))
	v := variable(t, c, "t", "s", "v")
	goOffline(t, c, l)
	commit(t, v, replace("ours"))
	l.h = newHost(t)
	store(t, l.h.client(t, true), "t", "s", "v", "another")
	l.mend()
	eventually(t, func() bool { return queued(t, c) == 0 })
	if got, _ := load(t, variable(t, l.h.client(t, true), "t", "s", "v")); got != "another" {
		t.Errorf("%q", got)
	}
	list, err := offline.Asides(dir)
	if err != nil || len(list) != 1 || !strings.Contains(list[0].Reason, "another store") {
		t.Fatalf("set aside: %+v, %v", list, err)
	}
	if b, err := offline.AsideValue(dir, list[0].ID); err != nil || string(b) != "ours" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestOffline_Lost: whether an edit was carried out that nobody remembers is judged by the value. In doubt it is set aside.
func TestOffline_Lost(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	other := h.client(t, true)
	l := &cable{h: h}
	for _, c := range []struct {
		name  string
		now   []string // values written since, over "base"
		edit  varsync.Edit
		sum   bool // what the edit makes is known
		want  string
		aside bool
	}{
		{"nothing", nil, replace("x"), true, "x", false},
		{"ours", []string{"x"}, replace("x"), true, "x", false},
		{"theirs", []string{"y"}, replace("x"), true, "y", true},
		{"ours and theirs", []string{"x", "y"}, replace("x"), true, "y", true},
		{"append nothing", nil, appended("+"), true, "base+", false},
		{"append ours", []string{"base+"}, appended("+"), true, "base+", false},
		{"append ours and theirs", []string{"base+", "base+-"}, appended("+"), true, "base+-", false},
		{"append theirs", []string{"base-"}, appended("+"), true, "base-", true},
		{"batch nothing", nil, replace("x"), false, "x", false},
		{"batch ours", []string{"x"}, replace("x"), false, "x", false},
		{"batch theirs", []string{"y"}, replace("x"), false, "y", true},
		{"batch append", []string{"base+"}, appended("+"), false, "base+", true},
	} {
		name := strings.ReplaceAll(c.name, " ", "-")
		id := store(t, other, "t", "s", name, "base").ID
		v := variable(t, other, "t", "s", name)
		base, _ := load(t, v)
		version := v.Current().Version
		for _, value := range c.now {
			store(t, other, "t", "s", name, value)
		}
		dir := filepath.Join(t.TempDir(), "q")
		q, err := offline.Open(dir, offline.Options{})
		if err != nil {
			t.Fatal(err)
		}
		e := &offline.Entry{Target: offline.Target{Key: id, In: v.Service().ID(), Tenant: "t", Service: "s", Name: name}, Base: version,
			Edit: offline.Edit{Kind: offline.Replace, Data: c.edit.Data}, Doubt: &offline.Doubt{Lost: true}}
		if c.edit.Kind == varsync.EditAppend {
			e.Kind = offline.Append
		}
		if c.sum {
			e.Doubt.Size, e.Doubt.Sum = int64(len(base)), sha256.Sum256(e.Apply([]byte(base)))
		}
		behind := &offline.Entry{Target: e.Target, Base: version, Edit: offline.Edit{Kind: offline.Append, Data: []byte("!")}}
		if err := errors.Join(q.Append(e, behind), q.Close()); err != nil {
			t.Fatal(err)
		}
		cl := h.client(t, true, withQueue(t, dir, l))
		eventually(t, func() bool { return queued(t, cl) == 0 })
		list, err := offline.Asides(dir)
		if err != nil || (len(list) > 0) != c.aside || c.aside && !list[0].Doubt {
			t.Errorf("%s: set aside: %+v, %v", c.name, list, err)
		}
		want := c.want
		if !c.aside {
			want += "!"
		}
		wantValue(t, variable(t, cl, "t", "s", name), want)
		wantValue(t, variable(t, other, "t", "s", name), want)
		cl.Close()
	}
}
