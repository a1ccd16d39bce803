package core

import (
	"fmt"
	"testing"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/memfile"
	"github.com/commy-project/commyfs/model"
)

// fill puts n variables below a directory of t/s, in a hundred directories.
func fill(t *testing.T, p *peer, dir string, n int) {
	t.Helper()
	var changes []model.Change
	for i := range n {
		c := store(fmt.Sprintf("%s/d%d/v%d", dir, i%100, i), fmt.Sprint(i))
		c.Parents = true
		if changes = append(changes, c); len(changes) == maxChanges || i == n-1 {
			p.do(changes...)
			changes = changes[:0]
		}
	}
}

// wantNames waits until a memory file has these values under these names, "" where there is nothing.
func wantNames(t *testing.T, p *peer, path string, want map[string]string) {
	t.Helper()
	testenv.Eventually(t, bound, func() error {
		r, err := memfile.Open(path)
		if err != nil {
			return err
		}
		defer r.Close()
		for name, value := range want {
			slot, id, _, err := r.Lookup(name)
			if value == "" && err == nil {
				return fmt.Errorf("%s is still there", name)
			}
			if value == "" {
				continue
			}
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if _, data, err := r.Read(slot, id, nil); err != nil || string(data) != value {
				return fmt.Errorf("%s is %q, %v, want %q", name, data, err, value)
			}
		}
		return nil
	})
}
