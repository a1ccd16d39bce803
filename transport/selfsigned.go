package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	caLife     = 10 * 365 * 24 * time.Hour
	leafLife   = 5 * 365 * 24 * time.Hour
	renewEarly = 365 * 24 * time.Hour // so that no server outlives its certificate between two starts
	clockSkew  = time.Hour
)

// SelfSigned makes sure that dir has a certificate authority of our own and a server certificate signed by it, for the
// given names and addresses besides this host's. What is there is kept as long as it serves: the CA, which clients have
// copies of, until it has less than a year left; the certificate until then or until a name is missing in it. Keys
// have mode 0600. The caller prevents concurrent calls for the same directory.
func SelfSigned(dir string, hosts []string) (certFile, keyFile, caFile string, err error) {
	names, err := allHosts(hosts)
	if err == nil {
		certFile, keyFile, caFile, err = selfSigned(dir, names, time.Now())
	}
	if err != nil {
		return "", "", "", fmt.Errorf("self-signed certificate: %w", err)
	}
	return certFile, keyFile, caFile, nil
}

func selfSigned(dir string, names []string, now time.Time) (certFile, keyFile, caFile string, err error) {
	err = os.MkdirAll(dir, 0o700)
	if err == nil {
		err = syncDir(filepath.Dir(dir))
	}
	if err != nil {
		return "", "", "", err
	}
	caFile, caKey := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key")
	certFile, keyFile = filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")

	ca, err := loadPair(caFile, caKey)
	if err != nil || !ca.cert.IsCA || now.Add(renewEarly).After(ca.cert.NotAfter) {
		if ca, err = makeCA(caFile, caKey, now); err != nil {
			return "", "", "", err
		}
	}
	leaf, err := loadPair(certFile, keyFile)
	if err != nil || leaf.cert.CheckSignatureFrom(ca.cert) != nil || now.Add(renewEarly).After(leaf.cert.NotAfter) ||
		slices.ContainsFunc(names, func(n string) bool { return leaf.cert.VerifyHostname(n) != nil }) {
		if err := makeLeaf(certFile, keyFile, ca, names, now); err != nil {
			return "", "", "", err
		}
	}
	return certFile, keyFile, caFile, nil
}

// allHosts adds what this host can be reached as. Addresses that stand for all are left out.
func allHosts(hosts []string) ([]string, error) {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if h, err := os.Hostname(); err == nil && h != "" {
		names = append(names, h)
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLinkLocalUnicast() {
			names = append(names, n.IP.String())
		}
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); h != "" && (ip == nil || !ip.IsUnspecified()) {
			names = append(names, h)
		}
	}
	for i, n := range names {
		names[i] = strings.ToLower(n)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

type keyPair struct {
	cert *x509.Certificate
	key  any
}

func loadPair(certFile, keyFile string) (*keyPair, error) {
	p, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	return &keyPair{cert: p.Leaf, key: p.PrivateKey}, nil
}

func makeCA(certFile, keyFile string, now time.Time) (*keyPair, error) {
	tmpl := &x509.Certificate{
		// Two CAs must not have the same name: a client that has the older one would take it for the issuer.
		Subject:               pkix.Name{CommonName: "commyfs CA " + rand.Text()[:8]},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	return issue(certFile, keyFile, tmpl, nil)
}

func makeLeaf(certFile, keyFile string, ca *keyPair, names []string, now time.Time) error {
	end := now.Add(leafLife)
	if end.After(ca.cert.NotAfter) {
		end = ca.cert.NotAfter
	}
	tmpl := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "commyfs server"},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, n)
		}
	}
	_, err := issue(certFile, keyFile, tmpl, ca)
	return err
}

// issue makes a key and a certificate for it, signed by parent or by itself, and stores them. A crash in between leaves
// a pair that does not match, which loadPair refuses.
func issue(certFile, keyFile string, tmpl *x509.Certificate, parent *keyPair) (*keyPair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if parent == nil {
		parent = &keyPair{cert: tmpl, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent.cert, key.Public(), parent.key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := writePEM(keyFile, "PRIVATE KEY", keyDER, 0o600); err != nil {
		return nil, err
	}
	if err := writePEM(certFile, "CERTIFICATE", der, 0o644); err != nil {
		return nil, err
	}
	if err := syncDir(filepath.Dir(certFile)); err != nil {
		return nil, err
	}
	return &keyPair{cert: cert, key: key}, nil
}

// syncDir puts the names in a directory on the disk: clients get copies of a CA that must not be another one after a power
// cut.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// writePEM replaces a file as a whole.
func writePEM(file, kind string, der []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already if all went well
	err = pem.Encode(f, &pem.Block{Type: kind, Bytes: der})
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	return err
}
