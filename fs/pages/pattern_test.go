package pages

import (
	"strings"
	"testing"
)

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"t/s/v", "t/s/v", true},
		{"t/s/v", "t/s/w", false},
		{"t/s/v", "t/s", false},
		{"t/s/v", "t/s/v/w", false},
		{"plant/*/config*", "plant/line1/config.yaml", true},
		{"plant/*/config*", "plant/line1/oven/config", false},
		{"plant/**", "plant/line1/oven/config", true},
		{"plant/**", "plants/line1/v", false},
		{"**/config", "plant/line1/oven/config", true},
		{"**/config", "plant/line1/config/v", false},
		{"plant/**/config", "plant/config", true},
		{"plant/**/temp?", "plant/a/b/c/temp1", true},
		{"**", "t/s/v", true},
		{"**/**", "t/s/v", true},
		{"t/s/[ab]", "t/s/b", true},
		{`t/s/\*`, "t/s/*", true},
		{`t/s/\*`, "t/s/x", false},
	} {
		ps, err := ParsePatterns([]string{c.pattern})
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
		} else if got := ps.Match(strings.Split(c.path, "/")); got != c.want {
			t.Errorf("%s of %s: %t", c.pattern, c.path, got)
		}
	}
	for _, bad := range []string{"", "/", "t", "t/s", "t//v", "/t/s/v", "t/s/v/", "t/s/***", "t/x**/v", "t/s/[v"} {
		if _, err := ParsePatterns([]string{"t/s/v", bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if ps, err := ParsePatterns(nil); err != nil || ps.Match([]string{"t", "s", "v"}) {
		t.Errorf("no patterns: %v", err)
	}
}
