package core

import (
	"fmt"
	"strings"
	"testing"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
)

// TestHiddenIsNotPushed: what crosses the border of a tenant that a session sees is pushed without a word of the other
// side, also when several reports become one batch.
func TestHiddenIsNotPushed(t *testing.T) {
	rename := func(from, service, to, toService string) model.Change {
		return model.Change{Op: model.OpRename, Tenant: from, Service: service, ToTenant: to, ToService: toService}
	}
	in := func(tenant, service, name, value string) model.Change {
		return model.Change{Op: model.OpStore, Tenant: tenant, Service: service, Name: name, Data: []byte(value), Create: true, Parents: true}
	}
	s := startCore(t)
	admin := connect(t, s)
	number := 0
	for what, reports := range map[string][]model.Change{
		"service out":              {rename("t", "s", "secret-tenant", "s")},
		"service out, renamed":     {rename("t", "s", "secret-tenant", "secret-name")},
		"service out, then stored": {rename("t", "s", "secret-tenant", "s"), in("secret-tenant", "s", "v", "secret-value"), in("secret-tenant", "s", "secret-var", "x")},
		"service out and gone": {
			rename("t", "s", "secret-tenant", "s"), at(model.OpDelete, "secret-tenant", "s", "v"), at(model.OpRmdir, "secret-tenant", "s", ""),
		},
		"tenant out, then a service more":     {rename("t", "", "secret-new", ""), in("secret-new", "secret-service", "v", "secret-value")},
		"tenant out, its services renamed":    {rename("t", "", "secret-new", ""), rename("secret-new", "s", "secret-new", "secret-service")},
		"tenant through, a service less":      {in("secret-new", "secret-service", "v", "1"), rename("secret-new", "secret-service", "secret-tenant", "secret-service"), rename("secret-new", "", "t2", "")},
		"tenant in and out, a service more":   {in("secret-new", "seen", "v", "1"), rename("secret-new", "", "t2", ""), rename("t2", "", "secret-new", ""), in("secret-new", "secret-service", "v", "1")},
		"only hidden":                         {in("secret-tenant", "secret-service", "secret-var", "x"), rename("secret-tenant", "secret-service", "secret-tenant", "s"), rename("secret-tenant", "", "secret-3", "")},
		"variable out":                        {{Op: model.OpRename, Tenant: "t", Service: "s", Name: "v", ToTenant: "secret-tenant", ToService: "old", ToName: "secret-var"}},
		"variable out onto another":           {{Op: model.OpRename, Tenant: "t", Service: "s", Name: "v", ToTenant: "secret-tenant", ToService: "old", ToName: "old"}},
		"hidden tenant dropped and made anew": {at(model.OpRmdir, "secret-empty", "", ""), at(model.OpMkdir, "secret-empty", "", "")},
	} {
		t.Run(what, func(t *testing.T) {
			// Tenants of its own for each case.
			number++
			own := func(tenant string) string {
				if tenant == "" {
					return ""
				}
				return fmt.Sprint(tenant, "-", number)
			}
			send := func(c model.Change) model.Change {
				c.Tenant, c.ToTenant = own(c.Tenant), own(c.ToTenant)
				return c
			}
			admin.t = t
			admin.do(send(store("v", "1")), send(in("secret-tenant", "old", "old", "old")), send(at(model.OpMkdir, "secret-empty", "", "")))
			p := connect(t, s, s.by(admin.createKey(own("k"), model.RightRead, own("t"), own("t2"), own("last"))))
			tree := p.tree()
			p.mustWatch(&model.Watch{Service: admin.service(own("t"), "s"), Values: true})
			tenants := map[uint64]bool{tree.Tenants[0].ID: true}

			release := s.holdCommits(t)
			var calls []<-chan any
			for i := range reports {
				admin.seq++
				calls = append(calls, admin.begin(&model.Report{Seq: admin.seq, Acked: 1, Changes: []model.Change{send(reports[i])}}))
				s.awaitQueued(t, i+1)
			}
			release()
			for i, c := range calls {
				if o := admin.outcome(c); o.Code != model.CodeOK {
					t.Fatalf("report %d: %+v", i, o)
				}
			}
			admin.do(send(at(model.OpMkdir, "last", "", "")))
			p.await("the last change", func(l []any) bool {
				for _, m := range l {
					if c, ok := m.(*model.TreeChanges); ok && c.Changes[len(c.Changes)-1].Tenant.Name == own("last") {
						return true
					}
				}
				return false
			})
			for _, m := range p.taken() {
				text := fmt.Sprintf("%+v", m)
				switch m := m.(type) {
				case *model.TreeChanges:
					for _, c := range m.Changes {
						if c.Service.ID != 0 && !tenants[c.Service.Tenant] {
							t.Errorf("pushed a tenant that was never shown: %+v", c)
						}
						tenants[c.Tenant.ID] = true
					}
				case *model.Changes:
					for _, ev := range m.Changes {
						text += string(ev.Data)
					}
				}
				if strings.Contains(text, "secret") {
					t.Errorf("pushed %s", text)
				}
			}
		})
	}
}

// holdCommits stops the committer until the returned function is called: what is reported meanwhile becomes one batch.
func (s *testCore) holdCommits(t *testing.T) func() {
	gate, held := make(chan struct{}), make(chan struct{})
	s.queue.call(func() { close(held); <-gate })
	<-held
	done := false
	release := func() {
		if !done {
			done = true
			close(gate)
		}
	}
	t.Cleanup(release)
	return release
}

// awaitQueued waits until so many reports, awaitQueuedItems until so many reports and other things to do, wait for the
// committer.
func (s *testCore) awaitQueued(t *testing.T, n int) {
	t.Helper()
	s.awaitItems(t, n, func(it item) bool { return it.report != nil })
}

func (s *testCore) awaitQueuedItems(t *testing.T, n int) {
	t.Helper()
	s.awaitItems(t, n, func(item) bool { return true })
}

func (s *testCore) awaitItems(t *testing.T, n int, counts func(item) bool) {
	t.Helper()
	testenv.Eventually(t, bound, func() error {
		s.queue.mu.Lock()
		defer s.queue.mu.Unlock()
		have := 0
		for _, fn := range s.queue.do {
			if counts(item{do: fn}) {
				have++
			}
		}
		for _, l := range s.queue.lines {
			for _, it := range l.items {
				if counts(it) {
					have++
				}
			}
		}
		if have < n {
			return fmt.Errorf("%d wait, want %d", have, n)
		}
		return nil
	})
}
