package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/diff"
)

// Report is the result of a run. Its JSON form is for comparing runs by program, so names stay.
type Report struct {
	Version        string  `json:"version"`
	Diff           string  `json:"diff"` // the implementation in use
	Machine        Machine `json:"machine"`
	StateFS        string  `json:"state_fs"` // the file system that the servers' state was on
	Started        string  `json:"started"`
	Seconds        float64 `json:"seconds"` // the whole run
	SecondsPerCase float64 `json:"seconds_per_case"`
	SliceMS        float64 `json:"slice_ms"`
	ClockUS        float64 `json:"clock_us"` // what timing itself adds to each figure
	// Cases says what is in the figures of each operation.
	Cases   map[string]string `json:"cases"`
	Results []Result          `json:"results"`
	Clients []ClientResult    `json:"clients,omitempty"`
}

// Machine is what the figures belong to.
type Machine struct {
	CPUs   int    `json:"cpus"`
	Arch   string `json:"arch"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	UID    int    `json:"uid"`
}

// Result is one operation on one file system.
type Result struct {
	Case   string  `json:"case"`
	System string  `json:"system"`
	Count  uint64  `json:"count"`
	P50    float64 `json:"p50_us"`
	P99    float64 `json:"p99_us"`
	// Ratios of the medians; absent where there is nothing to compare with.
	ToTmpfs   float64 `json:"p50_to_tmpfs,omitempty"`
	ToMinimal float64 `json:"p50_to_minimal,omitempty"`
	Error     string  `json:"error,omitempty"` // why the figures are missing, or do not count
}

func newReport(o Options) *Report {
	abouts := map[string]string{}
	for _, c := range cases {
		abouts[c.name] = c.about
	}
	for _, c := range clientCases {
		abouts[c.name] = c.about
	}
	return &Report{
		Cases:   abouts,
		Version: o.Version,
		Diff:    diff.Implementation(),
		Machine: Machine{CPUs: runtime.NumCPU(), Arch: runtime.GOARCH, Kernel: kernelRelease(), Go: runtime.Version(),
			UID: unix.Geteuid()},
		Started:        time.Now().UTC().Format(time.RFC3339),
		SecondsPerCase: o.Time.Seconds(),
		SliceMS:        o.Slice.Seconds() * 1000,
		Results:        []Result{},
	}
}

func (r *Report) add(name string, s *system, h *histogram, err error) {
	res := Result{Case: name, System: s.name, Count: h.n, P50: micros(h.quantile(0.5)), P99: micros(h.quantile(0.99))}
	if err != nil {
		res.Error = err.Error()
	}
	r.Results = append(r.Results, res)
}

// note says why a figure is missing.
type note struct{ figure, reason string }

// failure says what could not be measured, and each reason once.
func (r *Report) failure() error {
	var notes []note
	for _, res := range r.Results {
		notes = append(notes, note{res.Case + " on " + res.System, res.Error})
	}
	for _, res := range r.Clients {
		notes = append(notes, note{res.Case, res.Error})
	}
	var reasons []string
	missing := map[string][]string{}
	for _, n := range notes {
		if n.reason == "" {
			continue
		}
		if missing[n.reason] == nil {
			reasons = append(reasons, n.reason)
		}
		missing[n.reason] = append(missing[n.reason], n.figure)
	}
	var errs []error
	for _, reason := range reasons {
		errs = append(errs, fmt.Errorf("not measured: %s: %s", strings.Join(missing[reason], ", "), reason))
	}
	return errors.Join(errs...)
}

// compare fills in the ratios.
func (r *Report) compare() {
	medians := map[string]float64{}
	key := func(res *Result, system string) string { return res.Case + "/" + system }
	for i := range r.Results {
		if res := &r.Results[i]; res.Error == "" {
			medians[key(res, res.System)] = res.P50
		}
	}
	ratio := func(res *Result, to string) float64 {
		if m := medians[key(res, to)]; m > 0 && to != res.System && res.Error == "" {
			return res.P50 / m
		}
		return 0
	}
	for i := range r.Results {
		res := &r.Results[i]
		res.ToTmpfs, res.ToMinimal = ratio(res, tmpfs), ratio(res, minimal)
	}
}

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "commyfs %s, %s, Linux %s %s, %d CPUs, uid %d, diff %s, state on %s\n", r.Version, r.Machine.Go, r.Machine.Kernel,
		r.Machine.Arch, r.Machine.CPUs, r.Machine.UID, r.Diff, r.StateFS)
	fmt.Fprintf(w, "%g s of each, in slices of %g ms; microseconds, of which the clock takes %.3f\n\n", r.SecondsPerCase, r.SliceMS, r.ClockUS)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "operation\ton\tcount\tp50\tp99\tp50/tmpfs\tp50/minimal\t")
	last := ""
	for i := range r.Results {
		res := &r.Results[i]
		name := res.Case
		if name == last {
			name = ""
		}
		last = res.Case
		if res.Error != "" {
			fmt.Fprintf(t, "%s\t%s\tfailed\t\t\t\t\t\n", name, res.System)
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%.2f\t%.2f\t%s\t%s\t\n", name, res.System, res.Count, res.P50, res.P99, ratioText(res.ToTmpfs),
			ratioText(res.ToMinimal))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if err := r.writeClients(w); err != nil {
		return err
	}
	fmt.Fprintln(w)
	legend := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range cases {
		fmt.Fprintf(legend, "%s\t%s\n", c.name, c.about)
	}
	for _, c := range clientCases {
		fmt.Fprintf(legend, "%s\t%s\n", c.name, c.about)
	}
	return legend.Flush()
}

func (r *Report) writeClients(w io.Writer) error {
	if len(r.Clients) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "Go SDK\tcount\tper second\tp50\tp99\t")
	for _, res := range r.Clients {
		if res.Error != "" {
			fmt.Fprintf(t, "%s\tfailed\t\t\t\t\n", res.Case)
			continue
		}
		fmt.Fprintf(t, "%s\t%d\t%.0f\t%.2f\t%.2f\t\n", res.Case, res.Count, res.PerSecond, res.P50, res.P99)
	}
	return t.Flush()
}

func ratioText(ratio float64) string {
	if ratio == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", ratio)
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

func fileSystemName(path string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return "unknown"
	}
	switch st.Type {
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs"
	}
	return fmt.Sprintf("%#x", st.Type)
}
