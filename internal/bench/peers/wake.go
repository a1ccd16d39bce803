package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/bench/crowd"
)

const (
	wakeBound = 5 * time.Second
	// asleep is what the one that waits is given to fall asleep: waking it is part of what is measured.
	asleep = 100 * time.Microsecond
)

// pair is one that writes numbers and one, on a thread of its own, that waits for each.
type pair struct {
	write func(number uint64) error
	await func(number uint64) error // returns when it has read the number
}

// side measures from before the write until the number was read.
func (p pair) side(name string) side {
	var number uint64
	return side{name, func(d time.Duration) (crowd.Sample, error) {
		arm, seen := make(chan uint64), make(chan sighting, 1)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for n := range arm {
				err := p.await(n)
				seen <- sighting{time.Now(), err}
			}
		}()
		defer close(arm)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		return timed(name, func() (time.Duration, error) {
			number++
			arm <- number
			time.Sleep(asleep)
			start := time.Now()
			err := p.write(number)
			got := <-seen
			return got.at.Sub(start), errors.Join(err, got.err)
		}).run(d)
	}}
}

type sighting struct {
	at  time.Time
	err error
}

// wake goes from a write on one mount to a thread that waited for the event on another and has read the value there.
func wake(l *lab, name string, remote bool) ([]result, error) {
	own, err := l.wakeMounts(remote)
	if err != nil {
		return nil, err
	}
	yardstick, err := l.wakeRedis()
	if err != nil {
		return nil, err
	}
	res, err := l.compare(name, comparison{goal: 2.0, sides: []side{
		own.side("pwrite on A, event and read on B" + map[bool]string{true: " by wss"}[remote]),
		yardstick.side("Redis SET and PUBLISH in one write, to SUBSCRIBE")}})
	return []result{res}, err
}

func (l *lab) wakeMounts(remote bool) (p pair, err error) {
	a, err := l.mount(false)
	if err == nil {
		err = a.makeService()
	}
	if err != nil {
		return p, err
	}
	if err := os.WriteFile(a.path("v"), make([]byte, 8), 0o644); err != nil {
		return p, err
	}
	b, err := l.mount(remote)
	if err != nil {
		return p, err
	}
	if err := l.poll(func() error { _, err := os.Stat(b.path("v")); return err }); err != nil {
		return p, err
	}
	from, err := l.open(a.path("v"), unix.O_RDWR)
	if err != nil {
		return p, err
	}
	read, err := l.awaitModify(b.path("v"))
	return pair{func(number uint64) error { number--; return pwrite(from, &number) }, func(number uint64) error {
		for bound := time.Now().Add(wakeBound); ; {
			got, err := read()
			if err != nil || got == number {
				return err
			}
			if time.Now().After(bound) {
				return fmt.Errorf("no event with the value within %v", wakeBound)
			}
		}
	}}, err
}

// awaitModify watches a file, and waits for an event and reads 8 bytes.
func (l *lab) awaitModify(path string) (func() (uint64, error), error) {
	events, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	l.later(func() error { return unix.Close(events) })
	if _, err := unix.InotifyAddWatch(events, path, unix.IN_MODIFY); err != nil {
		return nil, err
	}
	fd, err := l.open(path, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	var buf [4096]byte
	return func() (uint64, error) {
		for bound := time.Now().Add(wakeBound); ; {
			var value [8]byte
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(events), Events: unix.POLLIN}}, 1000)
			switch {
			case time.Now().After(bound):
				return 0, fmt.Errorf("no event within %v", wakeBound)
			case errors.Is(err, unix.EINTR), err == nil && n == 0:
				continue
			case err != nil:
				return 0, err
			}
			if _, err := unix.Read(events, buf[:]); err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
				return 0, err
			}
			if _, err := unix.Pread(fd, value[:], 0); err != nil {
				return 0, err
			}
			return binary.LittleEndian.Uint64(value[:]), nil
		}
	}, nil
}

// wakeRedis stores a value and publishes it, in one write: the least that Redis can do for a subscriber that wants values.
func (l *lab) wakeRedis() (p pair, err error) {
	socket, err := l.redis()
	if err != nil {
		return p, err
	}
	var conns [2]*resp
	for i := range conns {
		if conns[i], err = dialBlocking(socket); err != nil {
			return p, err
		}
		l.later(conns[i].close)
	}
	if err := conns[1].subscribe("v"); err != nil {
		return p, err
	}
	if err := conns[1].conn.(blocking).wait(wakeBound); err != nil {
		return p, err
	}
	write := func(number uint64) error {
		value := binary.LittleEndian.AppendUint64(nil, number)
		conns[0].add([]byte("SET"), []byte("v"), value)
		conns[0].add([]byte("PUBLISH"), []byte("v"), value)
		if err := conns[0].flush(); err != nil {
			return err
		}
		for range 2 {
			if _, _, err := conns[0].line(); err != nil {
				return err
			}
		}
		return nil
	}
	await := func(number uint64) error {
		var buf [64]byte
		value, err := conns[1].message(buf[:])
		if err == nil && binary.LittleEndian.Uint64(value) != number {
			err = errors.New("redis: another number")
		}
		return err
	}
	return pair{write, await}, nil
}
