package integration

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// benchReport is what the test looks at of `commyfs bench --output json`.
type benchReport struct {
	Version string `json:"version"`
	Diff    string `json:"diff"`
	Machine struct {
		CPUs   int    `json:"cpus"`
		Kernel string `json:"kernel"`
		Go     string `json:"go"`
	} `json:"machine"`
	Seconds float64 `json:"seconds"`
	Results []struct {
		Case      string  `json:"case"`
		System    string  `json:"system"`
		Count     int     `json:"count"`
		P50       float64 `json:"p50_us"`
		P99       float64 `json:"p99_us"`
		ToTmpfs   float64 `json:"p50_to_tmpfs"`
		ToMinimal float64 `json:"p50_to_minimal"`
		Error     string  `json:"error"`
	} `json:"results"`
	Clients []struct {
		Case      string  `json:"case"`
		Count     int     `json:"count"`
		PerSecond float64 `json:"per_second"`
		P50       float64 `json:"p50_us"`
		P99       float64 `json:"p99_us"`
		Error     string  `json:"error"`
	} `json:"clients"`
}

// TestBench runs all of the measurement, shortly. How fast anything is does not matter here.
func TestBench(t *testing.T) {
	testenv.Need(t, "dash")
	h := NewHost(t)
	tmp := h.path("bench")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	r := h.Run("bench", "--output", "json", "--time", "100ms", "--dir", tmp)
	if r.Code != 0 {
		t.Fatal(r)
	}
	for _, bad := range []string{"DATA RACE", "panic"} {
		if strings.Contains(r.Stderr, bad) {
			t.Error(r)
		}
	}
	var report benchReport
	if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil {
		t.Fatalf("%v\n%s", err, r.Stdout)
	}
	m := report.Machine
	if report.Version == "" || report.Diff == "" || m.CPUs < 1 || m.Kernel == "" || !strings.HasPrefix(m.Go, "go") ||
		report.Seconds <= 0 || report.Seconds > r.Took.Seconds() {
		t.Errorf("report of a run of %v: %+v", r.Took, report)
	}
	want := map[string]bool{"wake/commyfs_wss": true, "flock/commyfs_wss": true, "handover/commyfs_wss": true}
	for _, c := range []string{"open_read_close", "pread", "pread_cached", "pwrite", "pwrite_fsync", "stat", "echo", "list", "wake", "flock", "handover"} {
		for _, s := range []string{"tmpfs", "minimal", "commyfs"} {
			want[c+"/"+s] = true
		}
	}
	for _, res := range report.Results {
		name := res.Case + "/" + res.System
		if !want[name] {
			t.Errorf("unexpected, or twice: %+v", res)
		}
		delete(want, name)
		if res.Error != "" || res.Count < 1 || res.P50 <= 0 || res.P99 < res.P50 || res.P99 > float64(time.Minute.Microseconds()) ||
			(res.ToTmpfs > 0) != (res.System != "tmpfs") || (res.ToMinimal > 0) != (res.System != "minimal") {
			t.Errorf("not sane: %+v", res)
		}
	}
	for _, c := range []string{"commit", "throughput", "counter", "fan_out"} {
		want[c] = true
	}
	for _, res := range report.Clients {
		if !want[res.Case] {
			t.Errorf("unexpected, or twice: %+v", res)
		}
		delete(want, res.Case)
		if res.Error != "" || res.Count < 1 || res.PerSecond <= 0 || res.P50 < 0 || res.P99 < res.P50 {
			t.Errorf("not sane: %+v", res)
		}
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
	for _, dir := range []string{tmp, h.State(), h.Runtime()} { // it uses directories of its own, and takes them away
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v, %v", dir, left, err)
		}
	}
}
