package memfile

import "testing"

func TestClass(t *testing.T) {
	before := 0
	for n := uint32(0); n <= MaxValue/valueUnit; n++ {
		i, size := class(n)
		switch {
		case size < n || n > 8 && size > n+n/4:
			t.Fatalf("class(%d) has size %d", n, size)
		case classSize(i) != size:
			t.Fatalf("class(%d) = %d, %d, but classSize(%d) = %d", n, i, size, i, classSize(i))
		case i != before && i != before+1:
			t.Fatalf("class(%d) = %d, after %d", n, i, before)
		}
		if j, s := class(size); j != i || s != size {
			t.Fatalf("class(%d) = %d, %d, but class(%d) = %d, %d", n, i, size, size, j, s)
		}
		before = i
	}
	if classUnits(MaxName, nameUnit) > 1<<16-1 {
		t.Error("a name's block does not fit the writer's 16 bits")
	}
}
