package daemon

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/multiformats/go-multistream"

	"github.com/shoal-project/shoal/p2p/admission"
	"github.com/shoal-project/shoal/p2p/discovery"
	"github.com/shoal-project/shoal/p2p/exchange"
	"github.com/shoal-project/shoal/p2p/resolve"
	"github.com/shoal-project/shoal/pkg/admin"
)

// What members say to each other, from which an outsider may hear nothing: who listens, who has
// what and who else is there, chunks, manifests.
var memberProtocols = []protocol.ID{identify.ID, discovery.Prefix + "/kad/1.0.0", exchange.ProtocolID, resolve.Protocol}

// An outsider is a program of its own that finishes TLS as a node does, and then shows whatever it
// has. It is written from section 9 of the design and not from the code.
type outsider struct {
	t   *testing.T
	key crypto.PrivKey
	id  peer.ID
}

func newOutsider(t *testing.T) outsider {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return outsider{t, key, id}
}

// shows is the frame of somebody who has these tokens.
func shows(tokens ...[]byte) []byte {
	const room, size = 4, 32
	frame := make([]byte, 1+room*size)
	_, _ = rand.Read(frame[1:])
	for i, token := range tokens {
		copy(frame[1+i*size:], token)
	}
	return frame
}

// tokenOf is a member's token, which only somebody with the secret can make.
func tokenOf(secret []byte, p peer.ID) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("shoal/admission/1"))
	mac.Write([]byte(p))
	return mac.Sum(nil)
}

// A heard connection counts what its far end says.
type heard struct {
	sec.SecureConn
	bytes atomic.Int64
}

func (h *heard) Read(p []byte) (int, error) {
	n, err := h.SecureConn.Read(p)
	h.bytes.Add(int64(n))
	return n, err
}

// dial opens a TCP connection to the daemon.
func (o outsider) dial(d *daemon) net.Conn {
	o.t.Helper()
	addr, err := multiaddr.NewMultiaddr(d.peers)
	if err != nil {
		o.t.Fatal(err)
	}
	conn, err := new(manet.Dialer).DialContext(o.t.Context(), addr)
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// enter finishes TLS with the daemon and shows the frame.
func (o outsider) enter(d *daemon, frame []byte) *heard {
	o.t.Helper()
	raw := o.dial(d)
	if _, err := multistream.SelectOneOf([]protocol.ID{admission.ID}, raw); err != nil {
		o.t.Fatal(err)
	}
	tls, err := libp2ptls.New(admission.ID, o.key, []upgrader.StreamMuxer{{ID: yamux.ID, Muxer: yamux.DefaultTransport}})
	if err != nil {
		o.t.Fatal(err)
	}
	conn, err := tls.SecureOutbound(o.t.Context(), raw, "")
	if err != nil {
		o.t.Fatal(err)
	}
	_, _ = conn.Write(frame) // it may be cut off already
	return &heard{SecureConn: conn}
}

// asks multiplexes the connection as if it had been admitted, and returns the protocols that are
// spoken to it, and its end once it is closed from the other side.
func (o outsider) asks(conn net.Conn) (spoken []protocol.ID, ended chan struct{}) {
	o.t.Helper()
	ended = make(chan struct{})
	session, err := yamux.DefaultTransport.NewConn(conn, false, nil)
	if err != nil { // it is cut off already
		close(ended)
		return nil, ended
	}
	o.t.Cleanup(func() { _ = session.Close() })
	go func() {
		defer close(ended)
		for { // what it opens to us is not of interest; its end is
			stream, err := session.AcceptStream()
			if err != nil {
				return
			}
			_ = stream.Reset()
		}
	}()
	for _, p := range memberProtocols {
		ctx, cancel := context.WithTimeout(o.t.Context(), admission.DefaultTimeout)
		stream, err := session.OpenStream(ctx)
		cancel()
		if err != nil {
			continue
		}
		_ = stream.SetDeadline(time.Now().Add(admission.DefaultTimeout))
		if err := multistream.SelectProtoOrFail(p, stream); err == nil {
			spoken = append(spoken, p)
		}
		_ = stream.Reset()
	}
	return spoken, ended
}

// secretOf reads the swarm's secret.
func (d *daemon) secretOf(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(d.cfg.P2PSecretFiles[0])
	if err != nil {
		t.Fatal(err)
	}
	secret, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// Who cannot prove the secret hears nothing: no answer of the DHT, no chunk, no peer list, not even
// who listens; and is cut off within five seconds (P6).
func TestOutsidersHearNothing(t *testing.T) {
	r := newRegistry(t, 300_000)
	nodes := fleet(t, r, 2)
	if err := nodes[0].pull(soon(t), r); err != nil {
		t.Fatal(err)
	}
	secret := nodes[0].secretOf(t)
	member, err := peer.Decode(nodes[1].until(t, "its ID", func(admin.Status) bool { return true }).PeerID)
	if err != nil {
		t.Fatal(err)
	}
	other := make([]byte, len(secret))
	_, _ = rand.Read(other)

	t.Run("control", func(t *testing.T) { // or nothing is tested below
		o := newOutsider(t)
		conn := o.enter(nodes[0], shows(tokenOf(secret, o.id)))
		if _, err := io.ReadFull(conn, make([]byte, len(shows()))); err != nil {
			t.Fatal(err)
		}
		if spoken, _ := o.asks(conn); !slices.Equal(spoken, memberProtocols) {
			t.Errorf("a member is spoken to about %v, want %v", spoken, memberProtocols)
		}
	})
	for what, frame := range map[string]func(outsider) []byte{
		"no frame":               func(outsider) []byte { return nil },
		"half a frame":           func(outsider) []byte { return shows()[:60] },
		"no token":               func(outsider) []byte { return shows() },
		"another secret":         func(o outsider) []byte { return shows(tokenOf(other, o.id)) },
		"a stolen token":         func(outsider) []byte { return shows(tokenOf(secret, member)) },
		"the token and a stream": func(outsider) []byte { return append(shows(tokenOf(secret, member)), make([]byte, 4096)...) },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			o := newOutsider(t)
			began := time.Now()
			conn := o.enter(nodes[0], frame(o))
			if frame(o) == nil || len(frame(o)) < len(shows()) {
				_, _ = io.Copy(io.Discard, conn)
			} else {
				spoken, ended := o.asks(conn)
				if <-ended; len(spoken) != 0 {
					t.Errorf("an outsider is spoken to about %v", spoken)
				}
			}
			if took := time.Since(began); took > admission.DefaultTimeout+time.Second {
				t.Errorf("it was cut off after %v", took)
			}
			if n := conn.bytes.Load(); n != 0 {
				t.Errorf("it heard %d bytes", n)
			}
		})
	}
	const greeting = "\x13/multistream/1.0.0\n"
	for _, says := range []string{"", "GET / HTTP/1.1\r\n\r\n", greeting} {
		t.Run("no TLS but "+strconv.Quote(says), func(t *testing.T) {
			t.Parallel()
			conn := newOutsider(t).dial(nodes[0])
			began := time.Now()
			if _, err := io.WriteString(conn, says); err != nil {
				t.Fatal(err)
			}
			heard, err := io.ReadAll(conn)
			if took := time.Since(began); took > admission.DefaultTimeout+time.Second {
				t.Errorf("cut off after %v: %v", took, err)
			}
			if len(heard) > len(greeting) {
				t.Errorf("it heard %q", heard)
			}
		})
	}
	t.Run("members", func(t *testing.T) {
		t.Parallel()
		nodes[0].until(t, "its members", func(s admin.Status) bool { return s.Members == 1 })
	})
}

// An outsider that a node is made to dial learns nothing either: it is shown tokens, which are good
// for nobody else, and nothing behind them.
func TestDialledOutsiderHearsNothing(t *testing.T) {
	o := newOutsider(t)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c := settings(t, newRegistry(t, 100))
	c.P2PSecretFiles, c.P2PBootstrap = []string{secretFile(t)}, []string{l.Addr().String()}
	d := start(t, c)
	raw, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close() }()
	mux := multistream.NewMultistreamMuxer[protocol.ID]()
	mux.AddHandler(admission.ID, nil)
	if _, _, err := mux.Negotiate(raw); err != nil {
		t.Fatal(err)
	}
	tls, err := libp2ptls.New(admission.ID, o.key, []upgrader.StreamMuxer{{ID: yamux.ID, Muxer: yamux.DefaultTransport}})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.SecureInbound(t.Context(), raw, "")
	if err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, len(shows()))
	if _, err := io.ReadFull(conn, frame); err != nil {
		t.Fatal(err)
	}
	if want := tokenOf(d.secretOf(t), conn.RemotePeer()); string(frame[1:33]) != string(want) {
		t.Error("the frame does not begin with the dialer's token: the test does not know it")
	}
	if _, err := conn.Write(frame); err != nil && !errors.Is(err, io.ErrClosedPipe) { // its own token back
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(conn); len(rest) != 0 {
		t.Errorf("behind its tokens it said %d bytes", len(rest))
	}
}
