package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/internal/bench/crowd"
)

// The bare programs do one thing that a server does, and nothing else.

// bare connects to a bare program in a child process.
func (l *lab) bare(role string, args ...string) (func() (net.Conn, error), error) {
	socket := filepath.Join(l.root, role+".sock")
	c, err := l.self(role, append([]string{socket}, args...)...)
	if err != nil {
		return nil, err
	}
	if _, err := l.line(c, "ready"); err != nil {
		return nil, err
	}
	return func() (net.Conn, error) {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			l.later(conn.Close)
		}
		return conn, err
	}, nil
}

// exchange is a side that sends a few bytes to a bare program and waits until it has them back.
func (l *lab) exchange(name, role string, args ...string) (side, error) {
	dial, err := l.bare(role, args...)
	if err != nil {
		return side{}, err
	}
	conn, err := dial()
	var buf [pingSize]byte
	return repeat(name, func() error { return thereAndBack(conn, buf[:]) }), err
}

func thereAndBack(conn net.Conn, buf []byte) error {
	if _, err := conn.Write(buf); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, buf)
	return err
}

// serveBare accepts connections and handles each, until ctx ends.
func serveBare(ctx context.Context, socket string, handle func(net.Conn) error) error {
	ln, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
	fmt.Println("ready")
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			_ = handle(conn) // it ends with its connection
		}()
	}
}

// servePong sends back what it gets, after f.
func servePong(ctx context.Context, socket string, f func() error) error {
	return serveBare(ctx, socket, func(conn net.Conn) error {
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err == nil {
				err = f()
			}
			if err == nil {
				_, err = conn.Write(buf[:n])
			}
			if err != nil {
				return err
			}
		}
	})
}

// serveStore puts a value into a store before it answers.
func serveStore(ctx context.Context, socket, dir string) error {
	e, err := engine.Open(ctx, engine.Options{Dir: dir})
	if err != nil {
		return err
	}
	return errors.Join(servePong(ctx, socket, committing(e, 1)), e.Close())
}

// committing puts n values of 8 bytes into a store, in one transaction.
func committing(e *engine.Engine, n int) func() error {
	vars, ops := make([]engine.Variable, n), make([]engine.Op, n)
	for i := range vars {
		vars[i] = engine.Variable{ID: uint64(i + 1), Name: fmt.Sprintf("v%d", i), Mode: 0o644, Writer: "peers", Data: make([]byte, 8)}
	}
	return func() error {
		for i := range vars {
			v := &vars[i]
			v.Version++
			binary.LittleEndian.PutUint64(v.Data, v.Version)
			ops[i] = engine.PutVariable(1, *v)
		}
		_, err := e.Commit(context.Background(), ops)
		return err
	}
}

// eventSize is about what an event with a value of 8 bytes takes on the wire.
const eventSize = 150

// serveFan sends what writers send to all watchers, and then to the writers. What came meanwhile goes in one write. The first
// byte of a connection says what it is.
func serveFan(ctx context.Context, socket string) error {
	var mu sync.Mutex // guards the following
	var watchers []net.Conn
	var waiting []byte
	var written *sync.WaitGroup // for those who wait, nil if nobody does
	send := func() {
		mu.Lock()
		defer mu.Unlock()
		for written != nil {
			data, done, to := waiting, written, watchers
			waiting, written = nil, nil
			mu.Unlock()
			for _, w := range to {
				_, _ = w.Write(data) // those that are gone do not matter
			}
			done.Done()
			mu.Lock()
		}
	}
	ring := make(chan struct{}, 1)
	go func() {
		for range ring {
			send()
		}
	}()
	return serveBare(ctx, socket, func(conn net.Conn) error {
		buf := make([]byte, eventSize)
		if _, err := io.ReadFull(conn, buf[:1]); err != nil {
			return err
		}
		if buf[0] == 'w' {
			mu.Lock()
			watchers = append(watchers, conn)
			mu.Unlock()
			_, err := conn.Write(buf[:1])
			<-ctx.Done()
			return err
		}
		for {
			if _, err := io.ReadFull(conn, buf); err != nil {
				return err
			}
			mu.Lock()
			waiting = append(waiting, buf...)
			if written == nil {
				written = new(sync.WaitGroup)
				written.Add(1)
			}
			done := written
			mu.Unlock()
			select {
			case ring <- struct{}{}:
			default:
			}
			done.Wait()
			if _, err := conn.Write(buf); err != nil {
				return err
			}
		}
	})
}

// fan is a fan-out by bare programs.
func (l *lab) fan() (*crowd.FanOut, error) {
	dial, err := l.bare(roleFan)
	if err != nil {
		return nil, err
	}
	f := crowd.NewFanOut()
	for range crowd.Watchers {
		conn, err := dial()
		if err == nil {
			err = thereAndBack(conn, []byte{'w'})
		}
		if err != nil {
			return nil, err
		}
		p := f.Watch()
		go func() {
			var buf [eventSize]byte
			in := bufio.NewReaderSize(conn, 64<<10)
			for {
				if _, err := io.ReadFull(in, buf[:]); err != nil {
					return // the end
				}
				p.Got(buf[:])
			}
		}()
	}
	for range crowd.Writers {
		conn, err := dial()
		if err == nil {
			_, err = conn.Write([]byte{'p'})
		}
		if err != nil {
			return nil, err
		}
		buf := make([]byte, eventSize)
		f.Write(func(value []byte) error {
			copy(buf, value)
			return thereAndBack(conn, buf)
		})
	}
	return f, nil
}
