package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Page is a part of what is stored under a service.
type Page struct {
	Home      uint64 // under which all of it is stored
	Islands   []Island
	Dirs      []Dir
	Variables []Variable
	InPieces  []int // those of Variables whose values are stored in pieces
	Damaged   []DamagedVariable
}

// Filler takes what a service holds, and finds out what that is: only its directories tell. See [Engine.LoadService]. What it does
// with an error ends the load.
type Filler interface {
	// Fill takes a page, which may be empty: it is a sign of progress.
	Fill(Page) error
	// Missing is called when all directories have come that are stored in some areas. It returns in which others there are more of the
	// service. None: that was all, and it is not called again.
	Missing(read Areas) ([]Area, error)
	// Has tells whether what is stored under a home with a prefix, and no slash behind it, belongs to the service. What does not
	// is not read. It is asked after all directories have come.
	Has(home uint64, prefix string) (bool, error)
}

// LoadService reads a service: its version floor (0 if it has none), and, by calling f, first the islands that are directories made
// in it, then all directories that are stored under it and in the areas that f asks for, then the variables in these areas that
// belong to the service. An island whose record cannot be read has no id. Each area, home by home, is in the order of the names, and nothing comes twice. Not all directories belong to
// the service: some are in another one now, or were always. All is of one revision. An error of f ends the load and is returned.
func (e *Engine) LoadService(ctx context.Context, service uint64, f Filler) (floor uint64, rev int64, err error) {
	rev, err = e.load(ctx, func(ctx context.Context, rev int64) error {
		resp, err := e.kv.Get(ctx, floorKey(service), clientv3.WithRev(rev), clientv3.WithSerializable())
		if err != nil {
			return err
		}
		for _, kv := range resp.Kvs {
			if floor, err = decodeNumber(kv.Value); err != nil {
				return fmt.Errorf("floor of service %d: %w", service, err)
			}
		}
		l := &serviceLoad{Engine: e, ctx: ctx, rev: rev, f: f, read: Areas{}}
		if err := l.islands(service); err != nil {
			return err
		}
		for wanted := []Area{{Home: service}}; len(wanted) > 0; {
			if err := l.dirs(wanted); err != nil {
				return err
			}
			if wanted, err = f.Missing(l.read); err != nil {
				return err
			}
		}
		return l.variables()
	})
	if err != nil {
		return 0, 0, err
	}
	return floor, rev, nil
}

// serviceLoad is a load of a service.
type serviceLoad struct {
	*Engine
	ctx  context.Context
	rev  int64
	f    Filler
	read Areas // whose directories have been read
	page Page
	// writers are those of variables.
	writers interned
}

// flush hands the page over.
func (l *serviceLoad) flush() error {
	p := l.page
	l.page = Page{Home: p.Home}
	return l.f.Fill(p)
}

func (l *serviceLoad) islands(home uint64) error {
	l.page = Page{Home: home}
	return l.pages(l.ctx, islandKey(home, ""), l.rev, func(prefix string, value []byte) error {
		i, err := decodeIsland(home, prefix, value)
		if Unreadable(err) {
			i = Island{Home: home, Prefix: prefix}
		} else if err != nil {
			return err
		}
		l.page.Islands = append(l.page.Islands, i)
		return nil
	}, l.flush)
}

// dirs reads the directories of areas, if they were not read.
func (l *serviceLoad) dirs(list []Area) error {
	slices.SortFunc(list, Area.compare) // those that are in others come behind them
	for _, a := range list {
		if l.read.Hold(a.Home, a.Prefix) {
			continue
		}
		l.page = Page{Home: a.Home}
		err := l.pages(l.ctx, dirKey(a.Home, a.Prefix), l.rev, func(rest string, value []byte) error {
			name := a.Prefix + rest
			if l.read.Hold(a.Home, name) {
				return nil // it has come with an area in this one
			}
			d, err := decodeDir(name, value)
			l.page.Dirs = append(l.page.Dirs, d)
			return err
		}, l.flush)
		if err != nil {
			return err
		}
		l.read[a] = true
	}
	return nil
}

// variables reads those of all areas whose directories were read.
func (l *serviceLoad) variables() error {
	list := make([]Area, 0, len(l.read))
	for a := range l.read {
		list = append(list, a)
	}
	slices.SortFunc(list, Area.compare)
	done := Areas{}
	for _, a := range list {
		if done.Hold(a.Home, a.Prefix) {
			continue
		}
		done[a] = true
		l.page = Page{Home: a.Home}
		asked, last, has := false, "", false
		err := l.pages(l.ctx, variableKey(a.Home, a.Prefix), l.rev, func(rest string, value []byte) (err error) {
			name := a.Prefix + rest
			if prefix := name[:strings.LastIndexByte(name, '/')+1]; !asked || prefix != last {
				asked, last = true, prefix
				if has, err = l.f.Has(a.Home, prefix); err != nil {
					return err
				}
			}
			if !has {
				return nil
			}
			return l.variable(name, value)
		}, l.flush)
		if err != nil {
			return err
		}
	}
	return nil
}

// variable puts a variable into the page.
func (l *serviceLoad) variable(name string, record []byte) error {
	v, size, err := decodeHead(name, record, &l.writers)
	if err == nil && size > 0 {
		v.Data, err = l.readPieces(l.ctx, l.rev, v.ID, size)
		if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrSchema) {
			l.page.Damaged = append(l.page.Damaged, DamagedVariable{v.ID, v.Name, err})
			return nil
		}
		l.page.InPieces = append(l.page.InPieces, len(l.page.Variables))
	}
	l.page.Variables = append(l.page.Variables, v)
	return err
}
