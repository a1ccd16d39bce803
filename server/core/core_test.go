package core

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/commy-project/commyfs/engine"
)

// What a process that was killed still holds for a moment is waited for.
func TestStoreLockIsLate(t *testing.T) {
	d := newDirs(t)
	e, err := engine.Open(t.Context(), engine.Options{Dir: filepath.Join(d.state, "store")})
	if err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(engineGrace/10, func() { _ = e.Close() })
	defer timer.Stop()
	connect(t, d.start(t)).do(store("v", "stored"))
}
