package hoststoml_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/log"

	"github.com/shoal-project/shoal/pkg/containerd/hoststoml"
)

func TestMain(m *testing.M) {
	log.L.Logger.SetOutput(io.Discard) // containerd logs every file that it does not accept
	m.Run()
}

// An oracle is containerd's own code, reading a folder of a registry.
type oracle struct {
	root, pem string
	registry  string
}

func newOracle(tb testing.TB) *oracle {
	tb.Helper()
	o := &oracle{root: tb.TempDir(), registry: "registry.test"}
	if err := os.Mkdir(filepath.Join(o.root, o.registry), 0o700); err != nil {
		tb.Fatal(err)
	}
	o.pem = filepath.Join(o.root, "all.pem")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{SerialNumber: big.NewInt(1)}, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	both := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})...)
	if err := os.WriteFile(o.pem, both, 0o600); err != nil {
		tb.Fatal(err)
	}
	return o
}

// hosts describes what containerd asks, in order. Files that do not exist are put in the
// place of those named.
func (o *oracle) hosts(content []byte, files []string) ([]string, error) {
	text := string(content)
	for _, f := range files {
		text = strings.ReplaceAll(text, fmt.Sprintf("%q", f), fmt.Sprintf("%q", o.pem))
	}
	if err := os.WriteFile(filepath.Join(o.root, o.registry, "hosts.toml"), []byte(text), 0o600); err != nil {
		return nil, err
	}
	found, err := config.ConfigureHosts(logless(), config.HostOptions{HostDir: config.HostDirFromRoot(o.root)})(o.registry)
	all := make([]string, len(found))
	for i, h := range found {
		all[i] = describe(h)
	}
	return all, err
}

func describe(h docker.RegistryHost) string {
	tls := "none"
	if t, ok := h.Client.Transport.(*http.Transport); ok {
		c := t.TLSClientConfig
		tls = fmt.Sprintf("skip=%t roots=%t certificates=%d", c.InsecureSkipVerify, c.RootCAs != nil, len(c.Certificates))
	}
	return fmt.Sprintf("%s://%s%s %d %v tls: %s", h.Scheme, h.Host, h.Path, h.Capabilities, h.Header, tls)
}

// filesOf are all certificates and keys that a file names.
func filesOf(f hoststoml.File) []string {
	files := append([]string{}, f.Server.Files...)
	for _, h := range f.Hosts {
		files = append(files, h.Files...)
	}
	return files
}
