package sync

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/commy-project/commyfs/transport"
)

// linkState is what the client knows of its connection.
type linkState struct {
	mu      sync.Mutex // guards the following
	current *link      // nil while there is none
	changed chan struct{}
	down    time.Time // since when there is none
	silent  time.Time // when the server had last been heard of then
	err     error     // why the last attempt failed
	store   string    // that the copy is of
	welcome *transport.Welcome
	heard   time.Time // when the limits in welcome were last asked for

	up atomic.Bool // there is a link; for a look without the lock
}

// get returns the link, nil while disconnected, and a channel that closes at the next change.
func (st *linkState) get() (l *link, changed <-chan struct{}, down time.Time, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.current, st.changed, st.down, st.err
}

// reconnectTime is what a new connection to a server that is there takes, with room to spare.
const reconnectTime = 250 * time.Millisecond

// silentFor reports whether the server has been silent for longer than d, and there was time to connect again.
func (st *linkState) silentFor(d time.Duration) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.current == nil && time.Since(st.silent) > d && time.Since(st.down) > reconnectTime
}

func (st *linkState) set(l *link, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if l == nil && st.current != nil {
		st.down, st.silent = time.Now(), st.current.conn.Conn().LastReceived()
	}
	st.current, st.err = l, err
	st.up.Store(l != nil)
	close(st.changed)
	st.changed = make(chan struct{})
}
