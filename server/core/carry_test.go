package core

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
)

// moveTo is a rename to another service of the tenant.
func moveTo(from, name, to, toName string) model.Change {
	c := renameTo(at(model.OpRename, "t", from, name), toName)
	c.ToService = to
	return c
}

// entries is how many variables a large directory has.
func entries() int {
	n := 100_000
	if testing.Short() {
		n = 10_000
	}
	if more, err := strconv.Atoi(os.Getenv("COMMYFS_TEST_ENTRIES")); err == nil {
		n = more
	}
	return n
}

// beside makes changes until stop is called, which returns how long each has taken, the shortest first. It returns when the peer is
// at it.
func beside(t *testing.T, p *peer) (stop func() []time.Duration) {
	t.Helper()
	end := make(chan struct{})
	waits := make(chan []time.Duration)
	begun := make(chan struct{})
	go func() {
		var list []time.Duration
		for {
			select {
			case <-end:
				slices.Sort(list)
				waits <- list
				return
			default:
			}
			began := time.Now()
			p.do(store("beside", fmt.Sprint(began)))
			if list = append(list, time.Since(began)); len(list) == 50 {
				close(begun)
			}
		}
	}()
	<-begun
	return func() []time.Duration {
		close(end)
		return <-waits
	}
}

// TestLargeMove: a directory of any size goes to another service at once.
func TestLargeMove(t *testing.T) {
	n := entries()
	d := newDirs(t)
	s := d.start(t)
	other, p := connect(t, s), connect(t, s)
	p.do(at(model.OpMkdir, "t", "", ""), at(model.OpMkdir, "t", "s", ""), at(model.OpMkdir, "t", "r", ""), at(model.OpMkdir, "t", "s", "d"))
	fill(t, p, "d", n)
	from, to := p.file(p.service("t", "s")), p.file(p.service("t", "r"))
	p.mustWatch(&model.Watch{Service: p.service("t", "s")})
	p.mustWatch(&model.Watch{Service: p.service("t", "r")})
	stop := beside(t, other)
	began := time.Now()
	p.do(moveTo("s", "d", "r", "e"))
	took := time.Since(began)
	wantNames(t, p, to.Path, map[string]string{"e/d7/v7": "7", "e/d0/v0": "0"})
	wantNames(t, p, from.Path, map[string]string{"d/d0/v0": ""})
	list := stop()
	t.Logf("%d variables moved in %v; of %d changes beside it one took %v, half %v or less", n, took, len(list), list[len(list)-1], list[len(list)/2])
	check := func() {
		t.Helper()
		for name, want := range map[string]string{"e/d7/v7": "7", fmt.Sprintf("e/d%d/v%d", (n-1)%100, n-1): fmt.Sprint(n - 1)} {
			if v, err := p.get("t", "r", name); err != nil || string(v.Data) != want {
				t.Errorf("%s is %q, %v, want %q", name, v.Data, err, want)
			}
		}
		if got := len(p.list(&model.List{Tenant: "t", Service: "r", Recursive: true})); got != n+101 {
			t.Errorf("%d are listed, want %d", got, n+101)
		}
		if got := len(p.list(&model.List{Tenant: "t", Service: "s", Recursive: true})); got != 1 {
			t.Errorf("%d are left", got)
		}
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = d.start(t)
	p = connect(t, s)
	check()
}

// told is what a watcher was told of services, in short: of each event the kind, the path, and the service that it moved to or from.
func (p *peer) toldOf(names map[uint64]string, n int) []string {
	p.t.Helper()
	var list []string
	p.await(fmt.Sprint(n, " events"), func(told []any) bool {
		list = nil
		for _, m := range told {
			c, ok := m.(*model.Changes)
			if !ok {
				continue
			}
			for _, e := range c.Changes {
				kind := map[model.EventKind]string{model.EventSet: "set", model.EventDelete: "delete", model.EventMkdir: "mkdir", model.EventRmdir: "rmdir"}[e.Kind]
				text := fmt.Sprintf("%s %s/%s moved %q", kind, names[c.Service], e.Name, names[e.Moved])
				if e.Other != 0 {
					text += fmt.Sprintf(" for %d", e.Other)
				}
				if e.Kind == model.EventSet {
					text += fmt.Sprintf(" %q v%d created %v", e.Data, e.Version, e.Created)
				}
				list = append(list, text)
			}
		}
		return len(list) >= n
	})
	p.taken()
	return list
}

// TestMoveEvents: who watches two services is told first of what leaves the one, then of what comes to the other.
func TestMoveEvents(t *testing.T) {
	s := startCore(t)
	p := connect(t, s)
	p.do(at(model.OpMkdir, "t", "", ""), at(model.OpMkdir, "t", "s", ""), at(model.OpMkdir, "t", "r", ""), at(model.OpMkdir, "t", "s", "d"))
	c := store("d/e/w", "2")
	c.Parents = true
	ids := []uint64{p.do(store("d/v", "1"))[0].ID, p.do(c)[0].ID}
	in := func(service string, c model.Change) model.Change {
		c.Service = service
		return c
	}
	for i := range 5 { // there have been versions up to 5
		p.do(in("r", store("x", fmt.Sprint(i))))
	}
	p.do(at(model.OpDelete, "t", "r", "x"))
	names := map[uint64]string{p.service("t", "s"): "s", p.service("t", "r"): "r"}
	for id := range names {
		p.mustWatch(&model.Watch{Service: id, Values: true})
	}
	want := func(list ...string) {
		t.Helper()
		if got := p.toldOf(names, len(list)); !slices.Equal(got, list) {
			t.Errorf("told\n%q, want\n%q", got, list)
		}
	}
	p.do(moveTo("s", "d", "r", "x"))
	want(`rmdir s/d moved "r"`, `mkdir r/x moved "s"`, `mkdir r/x/e moved "s"`, `set r/x/v moved "s" "1" v6 created true`,
		`set r/x/e/w moved "s" "2" v6 created true`)
	p.do(in("r", store("x/v", "3")))
	want(`set r/x/v moved "" "" v7 created false`) // it has the value itself
	for i, name := range []string{"x/v", "x/e/w"} {
		if v, err := p.get("t", "r", name); err != nil || v.ID != ids[i] {
			t.Errorf("%s is %+v, %v", name, v, err)
		}
	}
	p.do(at(model.OpMkdir, "t", "s", "d"), store("d/n", "4"))
	want(`mkdir s/d moved ""`, `set s/d/n moved "" "" v2 created true`)
	r := p.do(model.Change{Op: model.OpExchange, Tenant: "t", Service: "s", Name: "d", ToService: "r", ToName: "x"})
	old, now := r[0].ID, p.list(&model.List{Tenant: "t", Service: "s"})[0].ID
	want(fmt.Sprintf(`rmdir s/d moved "r" for %d`, now), fmt.Sprintf(`rmdir r/x moved "s" for %d`, old), fmt.Sprintf(`mkdir r/x moved "s" for %d`, now),
		`set r/x/n moved "s" "4" v8 created true`, fmt.Sprintf(`mkdir s/d moved "r" for %d`, old), `mkdir s/d/e moved "r"`,
		`set s/d/v moved "r" "3" v7 created true`, `set s/d/e/w moved "r" "2" v6 created true`)
	p.do(moveTo("s", "d/v", "r", "v"))
	want(`delete s/d/v moved "r"`, `set r/v moved "s" "3" v8 created true`)
}

// TestMoveRefused: a directory goes nowhere, and is left as it was, if it may not or cannot.
func TestMoveRefused(t *testing.T) {
	s := startCore(t, func(o *setup) { o.Limits = model.Limits{Name: 60, Component: 60, Value: 1 << 20} })
	p := connect(t, s)
	p.do(at(model.OpMkdir, "t", "", ""), at(model.OpMkdir, "t", "s", ""), at(model.OpMkdir, "t", "r", ""), at(model.OpMkdir, "u", "", ""), at(model.OpMkdir, "u", "s", ""))
	p.do(at(model.OpMkdir, "t", "s", "d"), at(model.OpMkdir, "t", "r", "full"), at(model.OpMkdir, "t", "r", "empty"))
	in := func(service string, c model.Change) model.Change {
		c.Service = service
		return c
	}
	p.do(store("d/v", "1"), in("r", store("full/v", "2")), in("r", store("v", "3")))
	p.do(model.Change{Op: model.OpBare, Tenant: "t", Service: "bare", Size: 4096})
	noReplace := moveTo("s", "d", "r", "empty")
	noReplace.NoReplace = true
	p.refused(model.CodeExists, noReplace)
	p.refused(model.CodeNotEmpty, moveTo("s", "d", "r", "full"))
	p.refused(model.CodeNotDirectory, moveTo("s", "d", "r", "v"))
	p.refused(model.CodeIsDirectory, moveTo("s", "d/v", "r", "full"))
	p.refused(model.CodeNotFound, moveTo("s", "d", "r", "nowhere/d"))
	p.refused(model.CodeNotFound, moveTo("s", "d", "none", "d"))
	p.refused(model.CodeNotFound, moveTo("s", "none", "r", "d"))
	p.refused(model.CodeCrossDevice, moveTo("s", "d", "bare", "d"))
	p.refused(model.CodeCrossDevice, moveTo("s", "d", "r", ""))
	p.refused(model.CodeNameTooLong, moveTo("s", "d", "r", strings.Repeat("x", 59)))
	p.refused(model.CodeNotFound, moveTo("s", "d", "r", "new"), at(model.OpDelete, "t", "s", "none")) // all or nothing
	toTenant := moveTo("s", "d", "s", "d")
	toTenant.ToTenant = "u"
	for name, tenants := range map[string][]string{"here": {"t"}, "there": {"u"}} {
		q := connect(t, s, s.by(p.createKey(name, model.RightRead|model.RightWrite|model.RightCreate|model.RightDelete, tenants...)))
		q.refused(model.CodeNotFound, toTenant)
	}
	q := connect(t, s, s.by(p.createKey("keeps", model.RightRead|model.RightWrite|model.RightCreate, "*")))
	q.refused(model.CodeDenied, toTenant)
	q = connect(t, s, s.by(p.createKey("makes", model.RightRead|model.RightWrite|model.RightDelete, "*")))
	q.refused(model.CodeDenied, toTenant)
	p.wantValue("d/v", "1")
	if n := len(s.view.islands); n != 0 {
		t.Errorf("%d islands", n)
	}
	p.do(moveTo("s", "d", "r", "empty"))
	p.do(model.Change{Op: model.OpRename, Tenant: "t", Service: "r", Name: "empty", ToTenant: "u", ToService: "s", ToName: "d"})
	if v, err := p.get("u", "s", "d/v"); err != nil || string(v.Data) != "1" {
		t.Errorf("%+v, %v", v, err)
	}
	// What is removed leaves nothing behind.
	p.do(at(model.OpDelete, "u", "s", "d/v"), at(model.OpRmdir, "u", "s", "d"))
	if len(s.view.islands)+len(s.view.went) != 0 {
		t.Errorf("islands %v, went %v", s.view.islands, s.view.went)
	}
}
