package core

import (
	"fmt"
	"strings"
	"testing"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/access"
)

func add(name, n string) model.Change {
	c := store(name, n)
	c.Op = model.OpAdd
	return c
}

func whole(c model.Change) model.Change {
	c.Whole = true
	return c
}

// What is added to is a number; what is around it stays, and what is none stays as it is.
func TestAdd_Values(t *testing.T) {
	p := connect(t, startCore(t))
	for i, c := range []struct {
		value, n string
		want     string // the value; empty: refused
		code     model.Code
	}{
		{"", "1", "1\n", 0},
		{"\n", "-3", "-3\n", 0},
		{" \t", "5", "5\n", 0},
		{"41", "1", "42", 0},
		{"41\n", "1", "42\n", 0},
		{" 41 \n\n", "1", " 42 \n\n", 0},
		{"007", "1", "8", 0},
		{"+7", "1", "8", 0},
		{"007", "0", "007", 0},
		{"9", "-10", "-1", 0},
		{"-1", "1", "0", 0},
		{"9223372036854775807", "1", "9223372036854775808", 0},
		{"18446744073709551614", "1", "18446744073709551615", 0},
		{"18446744073709551615", "1", "", model.CodeRange},
		{"-9223372036854775807", "-1", "-9223372036854775808", 0},
		{"-9223372036854775808", "-1", "", model.CodeRange},
		{"1", "99999999999999999999999", "", model.CodeRange},
		{"0.1", "0.2", "0.3", 0},
		{"21.5\n", "1", "22.5\n", 0},
		{"0.10", "-0.30", "-0.20", 0},
		{".5", "0.5", "1.0", 0},
		{"1", "0.05", "1.05", 0},
		{"-0.05", "0.04", "-0.01", 0},
		{"1e3", "1", "1001", 0},
		{"1", "2.5e-1", "1.25", 0},
		{"1e308", "1e308", "", model.CodeRange},
		{"1", "1e309", "", model.CodeRange},
		{strings.Repeat("9", 40) + ".5", "1", "1" + strings.Repeat("0", 40) + ".5", 0},
		{strings.Repeat("9", 62) + ".5", "1", "", model.CodeRange},
		{"x", "1", "", model.CodeInvalid},
		{"1 2", "1", "", model.CodeInvalid},
		{"1", "", "", model.CodeInvalid},
		{"1", " 1", "", model.CodeInvalid},
		{"0x10", "1", "", model.CodeInvalid},
		{"1_000", "1", "", model.CodeInvalid},
		{"nan", "1", "", model.CodeInvalid},
		{"1", "inf", "", model.CodeInvalid},
		{"1\x00", "1", "", model.CodeInvalid},
		{".", "1", "", model.CodeInvalid},
		{"--1", "1", "", model.CodeInvalid},
		{strings.Repeat("1", 1<<20), "1", "", model.CodeInvalid},
	} {
		name := fmt.Sprintf("v%d", i)
		p.do(store(name, c.value))
		if c.want == "" {
			if o := p.send(add(name, c.n)); o.Code != c.code {
				t.Errorf("%.40q + %q: code %d (%s), want %d", c.value, c.n, o.Code, o.Message, c.code)
			}
			if v := p.wantValue(name, c.value); v.Version != 1 {
				t.Errorf("%.40q + %q was refused and made version %d", c.value, c.n, v.Version)
			}
			continue
		}
		r := p.do(add(name, c.n))[0]
		if v := p.wantValue(name, c.want); r.Number != strings.TrimSpace(c.want) || r.Version != v.Version || r.Unchanged != (c.n == "0") {
			t.Errorf("%q + %q: result %+v, want %q in version %d", c.value, c.n, r, c.want, v.Version)
		}
	}
}

// Of whole sums only those of 64 bits with a sign are accepted by who asks for that.
func TestAdd_Whole(t *testing.T) {
	p := connect(t, startCore(t))
	for i, c := range []struct {
		value, n string
		code     model.Code
	}{
		{"1", "1", 0}, {"9223372036854775807", "1", model.CodeRange}, {"9223372036854775808", "-1", 0}, {"1.5", "1", model.CodeInvalid}, {"1.0", "1", model.CodeInvalid},
	} {
		name := fmt.Sprintf("v%d", i)
		p.do(store(name, c.value))
		if o := p.send(whole(add(name, c.n))); o.Code != c.code {
			t.Errorf("%s + %s: code %d (%s), want %d", c.value, c.n, o.Code, o.Message, c.code)
		}
	}
}

// What is missing is made, if the change says so, and a condition counts.
func TestAdd_Creates(t *testing.T) {
	s := startCore(t)
	p := connect(t, s)
	if r := p.do(add("d/n", "5"))[0]; r.Number != "5" || r.Version != 1 {
		t.Errorf("result %+v", r)
	}
	p.wantValue("d/n", "5\n")
	only := add("other", "1")
	only.Create = false
	p.refused(model.CodeNotFound, only)
	p.refused(model.CodeIsDirectory, add("d", "1"))
	p.refused(model.CodeInvalid, add("new", "x"))
	if _, err := p.get("t", "s", "new"); model.CodeOf(err) != model.CodeNotFound {
		t.Errorf("what was refused is there: %v", err)
	}
	old := add("d/n", "1")
	old.HasVersion, old.IfVersion = true, 7
	p.refused(model.CodeConflict, old)
	old.IfVersion = 1
	if r := p.do(old, add("d/n", "10"), add("d/n", "-1")); r[0].Number != "6" || r[1].Number != "16" || r[2].Number != "15" {
		t.Errorf("results %+v", r)
	}
	p.wantValue("d/n", "15\n")
	p.refused(model.CodeInvalid, add("d/n", "1"), add("d/n", "x"))
	p.wantValue("d/n", "15\n")

	reader := connect(t, s, s.by(p.createKey("r", access.AllRights&^model.RightWrite)))
	reader.refused(model.CodeDenied, add("d/n", "1"))
	reader.refused(model.CodeDenied, add("mine", "1"))
	writer := connect(t, s, s.by(p.createKey("w", model.RightRead|model.RightWrite)))
	writer.do(add("d/n", "1"))
	writer.refused(model.CodeDenied, add("mine", "1"))
}

// A registered number keeps to its type, and its bytes follow.
func TestAdd_Registered(t *testing.T) {
	p := connect(t, startCore(t))
	p.bareService(4096)
	p.do(registered("u8", number(model.TypeU8, 0)), registered("i16", number(model.TypeI16, 2)), registered("u64", number(model.TypeU64, 8)),
		registered("i64", number(model.TypeI64, 16)), registered("f32", number(model.TypeF32, 24)), registered("f64", number(model.TypeF64, 32)),
		registered("bool", number(model.TypeBool, 40)), registered("raw", raw(48, 4)), registered("text", model.Layout{Off: 56, Size: 3, Type: model.TypeText}))
	path := p.bareFile()
	for _, c := range []struct {
		name, n, want string
		code          model.Code
	}{
		{"u8", "255", "255", 0}, {"u8", "1", "", model.CodeRange}, {"u8", "-256", "", model.CodeRange}, {"u8", "-5", "250", 0}, {"u8", "0.5", "", model.CodeInvalid}, {"u8", "x", "", model.CodeInvalid},
		{"i16", "-32768", "-32768", 0}, {"i16", "-1", "", model.CodeRange}, {"i16", "65535", "32767", 0}, {"i16", "1", "", model.CodeRange},
		{"u64", "18446744073709551615", "18446744073709551615", 0}, {"u64", "1", "", model.CodeRange},
		{"i64", "9223372036854775807", "9223372036854775807", 0}, {"i64", "1", "", model.CodeRange},
		{"f32", "0.1", "0.1", 0}, {"f32", "0.2", "0.3", 0}, {"f32", "4e38", "", model.CodeRange},
		{"f64", "0.1", "0.1", 0}, {"f64", "0.2", "0.30000000000000004", 0}, {"f64", "1.7e308", "1.7e+308", 0}, {"f64", "1.7e308", "", model.CodeRange}, {"f64", "nan", "", model.CodeInvalid},
		{"bool", "1", "", model.CodeInvalid}, {"raw", "1", "", model.CodeInvalid},
		{"text", "99", "99", 0}, {"text", "900", "999", 0}, {"text", "1", "", model.CodeTooLarge},
	} {
		o := p.send(add(c.name, c.n))
		if o.Code != c.code || c.code == 0 && o.Results[0].Number != c.want {
			t.Errorf("%s + %s: code %d (%s), results %+v, want code %d, %q", c.name, c.n, o.Code, o.Message, o.Results, c.code, c.want)
		}
	}
	p.wantValue("u8", "250\n")
	wantBytes(t, path, 0, "\xfa")
	wantBytes(t, path, 2, "\xff\x7f")
	wantBytes(t, path, 32, f64(1.7e308))
	wantBytes(t, path, 56, "999")
	p.refused(model.CodeUnsupported, add("none", "1"))
}

// Whoever asks again, also after a restart, is told the same sum, and nothing is added twice.
func TestAdd_ExactlyOnce(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	first := &model.Report{Seq: 1, Acked: 1, Changes: []model.Change{add("n", "5")}}
	crowd := &model.Report{Seq: 2, Acked: 1, Each: true, Changes: []model.Change{add("n", "10"), store("w", "x"), add("n", "-1"), add("w", "1")}}
	other := &model.Report{Seq: 6, Acked: 1, Changes: []model.Change{store("w", "y")}}
	check := func(where string, p *peer) {
		t.Helper()
		if a := ack(p, first); a.Code != 0 || a.Results[0].Number != "5" {
			t.Errorf("%s: the first: %+v", where, a)
		}
		a := ack(p, crowd)
		if a.Code != 0 || a.Results[0].Number != "15" || a.Results[2].Number != "14" || a.Results[1].Number != "" || len(a.Refused) != 1 || a.Refused[0].Index != 3 {
			t.Errorf("%s: the crowd: %+v", where, a)
		}
		if a := ack(p, other); a.Code != 0 {
			t.Errorf("%s: the other: %+v", where, a)
		}
		p.wantValue("n", "14\n")
	}
	for _, r := range []*model.Report{first, crowd, other} {
		ack(p, r)
	}
	check("at once", p)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = d.start(t)
	check("after a restart", connect(t, s, as(p.id)))
}

func FuzzAdd(f *testing.F) {
	f.Add([]byte("41\n"), "1")
	f.Add([]byte(" -1.5e3 "), "+.25")
	f.Add([]byte(""), "-0")
	f.Fuzz(func(t *testing.T, value []byte, n string) {
		for _, l := range []*model.Layout{nil, {Size: 1, Type: model.TypeU8}, {Size: 4, Type: model.TypeF32}, {Size: 8, Type: model.TypeI64}} {
			now, sum, err := added(&model.Change{Data: []byte(n)}, value, l)
			if err != nil {
				if c := model.CodeOf(err); c != model.CodeInvalid && c != model.CodeRange {
					t.Fatalf("%q + %q: %v", value, n, err)
				}
				continue
			}
			if strings.TrimSpace(string(now)) != sum || sum == "" || len(sum) > maxNumber {
				t.Fatalf("%q + %q is %q, with the number %q", value, n, now, sum)
			}
			if again, same, err := added(&model.Change{Data: []byte("0")}, now, l); err != nil || same != sum || string(again) != string(now) {
				t.Fatalf("%q + %q is %q, to which nothing can be added: %q, %v", value, n, now, same, err)
			}
		}
	})
}
