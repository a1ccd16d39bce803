package bare

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Options configure a [Dir].
type Options struct {
	Path   string   // is made if it is not there
	Store  [16]byte // id of the store that the services are of
	Logger *slog.Logger
	// Opened is told of a file that is not open here, and that somebody has opened for writing or written to. It is called on a
	// goroutine of its own, one call after the other.
	Opened func(service uint64)

	noWatch bool               // as if there were no inotify instances left
	sync    func(fd int) error // nil: the kernel's
}

// Dir is the directory of the files of all bare services.
type Dir struct {
	o     Options
	dir   *os.File
	began time.Time
	watch *watch // nil: the kernel has none left
	bells *bells
	scout *scout
	wg    sync.WaitGroup
	done  chan struct{}
	hail  chan struct{} // there is something in strange

	readersMu sync.Mutex // guards the following
	readers   map[uint64]*reader
	making    map[uint64]*making

	mu      sync.Mutex // guards the following
	closed  bool
	files   map[uint64]*File
	left    map[uint64]*left    // of files that were closed
	unsaved map[*File]struct{}  // with changes that are not synced
	lent    map[*File]struct{}  // open for writing by us
	strange map[uint64]struct{} // to be told to Opened
	tick    chan struct{}       // there is something in lent, or a file that was opened
	news    chan struct{}       // there is something in unsaved
	looked  int64               // see lookAroundLocked
}

// OpenDir opens the directory, which must be this user's alone.
func OpenDir(o Options) (*Dir, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if err := os.Mkdir(o.Path, 0o700); err != nil && !errors.Is(err, iofs.ErrExist) {
		return nil, err
	}
	dir, err := os.OpenFile(o.Path, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	d := &Dir{
		o: o, dir: dir, began: time.Now(), done: make(chan struct{}), files: map[uint64]*File{}, left: map[uint64]*left{}, readers: map[uint64]*reader{}, making: map[uint64]*making{}, unsaved: map[*File]struct{}{},
		lent: map[*File]struct{}{}, strange: map[uint64]struct{}{}, tick: make(chan struct{}, 1), news: make(chan struct{}, 1), hail: make(chan struct{}, 1),
	}
	var st unix.Stat_t
	if err = unix.Fstat(int(dir.Fd()), &st); err == nil {
		switch {
		case int(st.Uid) != os.Geteuid():
			err = fmt.Errorf("%s: %w: it belongs to uid %d", o.Path, ErrForeign, st.Uid)
		case st.Mode&0o077 != 0:
			err = dir.Chmod(0o700)
		}
	}
	if err != nil {
		_ = dir.Close()
		return nil, err
	}
	d.bells, d.scout = newBells(d), newScout(d)
	if d.watch, err = newWatch(d); err != nil {
		o.Logger.Warn("the files of bare services cannot be watched: stores are found later", "err", err)
	} else {
		d.wg.Go(d.watch.run)
	}
	d.wg.Go(func() { d.every(lendFor/2, d.tick, d.keep) })
	d.wg.Go(func() { d.every(syncEvery/4, d.news, d.save) })
	d.wg.Go(d.greet)
	return d, nil
}

// Close closes all files, and waits until they are synced.
func (d *Dir) Close() error {
	d.mu.Lock()
	again := d.closed
	d.closed = true
	var files []*File
	for _, f := range d.files {
		files = append(files, f)
	}
	d.mu.Unlock()
	if again {
		return nil
	}
	for _, f := range files {
		f.Close()
	}
	close(d.done)
	d.bells.close()
	d.scout.close()
	var err error
	if d.watch != nil {
		err = d.watch.close()
	}
	d.wg.Wait()
	d.dropReaders(true)
	return errors.Join(err, d.dir.Close())
}

func name(service uint64, kind string) string { return fmt.Sprintf("service_%d.%s", service, kind) }

// parse reads the name of a file of a service.
func parse(file string) (service uint64, kind string, ok bool) {
	number, kind, dot := strings.Cut(strings.TrimPrefix(file, "service_"), ".")
	service, err := strconv.ParseUint(number, 10, 64)
	return service, kind, dot && err == nil && file == name(service, kind)
}

func (d *Dir) path(service uint64, kind string) string {
	return filepath.Join(d.o.Path, name(service, kind))
}

// open opens a file of the directory. What is not a regular file of this user alone is refused; nothing is followed, and nobody
// is waited for.
func (d *Dir) open(file string, flags int) (*os.File, error) {
	how := unix.OpenHow{Flags: uint64(flags) | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS}
	if flags&unix.O_CREAT != 0 {
		how.Mode = 0o600
	}
	path := filepath.Join(d.o.Path, file)
	fd, err := unix.Openat2(int(d.dir.Fd()), file, &how)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = f.Close()
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || int(st.Uid) != os.Geteuid() || st.Nlink != 1 {
		_ = f.Close()
		return nil, fmt.Errorf("%s: %w alone", path, ErrForeign)
	}
	return f, nil
}

// Path is where the directory is.
func (d *Dir) Path() string { return d.o.Path }

// unlink removes a file of the directory, if it is there.
func (d *Dir) unlink(file string) error {
	if err := unix.Unlinkat(int(d.dir.Fd()), file, 0); err != nil && err != unix.ENOENT {
		return &os.PathError{Op: "remove", Path: filepath.Join(d.o.Path, file), Err: err}
	}
	return nil
}

// Services lists the services of which there are files.
func (d *Dir) Services() ([]uint64, error) {
	list, err := os.ReadDir(d.o.Path)
	if err != nil {
		return nil, err
	}
	var services []uint64
	for _, e := range list {
		if service, kind, ok := parse(e.Name()); ok && kind == "mem" {
			services = append(services, service)
		}
	}
	return services, nil
}

// Remove removes the files of a service, which is closed.
func (d *Dir) Remove(service uint64) error {
	d.take(service) // nobody needs it on the disk
	var errs []error
	for _, kind := range []string{"mem", "mem.new", "bell", "state"} {
		errs = append(errs, d.unlink(name(service, kind)))
	}
	return errors.Join(errs...)
}

const (
	syncEvery = time.Second
	lendFor   = 100 * time.Millisecond
)

// every calls fn now and then until the directory is closed, and sleeps while fn says that there is nothing to do.
func (d *Dir) every(pause time.Duration, tick chan struct{}, fn func() (more bool)) {
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	for {
		var again <-chan time.Time
		if fn() {
			t.Reset(pause)
			again = t.C
		}
		select {
		case <-d.done:
			return
		case <-again:
		case <-tick:
		}
	}
}

// keep lets go of files that we have open for a while.
func (d *Dir) keep() (more bool) {
	d.mu.Lock()
	files := slices.Collect(maps.Keys(d.lent))
	around := d.lookAroundLocked()
	more = len(files) > 0 || d.watch == nil && len(d.files) > 0
	d.mu.Unlock()
	for _, f := range around {
		f.happened(anything)
	}
	for _, f := range files {
		f.tend()
	}
	return d.dropReaders(false) || more
}

// save syncs files. It can take long, and nothing else waits for it.
func (d *Dir) save() (more bool) {
	d.mu.Lock()
	files := slices.Collect(maps.Keys(d.unsaved))
	d.mu.Unlock()
	for _, f := range files {
		f.save()
	}
	return len(files) > 0
}

// greet has Opened told of files. It has a goroutine of its own, because that can take long.
func (d *Dir) greet() {
	for {
		select {
		case <-d.done:
			return
		case <-d.hail:
		}
		d.mu.Lock()
		strange := slices.Collect(maps.Keys(d.strange))
		clear(d.strange)
		d.mu.Unlock()
		for _, service := range strange {
			if d.o.Opened != nil {
				d.o.Opened(service)
			}
		}
	}
}

// lookAroundLocked lists the files that are open, now and then, where nobody tells of what happens to them.
func (d *Dir) lookAroundLocked() (files []*File) {
	now := d.now()
	if d.watch != nil || now-d.looked < int64(time.Second) {
		return nil
	}
	d.looked = now
	for _, f := range d.files {
		files = append(files, f)
	}
	return files
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// note puts a file into a set that somebody looks after, who is woken.
func (d *Dir) note(set map[*File]struct{}, f *File, who chan struct{}) {
	d.mu.Lock()
	_, there := set[f]
	set[f] = struct{}{}
	d.mu.Unlock()
	if !there {
		signal(who)
	}
}

func (d *Dir) forget(set map[*File]struct{}, f *File) {
	d.mu.Lock()
	delete(set, f)
	d.mu.Unlock()
}

// now is a clock that only goes forward, and is never 0.
func (d *Dir) now() int64 { return int64(time.Since(d.began)) + 1 }
