package names

import (
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestShow(t *testing.T) {
	for s, want := range map[string]string{
		"":                         "",
		"plain name.txt":           "plain name.txt",
		"größe-温度-🔥":               "größe-温度-🔥",
		"a\x1b[2Jb":                `a\x1b[2Jb`,
		"a\ab\bc\x7f":              `a\x07b\x08c\x7f`,
		"one\ntwo\r\tthree":        `one\ntwo\r\tthree`,
		"csi \u009b31m":            `csi \xc2\x9b31m`,
		"evil\u202egnp.exe":        `evil\xe2\x80\xaegnp.exe`,
		"zero\u200bwidth\u2028":    `zero\xe2\x80\x8bwidth\xe2\x80\xa8`,
		"no\u00a0break":            `no\xc2\xa0break`,
		"latin-1 \xe9":             `latin-1 \xe9`,
		"\xed\xa0\x80":             `\xed\xa0\x80`,
		`C:\new`:                   `C:\\new`,
		`\x1b`:                     `\\x1b`,
		"100%":                     "100%",
		"\ufffd is a rune as well": "\ufffd is a rune as well",
		"a\x00b":                   `a\x00b`,
	} {
		if got := Show(s); got != want {
			t.Errorf("%q is shown as %s, want %s", s, got, want)
		}
	}
	if got := Printable("x \\ y\n"); got != `x \ y\n` {
		t.Errorf("printable: %q", got)
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		s    string
		n    int
		want string
	}{
		{"abc", 5, "abc"}, {"abc", 3, "abc"}, {"abc", 2, "ab"}, {"abc", 0, ""}, {"aé", 2, "a"}, {"aé", 3, "aé"}, {"🔥", 3, ""}, {"a🔥b", 4, "a"}, {"a🔥b", 5, "a🔥"},
		{"\x80\x80\x80\x80\x80\x80", 5, "\x80\x80\x80\x80\x80"},
	} {
		if got := Cut(c.s, c.n); got != c.want {
			t.Errorf("%q cut to %d: %q, want %q", c.s, c.n, got, c.want)
		}
	}
}

// FuzzShow: whatever is shown is one line that no terminal acts on, and stands for one string alone.
func FuzzShow(f *testing.F) {
	for _, s := range []string{"", "a", "\x1b[31m", "a\nb", "\u202e", "\xff\xfe", `\n`, `\\`, "\u009b", "温\x00度"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for name, shown := range map[string]string{"Show": Show(s), "Printable": Printable(s)} {
			if !utf8.ValidString(shown) || strings.ContainsFunc(shown, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%s(%q) = %q", name, s, shown)
			}
		}
		// Go reads the same escapes.
		back, err := strconv.Unquote(`"` + strings.ReplaceAll(Show(s), `"`, `\"`) + `"`)
		if err != nil || back != s {
			t.Errorf("%q is shown as %s, which leads to %q, %v", s, Show(s), back, err)
		}
		for n := range 9 {
			if c := Cut(s, n); len(c) > n || !strings.HasPrefix(s, c) || utf8.ValidString(s) && !utf8.ValidString(c) || len(c) < min(n, len(s))-3 {
				t.Errorf("%q cut to %d: %q", s, n, c)
			}
		}
	})
}
