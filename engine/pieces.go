package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A value above MaxWhole is stored in pieces, each under a key of its own, so that a change of a few bytes writes a few
// pieces. They hang on the variable's id: a rename leaves them alone. The variable's record has the size of the value.
const (
	MaxWhole  = 64 << 10
	PieceSize = 16 << 10 // all are of this size but the last
)

// Pieces is how many pieces a value of that size has: 0 if it is stored whole.
func Pieces(size int) int {
	if size <= MaxWhole {
		return 0
	}
	return (size + PieceSize - 1) / PieceSize
}

// Stored is what pieces hold in the store.
type Stored struct {
	Data []byte // nil: there are none
	// Changed are parts of the new value. Outside of them it is as Data, as far as that goes. nil: it is not known
	// where they differ.
	Changed []Range
}

// Range is a part of a value.
type Range struct{ Off, Len int }

// AppendVariable appends what stores a variable as PutVariable does, but in pieces if it is large. was is what its pieces
// hold now.
func AppendVariable(ops []Op, service uint64, v Variable, was Stored) []Op {
	now := Pieces(len(v.Data))
	if now == 0 {
		ops = append(ops, PutVariable(service, v))
	} else {
		ops = append(ops, Op{key: variableKey(service, v.Name), value: v.encodeHead(len(v.Data))})
		ops = appendPieces(ops, v.ID, v.Data, was)
	}
	if had := Pieces(len(was.Data)); had > now {
		ops = append(ops, deletePieces(v.ID, now, had))
	}
	return ops
}

// DeletePieces removes the pieces of a variable with a value of that size.
func DeletePieces(id uint64, size int) Op { return deletePieces(id, 0, Pieces(size)) }

func deletePieces(id uint64, from, to int) Op {
	return Op{key: pieceKey(id, from), end: clientv3.GetPrefixRangeEnd(piecePrefix(id)), keys: to - from}
}

func appendPieces(ops []Op, id uint64, data []byte, was Stored) []Op {
	had := 0
	if Pieces(len(was.Data)) > 0 {
		had = len(was.Data)
	}
	for i, off := 0, 0; off < len(data); i, off = i+1, off+PieceSize {
		end := min(off+PieceSize, len(data))
		if end <= had && (end-off == PieceSize || end == had) && !was.differs(data, off, end) {
			continue
		}
		ops = append(ops, Op{key: pieceKey(id, i), value: encodePiece(data[off:end]), data: end - off})
	}
	return ops
}

// differs tells whether a part of the new value differs from that of the old one.
func (s Stored) differs(data []byte, off, end int) bool {
	if s.Changed == nil {
		return !bytes.Equal(data[off:end], s.Data[off:end])
	}
	for _, r := range s.Changed {
		if r.Off < end && off < r.Off+r.Len {
			return true
		}
	}
	return false
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodePiece is a record of a checksum, then the bytes.
func encodePiece(data []byte) []byte {
	b := binary.BigEndian.AppendUint32(newRecord(4+len(data)), crc32.Checksum(data, castagnoli))
	return append(b, data...)
}

func decodePiece(record []byte) ([]byte, error) {
	d := newDecoder(record)
	sum := d.bytes(4)
	if d.err == nil && binary.BigEndian.Uint32(sum) != crc32.Checksum(d.b, castagnoli) {
		d.err = fmt.Errorf("%w: checksum", ErrCorrupt)
	}
	return d.b, d.err
}

// DamagedVariable is a variable whose value cannot be read, because pieces of it cannot.
type DamagedVariable struct {
	ID   uint64
	Name string
	Err  error
}

// readPieces reads the value of a variable that is in pieces.
func (e *Engine) readPieces(ctx context.Context, rev int64, id uint64, size int) ([]byte, error) {
	prefix := piecePrefix(id)
	resp, err := e.kv.Get(ctx, prefix, clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)), clientv3.WithRev(rev), clientv3.WithSerializable())
	if err != nil {
		return nil, fmt.Errorf("read pieces of %d: %w", id, err)
	}
	if len(resp.Kvs) != Pieces(size) {
		return nil, fmt.Errorf("%w: %d pieces of %d", ErrCorrupt, len(resp.Kvs), Pieces(size))
	}
	data := make([]byte, 0, size)
	for i, kv := range resp.Kvs {
		n, err := strconv.ParseUint(strings.TrimPrefix(string(kv.Key), prefix), 16, 32)
		if err != nil || n != uint64(i) {
			return nil, fmt.Errorf("%w: piece %q", ErrCorrupt, kv.Key)
		}
		piece, err := decodePiece(kv.Value)
		if err == nil && len(piece) != min(PieceSize, size-len(data)) {
			err = fmt.Errorf("%w: %d bytes", ErrCorrupt, len(piece))
		}
		if err != nil {
			return nil, fmt.Errorf("piece %d: %w", i, err)
		}
		data = append(data, piece...)
	}
	return data, nil
}
