package diff

import (
	"cmp"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestUse(t *testing.T) {
	before := Implementation()
	t.Cleanup(func() {
		if err := Use(before); err != nil {
			t.Error(err)
		}
	})
	names := Implementations()
	if len(names) < 2 || names[0] != before {
		t.Fatalf("Implementations() = %q, want at least two, %q first", names, before)
	}
	for _, name := range names {
		if err := Use(name); err != nil {
			t.Fatal(err)
		}
		if got := Implementation(); got != name {
			t.Errorf("after Use(%q) Implementation() is %q", name, got)
		}
		if got := Append(nil, []byte("Xbc"), []byte("abc"), 0); !slices.Equal(got, []Range{{0, 1}}) {
			t.Errorf("after Use(%q) Append gives %v", name, got)
		}
	}

	unknown := []string{"", "AVX2", "sse9"}
	for _, row := range rows {
		if !row.available {
			unknown = append(unknown, row.name)
		}
	}
	for _, name := range unknown {
		err := Use(name)
		if err == nil {
			t.Errorf("Use(%q) has no error", name)
		} else if !strings.Contains(err.Error(), strings.Join(names, ", ")) {
			t.Errorf("Use(%q): %q does not list %q", name, err, names)
		}
		if got, want := Implementation(), names[len(names)-1]; got != want {
			t.Errorf("Use(%q) changed the implementation from %q to %q", name, want, got)
		}
	}
}

// Whoever runs the tests on a machine that they have made up says so in
// COMMYFS_DIFF_WANT, and what must be chosen there: that they test nothing but
// what they always test would not show otherwise.
func TestChosenHere(t *testing.T) {
	want := cmp.Or(os.Getenv("COMMYFS_DIFF_WANT"), Implementations()[0]) // the best comes first
	if got := Implementation(); got != want {
		t.Errorf("Implementation() = %q, want %q; there are %q", got, want, Implementations())
	}
}
