// Command benchdiff measures package diff against its goals, of which docs/simd.md
// tells: one line per goal with what was measured, what was wanted, and "ok" or
// "MISS"; the last line counts them. With -json it writes the same as JSON.
//
// Times are ratios of medians of samples taken in turns in one process, on one
// core and on memory that was written before. What the machine cannot run is
// said to be so and not counted as reached.
package main

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/klauspost/cpuid/v2"

	"github.com/commy-project/commyfs/diff"
)

// goal is one line.
type goal struct {
	Name   string  `json:"goal"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"` // "x" for a ratio
	Limit  float64 `json:"limit"`
	Least  bool    `json:"at_least"` // the value may not be less, instead of not more
	Result string  `json:"result"`   // "ok", "MISS", or "n/a" with a reason in Detail
	Detail string  `json:"detail,omitempty"`
	// Ceiling is the value of a diff that took the time of the load-only loop,
	// where that is measured: what no implementation can do better than.
	Ceiling float64 `json:"ceiling,omitempty"`
}

type report struct {
	CPU             string   `json:"cpu"`
	Core            int      `json:"core"`
	Go              string   `json:"go"`
	Implementations []string `json:"implementations"`
	Goals           []goal   `json:"goals"`
	OK              int      `json:"ok"`
	Missed          int      `json:"missed"`
	Impossible      int      `json:"missed_beyond_ceiling"`
	NotHere         int      `json:"not_measurable"`
}

func main() {
	asJSON := flag.Bool("json", false, "write JSON")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(os.Stdout, *asJSON); err != nil {
		fmt.Fprintln(os.Stderr, "benchdiff:", err)
		os.Exit(1)
	}
}

func run(w io.Writer, asJSON bool) error {
	debug.SetGCPercent(-1)
	r := report{CPU: cmp.Or(cpuid.CPU.BrandName, runtime.GOARCH), Go: runtime.Version(), Implementations: diff.Implementations()}
	progress := func(goal) error { return nil }
	if !asJSON {
		progress = func(g goal) error { return print(w, g) }
	}

	b, err := newBench()
	if err != nil {
		return err
	}
	core, undo, err := pin()
	if err != nil {
		return err
	}
	r.Core = core
	if !asJSON {
		if _, err := fmt.Fprintf(w, "%s, core %d, %s; here: %v\n", r.CPU, core, r.Go, r.Implementations); err != nil {
			return err
		}
	}
	for _, part := range []func() []goal{b.equal, b.small, b.dirty, b.sync, b.others, func() []goal { undo(); return b.world() }} {
		for _, g := range part() {
			switch g.Result {
			case "ok":
				r.OK++
			case "MISS":
				r.Missed++
				if g.impossible() {
					r.Impossible++
				}
			default:
				r.NotHere++
			}
			r.Goals = append(r.Goals, g)
			if err := progress(g); err != nil {
				return err
			}
		}
	}
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	_, err = fmt.Fprintf(w, "%d ok, %d MISS (%d of them beyond the load-only loop on this machine), %d not measurable here\n", r.OK, r.Missed, r.Impossible, r.NotHere)
	return err
}

func print(w io.Writer, g goal) error {
	if g.Result == "n/a" {
		_, err := fmt.Fprintf(w, "%-58s %31s  %s\n", g.Name, g.Result, g.Detail)
		return err
	}
	sign := "<="
	if g.Least {
		sign = ">="
	}
	if g.impossible() {
		g.Detail += fmt.Sprintf("; load-only would be at %.2f", g.Ceiling)
	}
	_, err := fmt.Fprintf(w, "%-58s %8.2f %-6s %s %-7.4g %-5s %s\n", g.Name, g.Value, g.Unit, sign, g.Limit, g.Result, g.Detail)
	return err
}

// impossible says whether not even the load-only loop reaches the goal.
func (g goal) impossible() bool {
	return g.Result == "MISS" && g.Least && g.Ceiling > 0 && g.Ceiling < g.Limit
}

func most(name string, value float64, unit string, limit float64, detail string) goal {
	g := goal{Name: name, Value: value, Unit: unit, Limit: limit, Result: "ok", Detail: detail}
	if value > limit {
		g.Result = "MISS"
	}
	return g
}

// least takes the ceiling as well, 0 if there is none to know.
func least(name string, value float64, unit string, limit, ceiling float64, detail string) goal {
	g := goal{Name: name, Value: value, Unit: unit, Limit: limit, Least: true, Result: "ok", Detail: detail, Ceiling: ceiling}
	if value < limit {
		g.Result = "MISS"
	}
	return g
}
