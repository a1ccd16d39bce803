package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Found is what a service has under a path: at most one of these.
type Found struct {
	Variable *Variable
	Dir      bool
	Blocked  bool // nothing, as a variable stands where a directory would have to
}

// Find reads what a service has under a path, without the rest of it. The value is left out if it is not asked for and large:
// then size is its size all the same. A record that cannot be read is an error that is [ErrCorrupt] or [ErrSchema].
func (e *Engine) Find(ctx context.Context, service uint64, path string, value bool) (found Found, size int, err error) {
	_, err = e.load(ctx, func(ctx context.Context, rev int64) error {
		f := finder{e, ctx, rev, service} // the top of a service is in its home
		prefix, least := "", uint64(0)
		for rest := path; ; {
			name, below, deeper := strings.Cut(rest, "/")
			stored := prefix + name
			if !deeper {
				found, size, err = f.last(stored, value)
				if v := found.Variable; v != nil {
					v.Version = max(v.Version, least)
				}
				return err
			}
			d, err := f.dir(stored)
			if err != nil {
				return err
			}
			if d == nil {
				found, _, err = f.last(stored, false)
				found = Found{Blocked: found.Variable != nil}
				return err
			}
			f.home, prefix = cmp.Or(d.Home, f.home), cmp.Or(d.Prefix, stored+"/")
			rest, least = below, max(least, d.Least)
		}
	})
	return found, size, err
}

// finder looks for single keys under a home.
type finder struct {
	*Engine
	ctx  context.Context
	rev  int64
	home uint64
}

func (f *finder) get(key string) (record []byte, there bool, err error) {
	resp, err := f.kv.Get(f.ctx, key, clientv3.WithRev(f.rev), clientv3.WithSerializable())
	if err != nil || len(resp.Kvs) == 0 {
		return nil, false, err
	}
	return resp.Kvs[0].Value, true, nil
}

// dir is the directory that is stored under a name, nil if there is none.
func (f *finder) dir(stored string) (*Dir, error) {
	record, there, err := f.get(dirKey(f.home, stored))
	if err != nil || !there {
		return nil, err
	}
	d, err := decodeDir(stored, record)
	if err != nil {
		return nil, fmt.Errorf("directory %q, stored under service %d: %w", stored, f.home, err)
	}
	return &d, nil
}

// last is what is stored under a name.
func (f *finder) last(stored string, value bool) (found Found, size int, err error) {
	record, there, err := f.get(variableKey(f.home, stored))
	if err != nil {
		return found, 0, err
	}
	if !there {
		d, err := f.dir(stored)
		return Found{Dir: d != nil}, 0, err
	}
	v, pieces, err := decodeHead(stored, record, &interned{})
	if err == nil && pieces > 0 && value {
		v.Data, err = f.readPieces(f.ctx, f.rev, v.ID, pieces)
	}
	if err != nil {
		return found, 0, fmt.Errorf("variable %q, stored under service %d: %w", stored, f.home, err)
	}
	return Found{Variable: &v}, max(pieces, len(v.Data)), nil
}

// Unreadable reports whether an error of a read is about what was stored.
func Unreadable(err error) bool { return errors.Is(err, ErrCorrupt) || errors.Is(err, ErrSchema) }
