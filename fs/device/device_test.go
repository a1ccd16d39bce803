package device

import (
	"bytes"
	"encoding/binary"
	"log"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// kernel is the other end of a device.
type kernel struct {
	t  *testing.T
	fd int
}

// files is what is served: a read of node 2 waits for a signal, others are of a thousand bytes.
type files struct {
	fuse.RawFileSystem
	waits chan struct{}
}

func (f *files) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	if in.NodeId == 2 {
		f.waits <- struct{}{}
		<-cancel
		return nil, fuse.EINTR
	}
	return fuse.ReadResultData(bytes.Repeat([]byte{'x'}, min(len(buf), 100_000))), fuse.OK
}

func (f *files) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	if int(in.Size) != len(data) {
		return 0, fuse.EIO
	}
	return uint32(len(data)), fuse.OK
}

func (f *files) Readlink(<-chan struct{}, *fuse.InHeader) ([]byte, fuse.Status) {
	return []byte("to"), fuse.OK
}

func request(op uint32, unique, node uint64, body ...byte) []byte {
	b := make([]byte, headSize, headSize+len(body))
	h := header(b)
	h.Opcode, h.Unique, h.NodeId = op, unique, node
	b = append(b, body...)
	header(b).Length = uint32(len(b))
	return b
}

func initRequest() []byte {
	var in fuse.InitIn
	in.Major, in.Minor = 7, 45
	in.Opcode, in.Unique, in.Length = opInit, 1, uint32(unsafe.Sizeof(in))
	return bytes.Clone(unsafe.Slice((*byte)(unsafe.Pointer(&in)), unsafe.Sizeof(in)))
}

// serve serves a file system on one end of a pair of sockets, which keep requests apart as the device does.
func serve(t *testing.T, o Options) (*kernel, *Server, *files, *bytes.Buffer) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	logged := &bytes.Buffer{}
	f := &files{fuse.NewDefaultRawFileSystem(), make(chan struct{}, 1)}
	o.Mount = fuse.MountOptions{MaxWrite: 128 << 10, Logger: log.New(logged, "", 0)}
	o.Waits = func(h *fuse.InHeader) bool { return h.NodeId == 2 }
	o.Gone = func() {}
	o.Logger = slog.New(slog.NewTextHandler(logged, nil))
	k := &kernel{t, pair[0]}
	if o.Init == nil {
		k.send(initRequest())
	}
	s, err := New(f, pair[1], o)
	if err != nil {
		t.Fatal(err)
	}
	if o.Init == nil {
		if h, out := k.receive(); h.Status != 0 || len(out) != int(unsafe.Sizeof(fuse.InitOut{})) {
			t.Fatalf("INIT: %+v, %d bytes", h, len(out))
		}
	}
	return k, s, f, logged
}

func (k *kernel) send(b []byte) {
	k.t.Helper()
	if _, err := unix.Write(k.fd, b); err != nil {
		k.t.Fatal(err)
	}
}

func (k *kernel) receive() (fuse.OutHeader, []byte) {
	k.t.Helper()
	if err := unix.SetsockoptTimeval(k.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
		k.t.Fatal(err)
	}
	b := make([]byte, 256<<10)
	n, err := unix.Read(k.fd, b)
	if err != nil {
		k.t.Fatal(err)
	}
	h := *(*fuse.OutHeader)(unsafe.Pointer(&b[0]))
	if int(h.Length) != n {
		k.t.Errorf("an answer of %d bytes says that it has %d", n, h.Length)
	}
	return h, b[outHead:n]
}

// end closes the kernel's end. A socket ends otherwise than the device.
func (k *kernel) end(s *Server, logged *bytes.Buffer) {
	k.t.Helper()
	unix.Close(k.fd)
	s.loops.Wait()
	for line := range strings.Lines(logged.String()) {
		if !strings.Contains(line, "read requests") && !strings.Contains(line, "Unimplemented opcode OPCODE-60") {
			k.t.Errorf("logged: %s", line)
		}
	}
}

// go-fuse takes memory of one size for an answer, and says in its log what is wrong with others.
func TestSizesOfAnswers(t *testing.T) {
	_, s, _, logged := serve(t, Options{})
	for op := range uint32(100) {
		if op == opInit {
			continue
		}
		w := &worker{}
		_, status := w.call(s, request(op, 2, 1, make([]byte, 200)...))
		if status == fuse.EIO || strings.Contains(logged.String(), "iov") {
			t.Errorf("operation %d: %v: %s", op, status, logged)
			logged.Reset()
		}
	}
}

func TestRequests(t *testing.T) {
	var polled PollIn
	k, s, _, logged := serve(t, Options{Poll: func(in *PollIn) (uint32, fuse.Status) { polled = *in; return 5, fuse.OK }})
	go s.Serve()
	read := func(size uint32) []byte {
		var in fuse.ReadIn
		in.Size = size
		b := unsafe.Slice((*byte)(unsafe.Pointer(&in)), unsafe.Sizeof(in))[headSize:]
		return request(opRead, 4, 1, b...)
	}
	write := func(size int) []byte {
		var in fuse.WriteIn
		in.Size = uint32(size)
		b := unsafe.Slice((*byte)(unsafe.Pointer(&in)), unsafe.Sizeof(in))[headSize:]
		return request(opWrite, 4, 1, append(bytes.Clone(b), make([]byte, size)...)...)
	}
	poll := binary.NativeEndian.AppendUint64(nil, 7)
	poll = binary.NativeEndian.AppendUint64(poll, 8)
	poll = binary.NativeEndian.AppendUint32(poll, PollNotify)
	poll = binary.NativeEndian.AppendUint32(poll, unix.POLLPRI)
	for _, tt := range []struct {
		what   string
		req    []byte
		status int32
		size   int
	}{
		{"a small read", read(64), 0, 64},
		{"a large read", read(100_000), 0, 100_000},
		{"a short read", read(120_000), 0, 100_000},
		{"a small write", write(10), 0, 8},
		{"a large write", write(128 << 10), 0, 8},
		{"a poll", request(opPoll, 4, 1, poll...), 0, 8},
		{"a link", request(opReadlink, 4, 1), 0, 2},
		{"what is not implemented", request(1, 4, 1, 'x', 0), -int32(unix.ENOSYS), 0},
		{"what nobody knows", request(60, 4, 1), -int32(unix.ENOSYS), 0},
		{"what is far out", request(5000, 4, 1), -int32(unix.ENOSYS), 0},
		{"a read that is cut", request(opRead, 4, 1, 0), -int32(unix.EIO), 0},
	} {
		k.send(tt.req)
		if h, out := k.receive(); h.Status != tt.status || len(out) != tt.size || h.Unique != 4 {
			t.Errorf("%s: %+v, %d bytes", tt.what, h, len(out))
		}
	}
	if polled.Fh != 7 || polled.Kh != 8 || polled.Flags != PollNotify || polled.Events != unix.POLLPRI {
		t.Errorf("polled %+v", polled)
	}
	k.end(s, logged)
}

// A request that waits is interrupted, also before it is there, and holds up no others.
func TestInterrupt(t *testing.T) {
	k, s, f, logged := serve(t, Options{})
	go s.Serve()
	body := make([]byte, unsafe.Sizeof(fuse.ReadIn{}))[headSize:]
	for i := range uint64(20) {
		interrupt := request(opInterrupt, 2*i+5, 0, binary.NativeEndian.AppendUint64(nil, 2*i+4)...)
		if i%2 == 0 { // it has overtaken it: the kernel is to send it again
			k.send(interrupt)
			if h, _ := k.receive(); h.Status != -int32(unix.EAGAIN) || h.Unique != 2*i+5 {
				t.Errorf("an interrupt of nothing: %+v", h)
			}
		}
		k.send(request(opRead, 2*i+4, 2, body...))
		<-f.waits
		k.send(request(1, 2, 1, 'x', 0))
		if h, _ := k.receive(); h.Unique != 2 {
			t.Errorf("%+v", h)
		}
		k.send(interrupt)
		if h, _ := k.receive(); h.Status != -int32(unix.EINTR) || h.Unique != 2*i+4 {
			t.Errorf("%+v", h)
		}
	}
	k.send(request(opRead, 1000, 2, body...))
	<-f.waits
	s.Interrupt(1000)
	if h, _ := k.receive(); h.Status != -int32(unix.EINTR) || h.Unique != 1000 {
		t.Errorf("%+v", h)
	}
	k.end(s, logged)
}

// A process that takes a connection over answers no INIT.
func TestInitOfAnother(t *testing.T) {
	k, s, _, logged := serve(t, Options{Init: initRequest()})
	if in := s.KernelSettings(); in.Minor != 45 || !bytes.Equal(s.Init(), initRequest()) {
		t.Errorf("settings %+v", in)
	}
	go s.Serve()
	k.send(request(opReadlink, 4, 1))
	if h, out := k.receive(); string(out) != "to" || h.Unique != 4 {
		t.Errorf("%+v %q", h, out)
	}
	k.end(s, logged)
}

func TestManyAtATime(t *testing.T) {
	k, s, _, logged := serve(t, Options{})
	go s.Serve()
	var wg sync.WaitGroup
	const n = 2000
	wg.Go(func() {
		for i := range uint64(n) {
			k.send(request(opReadlink, 2*i+4, 1))
		}
	})
	seen := map[uint64]bool{}
	for range n {
		h, out := k.receive()
		if seen[h.Unique] || string(out) != "to" {
			t.Fatalf("%+v %q", h, out)
		}
		seen[h.Unique] = true
	}
	wg.Wait()
	began := time.Now()
	k.end(s, logged)
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("ended after %v", d)
	}
}

// TestReadied: what a request is read into is in memory before, so that the kernel can copy into it while the process is being killed.
func TestReadied(t *testing.T) {
	s := &Server{bufSize: 1 << 20}
	s.bufs.New = func() any { b := make([]byte, s.bufSize); return &b }
	for range 3 {
		buf := s.forRequest()
		from := -int(uintptr(unsafe.Pointer(&(*buf)[0]))) & (pageSize - 1) // of the first whole page
		pages := (*buf)[from : from+readied-pageSize]
		in := make([]byte, len(pages)/pageSize)
		if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&pages[0])), uintptr(len(pages)), uintptr(unsafe.Pointer(&in[0]))); errno != 0 {
			t.Fatal(errno)
		}
		if bytes.Contains(in, []byte{0}) {
			t.Errorf("not in memory: %v", in)
		}
		if err := unix.Madvise(pages, unix.MADV_DONTNEED); err != nil { // as the garbage collector does
			t.Fatal(err)
		}
		s.bufs.Put(buf)
	}
}
