package engine

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// LoadTree reads all tenants, in the order of their names, and all services, in that of their tenants' prefixes and their own names, at
// one revision.
func (e *Engine) LoadTree(ctx context.Context, aside Aside) (tenants []Tenant, services []Service, rev int64, err error) {
	rev, err = e.load(ctx, func(ctx context.Context, rev int64) error {
		err := e.pages(ctx, prefixTenant, rev, func(key string, value []byte) error {
			t, err := decodeTenant(key, value)
			if err != nil {
				return aside.put(Damaged{Tenant: key}, err)
			}
			tenants = append(tenants, t)
			return nil
		}, nil)
		if err != nil {
			return err
		}
		return e.pages(ctx, prefixService, rev, func(key string, value []byte) error {
			prefix, name, err := splitServiceKey(key)
			if err != nil {
				return aside.put(Damaged{}, err)
			}
			s, err := decodeService(prefix, name, value)
			if err != nil {
				return aside.put(Damaged{Tenant: prefix, Service: name}, err)
			}
			services = append(services, s)
			return nil
		}, nil)
	})
	if err != nil {
		return nil, nil, 0, err
	}
	return tenants, services, rev, nil
}

// LoadMoved reads in which services the variables are that are not in the one they were made in.
func (e *Engine) LoadMoved(ctx context.Context, aside Aside) (map[uint64]uint64, error) {
	moved := map[uint64]uint64{}
	_, err := e.load(ctx, func(ctx context.Context, rev int64) error {
		return e.pages(ctx, prefixMoved, rev, func(key string, value []byte) error {
			id, err := strconv.ParseUint(key, 16, 64)
			if err != nil {
				return aside.put(Damaged{}, fmt.Errorf("%w: key %q of a moved variable", ErrCorrupt, key))
			}
			service, err := decodeNumber(value)
			if err != nil {
				return aside.put(Damaged{}, fmt.Errorf("moved variable %d: %w", id, err))
			}
			moved[id] = service
			return nil
		}, nil)
	})
	return moved, err
}

// LoadResults reads the answers to all clients.
func (e *Engine) LoadResults(ctx context.Context, aside Aside) (results []Result, err error) {
	_, err = e.load(ctx, func(ctx context.Context, rev int64) error {
		return e.pages(ctx, prefixResult, rev, func(key string, value []byte) error {
			client, slot, err := splitResultKey(key)
			if err != nil {
				return aside.put(Damaged{}, err)
			}
			d := newDecoder(value)
			if d.err != nil {
				return aside.put(Damaged{Client: client, Slot: slot}, d.err)
			}
			results = append(results, Result{Client: client, Slot: slot, Data: bytes.Clone(d.b)})
			return nil
		}, nil)
	})
	return results, err
}

// LoadClients reads the exactly-once records that schema 1 had.
func (e *Engine) LoadClients(ctx context.Context, aside Aside) (clients []Client, err error) {
	_, err = e.load(ctx, func(ctx context.Context, rev int64) error {
		return e.pages(ctx, prefixClient, rev, func(key string, value []byte) error {
			id, err := hex.DecodeString(key)
			if err != nil {
				return aside.put(Damaged{}, fmt.Errorf("%w: client key %q", ErrCorrupt, key))
			}
			c, err := decodeClient(string(id), value)
			if err != nil {
				return aside.put(Damaged{Client: string(id)}, err)
			}
			clients = append(clients, c)
			return nil
		}, nil)
	})
	return clients, err
}

// LoadKeys reads the API keys, in the order of their names.
func (e *Engine) LoadKeys(ctx context.Context, aside Aside) (keys []Key, err error) {
	_, err = e.load(ctx, func(ctx context.Context, rev int64) error {
		return e.pages(ctx, prefixAPIKey, rev, func(key string, value []byte) error {
			k, err := decodeKey(key, value)
			if err != nil {
				return aside.put(Damaged{Name: key}, err)
			}
			keys = append(keys, k)
			return nil
		}, nil)
	})
	return keys, err
}

// LoadLeases reads by which leases clients may have locks. One that cannot be read is of no use to anybody.
func (e *Engine) LoadLeases(ctx context.Context, aside Aside) (leases map[string]uint64, err error) {
	_, err = e.load(ctx, func(ctx context.Context, rev int64) error {
		leases = map[string]uint64{}
		return e.pages(ctx, prefixLease, rev, func(key string, value []byte) error {
			client, err := hex.DecodeString(key)
			if err != nil {
				return aside.put(Damaged{}, fmt.Errorf("%w: lease key %q", ErrCorrupt, key))
			}
			lease, err := decodeNumber(value)
			if err != nil {
				return aside.put(Damaged{Client: string(client)}, err)
			}
			leases[string(client)] = lease
			return nil
		}, nil)
	})
	return leases, err
}

// LoadForgot reads what PutForgot has stored, 0 if nothing.
func (e *Engine) LoadForgot(ctx context.Context) (nanos int64, err error) {
	err = e.loadKey(ctx, keyForgot, func(value []byte) error {
		n, err := decodeNumber(value)
		nanos = int64(n)
		return err
	})
	return nanos, err
}

// LoadReserved reads what PutReserved has stored, nil if nothing.
func (e *Engine) LoadReserved(ctx context.Context) (ids map[string][]uint64, err error) {
	err = e.loadKey(ctx, keyReserved, func(value []byte) error {
		ids = map[string][]uint64{}
		d := newDecoder(value)
		for len(d.b) > 0 {
			client := d.string()
			for n := d.uvarint(); n > 0 && d.err == nil; n-- {
				ids[client] = append(ids[client], d.uvarint())
			}
		}
		return d.err
	})
	return ids, err
}

// loadKey calls fn with the value of a key, if there is one.
func (e *Engine) loadKey(ctx context.Context, key string, fn func(value []byte) error) error {
	_, err := e.load(ctx, func(ctx context.Context, rev int64) error {
		resp, err := e.kv.Get(ctx, key, clientv3.WithRev(rev), clientv3.WithSerializable())
		if err != nil {
			return err
		}
		_, err = eachKey(resp.Kvs, "", func(_ string, value []byte) error { return fn(value) })
		return err
	})
	return err
}

// readers holds the revisions that loads are reading, which compaction must leave.
type readers struct {
	// mu guards the following.
	mu   sync.Mutex
	revs map[int64]int // how many loads read at a revision
}

func (r *readers) begin(current func() int64) (rev int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.revs == nil {
		r.revs = make(map[int64]int)
	}
	rev = current()
	r.revs[rev]++
	return rev
}

func (r *readers) end(rev int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.revs[rev]--; r.revs[rev] == 0 {
		delete(r.revs, rev)
	}
}

// oldest is the newest revision that can be compacted to without taking away what a load reads. Loads that begin later
// read at or above it.
func (r *readers) oldest(current func() int64) (rev int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rev = current()
	for at := range r.revs {
		rev = min(rev, at)
	}
	return rev
}

// load calls fn with the revision to read at, which is not compacted during the call, and with a context that also ends with
// the engine.
func (e *Engine) load(ctx context.Context, fn func(ctx context.Context, rev int64) error) (rev int64, err error) {
	if err := e.enter(); err != nil {
		return 0, err
	}
	defer e.calls.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.ctx, cancel)()
	rev = e.reads.begin(e.Rev)
	defer e.reads.end(rev)
	if err := fn(ctx, rev); err != nil {
		return 0, e.readError(ctx, err)
	}
	return rev, nil
}

func (e *Engine) readError(ctx context.Context, err error) error {
	switch {
	case e.ctx.Err() != nil:
		return ErrClosed
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	return err
}

// Bounds of a page. etcd counts all keys after the page for each page, so pages of small values must be long; values may
// be large, so what counts is bytes, guessed from the page before.
const (
	pageFirst = 256
	pageMost  = 200_000
	pageBytes = 32 << 20
)

// pages calls fn for each key below prefix, without the prefix, and then, if flush is not nil, flush after each page.
// The value is not fn's to keep.
func (e *Engine) pages(ctx context.Context, prefix string, rev int64, fn func(key string, value []byte) error, flush func() error) error {
	from, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
	for limit := int64(pageFirst); ; {
		resp, err := e.kv.Get(ctx, from, clientv3.WithRange(end), clientv3.WithRev(rev), clientv3.WithSerializable(),
			clientv3.WithLimit(limit))
		if err != nil {
			return fmt.Errorf("read %q: %w", prefix, err)
		}
		bytes, err := eachKey(resp.Kvs, prefix, fn)
		if err != nil {
			return err
		}
		if flush != nil && len(resp.Kvs) > 0 {
			if err := flush(); err != nil {
				return err
			}
		}
		if !resp.More {
			return nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
		if flush != nil && e.scanPays(resp.Count) {
			return e.scan(ctx, prefix, from, rev, resp.Count, fn, flush)
		}
		average := bytes/int64(len(resp.Kvs)) + 1
		limit = max(1, min(pageBytes/average, 8*limit, pageMost))
	}
}

func eachKey(kvs []*mvccpb.KeyValue, prefix string, fn func(key string, value []byte) error) (bytes int64, err error) {
	for _, kv := range kvs {
		bytes += int64(len(kv.Key) + len(kv.Value))
		if err := fn(string(kv.Key[len(prefix):]), kv.Value); err != nil {
			return 0, fmt.Errorf("key %q: %w", kv.Key, err)
		}
	}
	return bytes, nil
}
