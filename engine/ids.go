package engine

import (
	"context"
	"fmt"
	"math"
)

// idBlockSize is how many ids are set aside at a time, with one write. A crash wastes what is left of a block.
const idBlockSize = 4096

// idBlock is ids that the store counts as given and that were not given yet.
type idBlock struct {
	next, limit uint64
}

func putID(limit uint64) Op { return Op{key: keyID, value: encodeNumber(limit)} }

func parseID(value string) (uint64, error) {
	if value == "" {
		return FirstID, nil
	}
	return decodeNumber([]byte(value))
}

// NextID returns an id, below 1<<63, that this store has never given before, not even before a crash. One call in 4096
// waits for a write.
func (e *Engine) NextID(ctx context.Context) (uint64, error) {
	if e.ctx.Err() != nil {
		return 0, ErrClosed
	}
	var b *idBlock
	select {
	case b = <-e.ids:
	case <-e.ctx.Done():
		return 0, ErrClosed
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	defer func() { e.ids <- b }()
	if b.next == b.limit {
		if b.limit > math.MaxInt64-idBlockSize {
			return 0, fmt.Errorf("%w: out of ids", ErrCorrupt)
		}
		// A block takes no room to speak of, and deletions, which must go on, may need ids too.
		if _, err := e.CommitFreeing(ctx, []Op{putID(b.limit + idBlockSize)}); err != nil {
			return 0, fmt.Errorf("set ids aside: %w", err)
		}
		b.limit += idBlockSize
	}
	b.next++
	return b.next - 1, nil
}
