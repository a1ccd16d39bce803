package offline

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Aside describes what was set aside: edits that were not replayed, as the value that they led to.
type Aside struct {
	ID uint64 `json:"id"`
	// Tenant, Service and Name are where the variable was.
	Tenant  []byte `json:"tenant"`
	Service []byte `json:"service"`
	Name    []byte `json:"name"`
	// Variable is its id, 0 if it was new.
	Variable uint64 `json:"variable,omitempty"`
	// Base is the version that the first edit was made over, Found the one that the server had, 0 if there was none.
	Base   uint64     `json:"base"`
	Found  uint64     `json:"found"`
	Reason string     `json:"reason"`
	Edits  int        `json:"edits"`
	First  time.Time  `json:"first"` // when the edits were made
	Last   time.Time  `json:"last"`
	Mode   uint16     `json:"mode,omitempty"`
	MTime  *time.Time `json:"mtime,omitempty"`
	Size   int64      `json:"size"`
	// Part: the file has only what was appended, not what was before it.
	Part bool `json:"part,omitempty"`
	// Doubt: the first edits may have been carried out.
	Doubt bool `json:"doubt,omitempty"`
	// NoValue: the edits have not changed the value.
	NoValue bool `json:"no_value,omitempty"`
	// Value is the SHA-256 of the value, Sum that of this description without it; empty where an older version has made it.
	Value []byte `json:"value_sha256,omitempty"`
	Sum   []byte `json:"sha256,omitempty"`
	// Damaged: nothing is known of it but ID and, as Reason, what is wrong.
	Damaged bool `json:"-"`
}

// ErrDamaged says that what was set aside is not what was stored.
var ErrDamaged = errors.New("damaged")

// encode is the description as it is stored.
func (a *Aside) encode() ([]byte, error) {
	b, err := json.MarshalIndent(a, "", "\t")
	return append(b, '\n'), err
}

// sum is what Sum is to be.
func (a Aside) sum() ([]byte, error) {
	a.Sum = nil
	b, err := a.encode()
	s := sha256.Sum256(b)
	return s[:], err
}

// Path is the variable's path from the root.
func (a *Aside) Path() string {
	return string(a.Tenant) + "/" + string(a.Service) + "/" + string(a.Name)
}

const (
	asideMeta  = ".json"
	asideValue = ".value"
)

// SetAside stores a value as a file, with what describes it, and takes entries out of the queue. It returns the number under which
// it is. Should it be interrupted it is to be called again with the same entries; then the file is written once more.
func (q *Queue) SetAside(a Aside, value []byte, entries []uint64, progress []Progress) (id uint64, err error) {
	if len(entries) == 0 {
		return 0, errors.New("nothing to set aside")
	}
	sum := sha256.Sum256(value)
	a.ID, a.Size, a.Value = entries[0], int64(len(value)), sum[:]
	if a.Sum, err = a.sum(); err != nil {
		return 0, err
	}
	meta, err := a.encode()
	if err != nil {
		return 0, err
	}
	name := filepath.Join(q.dir, asideDir, strconv.FormatUint(a.ID, 10))
	if err := writeFile(name+asideValue, value); err != nil {
		return 0, err
	}
	if err := writeFile(name+asideMeta, meta); err != nil { // from now on it is there
		return 0, err
	}
	if err := syncDir(filepath.Dir(name)); err != nil {
		return 0, err
	}
	return a.ID, q.Done(entries, progress)
}

// writeFile has a whole file or none, also after a crash.
func writeFile(path string, b []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return noSpace(err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp)
	}
	return noSpace(err)
}

// asideIDs returns the numbers of what was set aside in a queue.
func asideIDs(dir string) (ids []uint64, err error) {
	entries, err := os.ReadDir(filepath.Join(dir, asideDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), asideMeta); ok {
			if id, err := strconv.ParseUint(name, 10, 64); err == nil {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// countAside counts them, and returns the highest number, last if that is higher.
func countAside(dir string, last uint64) (int, uint64, error) {
	ids, err := asideIDs(dir)
	if len(ids) > 0 {
		last = max(last, ids[len(ids)-1])
	}
	return len(ids), last, err
}

// Asides returns what was set aside in the queue of a directory, in order.
func Asides(dir string) (list []Aside, err error) {
	ids, err := asideIDs(dir)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		a, err := ReadAside(dir, id)
		if errors.Is(err, os.ErrNotExist) {
			continue // somebody has just dropped it
		}
		if err != nil {
			a = &Aside{ID: id, Reason: err.Error(), Damaged: true}
		}
		list = append(list, *a)
	}
	return list, nil
}

func asidePath(dir string, id uint64, suffix string) string {
	return filepath.Join(dir, asideDir, strconv.FormatUint(id, 10)+suffix)
}

// ReadAside describes what was set aside under a number. The error matches os.ErrNotExist if there is nothing, and [ErrDamaged] if
// there is no telling.
func ReadAside(dir string, id uint64) (*Aside, error) {
	b, err := os.ReadFile(asidePath(dir, id, asideMeta))
	if err != nil {
		return nil, err
	}
	a := &Aside{}
	if err = json.Unmarshal(b, a); err == nil && a.ID != id {
		err = errors.New("it is of another number")
	}
	if err == nil && len(a.Sum)+len(a.Value) > 0 {
		var sum []byte
		if sum, err = a.sum(); err == nil && !bytes.Equal(sum, a.Sum) {
			err = errors.New("the checksum differs")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s is %w: %w", asidePath(dir, id, asideMeta), ErrDamaged, err)
	}
	return a, nil
}

// AsideValue returns the value that was set aside under a number. With an [ErrDamaged] it returns what there is.
func AsideValue(dir string, id uint64) ([]byte, error) {
	path := asidePath(dir, id, asideValue)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	a, err := ReadAside(dir, id)
	switch {
	case err != nil:
		return b, err
	case int64(len(b)) != a.Size:
		return b, fmt.Errorf("%s is %w: it has %d bytes, and had %d", path, ErrDamaged, len(b), a.Size)
	case a.Value != nil:
		if sum := sha256.Sum256(b); !bytes.Equal(sum[:], a.Value) {
			return b, fmt.Errorf("%s is %w: the checksum differs", path, ErrDamaged)
		}
	}
	return b, nil
}

// Drop deletes what was set aside under a number.
func Drop(dir string, id uint64) error {
	if err := os.Remove(asidePath(dir, id, asideMeta)); err != nil {
		return err
	}
	err := os.Remove(asidePath(dir, id, asideValue))
	if errors.Is(err, os.ErrNotExist) { // it was lost before
		return nil
	}
	return err
}
