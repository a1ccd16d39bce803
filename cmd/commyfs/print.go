package main

import (
	"bytes"
	"fmt"
	"io"

	"github.com/commy-project/commyfs/internal/jsonline"
	"github.com/commy-project/commyfs/internal/names"
)

// writeJSON writes v as one line.
func writeJSON(w io.Writer, v any) error {
	line, err := jsonline.Line(v)
	if err != nil {
		return err
	}
	_, err = w.Write(line)
	return err
}

// jsonWriter escapes JSON. Each Write must be one line, as from a logger.
type jsonWriter struct{ w io.Writer }

func (j jsonWriter) Write(b []byte) (int, error) {
	line, end := bytes.CutSuffix(b, []byte{'\n'})
	out := jsonline.Escape(line)
	if end {
		out = append(bytes.Clone(out), '\n')
	}
	if _, err := j.w.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}

// raw is [jsonline.Raw].
func raw(s string) []byte { return jsonline.Raw(s) }

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
