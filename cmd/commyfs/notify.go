package main

import (
	"net"
	"strings"
)

// notify tells the service manager how the process is, if it wants to know: sd_notify(3). That nobody hears it is no failure.
func (a *app) notify(state ...string) {
	to := a.getenv("NOTIFY_SOCKET")
	if to == "" {
		return
	}
	if strings.HasPrefix(to, "@") { // in the abstract name space
		to = "\x00" + to[1:]
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: to, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(strings.Join(state, "\n")))
}
