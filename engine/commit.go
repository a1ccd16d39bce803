package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"
)

// batchState is what the next batch must know of the one before it.
type batchState struct {
	incarnation [8]byte // of this Open: each one numbers its batches from the start
	number      uint64
	raw         string // what the key of the batch number holds
}

// batchRecord is a decoded value of the key of the batch number.
type batchRecord struct {
	bytes int64 // written since the last compaction: kept here because it must outlive the process
}

// encode is the state after one more batch.
func (s *batchState) encode(bytes int64) string {
	b := append(newRecord(32), s.incarnation[:]...)
	b = binary.AppendUvarint(b, s.number+1)
	return string(binary.AppendVarint(b, bytes))
}

func parseBatch(value string) (r batchRecord, err error) {
	if value == "" {
		return r, nil
	}
	d := newDecoder([]byte(value))
	d.bytes(8)
	d.uvarint()
	r.bytes = d.varint()
	return r, d.err
}

// Commit stores a batch as one transaction and returns its revision; at most one operation per key. ctx bounds the wait
// for the batch's turn; a batch that was handed to etcd is seen through, so that the answer is never in doubt: after an
// error nothing of it is stored (for [ErrClosed] see there).
func (e *Engine) Commit(ctx context.Context, ops []Op) (rev int64, err error) {
	return e.commit(ctx, ops, false)
}

// CommitFreeing is Commit for a batch that makes the store smaller (deletions, with the small records that go with them):
// it is let through on a disk that is too full for other batches, down to a quarter of Options.MinFree.
func (e *Engine) CommitFreeing(ctx context.Context, ops []Op) (rev int64, err error) {
	return e.commit(ctx, ops, true)
}

func (e *Engine) commit(ctx context.Context, ops []Op, freeing bool) (rev int64, err error) {
	if err := checkBatch(ops); err != nil {
		return 0, err
	}
	size := int64(0)
	for _, op := range ops {
		size += int64(op.writes())
	}
	if err := e.enter(); err != nil {
		return 0, err
	}
	defer e.calls.Done()
	state, err := e.take(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { e.turn <- state }()
	if err := e.space.admit(size, freeing); err != nil {
		e.maint.press()
		return 0, err
	}
	e.maint.bytes.Add(size)
	rev, err = e.apply(state, ops)
	if err != nil {
		return 0, err
	}
	if freeing && e.space.check(0, false) != nil {
		e.maint.press() // what the batch freed is needed
	}
	e.maint.committed(rev)
	return rev, nil
}

// take waits for the turn to commit; the caller gives it back.
func (e *Engine) take(ctx context.Context) (*batchState, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	select {
	case state := <-e.turn:
		return state, nil
	case <-e.ctx.Done():
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}

func checkBatch(ops []Op) error {
	if len(ops) == 0 {
		return errors.New("engine: empty batch")
	}
	if len(ops) > MaxOps {
		return fmt.Errorf("%w: %d operations of at most %d", ErrTooLarge, len(ops), MaxOps)
	}
	size := 0
	seen := make(map[string]struct{}, len(ops))
	for _, op := range ops {
		if op.data > MaxValue {
			return fmt.Errorf("%w: value of %d bytes, at most %d", ErrTooLarge, op.data, MaxValue)
		}
		if _, dup := seen[op.key]; dup {
			return fmt.Errorf("%w: %q", ErrDuplicate, op.key)
		}
		seen[op.key] = struct{}{}
		size += op.Size()
	}
	if size > MaxBatch {
		return fmt.Errorf("%w: batch of %d bytes, at most %d", ErrTooLarge, size, MaxBatch)
	}
	return nil
}

// Pauses between attempts at a transaction that got no answer.
const (
	retryFirst = 10 * time.Millisecond
	retryLast  = 500 * time.Millisecond
)

// apply carries out one batch. The caller has the turn, and state with it.
func (e *Engine) apply(state *batchState, ops []Op) (rev int64, err error) {
	next := state.encode(e.maint.bytes.Load())
	txnOps := make([]*pb.RequestOp, 0, len(ops)+1)
	for _, op := range ops {
		txnOps = append(txnOps, op.etcd())
	}
	txnOps = append(txnOps, Op{key: keyBatch, value: []byte(next)}.etcd())
	for pause := retryFirst; ; pause = min(2*pause, retryLast) {
		rev, err := e.attempt(state.raw, next, txnOps)
		switch {
		case err == nil:
			state.number++
			state.raw = next
			return rev, nil
		case e.ctx.Err() != nil:
			return 0, ErrClosed
		case isRefusal(err):
			return 0, err
		}
		e.log.Warn("no answer to a batch, sending it again", "error", err)
		select {
		case <-time.After(pause):
		case <-e.ctx.Done():
			return 0, ErrClosed
		}
	}
}

// attempt sends a batch that holds only if the batch before it was the last one, and that is therefore carried out once
// however often it is sent.
//
// It asks etcd itself: its client would copy all operations, and check again what checkBatch has.
func (e *Engine) attempt(prev, next string, ops []*pb.RequestOp) (rev int64, err error) {
	req := &pb.TxnRequest{Compare: []*pb.Compare{isLast(prev)}, Success: ops, Failure: []*pb.RequestOp{getBatch}}
	if !e.quota.Available(req) { // later, etcd would carry it out and refuse it
		e.maint.press()
		return 0, fmt.Errorf("%w: the database is full", ErrNoSpace)
	}
	resp, err := e.txn(e.ctx, req)
	switch {
	case errors.Is(err, etcderrors.ErrNoSpace):
		e.maint.press()
		return 0, fmt.Errorf("%w: %w", ErrNoSpace, err)
	case errors.Is(err, etcderrors.ErrRequestTooLarge):
		return 0, fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, etcderrors.ErrCorrupt):
		return 0, fmt.Errorf("%w: %w", ErrCorrupt, err)
	case err != nil:
		return 0, err
	case resp.Succeeded:
		return resp.Header.Revision, nil
	}
	for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
		if string(kv.Value) == next { // an earlier attempt did it
			return kv.ModRevision, nil
		}
	}
	return 0, fmt.Errorf("%w: the store has another writer", ErrClosed)
}

// getBatch reads the batch number.
var getBatch = &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(keyBatch)}}}

// isLast compares the batch number; "" is that of a store without batches.
func isLast(batch string) *pb.Compare {
	c := &pb.Compare{Key: []byte(keyBatch), Result: pb.Compare_EQUAL}
	if batch == "" {
		c.Target, c.TargetUnion = pb.Compare_CREATE, &pb.Compare_CreateRevision{}
	} else {
		c.Target, c.TargetUnion = pb.Compare_VALUE, &pb.Compare_Value{Value: []byte(batch)}
	}
	return c
}

// isRefusal tells an answer from a missing one.
func isRefusal(err error) bool {
	for _, target := range []error{ErrNoSpace, ErrTooLarge, ErrDuplicate, ErrCorrupt, ErrClosed} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
