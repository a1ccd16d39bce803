package engine

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Found is what a service has under a name: at most one of the two.
type Found struct {
	Variable *Variable
	Dir      bool
}

// Find reads what a service has under a name, without the rest of it. The value is left out if it is not asked for and large:
// then size is its size all the same. A record that cannot be read is an error that is [ErrCorrupt] or [ErrSchema].
func (e *Engine) Find(ctx context.Context, service uint64, name string, value bool) (found Found, size int, err error) {
	_, err = e.load(ctx, func(ctx context.Context, rev int64) error {
		get := func(key string) ([]byte, bool, error) {
			resp, err := e.kv.Get(ctx, key, clientv3.WithRev(rev), clientv3.WithSerializable())
			if err != nil || len(resp.Kvs) == 0 {
				return nil, false, err
			}
			return resp.Kvs[0].Value, true, nil
		}
		record, there, err := get(variableKey(service, name))
		if err != nil {
			return err
		}
		if !there {
			_, found.Dir, err = get(dirKey(service, name))
			return err
		}
		v, pieces, err := decodeHead(name, record, &interned{})
		if err == nil && pieces > 0 && value {
			v.Data, err = e.readPieces(ctx, rev, v.ID, pieces)
		}
		if err != nil {
			return fmt.Errorf("variable %q of service %d: %w", name, service, err)
		}
		found.Variable, size = &v, max(pieces, len(v.Data))
		return nil
	})
	return found, size, err
}

// Unreadable reports whether an error of a read is about what was stored.
func Unreadable(err error) bool { return errors.Is(err, ErrCorrupt) || errors.Is(err, ErrSchema) }
