package clients

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	"github.com/shoal-project/shoal/test/e2e"
)

// hubHost is where Docker Engine looks for the images of Docker Hub, over TLS.
const hubHost = "registry-1.docker.io"

// A dockerHub is how an engine finds the lab's registry where Docker Hub is: by a file in the place of
// /etc/hosts, and one with the certificate that it has to trust.
type dockerHub struct{ hosts, roots string }

// forEngine is an engine that knows this Docker Hub.
func (h dockerHub) forEngine(e engine) engine {
	e.mounts, e.roots = map[string]string{"/etc/hosts": h.hosts}, h.roots
	return e
}

// startHubs gives each node its own Docker Hub.
func (k *kit) startHubs() map[*e2e.Node]dockerHub {
	k.t.Helper()
	return map[*e2e.Node]dockerHub{k.first: k.startHub(k.first), k.second: k.startHub(k.second)}
}

func (k *kit) startHub(n *e2e.Node) dockerHub {
	k.t.Helper()
	target, err := url.Parse(k.lab.Registry.URL())
	if err != nil {
		k.t.Fatal(err)
	}
	// From the node itself, so that its address is what the registry sees.
	transport := &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		return n.Dial(ctx, address)
	}}
	k.t.Cleanup(transport.CloseIdleConnections)
	listener, err := n.Listen("127.0.0.1:443")
	if err != nil {
		k.t.Fatal(err)
	}
	certificate := selfSigned(k.t, hubHost)
	server := &httptest.Server{
		Listener: listener,
		TLS:      &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		Config: &http.Server{
			Handler:           &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }},
			ReadHeaderTimeout: time.Minute,
		},
	}
	server.StartTLS()
	k.t.Cleanup(server.Close)
	encoded := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})
	return dockerHub{hosts: k.write("hosts", "127.0.0.1 localhost "+hubHost+"\n"), roots: k.write("roots.pem", string(encoded))}
}

// selfSigned makes a certificate that a client trusts who has it among its roots.
func selfSigned(t *testing.T, host string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
