package admission

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/multiformats/go-multistream"
)

// ID names the transport when two nodes negotiate how to secure a connection. It is not
// libp2p's own name for TLS, so that a stranger's node fails at once and not in the middle.
const ID protocol.ID = "/shoal/tls/1"

// DefaultTimeout bounds the handshake, from the accepted connection to the last token.
const DefaultTimeout = 5 * time.Second

// Errors to branch on.
var (
	// ErrOutsider means: the other side holds none of the swarm's secrets.
	ErrOutsider = errors.New("not a member of this swarm")
	// ErrRefused means: the other side closed the connection instead of showing its tokens,
	// which is what it does when it takes this node for an outsider.
	ErrRefused = errors.New("refused, as one who is not a member of that swarm is")
	// ErrAlone means: this node has no secret, so that nobody can be a member with it.
	ErrAlone = errors.New("no swarm secret: this node runs alone")
	// ErrSelf means: the address leads back to this node.
	ErrSelf = errors.New("the address is this node's own")
	// errAsked ends a connection that was only made to learn a peer's ID.
	errAsked = errors.New("the peer only asked for this node's ID")
)

// A Transport secures connections between members. It is safe for concurrent use.
type Transport struct {
	tls     *libp2ptls.Transport
	self    peer.ID
	secrets []Secret
	timeout time.Duration
	door    *Door
	socket  func(net.Conn) net.Conn
}

var _ sec.SecureTransport = (*Transport)(nil)

// Config says who is let in.
type Config struct {
	// Secrets of the swarm that are valid now, the one that stays first; at most MaxSecrets.
	// Two nodes admit each other if they have one in common, in whatever order. None means
	// that this node runs alone: every handshake fails with ErrAlone.
	Secrets []Secret
	// Timeout bounds a handshake. 0 means DefaultTimeout.
	Timeout time.Duration
	// Door, if not nil, is told when an accepted connection was admitted or refused, and says
	// since when its Timeout runs. Nil means: since it is secured.
	Door *Door
	// Socket returns what TLS reads and writes in the place of a connection. Nil means: itself.
	Socket func(net.Conn) net.Conn
}

// Validate reports what is wrong with the configuration.
func (c Config) Validate() error {
	if len(c.Secrets) > MaxSecrets {
		return fmt.Errorf("%d swarm secrets: at most %d can be valid at once", len(c.Secrets), MaxSecrets)
	}
	if slices.ContainsFunc(c.Secrets, Secret.IsZero) {
		return fmt.Errorf("%w: it is all zeros", ErrSecret)
	}
	if c.Timeout < 0 {
		return errors.New("the admission timeout is negative")
	}
	return nil
}

// New returns the transport of the node that owns the key. The muxers are those that can be
// agreed on inside the TLS handshake.
func New(config Config, key crypto.PrivKey, muxers []upgrader.StreamMuxer) (*Transport, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	self, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make the admission transport: %w", err)
	}
	inner, err := libp2ptls.New(ID, key, muxers)
	if err != nil {
		return nil, fmt.Errorf("make the admission transport: %w", err)
	}
	t := &Transport{
		tls: inner, self: self, secrets: slices.Clone(config.Secrets), timeout: config.Timeout, door: config.Door, socket: config.Socket,
	}
	if t.timeout == 0 {
		t.timeout = DefaultTimeout
	}
	if t.socket == nil {
		t.socket = func(c net.Conn) net.Conn { return c }
	}
	return t, nil
}

// ID implements sec.SecureTransport.
func (t *Transport) ID() protocol.ID { return ID }

// SecureInbound implements sec.SecureTransport: it returns a connection only to a member.
// On an error the connection is closed.
func (t *Transport) SecureInbound(ctx context.Context, insecure net.Conn, p peer.ID) (sec.SecureConn, error) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	if t.door != nil {
		defer t.door.Leave(insecure)
		ctx, cancel = t.door.within(ctx, insecure)
		defer cancel()
	}
	if len(t.secrets) == 0 {
		_ = insecure.Close()
		return nil, ErrAlone
	}
	conn, err := t.tls.SecureInbound(ctx, t.socket(insecure), p)
	if err != nil {
		return nil, err
	}
	if err := t.within(ctx, conn, t.welcome); err != nil {
		_ = insecure.Close() // not conn, which would take 5 s more to say so in TLS
		return nil, err
	}
	return conn, nil
}

// SecureOutbound implements sec.SecureTransport: it returns a connection only to a member.
// With an empty p, whichever member answers is accepted. On an error the connection is closed.
func (t *Transport) SecureOutbound(ctx context.Context, insecure net.Conn, p peer.ID) (sec.SecureConn, error) {
	return t.outbound(ctx, insecure, p, toJoin)
}

// Ask learns which member listens at the other end of the connection, and closes it. The
// answer is proven as well as a handshake proves it; the other side does not count the
// connection as one. It returns ErrSelf if this node itself answers.
func (t *Transport) Ask(ctx context.Context, insecure net.Conn) (peer.ID, error) {
	defer func() { _ = insecure.Close() }()
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	if err := t.within(ctx, insecure, func(conn net.Conn) error {
		_, err := multistream.SelectOneOf([]protocol.ID{ID}, conn)
		return err
	}); err != nil {
		return "", fmt.Errorf("agree on how to secure the connection: %w", err)
	}
	conn, err := t.outbound(ctx, insecure, "", toAsk)
	if err != nil {
		return "", err
	}
	_ = conn.Close()
	return conn.RemotePeer(), nil
}

func (t *Transport) outbound(ctx context.Context, insecure net.Conn, p peer.ID, why purpose) (sec.SecureConn, error) {
	if len(t.secrets) == 0 {
		_ = insecure.Close()
		return nil, ErrAlone
	}
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	conn, err := t.tls.SecureOutbound(ctx, t.socket(insecure), p)
	if err != nil {
		return nil, err
	}
	err = t.within(ctx, conn, func(c net.Conn) error {
		return t.enter(c, conn.RemotePeer(), why)
	})
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// enter is the dialer's half: it shows its tokens first.
func (t *Transport) enter(conn net.Conn, remote peer.ID, why purpose) error {
	if remote == t.self {
		return ErrSelf
	}
	if err := writeFrame(conn, why, t.secrets, t.self); err != nil {
		return err
	}
	_, err := readFrame(conn, t.secrets, remote)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

// welcome is the listener's half: whoever does not show a token learns none.
func (t *Transport) welcome(c net.Conn) error {
	conn, ok := c.(sec.SecureConn)
	if !ok {
		panic("admission: the connection is not secured")
	}
	why, err := readFrame(conn, t.secrets, conn.RemotePeer())
	if err != nil {
		return err
	}
	if err := writeFrame(conn, toJoin, t.secrets, t.self); err != nil {
		return err
	}
	if why == toAsk {
		// The dialer closes once it has read. Closing here could reset the connection before that.
		_, _ = conn.Read(make([]byte, 1))
		return errAsked
	}
	return nil
}

// within runs step on conn and interrupts it when ctx ends. It leaves no deadline behind.
func (t *Transport) within(ctx context.Context, conn net.Conn, step func(net.Conn) error) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(t.timeout)
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return fmt.Errorf("set the handshake's deadline: %w", err)
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = conn.SetDeadline(time.Unix(1, 0))
	})
	err := step(conn)
	if !stop() {
		<-interrupted
		if err == nil {
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("clear the handshake's deadline: %w", err)
	}
	return nil
}
