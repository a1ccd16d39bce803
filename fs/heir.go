package fs

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/commy-project/commyfs/fs/estate"
	"github.com/commy-project/commyfs/fs/mountpoint"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// A mount outlives its process if somebody keeps its descriptor of /dev/fuse, and the kernel is new enough ([outlives]). The
// next process, the heir, has what the one before has noted in its estate:
//
//	the INIT request    is answered again, to go-fuse alone
//	services            are loaded, so that every node that the kernel has can be found by its number
//	what changed since  is asked of the server, and announced
//	names               are looked up again by the kernel, see package kernel
//	open descriptors    go on, or fail where they cannot, see bequest.go
//	requests            that were read and not answered the kernel makes again
//
// Nobody else notices: numbers of nodes are the server's, and the kernel keeps descriptors, directories and watches.

// Inheritance is a mount whose process has died.
type Inheritance struct {
	Device int    // the descriptor of /dev/fuse; [TakeOver] closes it
	Dev    uint64 // of [mountpoint.Mountpoint.Dev]
	Estate *estate.Estate
}

// inheritBound is how long an heir waits for the server before it fails.
const inheritBound = 10 * time.Second

// TakeOver is [Mount] for a mount whose process has died. Where it fails nothing was answered yet, and the mount is as it was.
func TakeOver(ctx context.Context, co varsync.Options, o Options, in Inheritance) (*Mounted, error) {
	mp, err := mountpoint.Adopt(o.Dir, in.Dev, in.Device)
	if err != nil {
		return nil, err
	}
	f := newFS(o)
	in.Estate.TakeOver()
	f.has(in.Estate)
	f.control.since = in.Estate.Started()
	// Numbers of descriptors that were not noted must not be given again: nobody can tell who has them.
	apart := uint64(in.Estate.Restarts()) << 32
	f.control.fh, f.memory.last = apart, apart
	f.kernel.Connect(mp.FD())
	f.kernel.Adopt(in.Estate.Threads())
	missed, err := f.missing(ctx, co)
	if err == nil {
		err = f.connect(ctx, co)
	}
	if err != nil {
		return nil, errors.Join(err, mp.Close())
	}
	m := &Mounted{fs: f, client: f.c, mp: mp}
	if err := m.takeOver(ctx, co, missed); err != nil {
		f.cancel()
		return nil, errors.Join(err, f.c.Close(), mp.Close())
	}
	return m, nil
}

func (m *Mounted) takeOver(ctx context.Context, co varsync.Options, missed *missed) error {
	f := m.fs
	ctx, cancel := context.WithTimeout(ctx, inheritBound)
	defer cancel()
	init := f.estate.Init()
	if init == nil {
		return errors.New("the process before has not noted what the kernel can do")
	}
	if was, is := f.estate.Store(), f.c.Welcome().Store; was != is {
		return fmt.Errorf("the store was %q and is %q: nodes have other numbers now", was, is)
	}
	services, err := f.inheritServices(ctx)
	if err != nil {
		return fmt.Errorf("load the services in use: %w", err)
	}
	f.inherit(ctx, f.estate)
	f.estate.SetPrincipal(f.c.Welcome().Principal) // what was sent in another's name is over
	missed.complete(ctx, f, co, services)
	notices := f.notAnnounced(missed.notices(ctx, f, services), len(missed.unknown) > 0)
	if err := m.serve(init); err != nil {
		return err
	}
	if err := f.kernel.Inherit(services); err != nil {
		return fmt.Errorf("end the epoch of names: %w", err)
	}
	if err := f.kernel.Resend(); err != nil {
		return fmt.Errorf("have requests made again: %w", err)
	}
	m.start()
	f.wakePollers()
	if err := m.raise(); err != nil {
		f.log.Error("no events are raised", "err", err) // it is used all the same
		return nil
	}
	f.log.Debug("taken over", "services", len(services), "unknown", len(missed.unknown), "missed", len(notices))
	f.kernel.Changed(notices)
	for s := range services {
		if !missed.unknown[s.ID()] {
			f.kernel.CameTo(s.ID(), missed.rev[s.ID()])
		}
	}
	f.kernel.Survey(f.nodesOf(services), func(s *varsync.Service) bool { return missed.unknown[s.ID()] }, services)
	return nil
}

// inheritServices loads the services that the kernel has nodes of, and returns them with their records.
func (f *FS) inheritServices(ctx context.Context) (map[*varsync.Service]*estate.Service, error) {
	var (
		wg     sync.WaitGroup
		slots  = make(chan struct{}, 16)
		mu     sync.Mutex
		loaded = map[*varsync.Service]*estate.Service{}
		failed error
		gone   []*estate.Service
	)
	for rec := range f.estate.Services() {
		s, _ := f.c.Node(rec.ID()).(*varsync.Service)
		if s == nil {
			gone = append(gone, rec)
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			_, err := s.Root(ctx)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				loaded[s] = rec
			case errors.Is(err, model.ErrNotFound):
				gone = append(gone, rec)
			default:
				failed = err
			}
		})
	}
	wg.Wait()
	for _, rec := range gone {
		f.estate.RemoveService(rec)
	}
	return loaded, failed
}

// nodesOf are the numbers that the kernel can have: of tenants, services, and all that is in the given services.
func (f *FS) nodesOf(services map[*varsync.Service]*estate.Service) iter.Seq2[uint64, *varsync.Service] {
	return func(yield func(uint64, *varsync.Service) bool) {
		for _, t := range f.c.Tenants() {
			if !yield(t.ID(), nil) {
				return
			}
		}
		for s := range services {
			d, err := s.Root(f.ctx)
			if err != nil || !yield(s.ID(), s) || !nodesBelow(d, s, yield) {
				return
			}
		}
	}
}

func nodesBelow(d *varsync.Dir, s *varsync.Service, yield func(uint64, *varsync.Service) bool) bool {
	cursor, page := d.Cursor(), make([]varsync.Child, pageEntries)
	defer cursor.Close()
	for n := cursor.Next(page); n > 0; n = cursor.Next(page) {
		for _, child := range page[:n] {
			if !yield(child.Node.ID(), s) {
				return false
			}
			if sub, ok := child.Node.(*varsync.Dir); ok && !nodesBelow(sub, s, yield) {
				return false
			}
		}
	}
	return true
}
