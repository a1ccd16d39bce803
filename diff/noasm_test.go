//go:build noasm || race

package diff

import "testing"

func TestNoAssembly(t *testing.T) {
	if got := Implementation(); got != "portable" {
		t.Errorf("Implementation() = %q, want portable; there are %q", got, Implementations())
	}
}
