package server

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/commy-project/commyfs/transport"
)

const (
	// maxHello bounds the first message of a connection, which nothing is known of yet.
	maxHello = 64 << 10
	// What a client says about itself is kept as long as it is connected and shown to others: it is cut to so many bytes.
	maxHelloText  = 255
	maxHelloMount = 1024
)

// bounded is a hello that keeps nothing of the message it came in.
func bounded(h *transport.Hello) *transport.Hello {
	b := *h
	b.ID = bytes.Clone(h.ID)
	for _, s := range []*string{&b.Program, &b.Version, &b.Host} {
		*s = clip(*s, maxHelloText)
	}
	b.Mount = clip(h.Mount, maxHelloMount)
	return &b
}

// clip shortens s to at most n bytes, not inside a rune.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.Clone(s[:n])
}
