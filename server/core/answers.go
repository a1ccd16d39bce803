package core

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
)

// The format of a stored answer: a byte for the version of the format, then uvarints: acked and lost of the client when it
// was stored, time, seq (0: a mark, no answer), number of results, and the results: id, version, mtime, size, unchanged.
// Of several answers: the number of answers behind time, and for each what follows there. With sums: as of several answers,
// and behind each result the length of its number as a uvarint, and the number. Who does not know that takes the record for
// damaged, and refuses what is sent again.
const (
	resultVersion  = 1
	resultsVersion = 2
	sumsVersion    = 3
)

// numbered is an answer to the report of a number.
type numbered struct {
	seq     uint64
	results []model.Result
}

// encode returns a record of answers that have the same time.
func (c *client) encode(time int64, list ...numbered) []byte {
	version := byte(resultVersion)
	if len(list) != 1 {
		version = resultsVersion
	}
	if slices.ContainsFunc(list, numbered.hasSum) {
		version = sumsVersion
	}
	b := make([]byte, 0, 48*(len(list)+1))
	b = append(b, version)
	for _, n := range []uint64{c.acked, c.lost, uint64(time)} {
		b = binary.AppendUvarint(b, n)
	}
	if version != resultVersion {
		b = binary.AppendUvarint(b, uint64(len(list)))
	}
	for _, a := range list {
		b = binary.AppendUvarint(b, a.seq)
		b = binary.AppendUvarint(b, uint64(len(a.results)))
		for i := range a.results {
			b = appendResult(b, &a.results[i])
			if version == sumsVersion {
				b = binary.AppendUvarint(b, uint64(len(a.results[i].Number)))
				b = append(b, a.results[i].Number...)
			}
		}
	}
	return b
}

func (n numbered) hasSum() bool {
	return slices.ContainsFunc(n.results, func(r model.Result) bool { return r.Number != "" })
}

func appendResult(b []byte, r *model.Result) []byte {
	for _, n := range [...]uint64{r.ID, r.Version, uint64(r.MTime), uint64(r.Size)} {
		b = binary.AppendUvarint(b, n)
	}
	if r.Unchanged {
		return append(b, 1)
	}
	return append(b, 0)
}

var errClientRecord = errors.New("client record cannot be read")

// numbers reads uvarints. It keeps the first error; what it returns after one is 0.
type numbers struct {
	b   []byte
	err error
}

func newNumbers(b []byte, version byte) *numbers {
	if len(b) == 0 || b[0] != version {
		return &numbers{err: errClientRecord}
	}
	return &numbers{b: b[1:]}
}

func (n *numbers) next() uint64 {
	v, k := binary.Uvarint(n.b)
	if k <= 0 {
		n.err, n.b = errClientRecord, nil
		return 0
	}
	n.b = n.b[k:]
	return v
}

func (n *numbers) results(sums bool) (list []model.Result) {
	for k := n.next(); k > 0 && n.err == nil; k-- {
		r := model.Result{ID: n.next(), Version: n.next(), MTime: int64(n.next()), Size: int64(n.next())}
		r.Unchanged = n.next() == 1
		if sums {
			r.Number = n.text()
		}
		list = append(list, r)
	}
	return list
}

// text reads what is preceded by its length.
func (n *numbers) text() string {
	size := n.next()
	if size > uint64(len(n.b)) {
		n.err, n.b = errClientRecord, nil
		return ""
	}
	text := string(n.b[:size])
	n.b = n.b[size:]
	return text
}

// restore reads a record back. Answers below acked, which a later one may know better, are taken out by restored.
func (c *client) restore(r engine.Result, rev int64) error {
	version := byte(resultVersion)
	if len(r.Data) > 0 && (r.Data[0] == resultsVersion || r.Data[0] == sumsVersion) {
		version = r.Data[0]
	}
	n := newNumbers(r.Data, version)
	acked, lost, time := n.next(), n.next(), int64(n.next())
	count := uint64(1)
	if version != resultVersion {
		count = n.next()
	}
	var list []numbered
	for ; count > 0 && n.err == nil; count-- {
		list = append(list, numbered{n.next(), n.results(version == sumsVersion)})
	}
	if n.err != nil {
		return n.err
	}
	c.high = max(c.high, r.Slot+1)
	c.acked, c.lost = max(c.acked, acked), max(c.lost, lost)
	in := &answerRecord{slot: r.Slot, bytes: len(r.Data) + answerCost}
	for _, l := range list {
		if l.seq == 0 {
			c.mark, c.marked = r.Slot, true
			continue
		}
		if old, ok := c.results[l.seq]; ok && old.time > time {
			continue // of a client that has said goodbye and come back
		}
		a := answer{rev: rev, results: l.results, in: in, time: time, bytes: len(r.Data)/len(list) + answerCost}
		in.left++
		c.bytes += a.bytes - c.results[l.seq].bytes
		c.results[l.seq] = a
	}
	return nil
}

// restored takes out the answers that the client has, when all were read.
func (s *Core) restored(c *client) {
	s.answers += c.bytes
	for seq, a := range c.results {
		if seq < c.acked || seq <= c.lost {
			c.take(seq, a)
			s.release(c, a)
		}
	}
}

// legacyVersion is that of the record which schema 1 had for a client: acked, number of answers, and for each its seq,
// number of results, and the results.
const legacyVersion = 1

// restoreLegacy reads such a record. Its answers are in no slot: they are deleted together, when they are old.
func restoreLegacy(r engine.Client, rev int64) (*client, error) {
	c := newClient(r.ID)
	n := newNumbers(r.Data, legacyVersion)
	c.acked = n.next()
	for k := n.next(); k > 0 && n.err == nil; k-- {
		seq := n.next()
		c.results[seq] = answer{rev: rev, results: n.results(false)}
	}
	return c, n.err
}
