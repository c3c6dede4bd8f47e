package admission

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/multiformats/go-multistream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var muxers = []upgrader.StreamMuxer{{ID: "/yamux/1.0.0"}}

type node struct {
	*Transport
	key crypto.PrivKey
}

func newNode(t *testing.T, config Config) node {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(nil)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := New(config, key, muxers)
	if err != nil {
		t.Fatal(err)
	}
	return node{tr, key}
}

func pair(t *testing.T) (dialer, listener net.Conn) {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	var d net.Dialer
	if dialer, err = d.DialContext(t.Context(), "tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if listener, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dialer.Close(); _ = listener.Close() })
	return dialer, listener
}

type outcome struct {
	conn sec.SecureConn
	err  error
}

// meet runs both halves of a handshake.
func meet(t *testing.T, from, to node, expect peer.ID) (dialer, listener outcome) {
	t.Helper()
	d, l := pair(t)
	done := make(chan outcome, 1)
	go func() {
		c, err := to.SecureInbound(t.Context(), l, "")
		done <- outcome{c, err}
	}()
	c, err := from.SecureOutbound(t.Context(), d, expect)
	return outcome{c, err}, <-done
}

func TestMembersMeet(t *testing.T) {
	s := GenerateSecret()
	a, b := newNode(t, Config{Secrets: []Secret{s}}), newNode(t, Config{Secrets: []Secret{s}})
	for _, expect := range []peer.ID{b.self, ""} {
		d, l := meet(t, a, b, expect)
		if d.err != nil || l.err != nil {
			t.Fatalf("dialer %v, listener %v", d.err, l.err)
		}
		if d.conn.RemotePeer() != b.self || l.conn.RemotePeer() != a.self {
			t.Error("the wrong peers met")
		}
		for _, c := range []sec.SecureConn{d.conn, l.conn} {
			if state := c.ConnState(); state.StreamMultiplexer != "/yamux/1.0.0" || !state.UsedEarlyMuxerNegotiation {
				t.Errorf("state = %+v: the muxer was not agreed on in the handshake", state)
			}
		}
		// Bytes follow the tokens directly, and no deadline is left behind.
		go func() { _, _ = d.conn.Write([]byte("hello")) }()
		got := make([]byte, 5)
		if _, err := io.ReadFull(l.conn, got); err != nil || string(got) != "hello" {
			t.Errorf("read %q, %v", got, err)
		}
	}
}

func TestRotation(t *testing.T) {
	older, newer, other := GenerateSecret(), GenerateSecret(), GenerateSecret()
	sets := map[string][]Secret{
		"old": {older}, "new": {newer}, "old new": {older, newer}, "new old": {newer, older}, "other": {other}, "none": nil,
	}
	for a, as := range sets {
		for b, bs := range sets {
			common := false
			for _, s := range as {
				for _, r := range bs {
					common = common || s == r
				}
			}
			d, l := meet(t, newNode(t, Config{Secrets: as}), newNode(t, Config{Secrets: bs}), "")
			if (d.err == nil) != common || (l.err == nil) != common {
				t.Errorf("%q meets %q: dialer %v, listener %v", a, b, d.err, l.err)
			}
		}
	}
}

func TestWrongPeerIsRefused(t *testing.T) {
	s := GenerateSecret()
	a, b := newNode(t, Config{Secrets: []Secret{s}}), newNode(t, Config{Secrets: []Secret{s}})
	stranger := newNode(t, Config{Secrets: []Secret{GenerateSecret()}})
	if d, l := meet(t, stranger, b, b.self); !errors.Is(d.err, ErrRefused) || !errors.Is(l.err, ErrOutsider) {
		t.Errorf("dialer %v, listener %v", d.err, l.err)
	}
	if d, l := meet(t, a, b, a.self); d.err == nil || l.err == nil {
		t.Errorf("dialer %v, listener %v", d.err, l.err)
	}
}

// outsider finishes TLS as a listener or dialer would and then does as it likes.
func outsider(t *testing.T, key crypto.PrivKey, raw net.Conn, dial bool) sec.SecureConn {
	t.Helper()
	inner, err := libp2ptls.New(ID, key, muxers)
	if err != nil {
		t.Fatal(err)
	}
	var c sec.SecureConn
	if dial {
		c, err = inner.SecureOutbound(t.Context(), raw, "")
	} else {
		c, err = inner.SecureInbound(t.Context(), raw, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func frameOf(t *testing.T, why purpose, p peer.ID, secrets ...Secret) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := writeFrame(&b, why, secrets, p); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestOutsiderIsRefused(t *testing.T) {
	s := GenerateSecret()
	a, b := newNode(t, Config{Secrets: []Secret{s}, Timeout: 300 * time.Millisecond}), newNode(t, Config{Secrets: []Secret{s}})
	stranger := newNode(t, Config{Secrets: []Secret{GenerateSecret()}})
	zeros := make([]byte, frameSize)
	cases := map[string]struct {
		frame []byte
		want  error
	}{
		"no token":         {zeros, ErrOutsider},
		"wrong secret":     {frameOf(t, toJoin, stranger.self, GenerateSecret()), ErrOutsider},
		"replay of member": {frameOf(t, toJoin, b.self, s), ErrOutsider},
		"reflection":       {frameOf(t, toJoin, a.self, s), ErrOutsider},
		"token shifted":    {append([]byte{0, 0}, frameOf(t, toJoin, stranger.self, s)[1:frameSize-1]...), ErrOutsider},
		"unknown purpose":  {frameOf(t, 7, stranger.self, s), errPurpose},
		"part of a frame":  {frameOf(t, toJoin, stranger.self, s)[:40], nil},
		"nothing":          {nil, nil},
	}
	for name, c := range cases {
		t.Run("dials/"+name, func(t *testing.T) {
			d, l := pair(t)
			done := make(chan error, 1)
			go func() {
				_, err := a.SecureInbound(t.Context(), l, "")
				done <- err
			}()
			conn := outsider(t, stranger.key, d, true)
			if _, err := conn.Write(c.frame); err != nil {
				t.Fatal(err)
			}
			// It is told nothing, and the connection ends within the timeout.
			if got, _ := io.ReadAll(conn); len(got) != 0 {
				t.Errorf("an outsider was sent %d bytes", len(got))
			}
			if err := <-done; err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("err = %v, want %v", err, c.want)
			}
		})
		t.Run("listens/"+name, func(t *testing.T) {
			d, l := pair(t)
			done := make(chan error, 1)
			go func() {
				_, err := a.SecureOutbound(t.Context(), d, "")
				done <- err
			}()
			conn := outsider(t, stranger.key, l, false)
			if _, err := conn.Write(c.frame); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("err = %v, want %v", err, c.want)
			}
			_, _ = io.Copy(io.Discard, conn) // returns because the connection was closed
		})
	}
}

func TestTokensDoNotShowTheSecret(t *testing.T) {
	s := GenerateSecret()
	f := frameOf(t, toJoin, "peer", s)
	if bytes.Contains(f, s.key[:]) {
		t.Fatal("the secret is in the frame")
	}
	if bytes.Equal(f, frameOf(t, toJoin, "peer", s)) {
		t.Error("the padding is not random")
	}
	if !bytes.Equal(f[:1+tokenSize], frameOf(t, toJoin, "peer", s)[:1+tokenSize]) {
		t.Error("the token is not determined by secret and peer")
	}
}

func TestAsk(t *testing.T) {
	s := GenerateSecret()
	a, b := newNode(t, Config{Secrets: []Secret{s}}), newNode(t, Config{Secrets: []Secret{s}})
	stranger := newNode(t, Config{Secrets: []Secret{GenerateSecret()}, Timeout: time.Second})
	ask := func(from, to node) (peer.ID, error, error) {
		d, l := pair(t)
		done := make(chan error, 1)
		go func() {
			mux := multistream.NewMultistreamMuxer[protocol.ID]()
			mux.AddHandler(ID, nil)
			if _, _, err := mux.Negotiate(l); err != nil {
				done <- err
				return
			}
			_, err := to.SecureInbound(t.Context(), l, "")
			done <- err
		}()
		id, err := from.Ask(t.Context(), d)
		return id, err, <-done
	}
	if id, err, theirs := ask(a, b); err != nil || id != b.self || !errors.Is(theirs, errAsked) {
		t.Errorf("a member: %v, %v, %v", id, err, theirs)
	}
	if id, err, theirs := ask(a, stranger); err == nil || id != "" || !errors.Is(theirs, ErrOutsider) {
		t.Errorf("an outsider: %v, %v, %v", id, err, theirs)
	}
	if id, err, _ := ask(a, a); !errors.Is(err, ErrSelf) || id != "" {
		t.Errorf("itself: %v, %v", id, err)
	}
	// Something that is no node at all.
	d, l := pair(t)
	go func() { _, _ = l.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")); _ = l.Close() }()
	if id, err := a.Ask(t.Context(), d); err == nil || id != "" {
		t.Errorf("a web server: %v, %v", id, err)
	}
}

func TestContextEndsTheHandshake(t *testing.T) {
	s := GenerateSecret()
	a, b := newNode(t, Config{Secrets: []Secret{s}}), newNode(t, Config{Secrets: []Secret{s}})
	d, l := pair(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := a.SecureInbound(ctx, l, "")
		done <- err
	}()
	conn := outsider(t, b.key, d, true)
	cancel()
	if err := <-done; err == nil {
		t.Error("the handshake went on")
	}
	_, _ = io.Copy(io.Discard, conn)
}

func TestConfigValidate(t *testing.T) {
	s := GenerateSecret()
	for _, bad := range []Config{{Secrets: []Secret{s, s, s, s, s}}, {Secrets: []Secret{{}}}, {Timeout: -1}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is valid", bad)
		}
	}
	if err := (Config{}).Validate(); err != nil {
		t.Error(err)
	}
}
