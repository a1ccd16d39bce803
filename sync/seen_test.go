package sync_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// Edits that have seen a version are carried out one after the other without waiting for each other, and from the moment on that
// somebody else changes the variable none of them is.
func TestSeen(t *testing.T) {
	eachAccessor(t, func(t *testing.T, h *host, noMap bool) {
		c, other := h.client(t, noMap), h.client(t, !noMap)
		long := strings.Repeat("-", 500)
		first := store(t, c, "t", "s", "v", long)
		v, there := variable(t, c, "t", "s", "v"), variable(t, other, "t", "s", "v")
		seen := varsync.NewSeen(first.Version)
		edits := []varsync.Edit{
			{Kind: varsync.EditWrite, Data: []byte("a"), Seen: seen},
			{Kind: varsync.EditWrite, Off: 1, Data: []byte("b"), Seen: seen},
			{Kind: varsync.EditReplace, Data: []byte("abc" + long), Seen: seen},
			{Kind: varsync.EditAppend, Data: []byte("d"), Seen: seen},
			{Kind: varsync.EditTruncate, Size: 100, Seen: seen},
			{Kind: varsync.EditWrite, Off: 200, Data: []byte(long), Seen: seen},
		}
		for range 3 {
			var acks []*varsync.Ack
			for _, e := range edits {
				acks = append(acks, v.Enqueue(e))
			}
			for i, a := range acks {
				if _, err := a.Wait(t.Context()); err != nil {
					t.Fatalf("edit %d: %v", i, err)
				}
			}
			if now := v.Current().Version; seen.Version() != now {
				t.Errorf("has seen version %d of %d", seen.Version(), now)
			}
		}
		want, _ := load(t, v)

		wantValue(t, there, want)
		if _, err := there.Store(t.Context(), []byte("theirs")); err != nil {
			t.Fatal(err)
		}
		before := seen.Version()
		for i, e := range edits {
			if _, err := v.Commit(t.Context(), e); !errors.Is(err, model.ErrConflict) {
				t.Errorf("edit %d: %v, want a conflict", i, err)
			}
			if _, err := v.Enqueue(e).Wait(t.Context()); !errors.Is(err, model.ErrConflict) {
				t.Errorf("edit %d, enqueued: %v, want a conflict", i, err)
			}
		}
		if seen.Version() != before {
			t.Errorf("what was refused has moved it from %d to %d", before, seen.Version())
		}
		wantValue(t, v, "theirs")
		seen.Set(v.Current().Version)
		if _, err := v.Commit(t.Context(), edits[0]); err != nil {
			t.Errorf("after another look: %v", err)
		}
		wantValue(t, there, "aheirs")
	})
}

// Many that add to a number with one descriptor each lose nothing, also where edits of two of them wait together.
func TestSeen_ReadModifyWrite(t *testing.T) {
	eachAccessor(t, func(t *testing.T, h *host, noMap bool) {
		c := h.client(t, noMap)
		store(t, c, "t", "s", "v", "\x00\x00")
		var wg sync.WaitGroup
		const writers, each = 8, 30
		for range writers {
			v := variable(t, c, "t", "s", "v")
			wg.Go(func() {
				for done := 0; done < each; {
					value, meta, err := v.Load(nil)
					if err != nil {
						t.Error(err)
						return
					}
					n := int(value[0])<<8 + int(value[1]) + 1
					_, err = v.Enqueue(varsync.Edit{Kind: varsync.EditWrite, Data: []byte{byte(n >> 8), byte(n)}, Seen: varsync.NewSeen(meta.Version)}).Wait(t.Context())
					switch {
					case err == nil:
						done++
					case !errors.Is(err, model.ErrConflict):
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		wantValue(t, variable(t, c, "t", "s", "v"), string([]byte{writers * each >> 8, writers * each & 0xff}))
	})
}
