package device

import (
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// worker has the memory of one request and its answer. It is made of words, so that the structs in it are aligned.
type worker struct {
	small   [16]uint64
	head    [2]uint64
	data    [(maxOut + 7) / 8]uint64
	payload []byte
	large   *[]byte // of Server.bufs, for a payload; nil: not needed
	parts   [3][]byte
}

// keptPayload is the largest payload whose memory a worker keeps.
const keptPayload = 64 << 10

func (w *worker) header() []byte { return unsafe.Slice((*byte)(unsafe.Pointer(&w.head)), outHead) }

// room is memory for a payload.
func (w *worker) room(n int) []byte {
	if n > keptPayload {
		return make([]byte, n)
	}
	if n > cap(w.payload) {
		w.payload = make([]byte, min(keptPayload, max(4096, 2*n)))
	}
	return w.payload[:n]
}

// put has a worker's memory for an answer hold a struct.
func put[T any](w *worker, out T) []byte {
	*(*T)(unsafe.Pointer(&w.data)) = out
	return unsafe.Slice((*byte)(unsafe.Pointer(&w.data)), unsafe.Sizeof(out))
}

// answer makes an answer of a status, and, if that is OK, of what there is.
func (w *worker) answer(unique uint64, status fuse.Status, out []byte) [][]byte {
	if !status.Ok() {
		out = nil
	}
	*(*fuse.OutHeader)(unsafe.Pointer(&w.head)) = fuse.OutHeader{Length: uint32(outHead + len(out)), Status: -int32(status), Unique: unique}
	w.parts[0], w.parts[1] = w.header(), out
	return w.parts[:2]
}

// handle answers a request.
func (s *Server) handle(w *worker, req []byte) {
	h := header(req)
	answer, done := s.direct(w, req)
	if !done {
		var status fuse.Status
		if answer, status = w.call(s, req); !status.Ok() {
			answer = w.answer(h.Unique, status, nil)
		}
		if answer == nil {
			return
		}
		if h.Opcode == opInterrupt {
			s.later(h.Unique)
			return
		}
	}
	if err := s.reply(answer); err != nil {
		s.o.Logger.Error("an answer was not taken", "op", h.Opcode, "err", err)
	}
	if w.large != nil {
		s.bufs.Put(w.large)
		w.large = nil
	}
}

// direct answers what comes often and is not to be interrupted, and POLL.
func (s *Server) direct(w *worker, req []byte) (answer [][]byte, done bool) {
	h := header(req)
	switch h.Opcode {
	case opPoll:
		in := as[PollIn](req)
		if in == nil {
			return nil, false
		}
		revents, status := s.o.Poll(in)
		return w.answer(h.Unique, status, put(w, pollOut{revents: revents})), true
	case opWrite:
		in := as[fuse.WriteIn](req)
		if in == nil {
			return nil, false
		}
		n, status := s.fs.Write(nil, in, req[unsafe.Sizeof(*in):])
		return w.answer(h.Unique, status, put(w, fuse.WriteOut{Size: n})), true
	case opFlush:
		if in := as[fuse.FlushIn](req); in != nil {
			return w.answer(h.Unique, s.fs.Flush(nil, in), nil), true
		}
	case opFsync:
		if in := as[fuse.FsyncIn](req); in != nil {
			return w.answer(h.Unique, s.fs.Fsync(nil, in), nil), true
		}
	case opRelease:
		if in := as[fuse.ReleaseIn](req); in != nil {
			s.fs.Release(nil, in)
			return w.answer(h.Unique, fuse.OK, nil), true
		}
	}
	if s.o.Waits(h) {
		return nil, false
	}
	switch h.Opcode {
	case opRead:
		if in := as[fuse.ReadIn](req); in != nil {
			return s.readDirect(w, in), true
		}
	case opOpen:
		if in := as[fuse.OpenIn](req); in != nil {
			var out fuse.OpenOut
			status := s.fs.Open(nil, in, &out)
			return w.answer(h.Unique, status, put(w, out)), true
		}
	}
	return nil, false
}

func (s *Server) readDirect(w *worker, in *fuse.ReadIn) [][]byte {
	size := min(int(in.Size), s.bufSize)
	var buf []byte
	if size <= keptPayload {
		buf = w.room(size)
	} else {
		w.large = s.bufs.Get().(*[]byte)
		buf = (*w.large)[:size]
	}
	res, status := s.fs.Read(nil, in, buf)
	if !status.Ok() {
		return w.answer(in.Unique, status, nil)
	}
	data, status := res.Bytes(buf)
	answer := w.answer(in.Unique, status, data)
	res.Done()
	return answer
}

// as has the bytes of a request as its struct, nil if they are too few.
func as[T any](req []byte) *T {
	if len(req) < int(unsafe.Sizeof(*new(T))) {
		return nil
	}
	return (*T)(unsafe.Pointer(&req[0]))
}

// interruptAgain is after how long the kernel is asked for an INTERRUPT again whose request was not there: it has overtaken it, or
// is for one that does not let itself be interrupted.
const interruptAgain = 5 * time.Millisecond

func (s *Server) later(unique uint64) {
	s.loops.Add(1)
	time.AfterFunc(interruptAgain, func() {
		defer s.loops.Done()
		w := &worker{}
		_ = s.reply(w.answer(unique, fuse.EAGAIN, nil))
	})
}

// Interrupt ends the waiting of a request's handler, as a signal to its caller does.
func (s *Server) Interrupt(unique uint64) {
	in := fuse.InterruptIn{Unique: unique}
	in.Length, in.Opcode = uint32(unsafe.Sizeof(in)), opInterrupt
	w := &worker{}
	_, _ = w.call(s, unsafe.Slice((*byte)(unsafe.Pointer(&in)), unsafe.Sizeof(in)))
}

// call has go-fuse answer a request. The answer is nil if the kernel waits for none.
func (w *worker) call(s *Server, req []byte) ([][]byte, fuse.Status) {
	h := header(req)
	size, payload := outSizes[h.Opcode], 0
	switch h.Opcode {
	case opRead, opReaddir, opReaddirplus:
		if len(req) >= int(unsafe.Sizeof(fuse.ReadIn{})) {
			payload = int((*fuse.ReadIn)(unsafe.Pointer(&req[0])).Size)
		}
	case opGetxattr, opListxattr:
		if len(req) >= int(unsafe.Sizeof(fuse.GetXAttrIn{})) {
			if payload = int((*fuse.GetXAttrIn)(unsafe.Pointer(&req[0])).Size); payload > 0 {
				size = 0
			}
		}
	case opIoctl:
		if len(req) >= int(unsafe.Sizeof(fuse.IoctlIn{})) {
			payload = int((*fuse.IoctlIn)(unsafe.Pointer(&req[0])).OutSize)
		}
	}
	if payload > s.bufSize {
		return nil, fuse.Status(unix.EINVAL)
	}
	w.head = [2]uint64{}
	clear(w.data[:])
	out := append(w.parts[:0], w.header())
	data := unsafe.Slice((*byte)(unsafe.Pointer(&w.data)), size)
	if size > 0 {
		out = append(out, data)
	}
	var flat []byte
	if payload > 0 || h.Opcode == opReadlink {
		flat = w.room(max(payload, pathMax))[:max(payload, 0)]
		if h.Opcode == opReadlink {
			flat = flat[:pathMax]
		}
		out = append(out, flat)
	}
	if _, status := s.protocol.HandleRequest([][]byte{req}, out); !status.Ok() {
		return nil, status
	}
	length := int((*fuse.OutHeader)(unsafe.Pointer(&w.head)).Length) - outHead
	if length < 0 {
		return nil, fuse.OK
	}
	data = data[:min(size, length)]
	w.parts = [3][]byte{w.header(), data, flat[:length-len(data)]}
	return w.parts[:], fuse.OK
}
