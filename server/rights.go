package server

import (
	"path"

	"github.com/commy-project/commyfs/transport"
)

// rightsIn is what a session may do in a tenant; 0 hides the tenant.
type rightsIn func(tenant string) transport.Rights

const allRights = transport.RightRead | transport.RightWrite | transport.RightCreate | transport.RightDelete | transport.RightAdmin

// everything is what the owner of the server's process may do, who comes by the Unix socket.
func everything(string) transport.Rights { return allRights }

// rightsOf is what a key opens: its rights in the tenants that match one of its patterns, all tenants if it has none.
func rightsOf(patterns []string, rights transport.Rights) rightsIn {
	return func(tenant string) transport.Rights {
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
func (r rightsIn) need(tenant string, want transport.Rights) error {
	switch have := r(tenant); {
	case have == 0:
		return transport.ErrNotFound
	case have&want != want:
		return transport.ErrDenied
	}
	return nil
}

// needNew is need where the request would make the name: that a hidden tenant cannot be made says nothing about whether
// it is there.
func (r rightsIn) needNew(tenant string, want transport.Rights) error {
	if have := r(tenant); have == 0 || have&want != want {
		return transport.ErrDenied
	}
	return nil
}
