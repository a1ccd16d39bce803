package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

// Bounds of the connections of a server.
const (
	// handshakeTime is how long a connection may take from its first packet to its credentials.
	handshakeTime = 10 * time.Second
	// So many may be on that way, from one address and from everywhere.
	maxStrangersEach = 128
	maxStrangers     = 1024
	// So many that have shown their credentials there may be of one principal, and in all.
	maxGuestsEach = 4096
	maxGuests     = 16384

	maxHeaderBytes = 16 << 10 // of a request
	complainEvery  = time.Minute
)

// door counts connections. One that has not shown valid credentials is a stranger: there are few of them, and none for
// long. When there are too many, the oldest go, of the address that has most: whoever has credentials is quick, and who
// holds the door open does not keep others out.
type door struct {
	log       *slog.Logger
	handshake time.Duration
	most      int // connections in all

	// mu guards the following.
	mu         sync.Mutex
	strangers  map[netip.Prefix][]*visitor // the oldest first
	waiting    int
	guests     map[model.Principal]int
	inside     int
	complained time.Time
}

func newDoor(log *slog.Logger, handshake time.Duration) *door {
	return &door{log: log, handshake: handshake, most: mostConnections(), strangers: map[netip.Prefix][]*visitor{}, guests: map[model.Principal]int{}}
}

// visitor is a connection as the door counts it.
type visitor struct {
	net.Conn
	door *door
	from netip.Prefix // the zero value, which is not bounded, on a Unix socket
	once sync.Once

	// Guarded by door.mu.
	late  *time.Timer
	guest bool
	who   model.Principal // of a guest
}

// SyscallConn gives access to the socket, where the kernel tells who is at the other end.
func (v *visitor) SyscallConn() (syscall.RawConn, error) {
	if c, ok := v.Conn.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

func (v *visitor) Close() error {
	v.once.Do(func() { v.door.left(v) })
	return v.Conn.Close()
}

// guarded is a listener with a door.
type guarded struct {
	net.Listener
	door *door
}

// Accept waits for a connection, also where the system has no room for one at the moment.
func (g *guarded) Accept() (net.Conn, error) {
	pause := 5 * time.Millisecond
	for {
		c, err := g.Listener.Accept()
		if err == nil && g.door.hasRoom() {
			return g.door.arrived(c), nil
		}
		if err == nil {
			_ = c.Close()
			g.door.complain("too many connections for the limit of open files", "last", c.RemoteAddr())
			g.door.makeRoom()
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		g.door.complain("cannot accept connections", "err", err)
		g.door.makeRoom()
		time.Sleep(pause)
		pause = min(2*pause, time.Second)
	}
}

// hasRoom reports whether there can be one more connection of any kind.
func (d *door) hasRoom() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.waiting+d.inside < d.most
}

func (d *door) arrived(c net.Conn) *visitor {
	v := &visitor{Conn: c, door: d, from: origins(c.RemoteAddr())}
	var over *visitor
	d.mu.Lock()
	v.late = time.AfterFunc(d.handshake, func() { _ = v.Close() })
	if v.from.IsValid() {
		if len(d.strangers[v.from]) >= maxStrangersEach {
			over = d.strangers[v.from][0]
		} else if d.waiting >= maxStrangers {
			over = d.oldestLocked()
		}
	}
	d.strangers[v.from] = append(d.strangers[v.from], v)
	d.waiting++
	d.mu.Unlock()
	if over != nil {
		_ = over.Close()
		d.complain("too many connections without credentials", "last", c.RemoteAddr())
	}
	return v
}

// origins is the smallest set of addresses that one host can be taken to have: its IPv4 address or its IPv6 network.
func origins(a net.Addr) netip.Prefix {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := t.AddrPort().Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// oldestLocked is the oldest stranger of the address that has most.
func (d *door) oldestLocked() *visitor {
	var most []*visitor
	for from, list := range d.strangers {
		if from.IsValid() && len(list) > len(most) {
			most = list
		}
	}
	if most == nil {
		return nil
	}
	return most[0]
}

// makeRoom shows a stranger out.
func (d *door) makeRoom() {
	d.mu.Lock()
	v := d.oldestLocked()
	d.mu.Unlock()
	if v != nil {
		_ = v.Close()
	}
}

// admit lets a stranger in whose credentials are good, unless there are too many of its kind.
func (d *door) admit(v *visitor, who model.Principal) error {
	d.mu.Lock()
	if v.guest || !d.forgetLocked(v) {
		d.mu.Unlock()
		return net.ErrClosed
	}
	v.late.Stop()
	v.guest, v.who = true, who
	d.guests[who]++
	d.inside++
	full := d.guests[who] > maxGuestsEach || d.inside > maxGuests
	d.mu.Unlock()
	if full {
		d.complain("too many connections", "last", v.RemoteAddr())
		return &model.Error{Code: model.CodeUnavailable, Message: "too many connections"}
	}
	return nil
}

// left takes a visitor off the count.
func (d *door) left(v *visitor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v.late.Stop()
	if !v.guest {
		d.forgetLocked(v)
		return
	}
	d.inside--
	if d.guests[v.who]--; d.guests[v.who] == 0 {
		delete(d.guests, v.who)
	}
}

// forgetLocked takes a visitor from the strangers; false: it is not among them.
func (d *door) forgetLocked(v *visitor) bool {
	list := d.strangers[v.from]
	for i := range list {
		if list[i] != v {
			continue
		}
		copy(list[i:], list[i+1:])
		list[len(list)-1] = nil
		if d.strangers[v.from] = list[:len(list)-1]; len(list) == 1 {
			delete(d.strangers, v.from)
		}
		d.waiting--
		return true
	}
	return false
}

// complain logs, but not each time.
func (d *door) complain(msg string, args ...any) {
	d.mu.Lock()
	quiet := time.Since(d.complained) < complainEvery
	if !quiet {
		d.complained = time.Now()
	}
	d.mu.Unlock()
	if !quiet {
		d.log.Warn(msg, args...)
	}
}

type visitorKey struct{}

// connContext makes known to requests which visitor they are of, and who is at the other end of a Unix socket.
func connContext(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if v, ok := c.(*visitor); ok {
		ctx = context.WithValue(ctx, visitorKey{}, v)
	}
	return transport.ConnContext(ctx, c)
}
