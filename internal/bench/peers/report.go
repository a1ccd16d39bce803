package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// result is a line of the report.
type result struct {
	Row     string             `json:"row"`
	Value   float64            `json:"value"` // median of Rounds
	Rounds  []float64          `json:"rounds,omitempty"`
	Unit    string             `json:"unit"` // "x" for a ratio to the yardstick
	Goal    float64            `json:"goal,omitempty"`
	Least   bool               `json:"at_least,omitempty"` // the value may not be less, instead of not more
	Verdict string             `json:"verdict,omitempty"`  // "ok" or "MISS"; nothing without a goal
	Sides   []figures          `json:"sides,omitempty"`    // ours first
	Detail  map[string]float64 `json:"detail,omitempty"`
	Note    string             `json:"note,omitempty"`
	Error   string             `json:"error,omitempty"` // why the row could not be measured
}

// figures are the medians of the rounds of one side.
type figures struct {
	Name string  `json:"name"`
	P50  float64 `json:"p50_us"`
	P99  float64 `json:"p99_us"`
	Rate float64 `json:"per_second"`
}

// judge compares with the goal.
func (r *result) judge() {
	switch {
	case r.Goal == 0 || r.Error != "":
	case r.Least && r.Value >= r.Goal, !r.Least && r.Value <= r.Goal:
		r.Verdict = "ok"
	default:
		r.Verdict = "MISS"
	}
}

type report struct {
	Program string   `json:"program"`
	Started string   `json:"started"`
	Kernel  string   `json:"kernel"`
	CPUs    int      `json:"cpus"`
	Go      string   `json:"go"`
	Rounds  int      `json:"rounds"`
	Seconds float64  `json:"seconds_per_side_and_round"`
	Results []result `json:"results"`
	OK      int      `json:"ok"`
	Missed  int      `json:"missed"`
	Failed  int      `json:"failed"`
}

func newReport(o options) *report {
	var u unix.Utsname
	_ = unix.Uname(&u) // for show
	return &report{Program: o.commyfs, Started: time.Now().UTC().Format(time.RFC3339), Kernel: unix.ByteSliceToString(u.Release[:]),
		CPUs: runtime.NumCPU(), Go: runtime.Version(), Rounds: o.rounds, Seconds: o.time.Seconds(), Results: []result{}}
}

func (r *report) add(res result) {
	switch {
	case res.Error != "":
		r.Failed++
	case res.Verdict == "ok":
		r.OK++
	case res.Verdict == "MISS":
		r.Missed++
	}
	r.Results = append(r.Results, res)
}

func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func (r *report) writeHead(w io.Writer) {
	fmt.Fprintf(w, "%s on Linux %s, %d CPUs, %s; medians of %d rounds of %gs; microseconds and operations a second\n", r.Program, r.Kernel,
		r.CPUs, r.Go, r.Rounds, r.Seconds)
}

func (r *report) writeRow(w io.Writer, res *result) {
	if res.Error != "" {
		fmt.Fprintf(w, "%-26s failed: %s\n", res.Row, res.Error)
		return
	}
	goal := ""
	if res.Goal != 0 {
		goal = map[bool]string{false: "<= ", true: ">= "}[res.Least] + fmt.Sprintf("%.4g", res.Goal)
	}
	fmt.Fprintf(w, "%-26s %10s %-5s %-10s %-5s%s\n", res.Row, number(res.Value), res.Unit, goal, res.Verdict, res.Note)
	for _, s := range res.Sides {
		fmt.Fprintf(w, "    %-48s", s.Name)
		if s.P50 != 0 {
			fmt.Fprintf(w, " p50 %10s p99 %10s", number(s.P50), number(s.P99))
		}
		if s.Rate != 0 {
			fmt.Fprintf(w, " %10s/s", number(s.Rate))
		}
		fmt.Fprintln(w)
	}
	for _, k := range sorted(res.Detail) {
		fmt.Fprintf(w, "    %s %s\n", k, number(res.Detail[k]))
	}
}

// number has three significant digits at least.
func number(f float64) string {
	switch {
	case f >= 100:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.3g", f)
}

func (r *report) writeFoot(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%d ok, %d MISS, %d failed\n", r.OK, r.Missed, r.Failed)
	return err
}

func sorted(m map[string]float64) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
