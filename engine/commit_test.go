package engine

import (
	"context"
	"errors"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"
)

type txnFunc = func(context.Context, *pb.TxnRequest) (*pb.TxnResponse, error)

// faulty loses requests or answers of transactions: fault is asked before each one is sent.
func faulty(txn txnFunc, fault func() (dropRequest, dropAnswer bool)) txnFunc {
	return func(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
		request, answer := fault()
		if request {
			return nil, etcderrors.ErrTimeout
		}
		resp, err := txn(ctx, r)
		if answer {
			return nil, etcderrors.ErrTimeout
		}
		return resp, err
	}
}

// However often requests and answers are lost, a batch is carried out once, and Commit says so.
func TestLostRequestsAndAnswers(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults [][2]bool
	}{
		{"request", [][2]bool{{true, false}}},
		{"answer", [][2]bool{{false, true}}},
		{"answers", [][2]bool{{false, true}, {false, true}, {true, false}}},
		{"request and answer", [][2]bool{{true, false}, {false, true}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := open(t, Options{})
			left := c.faults
			e.txn = faulty(e.txn, func() (bool, bool) {
				if len(left) == 0 {
					return false, false
				}
				f := left[0]
				left = left[1:]
				return f[0], f[1]
			})
			before := e.Rev()
			for i := range int64(3) {
				if rev := commit(t, e, PutFloor(1, uint64(i))); rev != before+1+i {
					t.Errorf("batch %d is revision %d, want %d", i, rev, before+1+i)
				}
			}
			if len(left) != 0 || e.Rev() != before+3 {
				t.Errorf("%d faults left, revision %d, want 0 and %d", len(left), e.Rev(), before+3)
			}
		})
	}
}

// A copy of a batch that arrives after a later one does nothing.
func TestLateCopyDoesNothing(t *testing.T) {
	e := open(t, Options{})
	state := <-e.turn
	prev, next := state.raw, state.encode(0)
	ops := []*pb.RequestOp{PutFloor(1, 1).etcd(), Op{key: keyBatch, value: []byte(next)}.etcd()}
	e.turn <- state
	commit(t, e, PutFloor(1, 1))
	commit(t, e, PutFloor(1, 2))
	rev := e.Rev()
	if _, err := e.attempt(prev, next, ops); err == nil {
		t.Error("a late copy was carried out")
	}
	if got := load(t, e, 1).floor; got != 2 || e.Rev() != rev {
		t.Errorf("floor %d at revision %d, want 2 at %d", got, e.Rev(), rev)
	}
}

// A batch whose context ends under way is seen through; one that never gets an answer ends with Close.
func TestCommitUnderWay(t *testing.T) {
	noLeaks(t)
	e := open(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	real := e.txn
	e.txn = faulty(real, func() (bool, bool) { cancel(); return false, false })
	if _, err := e.Commit(ctx, []Op{PutFloor(1, 1)}); err != nil {
		t.Errorf("context ended under way: got error %v, want none", err)
	}

	asked := make(chan struct{})
	var once sync.Once
	e.txn = faulty(real, func() (bool, bool) { once.Do(func() { close(asked) }); return true, false })
	result := make(chan error)
	go func() {
		_, err := e.Commit(background(), []Op{PutFloor(1, 2)})
		result <- err
	}()
	<-asked
	e.cancel() // what Close does when its patience ends
	if err := <-result; !errors.Is(err, ErrClosed) {
		t.Errorf("engine closed under way: got error %v, want %v", err, ErrClosed)
	}
}

func TestRefusalsOfEtcd(t *testing.T) {
	e := open(t, Options{})
	for _, c := range []struct {
		from, want error
	}{
		{etcderrors.ErrNoSpace, ErrNoSpace},
		{etcderrors.ErrRequestTooLarge, ErrTooLarge},
		{etcderrors.ErrCorrupt, ErrCorrupt},
	} {
		real := e.txn
		e.txn = func(context.Context, *pb.TxnRequest) (*pb.TxnResponse, error) { return nil, c.from }
		if _, err := e.Commit(t.Context(), []Op{PutFloor(1, 1)}); !errors.Is(err, c.want) {
			t.Errorf("%v: got error %v, want %v", c.from, err, c.want)
		}
		e.txn = real
	}
	commit(t, e, PutFloor(1, 1))
}

// Commits of many goroutines are all kept, each at a revision of its own.
func TestConcurrentCommits(t *testing.T) {
	e := open(t, Options{})
	const writers, each = 16, 20
	var wg sync.WaitGroup
	revs := make([][]int64, writers)
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				rev, err := e.Commit(t.Context(), []Op{PutVariable(1, Variable{Name: name(w*each + i)})})
				if err != nil {
					t.Error(err)
					return
				}
				revs[w] = append(revs[w], rev)
			}
		})
	}
	wg.Wait()
	seen := map[int64]bool{}
	for _, rs := range revs {
		for _, r := range rs {
			if seen[r] {
				t.Errorf("revision %d was given twice", r)
			}
			seen[r] = true
		}
	}
	if got := len(load(t, e, 1).vars); got != writers*each {
		t.Errorf("%d variables, want %d", got, writers*each)
	}
}
