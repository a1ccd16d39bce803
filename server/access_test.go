package server

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

// listening makes the server listen on a loopback port with a certificate of its own. It returns how to dial it.
func listening(t *testing.T) (func(*Options), func(s *Server, key string) transport.DialOptions) {
	t.Helper()
	cert, key, ca, err := transport.SelfSigned(t.TempDir(), []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	conf, err := transport.ServerTLS(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return func(o *Options) { o.Listen, o.TLS = "127.0.0.1:0", conf },
		func(s *Server, key string) transport.DialOptions {
			return transport.DialOptions{URL: s.URL(), CAFile: ca, APIKey: key}
		}
}

func (p *peer) createKey(name string, rights model.Rights, tenants ...string) string {
	p.t.Helper()
	return must[*transport.KeyCreated](p, &transport.CreateKey{Name: name, Rights: rights, Tenants: tenants}).Key
}

func TestKeys(t *testing.T) {
	listen, dial := listening(t)
	d := newDirs(t)
	s := d.start(t, listen)
	admin := connect(t, s)
	key := admin.createKey("sensor_1", model.RightRead, "t*")
	if !strings.HasPrefix(key, "commy_sensor_1_") || len(key) < 43 {
		t.Fatalf("key %q", key)
	}
	for _, c := range []struct {
		m    transport.CreateKey
		code model.Code
	}{
		{transport.CreateKey{Name: "sensor_1", Rights: 1}, model.CodeExists},
		{transport.CreateKey{Name: "a b", Rights: 1}, model.CodeInvalid},
		{transport.CreateKey{Name: "", Rights: 1}, model.CodeInvalid},
		{transport.CreateKey{Name: "x"}, model.CodeInvalid},
		{transport.CreateKey{Name: "x", Rights: 1 << 20}, model.CodeInvalid},
		{transport.CreateKey{Name: "x", Rights: 1, Tenants: []string{"[a"}}, model.CodeInvalid},
	} {
		_, err := call[*transport.KeyCreated](admin, &c.m)
		admin.wantCode(err, c.code)
	}

	try := func(key string) error {
		p := &peer{t: t, news: make(chan struct{}, 1)}
		return p.dial(dial(s, key))
	}
	flipped := key[:len(key)-2] + "AA"
	if flipped == key {
		flipped = key[:len(key)-2] + "BA"
	}
	for _, bad := range []string{"", "x", "commy_", "commy_sensor_1_", key[:len(key)-1], key + "A", flipped, strings.ToUpper(key), "commy_other" + key[len("commy_sensor_1"):]} {
		if err := try(bad); !errors.Is(err, model.ErrUnauthorized) {
			t.Errorf("key %q: %v, want unauthorized", bad, err)
		}
	}
	if err := try(key); err != nil {
		t.Errorf("the key: %v", err)
	}
	want := []model.KeyInfo{{Name: "sensor_1", Tenants: []string{"t*"}, Rights: model.RightRead}}
	got := must[*transport.Keys](admin, &transport.ListKeys{}).Keys
	for i := range got {
		got[i].Created = 0
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("keys %+v, want %+v", got, want)
	}

	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = d.start(t, listen)
	p := &peer{t: t, news: make(chan struct{}, 1)}
	if err := p.dial(dial(s, key)); err != nil {
		t.Fatalf("the key after a restart: %v", err)
	}
	if p.welcome.Local {
		t.Error("a connection over the network is local")
	}
	admin = connect(t, s)
	must[*transport.Done](admin, &transport.RevokeKey{Name: "sensor_1"})
	select {
	case <-p.cl.Done():
		if !errors.Is(p.cl.Err(), model.ErrUnauthorized) {
			t.Errorf("a session whose key is revoked ends with %v", p.cl.Err())
		}
	case <-t.Context().Done():
	}
	if err := try(key); !errors.Is(err, model.ErrUnauthorized) {
		t.Errorf("revoked key: %v", err)
	}
	_, err := call[*transport.Done](admin, &transport.RevokeKey{Name: "sensor_1"})
	admin.wantCode(err, model.CodeNotFound)
}

func TestRights(t *testing.T) {
	listen, dial := listening(t)
	s := startServer(t, listen)
	admin := connect(t, s)
	admin.do(store("v", "1"), at(model.OpMkdir, "t", "s", "d"))
	hidden := store("v", "secret")
	hidden.Tenant = "hidden"
	admin.do(hidden)
	with := func(rights model.Rights, tenants ...string) *peer {
		t.Helper()
		p := &peer{t: t, news: make(chan struct{}, 1)}
		if err := p.dial(dial(s, admin.createKey("k"+strings.ReplaceAll(t.Name(), "/", "")+string(rune('a'+admin.seq)), rights, tenants...))); err != nil {
			t.Fatal(err)
		}
		admin.seq++
		return p
	}

	r := with(model.RightRead, "t")
	r.wantValue("v", "1")
	for _, c := range []model.Change{
		setMeta("t", "s", "v", model.NewMode(0o600)), setMeta("t", "s", "d", 0, 1), setMeta("t", "s", "", 0, 1), setMeta("t", "", "", 0, 1),
		store("v", "2"), store("new", ""), at(model.OpDelete, "t", "s", "v"), at(model.OpMkdir, "t", "s", "e"), at(model.OpRmdir, "t", "s", "d"),
		renameTo(at(model.OpRename, "t", "s", "v"), "w"), at(model.OpMkdir, "t", "x", ""), at(model.OpMkdir, "x", "", ""), at(model.OpRmdir, "t", "", ""),
		{Op: model.OpRename, Tenant: "t", ToTenant: "u"}, {Op: model.OpRename, Tenant: "t", Service: "s", ToTenant: "t", ToService: "u"},
	} {
		r.refused(model.CodeDenied, c)
	}
	_, err := call[*transport.Probed](r, &transport.Probe{Tenant: "t", Service: "s", Name: "v", Want: model.RightWrite})
	r.wantCode(err, model.CodeDenied)
	_, err = call[*transport.Probed](r, &transport.Probe{Tenant: "hidden", Service: "s", Name: "v", Want: model.RightWrite})
	r.wantCode(err, model.CodeNotFound)
	must[*transport.Probed](r, &transport.Probe{Tenant: "t", Service: "s", Name: "v", Want: model.RightRead})
	for _, m := range []transport.Message{&transport.CreateKey{Name: "x", Rights: 1}, &transport.ListKeys{}, &transport.RevokeKey{Name: "x"}, &transport.Handover{}} {
		_, err := call[*transport.Done](r, m)
		r.wantCode(err, model.CodeDenied)
	}
	_, err = call[*transport.ServiceFilePath](r, &transport.GetServiceFilePath{Service: admin.service("t", "s")})
	r.wantCode(err, model.CodeUnsupported)

	// What is hidden is not there, in whatever way it is asked for.
	tree := must[*transport.Tree](r, &transport.WatchTree{})
	if len(tree.Tenants) != 1 || len(tree.Services) != 1 || tree.Tenants[0].Rights != model.RightRead {
		t.Errorf("tree %+v", tree)
	}
	if list := r.list(&transport.List{Recursive: true}); slices.ContainsFunc(list, func(e model.Entry) bool { return e.Tenant != "t" }) {
		t.Errorf("list %+v", list)
	}
	_, err = r.tryList(&transport.List{Tenant: "hidden"})
	r.wantCode(err, model.CodeNotFound)
	hsid := admin.service("hidden", "s")
	_, err = r.watch(&transport.Watch{Service: hsid})
	r.wantCode(err, model.CodeNotFound)
	_, err = call[*transport.VariableData](r, &transport.ReadVariable{Tenant: "hidden", Service: "s", Name: "v"})
	r.wantCode(err, model.CodeNotFound)
	hv := must[*transport.VariableData](admin, &transport.ReadVariable{Tenant: "hidden", Service: "s", Name: "v"}).Variable
	for _, c := range []model.Change{at(model.OpDelete, "hidden", "s", "v"), at(model.OpStore, "hidden", "s", "v"), {Op: model.OpDelete, ID: hv.ID}, setMeta("hidden", "", "", 0, 1), setMeta("hidden", "s", "", 0, 1), at(model.OpRmdir, "hidden", "", "")} {
		r.refused(model.CodeNotFound, c)
	}
	r.refused(model.CodeDenied, at(model.OpMkdir, "hidden", "", "")) // as for a tenant that is not there
	if st := must[*transport.Status](r, &transport.GetStatus{}); st.Services != 1 || len(st.Sessions) != 1 {
		t.Errorf("status shows %d services, %d sessions", st.Services, len(st.Sessions))
	}

	w := with(model.RightRead|model.RightWrite, "t")
	w.do(store("v", "2"), setMeta("t", "s", "v", model.NewMode(0o600)))
	w.refused(model.CodeDenied, store("new", "x"))
	w.refused(model.CodeDenied, at(model.OpDelete, "t", "s", "v"))
	c := with(model.RightCreate, "t")
	c.do(at(model.OpCreate, "t", "s", "made"))
	c.refused(model.CodeDenied, store("made2", "with bytes"))
	c.refused(model.CodeDenied, store("v", "x"))
	c.refused(model.CodeDenied, setMeta("t", "s", "made", model.NewMode(0o600)))
	_, err = c.read("v")
	c.wantCode(err, model.CodeDenied)
	_, err = c.watch(&transport.Watch{Service: admin.service("t", "s")})
	c.wantCode(err, model.CodeDenied)
	del := with(model.RightDelete, "t")
	del.do(at(model.OpDelete, "t", "s", "made"))

	// An administrator by key makes no key that opens more than its own.
	a := with(model.RightRead|model.RightAdmin, "t")
	a.createKey("less", model.RightRead, "t")
	for _, m := range []*transport.CreateKey{
		{Name: "more", Rights: model.RightWrite, Tenants: []string{"t"}}, {Name: "more", Rights: model.RightRead, Tenants: []string{"u"}}, {Name: "more", Rights: model.RightRead},
	} {
		_, err := call[*transport.KeyCreated](a, m)
		a.wantCode(err, model.CodeDenied)
	}
}

// TestOutOfSight: what is renamed into or out of a session's sight appears or is gone, and its watch ends.
func TestOutOfSight(t *testing.T) {
	listen, dial := listening(t)
	s := startServer(t, listen)
	admin := connect(t, s)
	admin.do(store("v", "1"))
	sid := admin.service("t", "s")
	p := &peer{t: t, news: make(chan struct{}, 1)}
	if err := p.dial(dial(s, admin.createKey("k", model.RightRead, "t"))); err != nil {
		t.Fatal(err)
	}
	must[*transport.Tree](p, &transport.WatchTree{})
	p.mustWatch(&transport.Watch{Service: sid})
	changes := func(n int) []model.TreeChange {
		t.Helper()
		var list []model.TreeChange
		p.await("tree changes", func(l []transport.Message) bool {
			list = nil
			for _, m := range l {
				if c, ok := m.(*transport.TreeChanged); ok {
					list = append(list, c.Changes...)
				}
			}
			return len(list) >= n
		})
		p.taken()
		return list
	}
	admin.do(model.Change{Op: model.OpRename, Tenant: "t", ToTenant: "far"})
	list := changes(2)
	if len(list) != 2 || !list[0].Gone || list[0].Service.ID != sid || !list[1].Gone || list[1].Tenant.Name != "t" {
		t.Errorf("renamed out of sight: %+v", list)
	}
	admin.do(model.Change{Op: model.OpStore, Tenant: "far", Service: "s", Name: "v", Data: []byte("unseen")})
	admin.do(model.Change{Op: model.OpRename, Tenant: "far", ToTenant: "t"})
	list = changes(2)
	if len(list) != 2 || list[0].Gone || list[0].Tenant.Name != "t" || list[1].Gone || list[1].Service.ID != sid {
		t.Errorf("renamed into sight: %+v", list)
	}
	admin.do(store("v", "after"))
	admin.do(model.Change{Op: model.OpRename, Tenant: "t", Service: "s", ToTenant: "far", ToService: "s", Parents: true})
	list = changes(1)
	if len(list) != 1 || !list[0].Gone || list[0].Service.ID != sid || list[0].Service.Name != "s" {
		t.Errorf("service moved out of sight: %+v", list)
	}
	if evs := events(p.taken(), sid); len(evs) != 0 {
		t.Errorf("events of a service out of sight: %+v", evs)
	}
}

func TestNetworkWithoutHello(t *testing.T) {
	s := startServer(t)
	dial := func() *transport.Conn {
		c, err := transport.Dial(context.Background(), transport.DialOptions{URL: "unix://" + s.socket()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	for _, m := range []transport.Message{&transport.Ping{}, &transport.Hello{ID: []byte("short")}, &transport.ReportVariableChanges{Seq: 1}} {
		c := dial()
		if err := c.Send(transport.Envelope{ID: 1, Message: m}); err != nil {
			t.Fatal(err)
		}
		envs, err := c.Receive()
		if err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		if e, ok := envs[0].Message.(*transport.Error); !ok || e.Code != model.CodeInvalid {
			t.Errorf("%T answered by %+v", m, envs[0].Message)
		}
		if _, err := c.Receive(); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("%T: then %v", m, err)
		}
	}
	p := connect(t, s)
	_, err := call[*transport.Welcome](p, &transport.Hello{ID: p.id})
	p.wantCode(err, model.CodeInvalid)
	_, err = call[*transport.Done](p, &transport.Welcome{})
	p.wantCode(err, model.CodeUnsupported)
	must[*transport.Done](p, &transport.Ping{})
	testenv.Eventually(t, bound, func() error {
		if n := len(must[*transport.Status](p, &transport.GetStatus{}).Sessions); n != 1 {
			return errTest
		}
		return nil
	})
}
