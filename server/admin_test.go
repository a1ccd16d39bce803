package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/access"
	"github.com/commy-project/commyfs/transport"
)

// TestTenantAdmin: an administrator by a key for some tenants administers the keys of these, and sees their sessions.
func TestTenantAdmin(t *testing.T) {
	listen, dial := listening(t)
	s := startServer(t, listen)
	root := connect(t, s)
	with := func(key string) *peer {
		t.Helper()
		p := &peer{t: t, news: make(chan struct{}, 1)}
		if err := p.dial(dial(s, key)); err != nil {
			t.Fatal(err)
		}
		return p
	}
	admin := with(root.createKey("a-admin", model.RightRead|model.RightAdmin, "a*"))
	everywhere := with(root.createKey("all-admin", model.RightRead|model.RightAdmin))
	for name, tenants := range map[string][]string{"a1": {"a1"}, "a-b": {"a1", "b"}, "b": {"b"}, "everything": nil, "star": {"*"}} {
		with(root.createKey(name, model.RightRead|model.RightWrite, tenants...))
	}

	names := func(p *peer) (list []string) {
		for _, k := range must[*transport.Keys](p, &transport.ListKeys{}).Keys {
			list = append(list, k.Name)
		}
		return list
	}
	users := func(p *peer) (list []string) {
		for _, c := range must[*transport.Status](p, &transport.GetStatus{}).Sessions {
			list = append(list, c.User)
		}
		slices.Sort(list)
		return list
	}
	want := []string{"a-admin", "a1"}
	if got := names(admin); !slices.Equal(got, want) {
		t.Errorf("lists the keys %q, want %q", got, want)
	}
	if got := users(admin); !slices.Equal(got, want) {
		t.Errorf("sees the sessions of %q, want %q", got, want)
	}
	if got := names(everywhere); len(got) != 7 {
		t.Errorf("who has every tenant lists %q", got)
	}
	if got := users(everywhere); len(got) != 8 {
		t.Errorf("who has every tenant sees the sessions of %q", got)
	}
	_, unknown := call[*transport.Done](admin, &transport.RevokeKey{Name: "nobody"})
	for _, name := range []string{"b", "a-b", "everything", "star", "all-admin"} {
		if _, err := call[*transport.Done](admin, &transport.RevokeKey{Name: name}); fmt.Sprint(err) != fmt.Sprint(unknown) {
			t.Errorf("revokes %s: %v, want %v", name, err, unknown)
		}
	}
	for _, m := range []*transport.CreateKey{
		{Name: "x", Rights: model.RightRead}, {Name: "x", Rights: model.RightRead, Tenants: []string{"b"}}, {Name: "x", Rights: model.RightRead, Tenants: []string{"a", "*"}},
		{Name: "x", Rights: model.RightWrite, Tenants: []string{"a"}}, {Name: "x", Rights: model.RightRead, Tenants: []string{"[ab]*"}},
	} {
		_, err := call[*transport.KeyCreated](admin, m)
		admin.wantCode(err, model.CodeDenied)
	}
	with(admin.createKey("a-more", model.RightRead|model.RightAdmin, "ab*", "a?", "axe"))
	must[*transport.Done](admin, &transport.RevokeKey{Name: "a1"})
	must[*transport.Done](admin, &transport.RevokeKey{Name: "a-more"})
	if got := names(root); len(got) != 6 {
		t.Errorf("left are %q", got)
	}
	must[*transport.Done](everywhere, &transport.RevokeKey{Name: "everything"})
}

// TestRevoked: a key that is revoked is over at once, on connections that were made with it, too, and its holder is told.
func TestRevoked(t *testing.T) {
	listen, dial := listening(t)
	s := startServer(t, listen)
	root := connect(t, s)
	root.do(store("v", ""))
	key := root.createKey("k", access.AllRights)
	p := &peer{t: t, news: make(chan struct{}, 1)}
	if err := p.dial(dial(s, key)); err != nil {
		t.Fatal(err)
	}
	silent, err := transport.Dial(t.Context(), dial(s, key)) // has yet to say hello
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })

	must[*transport.Done](root, &transport.RevokeKey{Name: "k"})
	late := p.cl.Go(t.Context(), &transport.ReportVariableChanges{Seq: 1, Acked: 1, Changes: []model.Change{appendTo("v", "late")}})
	<-p.cl.Done()
	told := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, model.ErrUnauthorized) || !strings.Contains(err.Error(), access.ErrRevoked.Message) {
			t.Errorf("%s: %v, want %v", what, err, access.ErrRevoked)
		}
	}
	told("the session ends with", p.cl.Err())
	_, err = late.Wait(t.Context())
	told("what it had asked for", err)
	root.wantValue("v", "")

	if err := silent.Send(transport.Envelope{ID: 1, Message: &transport.Hello{ID: p.id}}); err != nil {
		t.Fatal(err)
	}
	envs, err := silent.Receive()
	if err != nil {
		t.Fatal(err)
	}
	reply, _ := envs[0].Message.(*transport.Error)
	told("a hello is answered by", (*model.Error)(reply))
	_, err = silent.Receive()
	told("and then the connection ends with", err)
}
