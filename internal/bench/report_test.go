package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

func filled(times ...time.Duration) *histogram {
	var h histogram
	for _, d := range times {
		h.add(d)
	}
	return &h
}

func testReport() *Report {
	r := newReport(Options{Version: "v9", Time: 2 * time.Second, Slice: 50 * time.Millisecond})
	r.add("pread", &system{name: tmpfs}, filled(100, 100, 200), nil)
	r.add("pread", &system{name: minimal}, filled(200), nil)
	r.add("pread", &system{name: commyfs}, filled(250, 250, 255), nil)
	r.add("echo", &system{name: tmpfs}, filled(), errors.New("no shell"))
	r.add("echo", &system{name: commyfs}, filled(100), nil)
	r.compare()
	return r
}

// Programs compare the JSON of runs: what is renamed here breaks them.
func TestReport_JSON(t *testing.T) {
	var buf bytes.Buffer
	if err := testReport().WriteJSON(&buf); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(buf.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	keys := func(m any) string { return strings.Join(slices.Sorted(maps.Keys(m.(map[string]any))), " ") }
	if k, want := keys(got), "cases clock_us diff machine results seconds seconds_per_case slice_ms started state_fs version"; k != want {
		t.Errorf("report has %s\nwant %s", k, want)
	}
	if k, want := keys(got["machine"]), "arch cpus go kernel uid"; k != want {
		t.Errorf("machine has %s\nwant %s", k, want)
	}
	if got["version"] != "v9" || got["seconds_per_case"] != 2.0 || got["slice_ms"] != 50.0 {
		t.Errorf("version %v, seconds_per_case %v, slice_ms %v", got["version"], got["seconds_per_case"], got["slice_ms"])
	}
	results := got["results"].([]any)
	for i, want := range []map[string]any{
		{"case": "pread", "system": "tmpfs", "count": 3.0, "p50_us": 0.1, "p99_us": 0.2, "p50_to_minimal": 0.5},
		{"case": "pread", "system": "minimal", "count": 1.0, "p50_us": 0.2, "p99_us": 0.2, "p50_to_tmpfs": 2.0},
		{"case": "pread", "system": "commyfs", "count": 3.0, "p50_us": 0.25, "p99_us": 0.255, "p50_to_tmpfs": 2.5, "p50_to_minimal": 1.25},
		{"case": "echo", "system": "tmpfs", "count": 0.0, "p50_us": 0.0, "p99_us": 0.0, "error": "no shell"},
		{"case": "echo", "system": "commyfs", "count": 1.0, "p50_us": 0.1, "p99_us": 0.1},
	} {
		if !maps.Equal(results[i].(map[string]any), want) {
			t.Errorf("result %d: %v\nwant %v", i, results[i], want)
		}
	}
}

func TestReport_EmptyJSON(t *testing.T) {
	var buf bytes.Buffer
	if err := newReport(Options{}).WriteJSON(&buf); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(buf.String(), `"results": []`) {
		t.Errorf("no results are not an empty list:\n%s", buf.String())
	}
}

func TestReport_Text(t *testing.T) {
	var buf bytes.Buffer
	if err := testReport().WriteText(&buf); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(buf.String()) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	for _, want := range []string{
		"operation on count p50 p99 p50/tmpfs p50/minimal",
		"pread tmpfs 3 0.10 0.20 - 0.50",
		"minimal 1 0.20 0.20 2.00 -",
		"commyfs 3 0.25 0.26 2.50 1.25",
		"echo tmpfs failed",
		"commyfs 1 0.10 0.10 - -",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no line %q in\n%s", want, buf.String())
		}
	}
}

// What clients of the SDK get has no system to compare with, and a table of its own.
func TestReport_Clients(t *testing.T) {
	r := testReport()
	r.Clients = []ClientResult{{Case: "commit", Count: 10, PerSecond: 2000.4, P50: 480, P99: 900.5}, {Case: "fan_out", Error: "no server"}}
	var text, js bytes.Buffer
	if err := errors.Join(r.WriteText(&text), r.WriteJSON(&js)); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(text.String()) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	for _, want := range []string{"Go SDK count per second p50 p99", "commit 10 2000 480.00 900.50", "fan_out failed"} {
		if !slices.Contains(lines, want) {
			t.Errorf("no line %q in\n%s", want, text.String())
		}
	}
	var got struct{ Clients []map[string]any }
	if err := json.Unmarshal(js.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"case": "commit", "count": 10.0, "per_second": 2000.4, "p50_us": 480.0, "p99_us": 900.5}
	if len(got.Clients) != 2 || !maps.Equal(got.Clients[0], want) {
		t.Errorf("clients %v\nwant first %v", got.Clients, want)
	}
	if err := r.failure(); err == nil || !strings.Contains(err.Error(), "not measured: fan_out: no server") {
		t.Errorf("failure: %v", err)
	}
}

func TestReport_Failure(t *testing.T) {
	r := testReport()
	r.add("echo", &system{name: minimal}, filled(), errors.New("no shell"))
	r.add("wake", &system{name: commyfs}, filled(), errors.New("no event"))
	const want = "not measured: echo on tmpfs, echo on minimal: no shell\nnot measured: wake on commyfs: no event"
	if err := r.failure(); err == nil || err.Error() != want {
		t.Errorf("failure: %v\nwant %s", err, want)
	}
	r.Results = r.Results[:3]
	if err := r.failure(); err != nil {
		t.Errorf("failure of what was all measured: %v", err)
	}
}
