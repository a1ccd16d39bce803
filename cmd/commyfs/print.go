package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"

	"github.com/commy-project/commyfs/internal/names"
)

// writeJSON writes v as one line. It escapes all control characters for terminals; JSON itself requires this only for ASCII.
func writeJSON(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(escapeJSON(b), '\n'))
	return err
}

// escapeJSON escapes unprintable characters. They occur only in strings.
func escapeJSON(b []byte) []byte {
	hidden := func(r rune) bool { return !unicode.IsPrint(r) }
	if !bytes.ContainsFunc(b, hidden) {
		return b
	}
	out := make([]byte, 0, len(b)+32)
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case !hidden(r):
			out = append(out, b[:n]...)
		case r > 0xffff:
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		b = b[n:]
	}
	return out
}

// jsonWriter escapes JSON. Each Write must be one line, as from a logger.
type jsonWriter struct{ w io.Writer }

func (j jsonWriter) Write(b []byte) (int, error) {
	line, end := bytes.CutSuffix(b, []byte{'\n'})
	out := escapeJSON(line)
	if end {
		out = append(bytes.Clone(out), '\n')
	}
	if _, err := j.w.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}

// raw returns the bytes of a string that is not valid UTF-8, otherwise nil: JSON would have U+FFFD in their place.
func raw(s string) []byte {
	if utf8.ValidString(s) {
		return nil
	}
	return []byte(s)
}

func rawList(list []string) [][]byte {
	out := make([][]byte, len(list))
	broken := false
	for i, s := range list {
		out[i] = []byte(s)
		broken = broken || raw(s) != nil
	}
	if !broken {
		return nil
	}
	return out
}

// showf is fmt.Fprintf with [names.Show] applied to all strings.
func showf(w io.Writer, format string, args ...any) error {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = names.Show(s)
		}
	}
	_, err := fmt.Fprintf(w, format, args...)
	return err
}

// countOf formats a number with the singular or plural.
func countOf(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
