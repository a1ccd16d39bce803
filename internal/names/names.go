// Package names maps components of variable names to file names and back.
//
// The mapping is a bijection: every component that a server accepts has exactly one file name, every possible file name represents
// one such component, and ordinary names represent themselves. Only components that cannot be file names are escaped: "." and
// "..", components with a NUL byte, names that the mount reserves, the empty component in a directory of a service, and, to keep
// the mapping reversible, anything that looks like such an escape. Every other '%' is an ordinary character: "%", "50%", "%41" and
// "%2F" are ordinary names.
package names

import (
	"strings"
)

// Level is the position of a component in the tree. The reserved names depend on it.
type Level int

// The levels.
const (
	Tenant   Level = iota // a tenant, in the root of the mount
	Service               // a service, in a tenant
	Variable              // a variable or directory, directly in a service
	Nested                // a variable or directory, in a directory of a service
)

// Max is the longest file name, in bytes.
const Max = 255

// empty is the file name of the empty component, which occurs only in a directory of a service.
const empty = "%empty"

// Reserved reports whether the mount reserves a file name.
func Reserved(file string, l Level) bool { return reserved(file, l) }

func reserved(c string, l Level) bool {
	switch l {
	case Tenant:
		return c == ".commy"
	case Variable:
		return c == ".service.mem"
	}
	return false
}

// Encode returns the file name of a component. It may be longer than [Max].
func Encode(c string, l Level) string {
	if !needsEscape(c, l) {
		return c
	}
	return escape(c, l)
}

// Decode returns the component that a file name represents.
func Decode(f string, l Level) string {
	if c, ok := unescape(f); ok && needsEscape(c, l) && escape(c, l) == f {
		return c
	}
	return f
}

// needsEscape reports whether a component cannot be its own file name: because it would be invalid, reserved, or decoded as the
// escape of another component. The recursion ends because an escape is longer than its component.
func needsEscape(c string, l Level) bool {
	if c == "" {
		return l == Nested // other levels have none, and leave it unchanged
	}
	if c == "." || c == ".." || reserved(c, l) || strings.Contains(c, "\x00") {
		return true
	}
	return Decode(c, l) != c
}

func escape(c string, l Level) string {
	if c == "" {
		return empty
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	leading := c == "." || c == ".." || reserved(c, l)
	for i := range len(c) {
		ch := c[i]
		if ch == 0 || ch == '%' || ch == '.' && leading && (i == 0 || c == "..") {
			b.WriteByte('%')
			b.WriteByte(hex[ch>>4])
			b.WriteByte(hex[ch&15])
			continue
		}
		b.WriteByte(ch)
	}
	return b.String()
}

// unescape reverses escape; ok is false if escape cannot have made it.
func unescape(f string) (c string, ok bool) {
	if f == empty {
		return "", true
	}
	if !strings.Contains(f, "%") {
		return "", false
	}
	var b strings.Builder
	for i := 0; i < len(f); i++ {
		if f[i] != '%' {
			b.WriteByte(f[i])
			continue
		}
		if i+2 >= len(f) {
			return "", false
		}
		hi, lo := unhex(f[i+1]), unhex(f[i+2])
		if hi < 0 || lo < 0 {
			return "", false
		}
		b.WriteByte(byte(hi<<4 | lo))
		i += 2
	}
	return b.String(), true
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// Path returns the path below the mount of components from the root.
func Path(components []string) string {
	files := make([]string, len(components))
	for i, c := range components {
		files[i] = Encode(c, levelOf(i))
	}
	return strings.Join(files, "/")
}

// File returns the file name of the last of components from the root.
func File(components []string) string {
	i := len(components) - 1
	return Encode(components[i], levelOf(i))
}

// levelOf tells at what level a component of a path stands.
func levelOf(i int) Level { return min(Level(i), Nested) }
