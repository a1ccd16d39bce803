package names

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Show makes a name, or any other untrusted string, safe for terminals and keeps it on one line: unprintable characters and
// invalid UTF-8 are written as in C, "\n" or "\x1b", and backslashes are doubled. Different strings stay different.
func Show(s string) string { return escaped(s, true) }

// Printable is Show for a composed text: backslashes are not doubled.
func Printable(s string) string { return escaped(s, false) }

func escaped(s string, backslash bool) string {
	if plain(s, backslash) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == '\\' && backslash:
			b.WriteString(`\\`)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case visible(r, n):
			b.WriteString(s[:n])
		default:
			const hex = "0123456789abcdef"
			for i := range n {
				b.WriteString(`\x`)
				b.WriteByte(hex[s[i]>>4])
				b.WriteByte(hex[s[i]&15])
			}
		}
		s = s[n:]
	}
	return b.String()
}

func plain(s string, backslash bool) bool {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if !visible(r, n) || r == '\\' && backslash {
			return false
		}
		i += n
	}
	return true
}

// visible reports whether a rune of n bytes is printable: not a control, invisible or bidirectional character, and valid UTF-8.
func visible(r rune, n int) bool {
	return unicode.IsPrint(r) && (r != utf8.RuneError || n > 1)
}

// Cut shortens a string to at most n bytes, at a rune boundary.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for back := 0; back < utf8.UTFMax && back <= n; back++ {
		if utf8.RuneStart(s[n-back]) {
			return s[:n-back]
		}
	}
	return s[:n] // not UTF-8
}
