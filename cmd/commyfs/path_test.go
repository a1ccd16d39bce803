package main

import "testing"

func TestPath(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want path
		out  string
	}{
		{"/", path{}, ""},
		{"plant", path{Tenant: "plant"}, "plant"},
		{"plant/", path{Tenant: "plant"}, "plant"},
		{"/plant/line1", path{Tenant: "plant", Service: "line1"}, "plant/line1"},
		{"plant/line1/oven/temp", path{"plant", "line1", "oven/temp"}, "plant/line1/oven/temp"},
		{"%2E/s/%2E%2E", path{".", "s", ".."}, "%2E/s/%2E%2E"},
		{"./s/..", path{".", "s", ".."}, "%2E/s/%2E%2E"},
		{"%2Ecommy/s/%2Eservice.mem", path{".commy", "s", ".service.mem"}, "%2Ecommy/s/%2Eservice.mem"},
		{"t/s/d/%2Eservice.mem", path{"t", "s", "d/%2Eservice.mem"}, "t/s/d/%2Eservice.mem"},
		{"t/s/50%/a%00b", path{"t", "s", "50%/a\x00b"}, "t/s/50%/a%00b"},
		{"t/s/a/%empty", path{"t", "s", "a/"}, "t/s/a/%empty"},
		{"%/%/%/%", path{"%", "%", "%/%"}, "%/%/%/%"},
		{"%empty/%empty/%empty/%25empty", path{"%empty", "%empty", "%empty/%empty"}, "%empty/%empty/%empty/%25empty"},
		{"a%2Fb/%2F/%41", path{"a%2Fb", "%2F", "%41"}, "a%2Fb/%2F/%41"},
	} {
		got, err := parsePath(tt.in)
		if err != nil || got != tt.want {
			t.Errorf("parsePath(%q) = %+v, %v, want %+v", tt.in, got, err, tt.want)
		}
		if s := got.String(); s != tt.out {
			t.Errorf("%+v is shown as %q, want %q", got, s, tt.out)
		}
		if back, err := parsePath(got.shown()); err != nil || back != got {
			t.Errorf("%q leads to %+v, %v, not back to %+v", got.shown(), back, err, got)
		}
	}
	for _, in := range []string{"", "a//b", "t/s//v", "t/s/v//w"} {
		if got, err := parsePath(in); exitCode(err) != exitUsage {
			t.Errorf("parsePath(%q) = %+v, %v, want wrong usage", in, got, err)
		}
	}
	for in, want := range map[string]string{"a": "/", "a/b": "a", "a/b/c": "a/b", "a/b/c/d": "a/b/c"} {
		p, _ := parsePath(in)
		if got := p.parent().shown(); got != want {
			t.Errorf("above %q is %q, want %q", in, got, want)
		}
	}
}
