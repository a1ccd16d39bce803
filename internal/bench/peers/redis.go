package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// redis starts a server that syncs its log before it answers a write. It returns its socket.
func (l *lab) redis() (string, error) {
	if l.redisSocket != "" {
		return l.redisSocket, nil
	}
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return "", errors.New("redis-server is not installed: .ci/deps bench")
	}
	dir, socket := filepath.Join(l.root, "redis"), filepath.Join(l.root, "redis.sock")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	if _, err := l.start("redis-server", path, "--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "", "--appendonly", "yes",
		"--appendfsync", "always", "--daemonize", "no"); err != nil {
		return "", err
	}
	err = l.poll(func() error {
		c, err := dialRedis(socket)
		if err == nil {
			err = errors.Join(c.set("ready", []byte("yes")), c.close())
		}
		return err
	})
	l.redisSocket = socket
	return socket, err
}

// resp is a connection to Redis. The few commands that are measured need no library, and this costs less than any.
type resp struct {
	conn io.ReadWriteCloser
	in   *bufio.Reader
	out  []byte
}

func newResp(conn io.ReadWriteCloser) *resp { return &resp{conn: conn, in: bufio.NewReader(conn)} }

func dialRedis(socket string) (*resp, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	return newResp(conn), nil
}

// blocking is a socket that threads sleep in, as programs in C do: Go's poller is no part of what is measured.
type blocking int

func dialBlocking(socket string) (*resp, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return newResp(blocking(fd)), nil
}

func (b blocking) Read(p []byte) (n int, err error) {
	err = again(func() error { n, err = unix.Read(int(b), p); return err })
	if n == 0 && err == nil {
		err = io.EOF
	}
	return max(n, 0), err
}

func (b blocking) Write(p []byte) (n int, err error) {
	err = again(func() error { n, err = unix.Write(int(b), p); return err })
	return max(n, 0), err
}

func (b blocking) Close() error { return unix.Close(int(b)) }

func (b blocking) wait(d time.Duration) error {
	tv := unix.NsecToTimeval(d.Nanoseconds())
	return unix.SetsockoptTimeval(int(b), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
}

// add puts a command in the buffer.
func (r *resp) add(args ...[]byte) {
	r.out = fmt.Appendf(r.out, "*%d\r\n", len(args))
	for _, a := range args {
		r.out = append(strconv.AppendInt(append(r.out, '$'), int64(len(a)), 10), "\r\n"...)
		r.out = append(append(r.out, a...), "\r\n"...)
	}
}

func (r *resp) flush() error {
	_, err := r.conn.Write(r.out)
	r.out = r.out[:0]
	return err
}

// line is what follows the first byte of an answer, which says its kind.
func (r *resp) line() (kind byte, text []byte, err error) {
	text, err = r.in.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(text) < 3 {
		return 0, nil, fmt.Errorf("redis: a line of %d bytes", len(text))
	}
	if text[0] == '-' {
		return 0, nil, fmt.Errorf("redis: %s", text[1:len(text)-2])
	}
	return text[0], text[1 : len(text)-2], nil
}

// bulk reads a string into buf.
func (r *resp) bulk(buf []byte) ([]byte, error) {
	kind, text, err := r.line()
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(string(text))
	if err != nil || kind != '$' || n < 0 || n+2 > cap(buf) {
		return nil, fmt.Errorf("redis: %c%s where a string was expected", kind, text)
	}
	if _, err := io.ReadFull(r.in, buf[:n+2]); err != nil {
		return nil, err
	}
	return buf[:n], nil
}

func (r *resp) set(key string, value []byte) error {
	r.add([]byte("SET"), []byte(key), value)
	if err := r.flush(); err != nil {
		return err
	}
	_, _, err := r.line()
	return err
}

func (r *resp) publish(channel string, value []byte) error {
	r.add([]byte("PUBLISH"), []byte(channel), value)
	if err := r.flush(); err != nil {
		return err
	}
	_, _, err := r.line()
	return err
}

func (r *resp) subscribe(channel string) error {
	r.add([]byte("SUBSCRIBE"), []byte(channel))
	if err := r.flush(); err != nil {
		return err
	}
	var buf [64]byte
	for range 2 {
		if _, err := r.header(buf[:]); err != nil {
			return err
		}
	}
	_, _, err := r.line() // how many there are
	return err
}

// header reads one of the strings of an answer, and before the first how many there are.
func (r *resp) header(buf []byte) ([]byte, error) {
	if next, err := r.in.Peek(1); err == nil && next[0] == '*' {
		if _, _, err := r.line(); err != nil {
			return nil, err
		}
	}
	return r.bulk(buf)
}

// message waits for a published value.
func (r *resp) message(buf []byte) ([]byte, error) {
	for range 2 { // "message" and the channel
		if _, err := r.header(buf); err != nil {
			return nil, err
		}
	}
	return r.bulk(buf)
}

func (r *resp) close() error { return r.conn.Close() }
