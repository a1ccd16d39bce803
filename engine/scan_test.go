package engine

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestScan: going through the whole store finds what looking for the keys finds, at any revision that is kept.
func TestScan(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	e := open(t, Options{})
	var revs []int64
	hold := func() { revs = append(revs, e.reads.begin(e.Rev)) }
	for round := range 60 {
		ops := make([]Op, 0, 200)
		seen := map[string]bool{}
		for range 1 + rnd.IntN(200) {
			service := 1 + rnd.Uint64N(3)
			v := Variable{Name: fmt.Sprintf("dir-%d/v%d", rnd.IntN(3), rnd.IntN(300)), Version: uint64(round), Data: make([]byte, rnd.IntN(300))}
			op := PutVariable(service, v)
			if rnd.IntN(3) == 0 {
				op = DeleteVariable(service, v.Name)
			}
			if key := variableKey(service, v.Name); !seen[key] {
				seen[key] = true
				ops = append(ops, op)
			}
		}
		commit(t, e, ops...)
		if rnd.IntN(8) == 0 {
			hold()
		}
		if round == 30 {
			if err := e.compact(); err != nil {
				t.Fatal(err)
			}
			e.etcd.Server.Backend().ForceCommit()
		}
	}
	hold()
	type entry struct{ key, value string }
	for _, rev := range revs {
		prefix := variablePrefix(2)
		var all []entry
		into := func(list *[]entry) func(string, []byte) error {
			return func(key string, value []byte) error {
				*list = append(*list, entry{key, string(value)})
				return nil
			}
		}
		if err := e.pages(t.Context(), prefix, rev, into(&all), nil); err != nil {
			t.Fatal(err)
		}
		for from := range 3 {
			at := rnd.IntN(len(all)) * min(from, 1)
			var found []entry
			err := e.scan(t.Context(), prefix, prefix+all[at].key, rev, 0, into(&found), func() error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(found, all[at:]) {
				t.Fatalf("revision %d of %d from %d: %d keys, want %d", rev, e.Rev(), at, len(found), len(all)-at)
			}
		}
	}
	if len(revs) < 3 {
		t.Errorf("only %d revisions were looked at", len(revs))
	}
	for _, rev := range revs {
		e.reads.end(rev)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.scan(ctx, variablePrefix(2), "", e.Rev(), 0, nil, nil); err == nil {
		t.Error("a scan goes on although its context has ended")
	}
}

func TestSplitKeyValue(t *testing.T) {
	good := "\x0a\x01k\x10\x02\x18\x03\x20\x04\x2a\x05value\x30\x07"
	key, value, ok := splitKeyValue([]byte(good))
	if !ok || string(key) != "k" || string(value) != "value" {
		t.Errorf("got %q, %q, %v", key, value, ok)
	}
	for _, bad := range []string{"\x0a", "\x0a\x02k", "\x2a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x10\xff", "\xff", "\x0d1234"} {
		if key, value, ok := splitKeyValue([]byte(bad)); ok {
			t.Errorf("%q is %q, %q", bad, key, value)
		}
	}
}

// TestScanAndRewrite: a rewrite of the database waits for a scan, and what is read and stored during the scan does not wait for
// either.
func TestScanAndRewrite(t *testing.T) {
	e := open(t, Options{})
	large := noise(1, 2*MaxWhole)
	commit(t, e, AppendVariable(nil, 1, Variable{ID: 5, Name: "v", Data: large}, Stored{})...)
	rewritten := make(chan error, 1)
	done := make(chan error, 1)
	go func() {
		_, err := e.load(background(), func(ctx context.Context, rev int64) error {
			prefix := variablePrefix(1)
			return e.scan(ctx, prefix, prefix, rev, 1, func(string, []byte) error {
				go func() {
					_, err := e.defragment()
					rewritten <- err
				}()
				for i := range 100 {
					if data, err := e.readPieces(ctx, rev, 5, len(large)); err != nil || !bytes.Equal(data, large) {
						return fmt.Errorf("read %d bytes: %w", len(data), err)
					}
					if _, err := e.Commit(ctx, []Op{PutFloor(1, uint64(i+1))}); err != nil {
						return err
					}
				}
				return nil
			}, func() error { return nil })
		})
		done <- err
	}()
	for _, c := range []chan error{done, rewritten} {
		select {
		case err := <-c:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(time.Minute):
			panic("the store hangs") // it cannot be closed either
		}
	}
}
