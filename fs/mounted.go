package fs

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/commy-project/commyfs/fs/device"
	"github.com/commy-project/commyfs/fs/mountpoint"
	varsync "github.com/commy-project/commyfs/sync"
)

// Mounted is a mount in use.
type Mounted struct {
	fs     *FS
	mp     *mountpoint.Mountpoint
	server *device.Server
	client *varsync.Client
	served chan struct{} // closed when the server has ended
	abort  *os.File      // nil: there is no way but to answer every request
	end    sync.Once
	once   sync.Once
}

func (m *Mounted) mount(o Options) error {
	if o.Clear != nil {
		if err := o.Clear(); err != nil {
			return err
		}
	}
	mp, err := mountpoint.Mount(o.Dir, mountpoint.Options{FSName: o.FSName, AllowOther: o.AllowOther, MaxRead: maxWrite})
	if err != nil {
		return err
	}
	m.mp = mp
	m.fs.kernel.Connect(mp.FD())
	if err := m.serve(nil); err != nil {
		return errors.Join(err, mp.Unmount(true), mp.Close())
	}
	m.leave()
	m.start()
	if err := m.raise(); err != nil {
		return m.abandon(err)
	}
	return nil
}

// serve makes the server. init is as in newServer.
func (m *Mounted) serve(init []byte) error {
	fd, err := m.mp.Dup() // go-fuse closes its descriptor when the mount ends; notifications must not hit a reused number
	if err != nil {
		return err
	}
	if m.server, err = newServer(m.fs, fd, init); err != nil {
		return err
	}
	m.fs.interrupt = m.server.Interrupt
	return nil
}

// start has requests answered.
func (m *Mounted) start() {
	m.served = make(chan struct{})
	go func() {
		defer close(m.served)
		m.server.Serve()
	}()
	var err error
	if m.abort, err = m.mp.AbortFile(); err != nil {
		m.fs.log.Debug("no file to abort the mount by", "err", err)
	}
	m.fs.watchdog.abort = m.Abort
	go m.fs.watchdog.run()
}

// raise begins to raise events.
func (m *Mounted) raise() error { return m.fs.kernel.Start(m.mp.Dir(), m.mp.Dev()) }

// abandon takes a mount down that cannot raise events.
func (m *Mounted) abandon(err error) error {
	err = errors.Join(fmt.Errorf("events: %w", err), m.mp.Unmount(true))
	m.Wait()
	return errors.Join(err, m.release())
}

// release gives back what a mount holds of the kernel's.
func (m *Mounted) release() error {
	m.fs.watchdog.stop()
	if m.abort != nil {
		_ = m.abort.Close()
	}
	return m.mp.Close() // the estate stays mapped: a handler that hangs may note something still
}

// Mountpoint is where the kernel has the mount.
func (m *Mounted) Mountpoint() *mountpoint.Mountpoint { return m.mp }

// Dir is where the mount is.
func (m *Mounted) Dir() string { return m.mp.Dir() }

// Client returns the mount's client.
func (m *Mounted) Client() *varsync.Client { return m.client }

// Wait returns when the mount is gone, by whatever hand. It does not wait for handlers that hang.
func (m *Mounted) Wait() {
	select {
	case <-m.served:
	case <-m.fs.watchdog.gone:
	}
}

// Unmount ends the mount; lazy takes it out of the tree now and lets open files finish. A mount that is in use fails
// with an error that names who uses it. A lazy one ends the streams of events: who reads them would not end by itself.
func (m *Mounted) Unmount(lazy bool) error {
	err := m.mp.Unmount(lazy)
	if err == nil && lazy {
		m.fs.streams.end()
	}
	return err
}

// Abort gives errors to whoever uses the mount, now and later; the mount is dead then, wherever it is.
func (m *Mounted) Abort() error {
	m.end.Do(func() { close(m.fs.watchdog.hurry) })
	if m.abort == nil {
		return nil
	}
	return mountpoint.AbortBy(int(m.abort.Fd()))
}

// Close ends what is left after [Mounted.Wait]: values that a release still has to commit, events, the connection. What
// hangs is left behind, with an error.
func (m *Mounted) Close() error {
	var err error
	m.once.Do(func() {
		done := make(chan error, 1)
		go func() { done <- m.close() }()
		t := time.NewTimer(closeTicks * m.fs.watchdog.tick)
		defer t.Stop()
		select {
		case err = <-done:
		case <-t.C:
			m.fs.watchdog.dump()
			err = errors.Join(errors.New("the mount does not end: the log has the stacks of what hangs"), m.Abort())
		}
	})
	return err
}

func (m *Mounted) close() error {
	m.fs.unparkAll()
	m.fs.warnPrivate()
	m.client.Flush()
	m.fs.cancel()
	m.fs.kernel.Stop()
	return errors.Join(m.client.Close(), m.release())
}
