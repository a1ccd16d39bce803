package engine

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
)

// etcd finds the keys of a range one by one in its database, which is in the order of its revisions. To read much of a store
// it is faster, about ten times, to go through the database once.

const (
	// scanRate is how many bytes of the database are gone through in the time that it takes to find a key.
	scanRate = 1000
	// scanFrom is how many keys are worth it in any case.
	scanFrom = 4096
	// scanStep is how many revisions' keys are about looked at in one go.
	scanStep = 8192
)

// scanPays reports whether so many keys are found faster by scan.
func (e *Engine) scanPays(keys int64) bool {
	return keys > scanFrom && e.etcd.Server.Backend().SizeInUse() < keys*scanRate
}

// scanned is a key as a scan finds it, in memory of the database.
type scanned struct {
	start      uint64 // of the key, for short: what differs in it needs no look at the key
	key, value []byte
	at         int // comes after those with less
	gone       bool
}

func (a *scanned) compare(b *scanned) int {
	if c := cmp.Compare(a.start, b.start); c != 0 {
		return c
	}
	return cmp.Or(bytes.Compare(a.key, b.key), cmp.Compare(a.at, b.at))
}

// startOf is the first bytes of a key as a number that is ordered as they are.
func startOf(key []byte) uint64 {
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}

// scan calls fn like pages, from one key on, with the store gone through once. There are about count keys.
func (e *Engine) scan(ctx context.Context, prefix, from string, rev, count int64, fn func(key string, value []byte) error, flush func() error) error {
	e.scans.RLock()
	defer e.scans.RUnlock()
	tx := e.etcd.Server.Backend().ConcurrentReadTx()
	tx.RLock()
	defer tx.RUnlock()
	found := make([]scanned, 0, count)
	sorted := true
	for at, step := int64(1), int64(1); at <= rev; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := flush(); err != nil {
			return err
		}
		to := min(at+step, rev+1)
		revs, records := tx.UnsafeRange(schema.Key, mvcc.RevToBytes(mvcc.Revision{Main: at}, mvcc.NewRevBytes()),
			mvcc.RevToBytes(mvcc.Revision{Main: to}, mvcc.NewRevBytes()), 0)
		for i, record := range records {
			key, value, ok := splitKeyValue(record)
			if !ok {
				return fmt.Errorf("%w: key and value at revision %x", ErrCorrupt, revs[i])
			}
			if !bytes.HasPrefix(key, []byte(prefix)) || string(key) < from {
				continue
			}
			key = key[len(prefix):]
			n := len(found)
			found = append(found, scanned{startOf(key), key, value, n, mvcc.IsTombstone(revs[i])})
			sorted = sorted && (n == 0 || found[n-1].compare(&found[n]) < 0)
		}
		at = to
		switch n := int64(len(revs)); {
		case n < scanStep/2:
			step *= 2
		case n > scanStep && step > 1:
			step /= 2
		}
	}
	if !sorted {
		slices.SortFunc(found, func(a, b scanned) int { return a.compare(&b) })
	}
	for i := range found {
		if i+1 < len(found) && bytes.Equal(found[i].key, found[i+1].key) || found[i].gone {
			continue // there is a later one, or there was
		}
		if err := fn(string(found[i].key), found[i].value); err != nil {
			return fmt.Errorf("key %q: %w", prefix+string(found[i].key), err)
		}
		if i%scanStep == scanStep-1 {
			if err := cmp.Or(ctx.Err(), flush()); err != nil {
				return err
			}
		}
	}
	return flush()
}

// The fields of a mvccpb.KeyValue that are of interest, with their types.
const (
	fieldKey   = 1<<3 | 2
	fieldValue = 5<<3 | 2
)

// splitKeyValue returns the key and value of what etcd stores at a revision, a mvccpb.KeyValue, without a copy.
func splitKeyValue(record []byte) (key, value []byte, ok bool) {
	for len(record) > 0 {
		field, n := binary.Uvarint(record)
		if n <= 0 {
			return nil, nil, false
		}
		record = record[n:]
		number, n := binary.Uvarint(record)
		if n <= 0 {
			return nil, nil, false
		}
		record = record[n:]
		switch field & 7 {
		case 0:
			continue
		case 2:
		default:
			return nil, nil, false
		}
		if number > uint64(len(record)) {
			return nil, nil, false
		}
		switch field {
		case fieldKey:
			key = record[:number]
		case fieldValue:
			value = record[:number]
		}
		record = record[number:]
	}
	return key, value, true
}
