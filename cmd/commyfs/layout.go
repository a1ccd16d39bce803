package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/commy-project/commyfs"
	"github.com/commy-project/commyfs/internal/names"
)

// layoutYAML is a variable in a layout file.
type layoutYAML struct {
	Offset  int64  `yaml:"offset"`
	Size    int64  `yaml:"size"`
	Type    string `yaml:"type"`
	Order   string `yaml:"byte-order"`
	Overlap bool   `yaml:"overlap"`
}

func (y layoutYAML) layout() (commyfs.Layout, error) {
	t, err := commyfs.ParseType(cmp.Or(y.Type, "raw"))
	if err != nil {
		return commyfs.Layout{}, err
	}
	l := commyfs.Layout{Off: y.Offset, Size: cmp.Or(y.Size, t.Size()), Type: t}
	switch y.Order {
	case "", "le":
	case "be":
		l.BigEndian = true
	default:
		return l, fmt.Errorf("unknown byte order %q: it is le or be", y.Order)
	}
	if l.Size == 0 {
		return l, fmt.Errorf("a variable of type %s needs a size", t)
	}
	return l, nil
}

// placed is a variable of a layout file.
type placed struct {
	name    string
	layout  commyfs.Layout
	overlap bool
	line    int
}

type layoutFile []placed

// parseLayout reads a layout file. Its names are those of a mount.
func parseLayout(data []byte) (layoutFile, error) {
	var doc struct {
		Size      int64     `yaml:"size"` // of the service: it is printed, and ignored
		Variables yaml.Node `yaml:"variables"`
	}
	if err := strict(data, &doc); err != nil {
		return nil, err
	}
	if doc.Variables.Kind != yaml.MappingNode {
		return nil, errors.New("there is no mapping \"variables\"")
	}
	var out layoutFile
	seen := map[string]bool{}
	for i := 0; i+1 < len(doc.Variables.Content); i += 2 {
		key, value := doc.Variables.Content[i], doc.Variables.Content[i+1]
		fail := func(err error) (layoutFile, error) {
			return nil, fmt.Errorf("line %d: %s: %w", key.Line, names.Show(key.Value), err)
		}
		p, err := parseVariable("t/s/" + key.Value)
		if err != nil {
			return fail(fmt.Errorf("not the name of a variable"))
		}
		if seen[p.Name] {
			return fail(errors.New("it is there twice"))
		}
		seen[p.Name] = true
		part, err := yaml.Marshal(value)
		if err != nil {
			return fail(err)
		}
		var y layoutYAML
		if err := strict(part, &y); err != nil {
			return fail(err)
		}
		l, err := y.layout()
		if err != nil {
			return fail(err)
		}
		out = append(out, placed{p.Name, l, y.Overlap, key.Line})
	}
	return out, nil
}

// strict decodes YAML and refuses fields that are not known: a mistyped one would be ignored.
func strict(data []byte, to any) error {
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(to); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// checkOverlaps finds variables of the file that have bytes in common and are not said to.
func (f layoutFile) checkOverlaps() error {
	sorted := slices.SortedFunc(slices.Values(f), func(a, b placed) int { return cmp.Compare(a.layout.Off, b.layout.Off) })
	var last *placed // of those so far the one that goes furthest
	for i := range sorted {
		v := &sorted[i]
		if last != nil && last.layout.Overlaps(v.layout) && !last.overlap && !v.overlap {
			return fmt.Errorf("line %d: %s has bytes in common with %s", v.line, names.Show(v.name), names.Show(last.name))
		}
		if last == nil || v.layout.End() > last.layout.End() {
			last = v
		}
	}
	return nil
}

// printLayout prints what [parseLayout] reads, in the order of the offsets.
func printLayout(out io.Writer, size int64, there map[string]commyfs.Layout) error {
	type entry struct {
		name string
		commyfs.Layout
	}
	var list []entry
	for name, l := range there {
		list = append(list, entry{name, l})
	}
	slices.SortFunc(list, func(a, b entry) int { return cmp.Or(cmp.Compare(a.Off, b.Off), cmp.Compare(a.name, b.name)) })
	w := bufio.NewWriter(out)
	fmt.Fprintf(w, "size: %d\nvariables:\n", size)
	if len(list) == 0 {
		fmt.Fprintln(w, "  {}")
	}
	furthest, overlap := int64(0), make([]bool, len(list))
	for i, v := range list {
		for j := i - 1; v.Off < furthest && j >= 0; j-- {
			if list[j].Overlaps(v.Layout) {
				overlap[i], overlap[j] = true, true
			}
		}
		furthest = max(furthest, v.End())
	}
	for i, v := range list {
		p := path{"t", "s", v.name}
		key, err := yaml.Marshal(p.String()[len("t/s/"):])
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "  %s: {offset: %d, size: %d, type: %s", key[:len(key)-1], v.Off, v.Size, v.Type)
		if v.BigEndian {
			fmt.Fprint(w, ", byte-order: be")
		}
		if overlap[i] {
			fmt.Fprint(w, ", overlap: true")
		}
		fmt.Fprintln(w, "}")
	}
	return w.Flush()
}
