// Package names maps components of variable names to file names and back.
//
// The mapping is a bijection: every component that a server accepts has one file name, every possible file name stands
// for one component that a server accepts, and ordinary names stand for themselves. Only a component that cannot be a
// file name is escaped: "." and "..", one with a NUL byte in it, the names the mount keeps for itself, in a directory of a
// service the empty one, and, so that the way back stays exact, whatever looks like such an escape. Every other '%' is a
// plain character: "%", "50%", "%41" and "%2F" are names like any others.
package names

import (
	"strings"
)

// Level is where in the tree a component stands: each level has other reserved names.
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

// empty is the file name of the empty component, which only a directory of a service can hold.
const empty = "%empty"

// Reserved reports whether a file name is one that the mount keeps for itself.
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

// Decode returns the component that a file name stands for.
func Decode(f string, l Level) string {
	if c, ok := unescape(f); ok && needsEscape(c, l) && escape(c, l) == f {
		return c
	}
	return f
}

// needsEscape reports whether a component cannot stand for itself: as a file name it would be impossible, reserved, or be
// read as the escape of another component. The recursion ends because an escape is longer than what it stands for.
func needsEscape(c string, l Level) bool {
	if c == "" {
		return l == Nested // elsewhere there is none, and the mapping leaves it alone
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

// unescape undoes escape; ok is false for what escape cannot have made.
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
