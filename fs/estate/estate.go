// Package estate is what a mount leaves to the process that takes it over.
//
// A mount whose process is killed is not over: the kernel keeps its nodes, its open files and the requests that have no answer
// for as long as somebody has /dev/fuse open. The guard has, and starts the next process, the heir. What the heir cannot learn
// from the kernel or from the server the mount notes as it goes, in memory that outlives it: a memfd, of which the guard keeps
// a descriptor. To note something takes no system call, only stores.
//
// A process can die between any two stores, and never has half of one behind it. So a record has a word that says whether it
// counts: it is cleared before the others are changed, and set after them. What does not count is lost, and its owner gets an
// error; nothing is guessed.
//
//	offset        size       content
//	0             4 KiB      header
//	4 KiB         1 MiB      the command that starts the heir, JSON
//	commandEnd    1 MiB      services that the kernel has nodes of, 16 bytes each
//	servicesEnd   64 MiB     open files, 256 bytes each
//	...           256 KiB    requests that change something, 64 bytes each
//	...           2 MiB      changes that were not answered, 128 bytes each
//	...           1.25 MiB   drafts, 320 bytes each
//	...           96 KiB     what was announced to have moved, 24 bytes each
//	...           64 MiB     bytes of values that are being written
//
// The file is sparse: what was never noted takes no memory.
package estate

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// magic is of this layout: a program with another one does not take the mount over, but mounts anew.
const magic = 0x436f6d6d79457334

const (
	headerSize  = 4 << 10
	commandSize = 1 << 20
	servicesAt  = headerSize + commandSize
	handlesAt   = servicesAt + maxServices*int(unsafe.Sizeof(Service{}))
	tasksAt     = handlesAt + MaxHandles*int(unsafe.Sizeof(Handle{}))
	editsAt     = tasksAt + maxTasks*int(unsafe.Sizeof(Task{}))
	draftsAt    = editsAt + maxEdits*int(unsafe.Sizeof(Edit{}))
	movedAt     = draftsAt + maxDrafts*int(unsafe.Sizeof(Draft{}))
	arenaAt     = movedAt + maxMoved*int(unsafe.Sizeof(moved{}))
	size        = arenaAt + arenaSize

	maxServices = 1 << 16
	maxInit     = 256
	maxStore    = 128
	// maxPrincipal is of a model.Welcome.
	maxPrincipal = 64
)

// header is the first page. What is not set once, before the mount is used, is changed with atomic stores.
type header struct {
	magic    uint64
	started  int64 // when the mount was made, Unix nanoseconds
	restarts atomic.Uint32
	initLen  atomic.Uint32
	init     [maxInit]byte
	threads  [2]atomic.Uint32
	died     [keptDeaths]atomic.Int64 // see Deaths
	command  atomic.Uint32            // its length
	services atomic.Uint32            // so many records were ever used
	handles  atomic.Uint32
	last     atomic.Uint64 // the highest number of a handle
	storeLen atomic.Uint32
	store    [maxStore]byte

	client     [16]byte
	report     atomic.Uint64 // the highest number of a report
	nextTask   atomic.Uint64
	order      atomic.Uint64
	restarted  atomic.Int64 // when the last heir took over, Unix nanoseconds
	lease      atomic.Uint64
	edits      atomic.Uint32 // so many records were ever used
	drafts     atomic.Uint32
	overflowed atomic.Uint32

	whoLen atomic.Uint32
	who    [maxPrincipal]byte
}

// Estate is the memory. Its methods may be called from several goroutines; those of the guard and the heir are used by two
// processes at once.
type Estate struct {
	file *os.File
	mem  []byte

	mu           sync.Mutex // guards the following
	freeServices []uint32   // records below header.services
	freeHandles  []uint32
	freeEdits    []uint32
	freeDrafts   []uint32
	arena        arena
}

// New makes an empty estate.
func New() (*Estate, error) {
	fd, err := unix.MemfdCreate("commyfs-estate", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("estate: %w", err)
	}
	f := os.NewFile(uintptr(fd), "estate")
	err = f.Truncate(int64(size))
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("estate: %w", err)
	}
	e, err := mapped(f)
	if err != nil {
		return nil, err
	}
	h := e.header()
	h.magic, h.started = magic, time.Now().UnixNano()
	e.TakeOver()
	return e, nil
}

// Open opens what another process has made; the file is the Estate's from then on.
func Open(f *os.File) (*Estate, error) {
	info, err := f.Stat()
	if err == nil && info.Size() != int64(size) {
		err = fmt.Errorf("%d bytes, not %d", info.Size(), size)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("estate: %w", err)
	}
	e, err := mapped(f)
	if err == nil && e.header().magic != magic {
		_ = e.Close()
		err = errors.New("estate: of another version")
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

func mapped(f *os.File) (*Estate, error) {
	mem, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("map the estate: %w", err)
	}
	return &Estate{file: f, mem: mem}, nil
}

// Close unmaps it. Nothing that it gave out may be used any more.
func (e *Estate) Close() error {
	err := errors.Join(unix.Munmap(e.mem), e.file.Close())
	e.mem = nil
	return err
}

// File is for the process that is to have it next; it stays the Estate's.
func (e *Estate) File() *os.File { return e.file }

func (e *Estate) header() *header { return (*header)(unsafe.Pointer(&e.mem[0])) }

// SetInit notes the INIT request that the kernel has made of the mount: it makes no other.
func (e *Estate) SetInit(request []byte) error {
	h := e.header()
	if len(request) > len(h.init) {
		return fmt.Errorf("estate: an INIT of %d bytes", len(request))
	}
	copy(h.init[:], request)
	h.initLen.Store(uint32(len(request)))
	return nil
}

// Init returns the INIT request, nil if it was not noted.
func (e *Estate) Init() []byte {
	h := e.header()
	n := h.initLen.Load()
	if n < 8 || n > maxInit || binary.NativeEndian.Uint32(h.init[:]) != n {
		return nil
	}
	return append([]byte{}, h.init[:n]...)
}

// SetStore notes of which store the numbers of nodes are.
func (e *Estate) SetStore(name string) {
	h := e.header()
	if name == e.Store() { // it is noted at each connection
		return
	}
	h.storeLen.Store(0)
	if n := copy(h.store[:], name); n == len(name) {
		h.storeLen.Store(uint32(n))
	}
}

// Store returns what SetStore noted, empty if that is not known.
func (e *Estate) Store() string {
	h := e.header()
	return string(h.store[:min(h.storeLen.Load(), maxStore)])
}

// SetPrincipal notes for whom the server takes the mount.
func (e *Estate) SetPrincipal(who string) {
	h := e.header()
	if who == e.Principal() {
		return
	}
	h.whoLen.Store(0)
	if n := copy(h.who[:], who); n == len(who) {
		h.whoLen.Store(uint32(n))
	}
}

// Principal returns what SetPrincipal noted, empty if that is not known.
func (e *Estate) Principal() string {
	h := e.header()
	return string(h.who[:min(h.whoLen.Load(), maxPrincipal)])
}

// SetClient notes what the server knows the mount by.
func (e *Estate) SetClient(id [16]byte) { e.header().client = id }

// Client returns what SetClient noted.
func (e *Estate) Client() [16]byte { return e.header().client }

// SetLastReport notes the highest number that a report to the server was given.
func (e *Estate) SetLastReport(number uint64) { e.header().report.Store(number) }

// LastReport returns what SetLastReport noted.
func (e *Estate) LastReport() uint64 { return e.header().report.Load() }

// SetLease notes the lease by which the mount has locks.
func (e *Estate) SetLease(lease uint64) { e.header().lease.Store(lease) }

// Lease returns what SetLease noted.
func (e *Estate) Lease() uint64 { return e.header().lease.Load() }

// Command is how the heir is started.
type Command struct {
	Args     []string
	Env      []string
	Restarts int // how often in a while; see [Estate.Died]
}

// SetCommand notes how the heir is to be started.
func (e *Estate) SetCommand(c Command) error {
	text, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("estate: %w", err)
	}
	if len(text) > commandSize {
		return fmt.Errorf("estate: a command and environment of %d bytes", len(text))
	}
	h := e.header()
	h.command.Store(0)
	copy(e.mem[headerSize:], text)
	h.command.Store(uint32(len(text)))
	return nil
}

// Command returns what SetCommand noted.
func (e *Estate) Command() (Command, error) {
	var c Command
	n := e.header().command.Load()
	if n == 0 || n > commandSize {
		return c, errors.New("estate: no command")
	}
	if err := json.Unmarshal(e.mem[headerSize:headerSize+n], &c); err != nil {
		return c, fmt.Errorf("estate: %w", err)
	}
	return c, nil
}

// SetThreads notes the threads of the mount that make system calls on it themselves: what they had asked when they died is
// asked by nobody.
func (e *Estate) SetThreads(ids ...uint32) {
	t := &e.header().threads
	for i := range t {
		id := uint32(0)
		if i < len(ids) {
			id = ids[i]
		}
		t[i].Store(id)
	}
}

// Threads returns what SetThreads noted.
func (e *Estate) Threads() (ids []uint32) {
	t := &e.header().threads
	for i := range t {
		if id := t[i].Load(); id != 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// Started is when the mount was made.
func (e *Estate) Started() time.Time { return time.Unix(0, e.header().started) }
