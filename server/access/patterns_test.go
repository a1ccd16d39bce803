package access

import (
	"path"
	"strings"
	"testing"
)

func TestWithin(t *testing.T) {
	for _, c := range []struct {
		patterns, outer string
		want            bool
	}{
		{"", "", true}, {"a", "", true}, {"*", "", true},
		{"", "a", false}, {"", "a*", false}, {"", "*", true}, {"", "a *", true},
		{"a", "a", true}, {"a", "b", false}, {"a", "b a", true}, {"a b", "a", false}, {"a b", "b a", true},
		{"ab", "a*", true}, {"a*", "a*", true}, {"ab*", "a*", true}, {"a*", "ab*", false}, {"a?c*", "a*", true}, {"*", "a*", false}, {"b*", "a*", false},
		{"a?", "a?", true}, {"ab", "a?", true}, {"a?", "a*", true}, {"abc", "a?", false}, {"a[bc]", "a?", false}, {"[ab]*", "*", true},
		{"ab", "a[bc]", true}, {"ad", "a[bc]", false}, {"[a]", "a", false}, {`\a`, "a", false}, {`a\*`, `a\*`, true}, {"ax", `a\*`, false}, {"a*", `a\*`, false},
		{"[a", "a*", false}, {"a*", "[a*", false},
	} {
		if got := within(strings.Fields(c.patterns), strings.Fields(c.outer)); got != c.want {
			t.Errorf("%q within %q: %v, want %v", c.patterns, c.outer, got, c.want)
		}
	}
}

// FuzzWithin: what within allows opens no name that the outer pattern does not open.
func FuzzWithin(f *testing.F) {
	for _, s := range [][3]string{{"a*", "ab", "abc"}, {"*", "[a-z]", "q"}, {"a?", "ab", "ab"}, {`\**`, `\*`, "*"}, {"é*", "é?", "éa"}, {"\xc3*", "é", "é"}} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, outer, pattern, name string) {
		if strings.Contains(name, "/") {
			return // no tenant is called so
		}
		if _, err := path.Match(outer, ""); err != nil {
			return
		}
		if _, err := path.Match(pattern, ""); err != nil {
			return
		}
		if subsumes(outer, pattern) && matches([]string{pattern}, name) && !matches([]string{outer}, name) {
			t.Errorf("%q is said to lie within %q, which does not match %q", pattern, outer, name)
		}
	})
}
