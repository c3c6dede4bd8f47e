package p2p

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/shoal-project/shoal/p2p/admission"
)

// protocolVersion is what nodes of one kind tell each other; nothing depends on it.
const protocolVersion = "shoal/1"

// A Host is this node in the network of members. It is safe for concurrent use.
type Host struct {
	host      host.Host
	protocols host.Host // what Config.Around made of it
	swarm     *swarm.Swarm
	admission *admission.Transport
	gater     *gater
	config    Config
	log       *slog.Logger

	followed chan struct{} // closed when follow has returned
	events   event.Subscription

	mu       sync.Mutex
	watchers map[chan int]struct{} // nil once the host is closed
}

// New starts a host. Without secrets it starts one that neither listens nor dials, and says
// so in the log. The caller closes it.
func New(config Config) (*Host, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	config = config.withDefaults()
	h := &Host{config: config, log: config.Logger, followed: make(chan struct{}), watchers: map[chan int]struct{}{}}
	if err := h.start(); err != nil {
		return nil, err
	}
	if err := h.listen(); err != nil {
		return nil, errors.Join(err, h.host.Close())
	}
	events, err := h.host.EventBus().Subscribe(
		[]any{new(event.EvtPeerConnectednessChanged), new(event.EvtPeerIdentificationCompleted)}, eventbus.BufSize(256))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("follow the members: %w", err), h.host.Close())
	}
	h.events = events
	go h.follow()
	if h.Alone() {
		h.log.Warn("no swarm secret: this node runs alone")
	} else {
		h.log.Info("listening for members", "peer", h.ID().String(), "addresses", h.host.Addrs())
	}
	return h, nil
}

// start makes the libp2p host, which does not listen yet.
func (h *Host) start() error {
	key, warning, err := loadIdentity(h.config.DataDir)
	if err != nil {
		return err
	}
	if warning != nil {
		h.log.Warn("this node has a new identity", "reason", warning)
	}
	muxer := newMuxer()
	door := admission.NewDoor(h.config.HalfOpen, h.config.HandshakeTimeout)
	pace, err := newPace()
	if err != nil {
		return fmt.Errorf("limit the p2p host: %w", err)
	}
	h.gater = newGater(h.Alone(), door, pace, func() []ma.Multiaddr { return h.host.Addrs() })
	h.admission, err = admission.New(
		admission.Config{
			Secrets: h.config.Secrets, Timeout: h.config.HandshakeTimeout, Door: door,
			Socket: func(c net.Conn) net.Conn { return newSocket(c) },
		},
		key, []upgrader.StreamMuxer{{ID: yamux.ID, Muxer: muxer}})
	if err != nil {
		return err
	}
	limits, err := newLimits(h.config.MaxMembers, h.config.HalfOpen)
	if err != nil {
		return fmt.Errorf("limit the p2p host: %w", err)
	}
	trimmer, err := connmgr.NewConnManager(h.config.MaxMembers*3/4, h.config.MaxMembers, connmgr.WithGracePeriod(30*time.Second))
	if err != nil {
		return errors.Join(fmt.Errorf("limit the p2p host: %w", err), limits.Close())
	}
	dial := h.config.DialTimeout + h.config.HandshakeTimeout
	h.host, err = libp2p.New(
		libp2p.Identity(key),
		libp2p.NoListenAddrs,
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
		libp2p.DisableIdentifyAddressDiscovery(),
		libp2p.ForceReachabilityPublic(), // nobody is asked whether this node can be reached
		libp2p.Ping(false),
		// Without SO_REUSEPORT a port that is in use is an error and not a silent split.
		libp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport(), tcp.WithConnectionTimeout(h.config.DialTimeout)),
		libp2p.Security(string(admission.ID), func(protocol.ID) *admission.Transport { return h.admission }),
		libp2p.Muxer(yamux.ID, muxer),
		libp2p.UserAgent(agent(h.config.Version, h.config.Zone)),
		libp2p.ProtocolVersion(protocolVersion),
		libp2p.ConnectionGater(h.gater),
		libp2p.ResourceManager(limits),
		libp2p.ConnectionManager(trimmer),
		libp2p.AddrsFactory(h.announced),
		libp2p.WithDialTimeout(dial),
		libp2p.SwarmOpts(swarm.WithDialTimeoutLocal(dial)),
		libp2p.IPv6BlackHoleSuccessCounter(nil),
		libp2p.UDPBlackHoleSuccessCounter(nil),
	)
	if err != nil {
		return fmt.Errorf("start the p2p host: %w", err)
	}
	h.protocols = h.config.Around(h.host)
	var ok bool
	if h.swarm, ok = h.host.Network().(*swarm.Swarm); !ok {
		panic("p2p: the network of a libp2p host is not a swarm")
	}
	return nil
}

func (h *Host) listen() error {
	if h.Alone() {
		return nil
	}
	for _, s := range h.config.Listen {
		addr, err := ParseListen(s)
		if err != nil {
			return err
		}
		if err := h.swarm.AddListenAddr(addr); errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("cannot listen on %s: the port is in use: %w", s, err)
		} else if err != nil {
			return fmt.Errorf("cannot listen on %s: %w", s, err)
		}
	}
	return nil
}

// announced is what others are told of where this node listens.
func (h *Host) announced(addrs []ma.Multiaddr) []ma.Multiaddr {
	if len(h.config.Announce) == 0 {
		return advertised(addrs)
	}
	told := make([]ma.Multiaddr, 0, len(h.config.Announce))
	for _, s := range h.config.Announce {
		if addr, err := parseAnnounce(s); err == nil { // Validate saw to it
			told = append(told, addr)
		}
	}
	return told
}

// Close ends every connection and stops listening. Watchers' channels are closed.
func (h *Host) Close() error {
	err := h.host.Close()
	_ = h.events.Close()
	<-h.followed
	return err
}

// Host is the libp2p host, with what is around it, for the protocols that run on it. Its owner
// is h: do not close it.
func (h *Host) Host() host.Host { return h.protocols }

// ID is this node's peer ID.
func (h *Host) ID() peer.ID { return h.host.ID() }

// Addrs are the addresses that others are told.
func (h *Host) Addrs() []ma.Multiaddr { return h.host.Addrs() }

// Alone reports whether the host has no secret, so that it has nobody to talk with.
func (h *Host) Alone() bool { return len(h.config.Secrets) == 0 }

// Dial connects to whichever member listens at the TCP address, an IP and a port, and returns
// who that is. The address needs no peer ID: the member proves one, and then the connection is
// made to that ID. It returns admission.ErrSelf if the address is this node's own,
// admission.ErrOutsider if no member listens there, and admission.ErrAlone on a host that runs
// alone.
func (h *Host) Dial(ctx context.Context, addr ma.Multiaddr) (peer.ID, error) {
	if h.Alone() {
		return "", admission.ErrAlone
	}
	dialCtx, cancel := context.WithTimeout(ctx, h.config.DialTimeout)
	defer cancel()
	var d manet.Dialer
	raw, err := d.DialContext(dialCtx, addr)
	if err != nil {
		return "", fmt.Errorf("dial %s: %w", addr, err)
	}
	p, err := h.admission.Ask(ctx, raw)
	if err != nil {
		return "", fmt.Errorf("ask who listens at %s: %w", addr, err)
	}
	h.gater.pace.met(ipOf(addr))
	return p, h.Connect(ctx, peer.AddrInfo{ID: p, Addrs: []ma.Multiaddr{addr}})
}

// Connect connects to a member whose ID is known; it tries even if the last try was just now.
// A member that is connected already is fine.
func (h *Host) Connect(ctx context.Context, who peer.AddrInfo) error {
	if who.ID == h.ID() {
		return admission.ErrSelf
	}
	h.swarm.Backoff().Clear(who.ID)
	if err := h.host.Connect(ctx, who); err != nil {
		return fmt.Errorf("connect to %s: %w", who.ID, err)
	}
	return nil
}

// Block closes all connections with the peer and refuses it until the time is over. A block
// that ends earlier does not shorten one that ends later.
func (h *Host) Block(p peer.ID, d time.Duration) {
	h.gater.block(p, time.Now().Add(d))
	if err := h.host.Network().ClosePeer(p); err != nil {
		h.log.Debug("closing the connections of a blocked peer failed", "peer", p.String(), "error", err)
	}
}

// Unblock ends a block early.
func (h *Host) Unblock(p peer.ID) { h.gater.unblock(p) }

// Blocked reports whether the peer is refused now.
func (h *Host) Blocked(p peer.ID) bool { return !h.Alone() && !h.gater.allows(p) }

func connected(n network.Network, p peer.ID) bool { return n.Connectedness(p) == network.Connected }
