package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/commy-project/commyfs/internal/dial"
	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

// A certificate that is valid for less than fewDays is about to expire.
const fewDays = 14

// The steps of a connection to a server. Each requires the previous ones.
var networkSteps = []string{"url", "dns", "tcp", "tls", "login", "round-trip"}

// examineServers checks the servers of --server in parallel. If one works, failures of the others are warnings.
func (d *dialer) examineServers(ctx context.Context) []finding {
	ctx, cancel := context.WithTimeout(ctx, min(d.o.timeout, askingBound))
	defer cancel()
	found := make([][]finding, len(d.o.server))
	var wg sync.WaitGroup
	for i, s := range d.o.server {
		wg.Go(func() { found[i] = judgeJourney(d.travel(ctx, s), time.Now()) })
	}
	wg.Wait()
	failed := func(fs []finding) bool {
		return slices.ContainsFunc(fs, func(f finding) bool { return f.Status == statusFail })
	}
	all := slices.Concat(found...)
	if slices.ContainsFunc(found, func(fs []finding) bool { return !failed(fs) }) {
		return softened(all)
	}
	return all
}

// journey records how far a connection to a server got.
type journey struct {
	name   string // the server's URL, without secrets
	scheme string
	ca     bool // --ca was given
	key    string
	keyErr error // the key cannot be read

	// A dialer may try addresses in parallel.
	mu              sync.Mutex // guards the following
	lookup, connect time.Duration
	lookupErr       error
	addr            string // the address of the connection

	secured *tls.ConnectionState // set once the certificate is verified
	arrived bool                 // connected
	talk    *talk                // requests were answered
	end     string               // the step that failed, empty for none
	err     error
}

// travel connects like every command, and records each step.
func (d *dialer) travel(ctx context.Context, server string) *journey {
	j := &journey{name: "the address", end: "url", ca: d.o.ca != ""}
	u, err := url.Parse(server)
	if !isServerURL(server) || err != nil {
		if err == nil && u.Host != "" {
			j.name = u.Scheme + "://" + u.Host // the rest may contain a password
		}
		j.err = fmt.Errorf("%s: must be wss://host:port or unix:///path", j.name)
		return j
	}
	j.name, j.scheme = server, u.Scheme
	j.key, j.keyErr = d.o.apiKey(d.a)
	o := transport.DialOptions{URL: server, CAFile: d.o.ca, APIKey: j.key, Options: d.transport()}
	if j.scheme == "wss" {
		if j.err = dial.CheckFiles(d.o.ca, d.o.key); j.err == nil {
			o.TLS, j.err = transport.ClientTLS(d.o.ca, d.o.cert, d.o.key)
		}
		if j.err != nil {
			j.end = "tls"
			return j
		}
		o.TLS.VerifyConnection = func(cs tls.ConnectionState) error {
			j.secured = &cs
			return nil
		}
	}
	conn, err := transport.Dial(httptrace.WithClientTrace(ctx, j.trace()), o)
	if j.err = noAnswer(ctx, err); err == nil {
		j.arrived = true
		j.talk, j.err = talkTo(ctx, conn)
	}
	j.end = j.ended()
	return j
}

// trace records what the net package does.
func (j *journey) trace() *httptrace.ClientTrace {
	var began time.Time
	note := func(f func()) {
		j.mu.Lock()
		defer j.mu.Unlock()
		f()
	}
	begin := func() { began = time.Now() }
	return &httptrace.ClientTrace{
		DNSStart:     func(httptrace.DNSStartInfo) { note(begin) },
		DNSDone:      func(i httptrace.DNSDoneInfo) { note(func() { j.lookup, j.lookupErr = time.Since(began), i.Err }) },
		ConnectStart: func(string, string) { note(begin) },
		ConnectDone: func(_, addr string, err error) {
			note(func() {
				if err == nil && j.addr == "" {
					j.connect, j.addr = time.Since(began), addr
				}
			})
		},
	}
}

// ended returns the step that failed.
func (j *journey) ended() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.talk != nil:
		return ""
	case errors.Is(j.err, model.ErrInvalid):
		return "url"
	case j.lookupErr != nil:
		return "dns"
	case j.addr == "":
		return "tcp"
	case j.scheme == "wss" && j.secured == nil:
		return "tls"
	case j.arrived && j.keyErr == nil:
		return "round-trip"
	}
	return "login"
}

// judgeJourney returns a finding for each step.
func judgeJourney(j *journey, now time.Time) []finding {
	j.mu.Lock()
	defer j.mu.Unlock()
	made := map[string]finding{
		"url":   good("url", "%s", j.name),
		"dns":   good("dns", "resolved in %s", j.lookup.Round(time.Microsecond)),
		"tcp":   good("tcp", "connected to %s in %s", j.addr, j.connect.Round(time.Microsecond)),
		"tls":   skipped("tls", "not needed on this machine"),
		"login": good("login", "accepted"),
	}
	if j.lookup == 0 {
		made["dns"] = skipped("dns", "no name to look up")
	}
	if j.secured != nil {
		made["tls"] = judgeCertificate(j.secured, now)
	}
	if j.talk != nil {
		made["login"] = good("login", "accepted by version %s on %s", j.talk.server.Version, j.talk.server.Host)
		made["round-trip"] = judgeRoundTrip(j.talk)
	}
	end := slices.Index(networkSteps, j.end)
	var found []finding
	for i, step := range networkSteps {
		switch {
		case i == end:
			err := j.err
			if step == "login" && j.keyErr != nil {
				err = j.keyErr
			}
			f := troubled(step, err, j.fix(step))
			f.Detail = strings.Replace(f.Detail, model.ErrInvalid.Message+": ", "", 1) // not the server's answer
			found = append(found, f)
		case end >= 0 && i > end, j.addr == "" && (step == "dns" || step == "tcp") && end > i && j.end == "tls":
			found = append(found, skipped(step, "not reached"))
		default:
			found = append(found, made[step])
		}
	}
	if j.talk != nil {
		found = append(found, judgeLocks(j.talk)...)
	}
	return found
}

// fix is the advice for the step that failed.
func (j *journey) fix(step string) string {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var expired x509.CertificateInvalidError
	switch step {
	case "url":
		return "fix --server, or `server` in config.yaml"
	case "dns":
		return "fix the name, or the name servers in /etc/resolv.conf"
	case "tcp":
		if j.scheme == "unix" {
			return "start `commyfs serve` there"
		}
		return "start `commyfs serve --listen` there, or open the port in the firewalls in between"
	case "tls":
		switch {
		case errors.As(j.err, &unknown) && !j.ca:
			return "use --ca with the ca.pem that `commyfs serve` prints"
		case errors.As(j.err, &unknown):
			return "use --ca with the ca.pem of this server"
		case errors.As(j.err, &host):
			return "use a name in --server that is in the certificate"
		case errors.As(j.err, &expired) && expired.Reason == x509.Expired:
			return "renew the certificate there and restart `commyfs serve`"
		}
		return "check that it is a commyfs server, and check --ca, --cert and --key"
	case "login":
		switch {
		case j.keyErr != nil:
			return keyHint("")
		case errors.Is(j.err, model.ErrUnauthorized):
			return keyHint(j.key)
		case errors.Is(j.err, model.ErrUnsupported):
			return "fix the port: another service listens there"
		}
	}
	return "see the server's log"
}

// judgeCertificate finds the certificate of the chain that expires first.
func judgeCertificate(cs *tls.ConnectionState, now time.Time) finding {
	chain := cs.PeerCertificates
	if len(cs.VerifiedChains) > 0 {
		chain = cs.VerifiedChains[0]
	}
	first := slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
	days := int(first.NotAfter.Sub(now).Hours() / 24)
	f := good("tls", "%s, certificate valid for %d days", tls.VersionName(cs.Version), days)
	if days < fewDays {
		return f.but(statusWarn, "renew the certificate there and restart `commyfs serve`")
	}
	return f
}
