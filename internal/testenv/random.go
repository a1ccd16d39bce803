package testenv

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/commy-project/commyfs/model"
)

// Seed is that of random numbers, which the environment can set.
func Seed(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("COMMYFS_TEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("COMMYFS_TEST_SEED=%d", seed)
	return seed
}

// RandomChanges are a report about variables and directories of service s of tenant t, with few names so that those of several
// meet. No variable is named twice: an echo tells of one store a report and variable.
func RandomChanges(rnd *rand.Rand) []model.Change {
	var list []model.Change
	seen := map[string]bool{}
	for range 1 + rnd.IntN(3)*rnd.IntN(2) {
		c := randomChange(rnd)
		if seen[c.Name] || seen[c.ToName] {
			continue
		}
		seen[c.Name], seen[c.ToName] = true, c.ToName != ""
		list = append(list, c)
	}
	return list
}

func randomChange(rnd *rand.Rand) model.Change {
	name := func() string {
		n := ""
		for rnd.IntN(3) == 0 {
			n += []string{"a", "b", "c"}[rnd.IntN(3)] + "/"
		}
		return n + []string{"a", "p", "q", "r", "s", "t", "u"}[rnd.IntN(7)]
	}
	c := model.Change{Tenant: "t", Service: "s", Name: name(), Create: rnd.IntN(2) == 0, Parents: rnd.IntN(3) > 0}
	data := make([]byte, rnd.IntN(600))
	for i := range data {
		data[i] = byte('a' + i%3)
	}
	if len(data) > 0 {
		data[rnd.IntN(len(data))] = byte('A' + rnd.IntN(26))
	}
	if rnd.IntN(3) == 0 {
		c.NewMode = model.NewMode(rnd.Uint32())
	}
	if rnd.IntN(5) == 0 {
		c.Mode = model.NewMode(rnd.Uint32())
	}
	if rnd.IntN(5) == 0 {
		c.HasMTime, c.MTime = true, rnd.Int64()-rnd.Int64()
	}
	switch rnd.IntN(15) {
	case 0, 1, 2, 3:
		c.Op, c.Data = model.OpStore, data
	case 4:
		c.Op, c.Data = model.OpAppend, data[:min(len(data), 10)]
	case 5:
		c.Op, c.Ranges = model.OpWrite, []model.RangeData{{Off: int64(rnd.IntN(500)), Data: []byte("W")}}
	case 6:
		c.Op, c.Size = model.OpTruncate, int64(rnd.IntN(400))
	case 7:
		c.Op = model.OpDelete
	case 8:
		c.Op, c.ToName, c.NoReplace = model.OpRename, name(), rnd.IntN(3) == 0
		if rnd.IntN(3) == 0 {
			c.Op = model.OpExchange
		}
	case 9:
		c.Op = model.OpMkdir
	case 10:
		c.Op = model.OpRmdir
	case 11:
		c.Op = model.OpCreate
	case 12, 13, 14:
		c.Op = model.OpSetMeta
		if rnd.IntN(5) == 0 {
			c.Name = ""
		}
	}
	return c
}
