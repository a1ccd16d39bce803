package transport

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/model"
)

// The file of a bare service, and its bell, are handed out as descriptors on a connection of their own to the Unix socket: a
// GET of HandOutPath, whose answer comes with both. So no path has to lead to them, and what the descriptor may do is the
// server's decision.

// HandOutPath is where files are handed out: ?service=ID, and &write=1 for who wants to store.
const HandOutPath = "/memory"

const (
	codeHeader  = "Commyfs-Code"
	maxHandOut  = 4 << 10 // bytes of an answer
	handOutTime = 10 * time.Second
)

// ParseHandOut reads a request for the files of a bare service.
func ParseHandOut(r *http.Request) (service uint64, write bool, err error) {
	q := r.URL.Query()
	service, err = strconv.ParseUint(q.Get("service"), 10, 64)
	if err != nil || r.Method != http.MethodGet {
		return 0, false, &model.Error{Code: model.CodeInvalid, Message: "not a request for a service's memory"}
	}
	return service, q.Get("write") == "1", nil
}

// HandOut answers with files, or with an error.
func HandOut(w http.ResponseWriter, files []*os.File, refused error) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return // not a connection that could pass anything on
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(closeWait))
	if refused != nil {
		text := refused.Error() + "\n"
		_, _ = fmt.Fprintf(c, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n%s: %d\r\nContent-Length: %d\r\n\r\n%s", codeHeader,
			model.CodeOf(refused), len(text), text)
		return
	}
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	answer := []byte("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	_ = sendFiles(c, answer, unix.UnixRights(fds...)) // who is gone has no use for them
}

func sendFiles(c net.Conn, b, rights []byte) error {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return errors.ErrUnsupported
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendmsg(int(fd), b, rights, nil, unix.MSG_NOSIGNAL)
		return sendErr != unix.EAGAIN
	})
	return errors.Join(err, sendErr)
}

// OpenBare has the server hand out the file of a bare service, and its bell: to read, or also to write. It fails with
// [model.ErrUnsupported] on connections other than to a Unix socket.
func (c *Client) OpenBare(ctx context.Context, service uint64, write bool) (memory, bell *os.File, err error) {
	if c.conn.socket == "" {
		return nil, nil, model.ErrUnsupported
	}
	ctx, cancel := context.WithTimeout(ctx, handOutTime)
	defer cancel()
	conn, err := dialUnix(ctx, c.conn.socket)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", model.ErrDisconnected, innerError(err))
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	mode := ""
	if write {
		mode = "&write=1"
	}
	_, err = fmt.Fprintf(conn, "GET %s?service=%d%s HTTP/1.1\r\nHost: localhost\r\n\r\n", HandOutPath, service, mode)
	var files []*os.File
	if err == nil {
		files, err = receiveFiles(conn.(*net.UnixConn))
	}
	if err == nil && len(files) != 2 {
		err = fmt.Errorf("%w: %d files were handed out", model.ErrInternal, len(files))
	}
	var refused *model.Error
	switch {
	case errors.As(err, &refused), errors.Is(err, unix.EMFILE):
	case err != nil:
		err = fmt.Errorf("%w: %w", model.ErrDisconnected, innerError(err))
	}
	if err != nil {
		for _, f := range files {
			_ = f.Close()
		}
		return nil, nil, err
	}
	return files[0], files[1], nil
}

// receiveFiles reads an answer of [HandOut].
func receiveFiles(c *net.UnixConn) (files []*os.File, err error) {
	var answer []byte
	for {
		b, oob := make([]byte, maxHandOut), make([]byte, unix.CmsgSpace(2*4))
		n, oobn, flags, _, err := c.ReadMsgUnix(b, oob)
		more, rightsErr := rightsOf(oob[:max(oobn, 0)])
		files = append(files, more...)
		answer = append(answer, b[:max(n, 0)]...)
		switch {
		case err != nil && !errors.Is(err, io.EOF):
			return files, err
		case rightsErr != nil:
			return files, rightsErr
		case flags&unix.MSG_CTRUNC != 0 && len(files) < 2: // there was no room for them
			return files, unix.EMFILE
		case flags&unix.MSG_CTRUNC != 0 || len(answer) > maxHandOut || len(files) > 2:
			return files, fmt.Errorf("%w: an answer that is too long", model.ErrInternal)
		}
		if n <= 0 {
			break
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), nil)
	if err != nil {
		return files, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return files, nil
	}
	code, err := strconv.ParseUint(resp.Header.Get(codeHeader), 10, 8)
	if err != nil || code == 0 {
		return files, refusal(resp)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return files, err
	}
	return files, &model.Error{Code: model.Code(code), Message: string(bytes.TrimSpace(text))}
}

func rightsOf(oob []byte) (files []*os.File, err error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return files, err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "memory"))
		}
	}
	return files, nil
}
