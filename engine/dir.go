package engine

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// dirLock keeps a second engine out. etcd has a lock too, but waits for it without end.
type dirLock struct {
	f *os.File
}

func lockDir(dir string) (*dirLock, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := retry(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s", ErrInUse, dir)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return &dirLock{f}, nil
}

func (l *dirLock) unlock() error { return l.f.Close() }

// An etcd that ends before it has stored its first entries leaves a directory in which no etcd ever gets a leader. So a
// file says that a store is being made, and what was made beside it is made again. The file is there, or gone, on the
// disk before anything else happens: only a store that has never acknowledged anything can be taken for an unfinished one.

const makingName = "making"

// beginMaking says that the store in dir is being made, if there is none that is finished.
func beginMaking(dir string) (making bool, err error) {
	mark := filepath.Join(dir, makingName)
	_, err = os.Lstat(mark)
	switch {
	case err == nil:
		return true, os.RemoveAll(etcdDir(dir))
	case !errors.Is(err, iofs.ErrNotExist):
		return false, err
	}
	if _, err := os.Lstat(etcdDir(dir)); !errors.Is(err, iofs.ErrNotExist) {
		return false, err
	}
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		return false, err
	}
	return true, syncDir(dir)
}

// endMaking says that the store in dir is finished.
func endMaking(dir string) error {
	if err := os.Remove(filepath.Join(dir, makingName)); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
