package integration

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// newFile is a descriptor of a file that was made by its open, and what is to be in it. Package os would poll it meanwhile.
type newFile struct {
	fd         int
	appends    bool
	name, want string
	pos        int
	what       string
}

// put writes, and does to want what that does to the file.
func (f *newFile) put(text string) error {
	if f.appends {
		f.pos = len(f.want)
	}
	for len(f.want) < f.pos {
		f.want += "\x00"
	}
	f.want = f.want[:f.pos] + text + f.want[min(len(f.want), f.pos+len(text)):]
	f.pos += len(text)
	n, err := unix.Write(f.fd, []byte(text))
	if err == nil && n < len(text) {
		err = io.ErrShortWrite
	}
	return err
}

func (f *newFile) truncate(n int) error {
	for len(f.want) < n {
		f.want += "\x00"
	}
	f.want = f.want[:n]
	return unix.Ftruncate(f.fd, int64(n))
}

// TestS23_NewFiles: descriptors of new files go on, however they were opened and whatever was done with them before the kill.
func TestS23_NewFiles(t *testing.T) {
	h := NewHost(t)
	a, b := h.Mount(often), h.Mount()
	a.Mkdir("t/s")
	var files []*newFile
	for i, flags := range []int{unix.O_WRONLY, unix.O_RDWR, unix.O_WRONLY | unix.O_APPEND, unix.O_RDWR | unix.O_APPEND, unix.O_WRONLY | unix.O_EXCL,
		unix.O_WRONLY | unix.O_TRUNC, unix.O_RDWR | unix.O_TRUNC | unix.O_APPEND} {
		for k, todo := range []string{"", "write", "write write", "write fsync", "write fsync write", "fsync", "fsync write", "rename", "write rename",
			"write fsync rename", "truncate write", "write truncate", "write truncate write", "read", "write read",
			"write over", "write over write", "write fsync over", "write fsync over write"} {
			f := &newFile{name: fmt.Sprintf("t/s/f%d-%d", i, k), appends: flags&unix.O_APPEND != 0, what: fmt.Sprintf("flags %o, %q", flags, todo)}
			if strings.Contains(todo, "read") && flags&unix.O_RDWR == 0 {
				continue
			}
			var err error
			if f.fd, err = unix.Open(a.Path(f.name), flags|unix.O_CREAT|unix.O_CLOEXEC, 0o644); err != nil {
				t.Fatal(err)
			}
			for _, step := range strings.Fields(todo) {
				switch step {
				case "write":
					err = f.put("before ")
				case "read":
					_, err = unix.Pread(f.fd, make([]byte, 10), 0)
				case "fsync":
					err = unix.Fsync(f.fd)
				case "truncate":
					err = f.truncate(3)
				case "over": // another file that is there
					a.Write(f.name+"-over", "old")
					err = unix.Rename(a.Path(f.name), a.Path(f.name+"-over"))
					f.name += "-over"
				case "rename":
					err = unix.Rename(a.Path(f.name), a.Path(f.name+"-moved"))
					f.name += "-moved"
				}
				if err != nil {
					t.Fatalf("%s: %s: %v", f.what, step, err)
				}
			}
			files = append(files, f)
		}
	}
	h.kill9(a.Dir)
	for i, f := range files {
		var err error
		if i%3 > 0 { // else it is closed, and no more
			err = f.put("after")
		}
		if i%3 > 1 {
			err = errors.Join(err, unix.Fsync(f.fd))
		}
		if err = errors.Join(err, unix.Close(f.fd)); err != nil {
			t.Errorf("%s: %v", f.what, err)
			continue
		}
		b.WaitValue(f.name, f.want)
	}
}
