package transport

import (
	"bytes"
	"runtime/metrics"
	"testing"
)

// heapAllocated returns how many bytes have ever been allocated.
func heapAllocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func FuzzDecode(f *testing.F) {
	_, envs := samples()
	seeds := 0
	for _, e := range envs {
		b, err := AppendEnvelope(nil, e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		seeds++
	}
	if seeds != 2*int(lastType) {
		f.Fatalf("%d seeds for %d types", seeds, lastType)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		before := heapAllocated()
		e, rest, err := DecodeEnvelope(in)
		if got, most := heapAllocated()-before, uint64(64*len(in)+2<<20); got > most {
			t.Fatalf("%d bytes allocated for %d", got, len(in))
		}
		if err != nil {
			return
		}
		if len(rest) >= len(in) {
			t.Fatal("nothing was consumed")
		}
		if _, ok := e.Message.(*Unknown); ok {
			return
		}
		once, err := AppendEnvelope(nil, e)
		if err != nil {
			t.Fatalf("encode what was decoded: %v", err)
		}
		again, rest, err := DecodeEnvelope(once)
		if err != nil || len(rest) != 0 {
			t.Fatalf("decode what was encoded: %v, %d bytes left", err, len(rest))
		}
		if !equal(e, again) {
			t.Fatalf("got %+v, want %+v", again, e)
		}
		twice, err := AppendEnvelope(nil, again)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("encoding is not stable: %v\n%x\n%x", err, once, twice)
		}
	})
}
