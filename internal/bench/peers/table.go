package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// writeTable writes what two runs with -json have in common as the table of docs/performance.md. A file that others are
// appended to with + is one run in pieces.
func writeTable(w io.Writer, files string) error {
	before, after, ok := strings.Cut(files, ",")
	if !ok {
		return errors.New("-table: BEFORE,AFTER")
	}
	old, err := readReports(before)
	if err != nil {
		return err
	}
	now, err := readReports(after)
	if err != nil {
		return err
	}
	fmt.Fprintln(w, "| row | before | p99 | after | p99 | goal | |\n|---|---|---|---|---|---|---|")
	for _, r := range now {
		was := result{}
		if i := slices.IndexFunc(old, func(o result) bool { return o.Row == r.Row }); i >= 0 {
			was = old[i]
		}
		goal := ""
		if r.Goal != 0 {
			goal = map[bool]string{false: "<= ", true: ">= "}[r.Least] + number(r.Goal)
		}
		fmt.Fprintf(w, "| `%s` | %s | %s | %s | %s | %s | %s |\n", r.Row, was.figure(), was.tail(), r.figure(), r.tail(), goal, r.Verdict)
	}
	return nil
}

func readReports(files string) ([]result, error) {
	var list []result
	for _, file := range strings.Split(files, "+") {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var r report
		if err := json.Unmarshal(text, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		list = append(list, r.Results...)
	}
	return list, nil
}

// figure is the value with its unit.
func (r *result) figure() string {
	switch {
	case r.Row == "":
		return "-"
	case r.Error != "":
		return "failed"
	case r.Unit == "x":
		return number(r.Value)
	case r.Unit == "B" && r.Value >= 1e6:
		return number(r.Value/1e6) + " MB"
	case r.Unit == "B" && r.Value >= 1e4:
		return number(r.Value/1e3) + " kB"
	}
	return number(r.Value) + " " + r.Unit
}

// tail is the 99th percentile of our side, in microseconds, where single operations were timed.
func (r *result) tail() string {
	if len(r.Sides) == 0 || r.Sides[0].P99 == 0 {
		return ""
	}
	return number(r.Sides[0].P99) + " us"
}
