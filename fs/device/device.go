// Package device carries requests from the kernel's FUSE device to a file system, and its answers back.
//
// go-fuse's own server answers POLL for the file system, with ENOSYS, after which the kernel asks nobody any more. So requests
// are read here. Those that come often and wait for nothing that a signal could end are handed to the file system as they
// are, and so is POLL; go-fuse's protocol server takes all others apart.
package device

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Options configure a [Server].
type Options struct {
	// Mount is as for go-fuse's server. MaxWrite is required.
	Mount fuse.MountOptions
	// Init is the kernel's INIT request if another process has answered it, else nil: the kernel makes it once.
	Init []byte
	// Poll answers POLL: with the events that have come, or that it will tell the kernel of by NOTIFY_POLL if the request says
	// so. It must not wait for anything.
	Poll func(*PollIn) (revents uint32, status fuse.Status)
	// Waits reports whether READ or OPEN of a node may wait for something that a signal to its caller is to end.
	Waits func(*fuse.InHeader) bool
	// Gone is called when the connection has ended, before handlers that are running have. It is called once.
	Gone func()
	// Logger is told of what the kernel takes no notice of.
	Logger *slog.Logger
}

// PollIn is struct fuse_poll_in, with its header.
type PollIn struct {
	fuse.InHeader
	Fh     uint64
	Kh     uint64 // the kernel's number of the open file, for NOTIFY_POLL
	Flags  uint32
	Events uint32 // that the caller asks for
}

// PollNotify in PollIn.Flags says that somebody waits.
const PollNotify = 1

// pollOut is struct fuse_poll_out.
type pollOut struct{ revents, _ uint32 }

// The operations that are known here, and in the others [outSizes].
const (
	opForget      = 2
	opOpen        = 14
	opRead        = 15
	opWrite       = 16
	opRelease     = 18
	opFsync       = 20
	opFlush       = 25
	opInit        = 26
	opInterrupt   = 36
	opPoll        = 40
	opBatchForget = 42
)

// headSize is of a request's header, and outHead of an answer's.
const (
	headSize = int(unsafe.Sizeof(fuse.InHeader{}))
	outHead  = int(unsafe.Sizeof(fuse.OutHeader{}))
)

// maxOut is the size of the largest answer without a payload.
const maxOut = int(unsafe.Sizeof(fuse.StatxOut{}))

// Server answers the requests of one connection.
type Server struct {
	fs       fuse.RawFileSystem
	protocol *fuse.ProtocolServer
	o        Options
	fd       int
	init     []byte
	settings fuse.InitIn

	bufSize int
	bufs    sync.Pool // of *[]byte, for a request of any size
	workers sync.Pool // of *worker

	readers readers
	loops   sync.WaitGroup
	gone    sync.Once
}

// New answers INIT, on a descriptor of /dev/fuse that the Server closes in the end, and also if New fails.
func New(fs fuse.RawFileSystem, fd int, o Options) (*Server, error) {
	o.Mount.MaxStackDepth = max(1, o.Mount.MaxStackDepth)
	o.Mount.DisabledCapabilities |= fuse.CAP_ALLOW_IDMAP
	s := &Server{fs: fs, fd: fd, o: o, bufSize: o.Mount.MaxWrite + 4096}
	s.readers.most = int32(max(2, min(runtime.GOMAXPROCS(0), 16)))
	s.protocol = fuse.NewProtocolServer(fs, &s.o.Mount)
	s.bufs.New = func() any { b := make([]byte, s.bufSize); return &b }
	s.workers.New = func() any { return &worker{} }
	if err := s.greet(); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("fuse: %w", err)
	}
	return s, nil
}

// greet answers INIT, or learns from it what another process has answered.
func (s *Server) greet() error {
	w := &worker{}
	s.init = s.o.Init
	if s.init == nil {
		buf := make([]byte, s.bufSize)
		n, err := s.read(buf)
		if err != nil {
			return fmt.Errorf("read INIT: %w", err)
		}
		s.init = buf[:n:n]
	}
	if len(s.init) < headSize || header(s.init).Opcode != opInit {
		return errors.New("the first request is not INIT")
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&s.settings)), unsafe.Sizeof(s.settings)), s.init)
	answer, status := w.call(s, s.init)
	if !status.Ok() {
		return fmt.Errorf("INIT: %w", unix.Errno(status))
	}
	if out := (*fuse.OutHeader)(unsafe.Pointer(&w.head)); out.Status != 0 {
		return fmt.Errorf("INIT: %w", unix.Errno(-out.Status))
	}
	if s.o.Init != nil {
		return nil
	}
	return s.reply(answer)
}

func header(b []byte) *fuse.InHeader { return (*fuse.InHeader)(unsafe.Pointer(&b[0])) }

// KernelSettings is the kernel's INIT request, and Init its bytes.
func (s *Server) KernelSettings() *fuse.InitIn {
	in := s.settings
	return &in
}

// Init is for [Options.Init] of another process.
func (s *Server) Init() []byte { return s.init }

// Serve answers requests until the connection ends and all are answered, and closes the descriptor.
func (s *Server) Serve() {
	s.loops.Add(1)
	s.loop()
	s.loops.Wait()
	unix.Close(s.fd)
	s.fs.OnUnmount()
}

// read returns the next request.
func (s *Server) read(buf []byte) (int, error) {
	for {
		n, err := unix.Read(s.fd, buf)
		switch {
		case err == unix.EINTR, err == unix.EAGAIN, err == unix.ENOENT: // its caller was interrupted meanwhile
		case err != nil:
			return 0, err
		case n < headSize:
			return 0, fmt.Errorf("a request of %d bytes", n)
		default:
			return n, nil
		}
	}
}

// readied is how much of a buffer is in memory before a request is read into it: all of most requests.
const readied = 16 << 10

// forRequest is a buffer for the next request. If the process is killed while the kernel copies a request into memory that must
// be brought in first, the copy fails, and who has made the request gets EIO. What is copied whole is made again for an heir.
func (s *Server) forRequest() *[]byte {
	buf := s.bufs.Get().(*[]byte)
	for i := 0; i < min(readied, len(*buf)); i += pageSize {
		(*buf)[i] = 0
	}
	return buf
}

var pageSize = unix.Getpagesize()

// loop reads requests and handles each itself. Before it does, it sees that another goroutine reads on.
func (s *Server) loop() {
	defer s.loops.Done()
	w := s.workers.Get().(*worker)
	defer s.workers.Put(w)
	for {
		if !s.readers.join() {
			return
		}
		buf := s.forRequest()
		n, err := s.read(*buf)
		last := s.readers.leave()
		if err != nil {
			s.bufs.Put(buf)
			if err != unix.ENODEV {
				s.o.Logger.Error("read requests", "err", err)
			}
			s.gone.Do(s.o.Gone)
			return
		}
		req := (*buf)[:n]
		// There can be many FORGETs, and the kernel waits for none: they are not handled at the same time.
		if op := header(req).Opcode; last && op != opForget && op != opBatchForget {
			s.loops.Add(1)
			go s.loop()
		}
		if n > int(unsafe.Sizeof(w.small)) {
			s.handle(w, req)
			s.bufs.Put(buf)
			continue
		}
		// A handler that waits keeps no large buffer.
		small := unsafe.Slice((*byte)(unsafe.Pointer(&w.small)), unsafe.Sizeof(w.small))[:n]
		copy(small, req)
		s.bufs.Put(buf)
		s.handle(w, small)
	}
}

// reply writes an answer. The kernel may have given up a request: it is not there any more then.
func (s *Server) reply(parts [][]byte) error {
	for {
		_, err := unix.Writev(s.fd, parts)
		switch err {
		case unix.EINTR, unix.EAGAIN:
			continue
		case unix.ENOENT, unix.ENODEV:
			return nil
		}
		return err
	}
}
