package commyfs_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"os"
	"testing"
	"time"

	"github.com/commy-project/commyfs"
	"github.com/commy-project/commyfs/internal/testenv"
)

// A program stores into the memory of a bare service, another reads the variable, and the other way round.
func TestBare(t *testing.T) {
	h := newHost(t)
	c := h.connect(t)
	ctx, s := t.Context(), c.Service("t", "s")
	_, err := s.Memory(ctx)
	wantError(t, err, commyfs.ErrNotFound)
	check(t, s.CreateBare(ctx, 100))
	wantError(t, s.CreateBare(ctx, 100), commyfs.ErrExists)
	temp := commyfs.Layout{Off: 16, Size: 8, Type: commyfs.TypeF64}
	check(t, s.Register(ctx, "temp", temp, commyfs.RegisterOptions{}))
	wantError(t, s.Register(ctx, "other", temp, commyfs.RegisterOptions{}), commyfs.ErrConflict)
	if l, err := s.Registered(ctx); err != nil || !maps.Equal(l, map[string]commyfs.Layout{"temp": temp}) {
		t.Errorf("registered: %v, %v", l, err)
	}
	m, err := s.Memory(ctx)
	if err != nil || m.Size != 4096 || !m.Write {
		t.Fatalf("memory: %+v, %v", m, err)
	}

	if _, err := s.PutFloat64(ctx, "temp", 21.5); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(m.Path, os.O_RDWR, 0)
	check(t, err)
	defer f.Close()
	b := make([]byte, 8)
	if _, err := f.ReadAt(b, 16); err != nil || math.Float64frombits(binary.LittleEndian.Uint64(b)) != 21.5 {
		t.Errorf("the memory has %x, %v", b, err)
	}
	binary.LittleEndian.PutUint64(b, math.Float64bits(-3))
	_, err = f.WriteAt(b, 16)
	check(t, err)
	remote := h.connect(t, func(o *commyfs.Options) { o.NoMap = true })
	for _, c := range []*commyfs.Client{c, remote} {
		testenv.Eventually(t, 10*time.Second, func() error {
			v, err := c.Service("t", "s").Float64(ctx, "temp")
			if err == nil && v != -3 {
				err = fmt.Errorf("temp is %v", v)
			}
			return err
		})
	}

	check(t, s.Resize(ctx, 8192))
	if info, err := s.Stat(ctx, ""); err != nil || info.Bare != 8192 {
		t.Errorf("resized: %+v, %v", info, err)
	}
	check(t, s.Delete(ctx, "temp"))
	check(t, s.Rmdir(ctx, ""))
	if _, err := os.Stat(m.Path); !os.IsNotExist(err) {
		t.Errorf("the file of a service that is gone: %v", err)
	}
}

func TestNumbers(t *testing.T) {
	h := newHost(t)
	ctx, s := t.Context(), h.connect(t).Service("t", "s")
	put(t, s, "f", "21.5\n")
	put(t, s, "i", "-7")
	put(t, s, "u", " 18446744073709551615\n")
	put(t, s, "b", "true\n")
	f, err := s.Float64(ctx, "f")
	if err != nil || f != 21.5 {
		t.Errorf("f: %v, %v", f, err)
	}
	i, err := s.Int64(ctx, "i")
	if err != nil || i != -7 {
		t.Errorf("i: %v, %v", i, err)
	}
	u, err := s.Uint64(ctx, "u")
	if err != nil || u != math.MaxUint64 {
		t.Errorf("u: %v, %v", u, err)
	}
	b, err := s.Bool(ctx, "b")
	if err != nil || !b {
		t.Errorf("b: %v, %v", b, err)
	}
	_, err = s.Int64(ctx, "f")
	wantError(t, err, commyfs.ErrInvalid)
	_, err = s.Uint64(ctx, "i")
	wantError(t, err, commyfs.ErrInvalid)
	_, err = s.Float64(ctx, "none")
	wantError(t, err, commyfs.ErrNotFound)
	for name, put := range map[string]func() (uint64, error){
		"f": func() (uint64, error) { return s.PutFloat64(ctx, "f", 1e-7) },
		"i": func() (uint64, error) { return s.PutInt64(ctx, "i", math.MinInt64) },
		"u": func() (uint64, error) { return s.PutUint64(ctx, "u", 1) },
		"b": func() (uint64, error) { return s.PutBool(ctx, "b", false) },
	} {
		if v, err := put(); err != nil || v != 2 {
			t.Errorf("put %s: version %d, %v", name, v, err)
		}
	}
	if n := testing.AllocsPerRun(100, func() { _, err = s.Float64(ctx, "f") }); n != 0 || err != nil {
		t.Errorf("%v allocations, %v", n, err)
	}
}
