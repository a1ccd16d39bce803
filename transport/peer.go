package transport

import (
	"context"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Peer is the process at the other end of a Unix socket, as it was when it connected.
type Peer struct {
	UID, GID uint32
	PID      int32
}

type peerKey struct{}

// ConnContext is for [net/http.Server.ConnContext]: it makes the credentials of Unix socket peers known to [PeerFrom]
// and [Upgrade].
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if p, err := peerOf(c); err == nil {
		return context.WithValue(ctx, peerKey{}, p)
	}
	return ctx
}

// PeerFrom returns the peer of the Unix socket connection that a request came over; ok is false for other requests.
func PeerFrom(ctx context.Context) (p Peer, ok bool) {
	q, ok := ctx.Value(peerKey{}).(*Peer)
	if !ok {
		return Peer{}, false
	}
	return *q, true
}

var errNotUnix = net.UnknownNetworkError("not a Unix socket")

func peerOf(c net.Conn) (*Peer, error) {
	u, ok := c.(syscall.Conn)
	if !ok || c.LocalAddr().Network() != "unix" {
		return nil, errNotUnix
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err == nil {
		err = credErr
	}
	if err != nil {
		return nil, err
	}
	return &Peer{UID: cred.Uid, GID: cred.Gid, PID: cred.Pid}, nil
}
