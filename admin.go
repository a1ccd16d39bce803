package commyfs

import (
	"context"

	"github.com/commy-project/commyfs/model"
)

type (
	// Status is the status of a server.
	Status = model.Status
	// ServerInfo describes a server.
	ServerInfo = model.ServerInfo
	// SessionInfo describes a client of a server.
	SessionInfo = model.SessionInfo
	// Limits are the limits of a server.
	Limits = model.Limits
	// BareInfo describes a bare service that is in the server's memory.
	BareInfo = model.BareInfo
	// MemoryInfo describes how the values of a named service reach its clients.
	MemoryInfo = model.MemoryInfo
	// KeyInfo describes an API key.
	KeyInfo = model.KeyInfo
	// Rights is a set of rights.
	Rights = model.Rights
)

// The rights of an API key.
const (
	RightRead   = model.RightRead
	RightWrite  = model.RightWrite
	RightCreate = model.RightCreate
	RightDelete = model.RightDelete
	RightAdmin  = model.RightAdmin
)

// Status returns the status of the server.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	st, err := c.sync.Status(ctx)
	return st, c.failed(err)
}

// Limits returns the limits of the server. It does not wait: free space may be a second old.
func (c *Client) Limits() Limits { return c.sync.Limits() }

// IsLocal reports whether the server is on this host.
func (c *Client) IsLocal() bool { return c.sync.Welcome().Local }

// CreateKey creates an API key for the given tenants (names, or patterns of [path.Match]; none: all tenants) and returns
// it. The server stores only a hash. Only the server's own user and keys with [RightAdmin] may manage keys.
func (c *Client) CreateKey(ctx context.Context, name string, rights Rights, tenants ...string) (key string, err error) {
	key, err = c.sync.NewKey(ctx, &model.NewKey{Name: name, Tenants: tenants, Rights: rights})
	return key, c.failed(err)
}

// Keys lists the API keys.
func (c *Client) Keys(ctx context.Context) ([]KeyInfo, error) {
	keys, err := c.sync.Keys(ctx)
	return keys, c.failed(err)
}

// RevokeKey revokes an API key and closes all sessions that use it.
func (c *Client) RevokeKey(ctx context.Context, name string) error {
	return c.failed(c.sync.RevokeKey(ctx, name))
}
