package access

import (
	"strings"
	"testing"

	"github.com/commy-project/commyfs/model"
)

// Patterns are gone through while others wait, so there are not many of them.
func TestTooManyPatterns(t *testing.T) {
	a := New()
	key := func(patterns []string) model.Code {
		_, _, err := a.NewKey(model.Itself, "k", patterns, AllRights)
		return model.CodeOf(err)
	}
	many, long := make([]string, maxPatterns), strings.Repeat("a", maxPattern)
	if got := key(many); got != model.CodeOK {
		t.Errorf("%d patterns: %v", len(many), got)
	}
	if got := key(append(many, "a")); got != model.CodeInvalid {
		t.Errorf("%d patterns: %v", len(many)+1, got)
	}
	if got := key([]string{long}); got != model.CodeOK {
		t.Errorf("a pattern of %d bytes: %v", len(long), got)
	}
	if got := key([]string{long + "a"}); got != model.CodeInvalid {
		t.Errorf("a pattern of %d bytes: %v", len(long)+1, got)
	}
}
