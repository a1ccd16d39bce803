package commyfs

import (
	"context"

	"github.com/commy-project/commyfs/model"
)

// Status describes a server and who uses it; the other types are parts of it, and of API keys.
type (
	Status      = model.Status
	ServerInfo  = model.ServerInfo
	SessionInfo = model.SessionInfo
	Limits      = model.Limits
	KeyInfo     = model.KeyInfo
	Rights      = model.Rights
)

// The rights that an API key can carry.
const (
	RightRead   = model.RightRead
	RightWrite  = model.RightWrite
	RightCreate = model.RightCreate
	RightDelete = model.RightDelete
	RightAdmin  = model.RightAdmin
)

// Status asks the server how it is.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	st, err := c.sync.Status(ctx)
	return st, c.failed(err)
}

// Limits are the server's bounds as last heard of, without waiting.
func (c *Client) Limits() Limits { return c.sync.Limits() }

// IsLocal reports whether the server is on this host.
func (c *Client) IsLocal() bool { return c.sync.Welcome().Local }

// CreateKey makes an API key and returns it; the server keeps no more than a hash. tenants are names or patterns, as
// [path.Match] has them, of what it opens: none means all. Keys are for the server's own user, and for keys with
// RightAdmin.
func (c *Client) CreateKey(ctx context.Context, name string, rights Rights, tenants ...string) (key string, err error) {
	key, err = c.sync.NewKey(ctx, &model.NewKey{Name: name, Tenants: tenants, Rights: rights})
	return key, c.failed(err)
}

// Keys lists the API keys.
func (c *Client) Keys(ctx context.Context) ([]KeyInfo, error) {
	keys, err := c.sync.Keys(ctx)
	return keys, c.failed(err)
}

// RevokeKey ends an API key and every session that uses it.
func (c *Client) RevokeKey(ctx context.Context, name string) error {
	return c.failed(c.sync.RevokeKey(ctx, name))
}
