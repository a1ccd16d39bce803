package commyfs

import (
	"context"
	"log/slog"
	"time"

	varsync "github.com/commy-project/commyfs/sync"
)

// Attached are the parts of a program that has a connection already: a mount.
type Attached struct {
	// Sync keeps the copy, and stays the program's.
	Sync *varsync.Client
	// Dial makes another connection, for watches that resume.
	Dial func(context.Context) (varsync.Conn, error)
	// Timeout limits every wait for the server.
	Timeout time.Duration
	// Logger receives messages of watches.
	Logger *slog.Logger
}

// Attach returns a client over a copy that the program keeps anyway, so that what a watch reports is in step with what the program
// sees. The program calls changed with all notices of the copy, in order. Close ends the watches, and not the connection.
func Attach(a Attached) (c *Client, changed func([]varsync.Notice)) {
	c = newClient(Options{Timeout: a.Timeout, Logger: a.Logger}, a.Dial)
	c.sync, c.lent = a.Sync, true
	return c, c.onChange
}
