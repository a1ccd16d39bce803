package engine

import (
	"context"
	"fmt"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// LoadBare reads which services are bare ones: how many bytes they have, by their ids.
func (e *Engine) LoadBare(ctx context.Context, aside Aside) (map[uint64]int64, error) {
	sizes := map[uint64]int64{}
	_, err := e.load(ctx, func(ctx context.Context, rev int64) error {
		return e.pages(ctx, prefixBare, rev, func(key string, value []byte) error {
			id, err := strconv.ParseUint(key, 16, 64)
			if err != nil {
				return aside.put(Damaged{}, fmt.Errorf("%w: key %q of a bare service", ErrCorrupt, key))
			}
			size, err := decodeNumber(value)
			if err != nil {
				return aside.put(Damaged{}, fmt.Errorf("size of bare service %d: %w", id, err))
			}
			sizes[id] = int64(size)
			return nil
		}, nil)
	})
	return sizes, err
}

// LoadLayouts reads where the variables of a service lie in its memory, and, by the variables' names, at which revision each
// was last stored.
func (e *Engine) LoadLayouts(ctx context.Context, service uint64) (layouts []Layout, revs map[string]int64, err error) {
	_, err = e.load(ctx, func(ctx context.Context, rev int64) error {
		layouts, revs = nil, map[string]int64{}
		err := e.pages(ctx, layoutPrefix(service), rev, func(key string, value []byte) error {
			id, err := strconv.ParseUint(key, 16, 64)
			if err != nil {
				return fmt.Errorf("%w: it names no variable", ErrCorrupt)
			}
			l, err := decodeLayout(id, value)
			layouts = append(layouts, l)
			return err
		}, nil)
		if err != nil {
			return err
		}
		prefix := variablePrefix(service)
		for from, more := prefix, true; more; {
			resp, err := e.kv.Get(ctx, from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)), clientv3.WithRev(rev),
				clientv3.WithSerializable(), clientv3.WithKeysOnly(), clientv3.WithLimit(pageMost))
			if err != nil {
				return fmt.Errorf("read %q: %w", prefix, err)
			}
			for _, kv := range resp.Kvs {
				revs[string(kv.Key[len(prefix):])] = kv.ModRevision
				from = string(kv.Key) + "\x00"
			}
			more = resp.More
		}
		return nil
	})
	return layouts, revs, err
}
