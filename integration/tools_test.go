package integration

import (
	"os"
	"strings"
	"testing"

	"github.com/commy-project/commyfs/internal/testenv"
)

// TestTools has everyday programs work on variables: each line is a script, what it prints, and what it leaves in v, as
// seen on the other mount.
func TestTools(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "vim", "python3", "sed", "dash", "bash", "getfattr")
	h, a, b := twoMounts(t)
	for _, c := range []struct {
		name   string
		before string
		script string // in the service's directory
		prints string
		after  string
	}{
		{"cat", "one\ntwo\n", `cat v`, "one\ntwo\n", "one\ntwo\n"},
		{"echo", "", `echo hello > v`, "", "hello\n"},
		{"append", "one\n", `echo two >> v`, "", "one\ntwo\n"},
		{"read", "word rest\n", `read -r a b < v; echo "$b $a"`, "rest word\n", "word rest\n"},
		{"counter", "41\n", `echo $(( $(cat v) + 1 )) > v`, "", "42\n"},
		{"here document", "", "cat > v <<END\nline 1\nline 2\nEND", "", "line 1\nline 2\n"},
		{"noclobber", "kept", `set -C; if (echo lost > v) 2>/dev/null; then echo clobbered; fi`, "", "kept"},
		{"bash", "x", `bash -c 'echo "from bash" > v; echo "$(<v)"'`, "from bash\n", "from bash\n"},
		{"tee", "", `echo both | tee v`, "both\n", "both\n"},
		{"tee -a", "a\n", `echo b | tee -a v`, "b\n", "a\nb\n"},
		{"sed -i", "a temperature of 20\n", `sed -i s/20/21/ v`, "", "a temperature of 21\n"},
		{"sed -i with a backup", "old\n", `sed -i.bak s/old/new/ v; cat v.bak; rm v.bak`, "old\n", "new\n"},
		{"vim", "a line\n", `vim -es -u NONE -c 's/a line/an edited line/' -c wq v </dev/null`, "", "an edited line\n"},
		{"vim with swap and backup", "1\n2\n", `vim -es -u NONE -c 'set backup writebackup swapfile backupdir=. backupskip=' -c '$d' -c wq v </dev/null; rm v~`, "", "1\n"},
		{"python", "3", `python3 -c 'n = int(open("v").read()); open("v", "w").write(str(n * 2))'`, "", "6"},
		{"python in place", "hello", `python3 -c 'f = open("v", "r+"); f.seek(1); f.write("E"); f.close()'`, "", "hEllo"},
		{"python atomic", "old", `python3 -c 'import os; open("v.new", "w").write("new"); os.replace("v.new", "v")'`, "", "new"},
		{"cp", "copied", `cp v w; cat w; rm w`, "copied", "copied"},
		{"cp over", "old", `printf new > w; cp w v; rm w`, "", "new"},
		{"cp -p", "kept", `cp -p v w; cmp v w; rm w`, "", "kept"},
		{"cp -r", "x", `mkdir d; cp v d/one; cp -r d e; cat e/one; rm -r d e`, "x", "x"},
		{"mv", "moved", `mv v w; ls; mv w v`, "w\n", "moved"},
		{"mv over", "old", `printf new > w; mv w v; ls`, "v\n", "new"},
		{"mv to another service", "away", `mkdir ../other; mv v ../other/v; cat ../other/v; mv ../other/v v; rmdir ../other`, "away", "away"},
		{"cmp", "same", `printf same > w; cmp v w && echo equal; rm w`, "equal\n", "same"},
		{"dd", "", `printf 0123456789 | dd of=v bs=3 status=none`, "", "0123456789"},
		{"dd in place", "0123456789", `printf ab | dd of=v bs=1 seek=4 conv=notrunc status=none`, "", "0123ab6789"},
		{"dd read", "0123456789", `dd if=v bs=2 skip=2 count=2 status=none`, "4567", "0123456789"},
		{"truncate", "0123456789", `truncate -s 3 v; stat -c %s v`, "3\n", "012"},
		{"head and tail", "1\n2\n3\n", `head -n 1 v; tail -n 1 v; tail -c 2 v`, "1\n3\n3\n", "1\n2\n3\n"},
		{"wc", "1\n22\n", `wc -c < v`, "5\n", "1\n22\n"},
		{"grep -r", "needle\n", `grep -rl needle .`, "./v\n", "needle\n"},
		{"find", "x", `mkdir -p d/e; echo y > d/e/f; find . -type f | sort; rm -r d`, "./d/e/f\n./v\n", "x"},
		{"tar", "packed", `tar -cf - v | tar -xf - -O`, "packed", "packed"},
		{"ls", "12345", `ls; test -d . && test -f v && test -s v && test -w v`, "v\n", "12345"},
		{"stat", "12345", `stat -c '%s %h %F' v`, "5 1 regular file\n", "12345"},
		{"touch", "kept", `touch v`, "", "kept"},
		{"chmod to what holds", "kept", `chmod "$(stat -c %a v)" v; chown "$(stat -c %u:%g v)" v`, "", "kept"},
		{"sync", "kept", `sync v; sync -f v`, "", "kept"},
		{"xattr", "12345", `getfattr --only-values -n user.commy.size v`, "5", "12345"},
		{"binary", "", `head -c 100000 /dev/zero > v; wc -c < v; printf '\000\377' > v`, "100000\n", "\x00\xff"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a.Write("t/s/v", c.before)
			b.WaitValue("t/s/v", c.before)
			r := h.Shell(`cd "$1"; `+c.script, a.Path("t/s"))
			if r.Code != 0 || r.Stdout != c.prints || r.Stderr != "" {
				t.Errorf("want output %q: %v", c.prints, r)
			}
			b.WaitValue("t/s/v", c.after)
			if got := strings.Join(a.List("t/s"), " "); got != "v" {
				t.Errorf("left in the directory: %s", got)
			}
		})
	}

	t.Run("the whole tree", func(t *testing.T) {
		a.Mkdir("plant/line1/oven")
		a.Write("plant/line1/oven/temp", "21.5")
		a.Write("plant/line1/speed", "3")
		out := h.MustShell(`cd "$1"; ls -laR; find . | sort; df -h .; du -s .`, a.Dir)
		for _, want := range []string{"./plant/line1/oven/temp", "./plant/line1/speed", "./t/s/v"} {
			if !strings.Contains(out, want) {
				t.Errorf("%q is not in\n%s", want, out)
			}
		}
		if df := h.MustShell(`df --output=size,avail,fstype "$1" | tail -n 1`, a.Dir); len(strings.Fields(df)) != 3 || strings.HasPrefix(strings.TrimSpace(df), "0 ") {
			t.Errorf("df: %q", df)
		}
		h.MustShell(`cp -r "$1/plant" "$2" && diff -r "$1/plant" "$2"`, a.Dir, h.path("copy"))
		h.MustShell(`cp -r "$2" "$1/copied" && diff -r "$1/plant" "$1/copied" && rm -r "$1/copied"`, b.Dir, h.path("copy"))
		a.WaitGone("copied")
	})

	t.Run("times", func(t *testing.T) {
		st1, err1 := os.Stat(a.Path("t/s/v"))
		st2, err2 := os.Stat(b.Path("t/s/v"))
		if err1 != nil || err2 != nil || !st1.ModTime().Equal(st2.ModTime()) {
			t.Errorf("mtime %v here, %v there (%v %v)", st1.ModTime(), st2.ModTime(), err1, err2)
		}
	})
}
