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

// writeJSON writes v as one line. What a terminal could act on is escaped in strings, which JSON itself asks for only
// where it is ASCII.
func writeJSON(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(escapeJSON(b), '\n'))
	return err
}

// escapeJSON escapes what cannot be printed. Outside strings JSON is ASCII that can be.
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

// jsonWriter escapes the JSON that is written to it in pieces of whole lines, as a logger does.
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

// raw is the bytes of a string that JSON cannot hold, nil for all others. Text that is no UTF-8 has U+FFFD in its place.
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

// showf is fmt.Fprintf with all strings as [names.Show] writes them.
func showf(w io.Writer, format string, args ...any) error {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = names.Show(s)
		}
	}
	_, err := fmt.Fprintf(w, format, args...)
	return err
}

// countOf is a number of things, in English.
func countOf(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
