package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/shoal-project/shoal/p2p"
	"github.com/shoal-project/shoal/p2p/admission"
	"github.com/shoal-project/shoal/p2p/discovery"
	"github.com/shoal-project/shoal/p2p/exchange"
	"github.com/shoal-project/shoal/p2p/resolve"
	"github.com/shoal-project/shoal/pkg/admin"
	"github.com/shoal-project/shoal/pkg/wire"
)

// A swarm is everything of this node that speaks with members. Without a secret it has
// a host that neither listens nor dials, and nothing else.
type swarm struct {
	host      *p2p.Host
	discovery *discovery.Discovery
	exchange  *exchange.Exchange
	resolve   *resolve.Service
	announcer *announcer
	rates     rates
}

func openSwarm(n *node) (_ *swarm, err error) {
	secrets := make([]admission.Secret, 0, len(n.cfg.P2PSecretFiles))
	for _, file := range n.cfg.P2PSecretFiles {
		secret, warning, err := admission.LoadSecret(file)
		if err != nil {
			return nil, fmt.Errorf("%w (make one with `shoal secret`)", err)
		}
		if warning != "" {
			n.log.Warn("secret", "warning", warning)
		}
		secrets = append(secrets, secret)
	}
	s := &swarm{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.host, err = p2p.New(p2p.Config{
		DataDir: n.cfg.DataDir, Listen: n.cfg.P2PListen, Secrets: secrets,
		Version: n.build.Version, Zone: n.cfg.Zone, Around: n.around, Logger: n.log,
	}); err != nil {
		return nil, err
	}
	if s.alone() {
		n.warnings.add("no_secret", "no --p2p-secret-file: this node runs alone and shares nothing with others")
		return s, nil
	}
	if s.discovery, err = discovery.New(discovery.Config{
		Host: s.host, DataDir: n.cfg.DataDir, Bootstrap: n.cfg.P2PBootstrap, Logger: n.log,
	}); err != nil {
		return nil, err
	}
	return s, nil
}

// join gives the engine its peers, and the peers this node's answers.
func (s *swarm) join(n *node) (err error) {
	if s.alone() {
		return nil
	}
	if s.announcer, err = newAnnouncer(s.discovery, announcedMost); err != nil {
		return err
	}
	h := handler{Engine: n.engine, joined: make(chan struct{})}
	s.exchange = exchange.New(s.host.Host(), h, exchange.Config{
		Logger:   n.log,
		Violated: func(p peer.ID, v *exchange.ViolationError) { n.engine.Violated(p, v.Blob, v) },
	})
	n.engine.Join(sessions{s.exchange}, s.announcer, s)
	close(h.joined)
	s.resolve, err = resolve.New(s.host.Host(), answerer{n.proxy}, resolve.Config{Logger: n.log})
	return err
}

// run keeps the engine told of how many members there are, and the members of what this
// node has, until ctx ends.
func (s *swarm) run(ctx context.Context, n *node) error {
	var also sync.WaitGroup
	defer also.Wait()
	if !s.alone() {
		also.Go(func() {
			n.announceHeld(s.announcer)
			_ = every(ctx, n.timing.sweep, func(ctx context.Context) error {
				n.sweepAnnounced(ctx, s.announcer)
				return nil
			})
		})
	}
	counts, stop := s.host.Watch()
	defer stop()
	sample := time.NewTicker(sampleEvery)
	defer sample.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-sample.C:
			if s.exchange != nil {
				s.rates.sample(now, s.host.Members(), s.exchange)
			}
		case members, ok := <-counts:
			if !ok {
				<-ctx.Done() // the host is closed: this node stops
				return nil
			}
			n.engine.MembersCounted(members)
		}
	}
}

func (s *swarm) close() error {
	var errs []error
	if s.resolve != nil {
		errs = append(errs, s.resolve.Close())
	}
	if s.exchange != nil {
		s.exchange.Close()
	}
	if s.discovery != nil {
		errs = append(errs, s.discovery.Close())
	}
	if s.host != nil {
		errs = append(errs, s.host.Close())
	}
	return errors.Join(errs...)
}

func (s *swarm) alone() bool { return s.host.Alone() }

func (s *swarm) id() peer.ID { return s.host.ID() }

func (s *swarm) members() int { return s.host.Count() }

func (s *swarm) membership() admin.Membership {
	switch {
	case s.alone():
		return admin.MembershipNoSecret
	case s.members() == 0:
		return admin.MembershipAlone
	default:
		return admin.MembershipJoined
	}
}

// peers are the connected members with their traffic.
func (s *swarm) peers() []admin.Peer {
	members := s.host.Members()
	out := make([]admin.Peer, 0, len(members))
	for _, m := range members {
		p := admin.Peer{PeerID: m.ID.String(), MemberSince: m.Since.UTC(), Zone: m.Zone}
		if len(m.Addrs) > 0 {
			p.Address = m.Addrs[0].String()
		}
		if s.exchange != nil {
			p.BytesIn, p.BytesOut = s.exchange.Traffic(m.ID)
			p.RateIn, p.RateOut = s.rates.of(m.ID)
		}
		out = append(out, p)
	}
	return out
}

// The methods below make a swarm the engine's Membership.

// Zone says where the peer is; empty when it is not known.
func (s *swarm) Zone(p peer.ID) string { return s.host.Zone(p) }

// Block refuses the peer for a while.
func (s *swarm) Block(p peer.ID, d time.Duration) { s.host.Block(p, d) }

// contactAddrs bounds the addresses of one peer that are told to another.
const contactAddrs = 4

// Contact is what another member needs to reach the peer.
func (s *swarm) Contact(p peer.ID) wire.Contact {
	c := wire.Contact{Peer: string(p)}
	for _, addr := range s.host.Host().Peerstore().Addrs(p) {
		if len(c.Addresses) == contactAddrs {
			break
		}
		c.Addresses = append(c.Addresses, addr.Bytes())
	}
	return c
}

// Introduce takes note of a peer that a member told of. Where it really is shows when it
// proves its ID on the connection.
func (s *swarm) Introduce(c wire.Contact) (peer.ID, error) {
	id, err := peer.IDFromBytes([]byte(c.Peer))
	if err != nil {
		return "", fmt.Errorf("a peer exchange names no peer: %w", err)
	}
	if id == s.id() {
		return id, nil // the scheduler knows itself
	}
	if addrs := dialable(c.Addresses); len(addrs) > 0 {
		s.host.Host().Peerstore().AddAddrs(id, addrs, peerstore.TempAddrTTL)
	}
	return id, nil
}

// dialable keeps, of addresses that a member claims, a few that this node may dial: TCP
// at an IP address that could be a node's. Names are not looked up for strangers.
func dialable(raw [][]byte) []ma.Multiaddr {
	var addrs []ma.Multiaddr
	for _, b := range raw {
		addr, err := ma.NewMultiaddrBytes(b)
		if err != nil || len(addr) != 2 || len(addrs) == contactAddrs {
			continue
		}
		ip, err := manet.ToIP(addr)
		_, tcpErr := addr.ValueForProtocol(ma.P_TCP)
		if err != nil || tcpErr != nil || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() {
			continue
		}
		addrs = append(addrs, addr)
	}
	return addrs
}
