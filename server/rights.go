package server

import (
	"path"
	"slices"
	"strings"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
)

// rightsIn is what a session may do in a tenant; 0 hides the tenant.
type rightsIn func(tenant string) model.Rights

const allRights = model.RightRead | model.RightWrite | model.RightCreate | model.RightDelete | model.RightAdmin

// everything is what the owner of the server's process may do, who comes by the Unix socket.
func everything(string) model.Rights { return allRights }

// rightsOf is what a key opens: its rights in the tenants that match one of its patterns, all tenants if it has none.
func rightsOf(patterns []string, rights model.Rights) rightsIn {
	return func(tenant string) model.Rights {
		if matches(patterns, tenant) {
			return rights
		}
		return 0
	}
}

func matches(patterns []string, tenant string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(p, tenant); ok && err == nil {
			return true
		}
	}
	return len(patterns) == 0
}

// need asks for rights in a tenant that a request names: a hidden tenant is not there.
func (r rightsIn) need(tenant string, want model.Rights) error {
	switch have := r(tenant); {
	case have == 0:
		return model.ErrNotFound
	case have&want != want:
		return model.ErrDenied
	}
	return nil
}

// needNew is need where the request would make the name: that a hidden tenant cannot be made says nothing about whether
// it is there.
func (r rightsIn) needNew(tenant string, want model.Rights) error {
	if have := r(tenant); have == 0 || have&want != want {
		return model.ErrDenied
	}
	return nil
}

// within reports whether patterns open no tenant that outer does not open. It says no where it cannot tell: a pattern must
// be one of outer's, a plain name that one of them matches, or begin as one that is a plain beginning and "*".
func within(patterns, outer []string) bool {
	if len(outer) == 0 {
		return true
	}
	if len(patterns) == 0 {
		return slices.Contains(outer, "*")
	}
	return !slices.ContainsFunc(patterns, func(p string) bool {
		return !slices.ContainsFunc(outer, func(o string) bool { return subsumes(o, p) })
	})
}

// special are the characters that mean something in a pattern.
const special = `*?[\`

func subsumes(outer, pattern string) bool {
	if outer == pattern {
		return true
	}
	if begin, ok := strings.CutSuffix(outer, "*"); ok && !strings.ContainsAny(begin, special) {
		return strings.HasPrefix(pattern, begin)
	}
	if strings.ContainsAny(pattern, special) {
		return false
	}
	ok, err := path.Match(outer, pattern)
	return ok && err == nil
}

// administers reports whether the session may manage keys.
func (s *session) administers() bool {
	return s.key == nil || model.Rights(s.key.Rights)&model.RightAdmin != 0
}

// administersKey reports whether a key is the session's to list and to revoke: it opens nothing that the session's own key
// does not open.
func (s *session) administersKey(k *engine.Key) bool {
	return s.administers() && (s.key == nil || within(k.Tenants, s.key.Tenants))
}

// maySee reports whether the session may know of another one. Who came without a key has every tenant.
func (s *session) maySee(c *session) bool {
	switch {
	case s == c:
		return true
	case c.key == nil:
		return s.administers() && (s.key == nil || within(nil, s.key.Tenants))
	}
	return s.administersKey(c.key)
}
