package transport

import "cmp"

// Budget is the memory that one connection may use for what it receives. Its methods are called by many goroutines.
type Budget interface {
	// Take waits until the connection may use n more bytes, n being no more than Limit. An error ends the connection.
	Take(n int) error
	// Give says that n bytes are not used any more.
	Give(n int)
	// Limit is the most that the connection may have at once.
	Limit() int
}

// SetBudget has everything that is received from now on taken from b, before it is allocated: the buffer of a message that
// does not fit into the connection's own, and what the message takes when decoded. Receive waits while there is none left,
// and so, in the end, does the peer. Only the goroutine that calls Receive may call it.
func (c *Conn) SetBudget(b Budget) { c.in.budget = b }

// SetMaxMessage bounds what is received from now on: one WebSocket message, and so one envelope. 0 is Options.MaxMessage.
// Only the goroutine that calls Receive may call it.
func (c *Conn) SetMaxMessage(n int) { c.ws.SetReadLimit(int64(cmp.Or(n, c.opts.MaxMessage))) }

// ReceivingSince returns since when, in Unix nanoseconds, the connection has held memory from its budget for a message of
// which the peer has not sent everything, 0 if it does not.
func (c *Conn) ReceivingSince() int64 { return c.in.since.Load() }

// take is Take of the budget, if there is one.
func (in *receiver) take(n int) error {
	if in.budget == nil {
		return nil
	}
	return in.budget.Take(n)
}

func (in *receiver) give(n int) {
	if in.budget != nil && n > 0 {
		in.budget.Give(n)
	}
}

// affordable reports whether n bytes can be had beside the buffer of the message.
func (in *receiver) affordable(n int) bool {
	return in.budget == nil || n+in.held <= in.budget.Limit()
}
