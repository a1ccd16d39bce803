package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/bench/crowd"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		of   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{5, 1, 3}, 3}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := median(c.of); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.of, got, c.want)
		}
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		r    result
		want string
	}{
		{result{Value: 1.3, Goal: 1.3}, "ok"},
		{result{Value: 1.31, Goal: 1.3}, "MISS"},
		{result{Value: 0.5, Goal: 0.5, Least: true}, "ok"},
		{result{Value: 0.49, Goal: 0.5, Least: true}, "MISS"},
		{result{Value: 7}, ""},
	} {
		if c.r.judge(); c.r.Verdict != c.want {
			t.Errorf("%+v, want %q", c.r, c.want)
		}
	}
}

// The value of a row is the median of the ratios of its rounds, and the sides take turns in being first.
func TestCompare(t *testing.T) {
	l := &lab{ctx: t.Context(), o: options{rounds: 3, time: 5 * time.Millisecond}}
	var order []string
	fast, slow := []float64{0, 10, 20, 30}, []float64{0, 5, 2, 3} // the first time does not count
	of := func(name string, values []float64) side {
		n := 0
		return side{name, func(time.Duration) (crowd.Sample, error) {
			order = append(order, name)
			n++
			return crowd.Sample{P50: values[n-1], P99: 1, Rate: 1}, nil
		}}
	}
	res, err := l.compare("x", comparison{sides: []side{of("a", fast), of("b", slow)}, goal: 10})
	if err != nil {
		t.Fatal(err)
	}
	if res.Value != 10 || !slices.Equal(res.Rounds, []float64{2, 10, 10}) || res.Verdict != "ok" || res.Sides[0].P50 != 20 || res.Sides[1].P50 != 3 {
		t.Errorf("result %+v", res)
	}
	if got := strings.Join(order, ""); got != "abbaabba" {
		t.Errorf("order %s", got)
	}
}

func TestParse(t *testing.T) {
	o, err := parse([]string{"-rows", "echo|wake.*", "-commyfs", "main_test.go"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range rows {
		if o.wants(r) {
			names = append(names, r.name)
		}
	}
	if !slices.Equal(names, []string{"echo", "wake", "wake_wss"}) {
		t.Errorf("rows %v", names)
	}
	for _, bad := range [][]string{{"-rows", "("}, {"-rounds", "0"}, {"-commyfs", "absent"}, {"more"}} {
		if _, err := parse(append([]string{"-commyfs", "main_test.go"}, bad...), io.Discard); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

// What Redis is asked, and what is made of its answers.
func TestResp(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	asked := make(chan string, 1)
	go func() {
		defer there.Close()
		in := bufio.NewReader(there)
		want := "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\r\n\r\n"
		got := make([]byte, len(want))
		_, _ = io.ReadFull(in, got)
		asked <- string(got)
		_, _ = io.WriteString(there, "+OK\r\n*3\r\n$7\r\nmessage\r\n$1\r\nv\r\n$3\r\na\r\n\r\n-ERR no\r\n")
	}()
	r := newResp(here)
	if err := r.set("k", []byte("\r\n")); err != nil {
		t.Fatal(err)
	}
	if got := <-asked; got != "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\r\n\r\n" {
		t.Errorf("asked %q", got)
	}
	if got, err := r.message(make([]byte, 16)); err != nil || string(got) != "a\r\n" {
		t.Errorf("message %q, %v", got, err)
	}
	if _, _, err := r.line(); err == nil || err.Error() != "redis: ERR no" {
		t.Errorf("error %v", err)
	}
}

// Nobody waits for what a child that has ended would say.
func TestChildThatEnds(t *testing.T) {
	l := &lab{ctx: t.Context(), root: t.TempDir()}
	c, err := l.start("sh", "/bin/sh", "-c", "echo no >&2; exit 1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.line(c, "ready"); !errors.Is(err, errEnded) || !strings.Contains(err.Error(), "sh: no") {
		t.Errorf("error %v", err)
	}
	if err := c.stop(); err == nil {
		t.Error("it has not failed")
	}
}

func TestReportText(t *testing.T) {
	rep := newReport(options{commyfs: "commyfs", rounds: 5, time: time.Second})
	var buf bytes.Buffer
	for _, r := range []result{
		{Row: "ping", Value: 1.234, Unit: "x", Goal: 1.3, Verdict: "ok", Sides: []figures{{"ours", 50, 90, 0}}},
		{Row: "echo", Error: "no redis"},
	} {
		rep.add(r)
		rep.writeRow(&buf, &r)
	}
	if err := rep.writeFoot(&buf); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(buf.String()), " ")
	if want := "ping 1.23 x <= 1.3 ok ours p50 50.0 p99 90.0 echo failed: no redis 1 ok, 0 MISS, 1 failed"; text != want {
		t.Errorf("text %q\nwant %q", text, want)
	}
}

func TestTable(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, list ...result) string {
		rep := report{Results: list}
		var buf bytes.Buffer
		if err := rep.writeJSON(&buf); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, buf.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	ping := func(value float64, verdict string) result {
		return result{Row: "ping", Value: value, Unit: "x", Goal: 1.3, Verdict: verdict, Sides: []figures{{P99: 90 * value}}}
	}
	before := write("before", ping(2, "MISS"))
	one, two := write("one", ping(1.25, "ok")), write("two", result{Row: "large/bytes", Value: 150_000, Unit: "B", Goal: 200_000, Verdict: "ok"})
	var buf bytes.Buffer
	if err := writeTable(&buf, before+","+one+"+"+two); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(buf.String()), "\n")
	if want := []string{"| `ping` | 2 | 180 us | 1.25 | 112 us | <= 1.3 | ok |", "| `large/bytes` | - |  | 150 kB |  | <= 200000 | ok |"}; !slices.Equal(lines[2:], want) {
		t.Errorf("%q\nwant %q", lines[2:], want)
	}
}
