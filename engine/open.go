package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/storage"
)

// openFree is what must be free to open a store: etcd preallocates log files at start and ends the process if it cannot.
const openFree = 3 * segmentSize

func (o *Options) setDefaults() error {
	if o.Dir == "" {
		return errors.New("engine: no directory")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MinFree == 0 {
		o.MinFree = defaultMinFree
	}
	if o.Quota == 0 {
		o.Quota = defaultQuota
	}
	if o.Free == nil {
		o.Free = func() (int64, int64, error) { return statfs(o.Dir) }
	}
	return nil
}

// Open opens the store in opts.Dir, making it if there is none, and returns when it can be read and written. It refuses a
// store in use ([ErrInUse]), one of a newer schema ([ErrSchema]), one that cannot be read ([ErrCorrupt]), and a full disk
// ([ErrNoSpace]).
func Open(ctx context.Context, opts Options) (*Engine, error) {
	if err := opts.setDefaults(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	lock, err := lockDir(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	e := &Engine{opts: opts, log: opts.Logger, lock: lock, done: make(chan struct{})}
	making, err := e.start()
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", opts.Dir, errors.Join(err, lock.unlock()))
	}
	err = e.takeOver(ctx)
	if err == nil && making {
		err = endMaking(opts.Dir)
	}
	if err != nil {
		e.cancel()
		return nil, fmt.Errorf("open store %s: %w", opts.Dir, errors.Join(err, e.stop()))
	}
	e.loops.Go(e.maintainLoop)
	return e, nil
}

func (e *Engine) start() (making bool, err error) {
	free, _, err := e.opts.Free()
	if err != nil {
		return false, err
	}
	if free < openFree {
		return false, fmt.Errorf("%w: %d MiB free, %d MiB needed to start", ErrNoSpace, free>>20, openFree>>20)
	}
	making, err = beginMaking(e.opts.Dir)
	if err != nil {
		return false, err
	}
	if err := checkFiles(e.opts.Dir); err != nil {
		return false, err
	}
	if err := removeLeftovers(e.opts.Dir); err != nil {
		return false, err
	}
	var starting atomic.Bool
	etcd, err := startEtcd(etcdConfig(e.opts, embed.NewZapLoggerBuilder(newZap(e.log, &starting))), &starting)
	if err != nil {
		return false, err
	}
	e.etcd = etcd
	e.client = v3client.New(etcd.Server)
	e.kv = e.client.KV
	e.txn = etcd.Server.Txn
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.turn = make(chan *batchState, 1)
	e.ids = make(chan *idBlock, 1)
	db := etcd.Server.Backend()
	e.quota = storage.NewBackendQuota(etcd.Server.Logger(), etcdQuota(e.opts.Quota), db, "commyfs")
	e.space = spaceGate{
		free: e.opts.Free, size: db.Size, settle: db.ForceCommit, minFree: e.opts.MinFree, quota: e.opts.Quota,
		reserve: reserve{path: databasePath(e.opts.Dir)},
	}
	e.maint.kick = make(chan struct{}, 1)
	go e.watch() // joined by stop
	return making, nil
}

// takeOver waits until the store answers, checks that it is ours to read, and in one transaction sets a block of ids
// aside and starts this incarnation's numbering of batches.
func (e *Engine) takeOver(ctx context.Context) error {
	select {
	case <-e.etcd.Server.ReadyNotify():
	case <-e.done:
		return fmt.Errorf("%w: etcd ended at start", ErrClosed)
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	got, err := e.readMarks(ctx)
	if err != nil {
		return err
	}
	var ops []Op
	if got.store == "" {
		var id [16]byte
		rand.Read(id[:]) // never fails
		e.store = hex.EncodeToString(id[:])
	} else if e.store, err = parseStore(got.store); err != nil {
		return err
	}
	if mark := fmt.Sprintf("%d %s", Schema, e.store); got.store != mark {
		// From now on there are records that an older program must not read.
		ops = append(ops, Op{key: keyStore, value: []byte(mark)})
	}
	ids, err := parseID(got.id)
	if err != nil {
		return err
	}
	old, err := parseBatch(got.batch)
	if err != nil {
		return err
	}
	state := &batchState{raw: got.batch}
	rand.Read(state.incarnation[:])
	e.maint.bytes.Store(old.bytes)
	e.maint.compacted.Store(e.etcd.Server.KV().FirstRev())
	block := &idBlock{next: ids, limit: ids + idBlockSize}
	ops = append(ops, putID(block.limit))
	_, err = e.apply(state, ops)
	if errors.Is(err, ErrNoSpace) {
		if err := e.reclaim(); err != nil {
			return err
		}
		_, err = e.apply(state, ops)
	}
	if err != nil {
		return err
	}
	e.turn <- state
	e.ids <- block
	return nil
}

type marks struct{ store, id, batch string }

func (e *Engine) readMarks(ctx context.Context) (m marks, err error) {
	resp, err := e.kv.Txn(ctx).Then(clientv3.OpGet(keyStore), clientv3.OpGet(keyID), clientv3.OpGet(keyBatch)).Commit()
	if err != nil {
		return m, e.readError(ctx, err)
	}
	for i, p := range []*string{&m.store, &m.id, &m.batch} {
		for _, kv := range resp.Responses[i].GetResponseRange().Kvs {
			*p = string(kv.Value)
		}
	}
	return m, nil
}

// parseStore reads the schema's number and the store's id. The form of the number is the one thing that no later schema
// may change.
func parseStore(value string) (id string, err error) {
	number, id, _ := strings.Cut(value, " ")
	schema, err := strconv.Atoi(number)
	if err != nil || schema < 1 {
		return "", fmt.Errorf("%w: %s holds %q", ErrCorrupt, keyStore, value)
	}
	if schema > Schema {
		return "", fmt.Errorf("%w: its schema is %d, this program knows up to %d; update commyfs", ErrSchema, schema, Schema)
	}
	if b, err := hex.DecodeString(id); err != nil || len(b) != 16 {
		return "", fmt.Errorf("%w: %s holds %q", ErrCorrupt, keyStore, value)
	}
	return id, nil
}
