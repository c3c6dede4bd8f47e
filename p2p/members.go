package p2p

import (
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// A Member is a peer that was admitted and is connected now.
type Member struct {
	ID peer.ID
	// Addrs are the far ends of its connections.
	Addrs []ma.Multiaddr
	// Since is when the oldest of its connections was made.
	Since time.Time
	// Version and Zone are what it says of itself; empty until it has, or if it says nonsense.
	Version, Zone string
}

// Members returns the members this node is connected to, by ID.
func (h *Host) Members() []Member {
	peers := h.host.Network().Peers()
	members := make([]Member, 0, len(peers))
	for _, p := range peers {
		if m, ok := h.member(p); ok {
			members = append(members, m)
		}
	}
	slices.SortFunc(members, func(a, b Member) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return members
}

func (h *Host) member(p peer.ID) (Member, bool) {
	m := Member{ID: p}
	for _, c := range h.host.Network().ConnsToPeer(p) {
		if c.IsClosed() {
			continue
		}
		m.Addrs = append(m.Addrs, c.RemoteMultiaddr())
		if opened := c.Stat().Opened; m.Since.IsZero() || opened.Before(m.Since) {
			m.Since = opened
		}
	}
	m.Version, m.Zone = parseAgent(h.agentOf(p))
	return m, len(m.Addrs) > 0
}

// Count is the number of members this node is connected to.
func (h *Host) Count() int {
	n := 0
	for _, p := range h.host.Network().Peers() {
		if connected(h.host.Network(), p) {
			n++
		}
	}
	return n
}

// Zone is where the peer says it is; empty if it has not said so.
func (h *Host) Zone(p peer.ID) string {
	if p == h.ID() {
		return h.config.Zone
	}
	_, zone := parseAgent(h.agentOf(p))
	return zone
}

func (h *Host) agentOf(p peer.ID) string {
	value, err := h.host.Peerstore().Get(p, "AgentVersion")
	if err != nil {
		return ""
	}
	s, ok := value.(string)
	if !ok {
		return ""
	}
	return s
}

// Watch returns a channel that gets the number of connected members: the present one at once,
// and again whenever a member came, left or introduced itself. A slow reader misses numbers
// but never the latest. The channel is closed by the function returned, which may be called
// more than once, and when the host closes.
func (h *Host) Watch() (<-chan int, func()) {
	c := make(chan int, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watchers == nil {
		close(c)
		return c, func() {}
	}
	c <- h.Count()
	h.watchers[c] = struct{}{}
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if _, ok := h.watchers[c]; ok {
			delete(h.watchers, c)
			close(c)
		}
	}
}

// follow tells the watchers until the subscription ends.
func (h *Host) follow() {
	defer close(h.followed)
	for range h.events.Out() {
		h.tell()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.watchers {
		close(c)
	}
	h.watchers = nil
}

func (h *Host) tell() {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.Count()
	for c := range h.watchers {
		select {
		case <-c: // what nobody read is out of date
		default:
		}
		c <- n // there is room: only this goroutine writes, under the lock
	}
}
