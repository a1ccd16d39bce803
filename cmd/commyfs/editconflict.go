package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/commy-project/commyfs"
)

// commit sets the value, and asks what to do if that is refused. again: the file is to be edited once more.
func (e *edit) commit(ctx context.Context, value []byte) (again bool, err error) {
	if e.hasMarkers(value) {
		switch e.ask("conflict markers are left in the value", "edit again", "set it as it is", "abort") {
		case 'e':
			return true, nil
		case 'a', 0:
			return false, e.refused(commyfs.ErrConflict)
		}
	}
	for {
		_, err := e.path.service(e.c).Update(ctx, e.path.Name, value, e.version)
		if err == nil {
			return false, nil
		}
		if errors.Is(err, commyfs.ErrConflict) {
			return e.conflict(ctx, value)
		}
		switch e.ask(explain(e.path, err, e.c.Limits()).Error(), "try again", "edit again", "abort") {
		case 't':
		case 'e':
			return true, nil
		default:
			return false, explain(e.path, err, e.c.Limits())
		}
	}
}

func (e *edit) refused(err error) error { return fmt.Errorf("%s: %w", e.path.shown(), err) }

// conflict is commit when somebody else has changed the variable.
func (e *edit) conflict(ctx context.Context, value []byte) (again bool, err error) {
	now, err := e.get(ctx)
	if err != nil {
		return false, explain(e.path, err, e.c.Limits())
	}
	before, beforeVersion := e.was, e.version
	sees := func() { e.was, e.version = now.Value, now.Version } // until then each try is a conflict again
	switch {
	case now.Version == 0:
		switch e.ask("the variable was deleted meanwhile", "create it", "edit again", "abort") {
		case 'c':
			sees()
			return e.commit(ctx, value)
		case 'e':
			return true, nil
		}
		return false, fmt.Errorf("%w: it was deleted meanwhile", e.refused(commyfs.ErrConflict))
	case bytes.Equal(now.Value, value) && beforeVersion != 0:
		return false, nil // somebody has made the same change
	case bytes.Equal(now.Value, before) && beforeVersion != 0:
		sees() // somebody has taken theirs back
		return e.commit(ctx, value)
	}
	choices := []string{"merge", "edit again", "overwrite", "abort"}
	what := fmt.Sprintf("the variable was changed meanwhile by %s, to version %d", now.Writer, now.Version)
	if beforeVersion == 0 {
		what = fmt.Sprintf("the variable was created meanwhile by %s", now.Writer)
	}
	if _, err := exec.LookPath("diff3"); err != nil {
		what, choices = what+" (there is no diff3 to merge with: install package diffutils)", choices[1:]
	}
	for {
		switch e.ask(what, choices...) {
		case 'm':
			clean, err := e.merge(before, value, now.Value)
			if err != nil {
				fmt.Fprintln(e.a.stderr, "commyfs: "+errorLine(err))
				continue
			}
			sees()
			if clean == nil {
				return true, nil
			}
			return e.commit(ctx, clean)
		case 'e':
			return true, nil
		case 'o':
			sees()
			return e.commit(ctx, value)
		}
		return false, fmt.Errorf("%w: the current version is %d", e.refused(commyfs.ErrConflict), now.Version)
	}
}

// The lines by which diff3 marks what both have changed, without what follows in them.
var conflictMarkers = []string{strings.Repeat("<", 7) + " yours\n", strings.Repeat(">", 7) + " theirs\n"}

// hasMarkers reports whether the value has marks of a merge, which were in neither value that it was made of.
func (e *edit) hasMarkers(value []byte) bool {
	for _, m := range conflictMarkers {
		if bytes.Contains(value, []byte(m)) && !bytes.Contains(e.was, []byte(m)) {
			return true
		}
	}
	return false
}

// merge makes one value of two that have become of a third. If both have changed the same, the result, with marks, is what is
// to be edited, and nil is returned.
func (e *edit) merge(was, mine, theirs []byte) (clean []byte, err error) {
	parts, err := os.MkdirTemp(e.dir, "merge-")
	if err != nil {
		return nil, err
	}
	args := []string{"-m", "-E"}
	ended := func(value []byte) bool { return len(value) == 0 || value[len(value)-1] == '\n' }
	for _, f := range []struct {
		name  string
		value []byte
	}{{"yours", mine}, {"before", was}, {"theirs", theirs}} {
		if !ended(f.value) {
			f.value = append(bytes.Clone(f.value), '\n') // diff3 puts its marks behind the last line, wherever that ends
		}
		if err := os.WriteFile(filepath.Join(parts, f.name), f.value, 0o600); err != nil {
			return nil, err
		}
		args = append(args, "-L", f.name)
	}
	cmd := exec.Command("diff3", append(args, "--", "yours", "before", "theirs")...)
	cmd.Dir = parts
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var out, message bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &message
	var exit *exec.ExitError
	switch err := cmd.Run(); {
	case err == nil:
		clean = append([]byte{}, out.Bytes()...)
		last := ended(mine)
		if last == ended(was) {
			last = ended(theirs) // that is theirs to change
		}
		if !last {
			clean = bytes.TrimSuffix(clean, []byte("\n"))
		}
		return clean, nil
	case errors.As(err, &exit) && exit.ExitCode() == 1:
		return nil, e.write(out.Bytes())
	default:
		return nil, fmt.Errorf("diff3: %w: %s", err, strings.TrimSpace(message.String()))
	}
}

// ask shows what has happened and returns the first letter of what is to be done, 0 if nobody says: there is no terminal, the
// input ends, or the command is interrupted.
func (e *edit) ask(what string, choices ...string) byte {
	if !isTerminal(e.a.stdin) {
		return 0
	}
	var list []string
	for _, c := range choices {
		list = append(list, "["+c[:1]+"]"+c[1:])
	}
	for {
		fmt.Fprintf(e.a.stderr, "commyfs: %s\n%s? ", oneLine(what), strings.Join(list, ", "))
		line, ok := e.readLine()
		if !ok {
			fmt.Fprintln(e.a.stderr)
			return 0
		}
		for _, c := range choices {
			if line != "" && strings.HasPrefix(c, strings.ToLower(line)) {
				return c[0]
			}
		}
	}
}

// readLine reads a line of the input, and nothing behind it: that can be for the editor. It reports false if there is none, or
// a signal comes before.
func (e *edit) readLine() (line string, ok bool) {
	type result struct {
		line string
		ok   bool
	}
	done := make(chan result, 1)
	go func() {
		var line []byte
		b := make([]byte, 1)
		for {
			if n, err := e.a.stdin.Read(b); n == 0 || err != nil {
				done <- result{}
				return
			}
			if b[0] == '\n' {
				done <- result{strings.TrimSpace(string(line)), true}
				return
			}
			line = append(line, b[0])
		}
	}()
	select {
	case r := <-done:
		return r.line, r.ok
	case <-e.signals:
		return "", false
	}
}

func oneLine(s string) string { return errorLine(errors.New(s)) }
