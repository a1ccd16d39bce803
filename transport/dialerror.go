package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/commy-project/commyfs/model"
)

// ErrUntrusted says that the server's certificate is not one that the client accepts. To try again does not help.
var ErrUntrusted = errors.New("server certificate is not trusted")

// refusedCertificate returns the TLS alert by which a server refused the client's certificate, or its absence, else "".
// crypto/tls shows alerts of the other side by their text alone.
func refusedCertificate(err error) string {
	const badCertificate, unknownCA, certificateRequired = tls.AlertError(42), tls.AlertError(48), tls.AlertError(116)
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return ""
	}
	switch text := op.Err.Error(); text {
	case badCertificate.Error(), unknownCA.Error(), certificateRequired.Error():
		return text
	}
	return ""
}

// explain makes one line of what went wrong, with the target's name in it.
func (t *target) explain(ctx context.Context, err error) error {
	var refused *model.Error
	var untrusted *tls.CertificateVerificationError
	var notTLS tls.RecordHeaderError
	switch {
	case errors.As(err, &refused):
		return fmt.Errorf("%s: %w", t.name, err)
	case errors.As(err, &untrusted):
		return t.explainUntrusted(untrusted)
	case errors.As(err, &notTLS):
		return fmt.Errorf("%s: %w: the server does not speak TLS", t.name, model.ErrUnsupported)
	case refusedCertificate(err) != "":
		return fmt.Errorf("%s: %w: %s", t.name, model.ErrUnauthorized, refusedCertificate(err))
	case t.network == "unix" && errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s: %w: %w", t.name, model.ErrDenied, syscall.EACCES)
	case errors.Is(err, os.ErrDeadlineExceeded): // of the socket, which can run out just before that of ctx
		return fmt.Errorf("%s: %w: timed out waiting for an answer: %w", t.name, model.ErrDisconnected, context.DeadlineExceeded)
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w: %w", t.name, model.ErrDisconnected, context.Cause(ctx))
	}
	return fmt.Errorf("%s: %w: %w", t.name, model.ErrDisconnected, innerError(err))
}

func (t *target) explainUntrusted(err *tls.CertificateVerificationError) error {
	by := "the system's CAs"
	if t.caFile != "" {
		by = "CA file " + t.caFile
	}
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &host), errors.As(err, &invalid):
		return fmt.Errorf("%s: %w: %w", t.name, ErrUntrusted, err.Err)
	}
	return fmt.Errorf("%s: %w by %s: %w", t.name, ErrUntrusted, by, err.Err)
}

// innerError strips "dial tcp 10.0.0.1:7:" from an error that will name its target another way.
func innerError(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Err
	}
	return err
}
