package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
)

func TestServerIsNotTrusted(t *testing.T) {
	noLeaks(t)
	s := &testServer{}
	ca := s.onTLS(t)
	_, _, otherCA, err := SelfSigned(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	port := s.url[strings.LastIndex(s.url, ":"):]
	pool, err := ClientTLS(ca, "", "")
	if err != nil {
		t.Fatal(err)
	}
	wrongName := pool.Clone()
	wrongName.ServerName = "elsewhere.example"
	for _, tt := range []struct {
		name string
		o    DialOptions
		text string
	}{
		{"other CA", DialOptions{URL: s.url, CAFile: otherCA}, s.url + ": server certificate is not trusted by CA file " + otherCA + ": x509: "},
		{"system's CAs", DialOptions{URL: s.url}, "not trusted by the system's CAs: x509: "},
		{"wrong name", DialOptions{URL: "wss://localhost" + port, TLS: wrongName}, "server certificate is not trusted: x509: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Dial(t.Context(), tt.o)
			if !errors.Is(err, ErrUntrusted) || errors.Is(err, model.ErrDisconnected) || !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want ErrUntrusted and %q", err, tt.text)
			}
		})
	}
	for _, host := range []string{"localhost", "127.0.0.1"} {
		c, err := Dial(t.Context(), DialOptions{URL: "wss://" + host + port, CAFile: ca})
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
}

func TestClientCertificateIsRequired(t *testing.T) {
	noLeaks(t)
	cert, key, ca, err := SelfSigned(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := ServerTLS(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	cfg.ClientAuth = tls.RequireAnyClientCert
	s := &testServer{}
	s.onTCP(t, cfg)
	if _, err := Dial(t.Context(), DialOptions{URL: s.url, CAFile: ca}); !errors.Is(err, model.ErrUnauthorized) {
		t.Errorf("got %v, want model.ErrUnauthorized", err)
	}
	c, _ := s.connect(t, DialOptions{CAFile: ca, CertFile: cert, KeyFile: key})
	if err := c.Send(Envelope{Message: &Ping{}}); err != nil {
		t.Error(err)
	}
}

func TestOnlyTLS13(t *testing.T) {
	s := &testServer{}
	ca := s.onTLS(t)
	cfg, err := ClientTLS(ca, "", "")
	if err != nil {
		t.Fatal(err)
	}
	cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	addr := strings.TrimPrefix(s.url, "wss://")
	if c, err := tls.Dial("tcp", addr, cfg); err == nil {
		_ = c.Close()
		t.Error("the server speaks TLS 1.2")
	}
	if _, err := Dial(t.Context(), DialOptions{URL: s.url, TLS: cfg}); err == nil {
		t.Error("the client speaks TLS 1.2")
	}
}

func TestSelfSigned(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	load := func(file string) *x509.Certificate {
		t.Helper()
		key := strings.TrimSuffix(file, ".pem") + ".key"
		p, err := loadPair(file, key)
		if err != nil {
			t.Fatal(err)
		}
		if st, err := os.Stat(key); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", key, st.Mode(), err)
		}
		return p.cert
	}
	issue := func(now time.Time, hosts ...string) (ca, leaf *x509.Certificate) {
		t.Helper()
		names, err := allHosts(hosts)
		if err != nil {
			t.Fatal(err)
		}
		certFile, _, caFile, err := selfSigned(dir, names, now)
		if err != nil {
			t.Fatal(err)
		}
		ca, leaf = load(caFile), load(certFile)
		pool := x509.NewCertPool()
		pool.AddCert(ca)
		hostname, err := os.Hostname()
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range append(hosts, "localhost", "127.0.0.1", "::1", hostname) {
			if h == "0.0.0.0" {
				continue
			}
			if _, err := leaf.Verify(x509.VerifyOptions{DNSName: h, Roots: pool, CurrentTime: now.Add(300 * 24 * time.Hour)}); err != nil {
				t.Errorf("%s: %v", h, err)
			}
		}
		if leaf.IsCA || !ca.IsCA {
			t.Error("the wrong one is a CA")
		}
		return ca, leaf
	}
	now := time.Now()
	day := 24 * time.Hour
	ca1, leaf1 := issue(now, "example.com", "192.0.2.7", "0.0.0.0", "Upper.Example")
	ca2, leaf2 := issue(now.Add(day), "192.0.2.7")
	if !ca1.Equal(ca2) || !leaf1.Equal(leaf2) {
		t.Error("issued again without need")
	}
	ca3, leaf3 := issue(now.Add(day), "192.0.2.8")
	if !ca1.Equal(ca3) || leaf3.Equal(leaf1) {
		t.Error("a new name: want the same CA and another certificate")
	}
	ca4, leaf4 := issue(now.Add(leafLife-300*day), "192.0.2.8")
	if !ca1.Equal(ca4) || leaf4.Equal(leaf3) {
		t.Error("certificate near its end: want the same CA and another certificate")
	}
	ca5, _ := issue(now.Add(caLife-300*day), "192.0.2.8")
	if ca5.Equal(ca1) {
		t.Error("CA near its end: want another")
	}
	if err := os.WriteFile(filepath.Join(dir, "server.key"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if ca6, _ := issue(now.Add(caLife - 300*day)); !ca6.Equal(ca5) {
		t.Error("damaged key: want the same CA")
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 4 {
		t.Errorf("%d files, %v, want 4", len(list), err)
	}
}

func TestClientTLSRefuses(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ClientTLS(empty, "", ""); !errors.Is(err, model.ErrInvalid) || !strings.Contains(err.Error(), empty) {
		t.Errorf("empty CA file: got %v, want model.ErrInvalid", err)
	}
	if _, err := ClientTLS("", empty, ""); err == nil {
		t.Error("a certificate without a key")
	}
	if _, err := ServerTLS(empty, empty); err == nil {
		t.Error("a server without a certificate")
	}
}

// TestSelfSignedIsOnDisk: when the CA can be given to clients, a power cut cannot take it away: file, name and directory
// are on the disk. strace sees what the kernel is asked for.
func TestSelfSignedIsOnDisk(t *testing.T) {
	testenv.Need(t, "strace")
	if dir := os.Getenv("COMMYFS_TEST_SELFSIGNED"); dir != "" {
		if _, _, _, err := SelfSigned(filepath.Join(dir, "tls"), nil); err != nil {
			t.Fatal(err)
		}
		return
	}
	dir := t.TempDir()
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command("strace", "-f", "-y", "-qq", "-e", "trace=fsync,rename,renameat,renameat2,mkdir,mkdirat", "-o", trace,
		os.Args[0], "-test.run=^TestSelfSignedIsOnDisk$")
	cmd.Env = append(os.Environ(), "COMMYFS_TEST_SELFSIGNED="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	calls := string(b)
	synced := func(dir, after string) {
		t.Helper()
		at := strings.LastIndex(calls, after)
		if at < 0 {
			t.Fatalf("no %s in\n%s", after, calls)
		}
		if !regexp.MustCompile(`fsync\(\d+<` + regexp.QuoteMeta(dir) + `>(\)| <unfinished)`).MatchString(calls[at:]) {
			t.Errorf("%s is not synchronised after %s:\n%s", dir, after, calls)
		}
	}
	synced(dir, filepath.Join(dir, "tls")+`", 0700`)
	for _, name := range []string{"ca.key", "ca.pem", "server.key", "server.pem"} {
		synced(filepath.Join(dir, "tls"), filepath.Join(dir, "tls", name)+`"`)
	}
}
