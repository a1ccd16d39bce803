package offline

import (
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
	a.ID, a.Size = entries[0], int64(len(value))
	meta, err := json.MarshalIndent(&a, "", "\t")
	if err != nil {
		return 0, err
	}
	name := filepath.Join(q.dir, asideDir, strconv.FormatUint(a.ID, 10))
	if err := writeFile(name+asideValue, value); err != nil {
		return 0, err
	}
	if err := writeFile(name+asideMeta, append(meta, '\n')); err != nil { // from now on it is there
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
			return nil, err
		}
		list = append(list, *a)
	}
	return list, nil
}

func asidePath(dir string, id uint64, suffix string) string {
	return filepath.Join(dir, asideDir, strconv.FormatUint(id, 10)+suffix)
}

// ReadAside describes what was set aside under a number. The error matches os.ErrNotExist if there is nothing.
func ReadAside(dir string, id uint64) (*Aside, error) {
	b, err := os.ReadFile(asidePath(dir, id, asideMeta))
	if err != nil {
		return nil, err
	}
	a := &Aside{}
	if err := json.Unmarshal(b, a); err != nil {
		return nil, fmt.Errorf("%s: %w", asidePath(dir, id, asideMeta), err)
	}
	return a, nil
}

// AsideValue returns the value that was set aside under a number.
func AsideValue(dir string, id uint64) ([]byte, error) {
	return os.ReadFile(asidePath(dir, id, asideValue))
}

// Drop deletes what was set aside under a number.
func Drop(dir string, id uint64) error {
	if err := os.Remove(asidePath(dir, id, asideMeta)); err != nil {
		return err
	}
	return os.Remove(asidePath(dir, id, asideValue))
}
