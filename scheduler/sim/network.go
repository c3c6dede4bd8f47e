package sim

import (
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

func (n *node) findPeers(a scheduler.FindPeers) {
	var found []scheduler.PeerID
	for _, key := range []blob.Digest{a.Blob, a.Image} {
		for _, rec := range n.w.records[key] {
			if rec.visible <= n.w.now && rec.node != n && !n.w.cfg.NoDHT && len(found) < 40 {
				found = append(found, rec.node.id)
			}
		}
	}
	n.later(n.w.cfg.DHT, scheduler.PeersFound{Blob: a.Blob, Peers: found, Done: true})
}

// connect opens a session: the far side learns of it after one latency, this one after two.
func (n *node) connect(a scheduler.Connect) {
	far := n.w.byID[a.Peer]
	lat := n.w.cfg.Latency
	switch {
	case far == n:
		n.w.fail(n, "connects to itself")
		return
	case far == nil || far.dead:
		n.later(second, scheduler.PeerLeft{Blob: a.Blob, Peer: a.Peer, Why: scheduler.FaultTransient})
		return
	}
	n.w.after(lat, func() {
		if n.dead || far.sessions[peerBlob{n.id, a.Blob}] != nil {
			return // both dialled: one session is enough
		}
		if d := far.live(a.Blob); far.dead || d == nil || !d.wanted || n.live(a.Blob) == nil {
			n.later(lat, scheduler.PeerLeft{Blob: a.Blob, Peer: a.Peer, Why: scheduler.FaultTransient})
			return
		}
		count := n.disk(a.Blob).n
		mine := &session{open: true, has: blob.NewBitset(count)}
		theirs := &session{open: true, has: blob.NewBitset(count), far: mine}
		mine.far = theirs
		n.sessions[peerBlob{far.id, a.Blob}] = mine
		far.sessions[peerBlob{n.id, a.Blob}] = theirs
		n.later(lat, scheduler.PeerJoined{Blob: a.Blob, Peer: far.id, Zone: far.spec.Zone})
		far.step(scheduler.PeerJoined{Blob: a.Blob, Peer: n.id, Zone: n.spec.Zone})
	})
}

func (n *node) session(p scheduler.PeerID, d blob.Digest) *session { return n.sessions[peerBlob{p, d}] }

// disconnect ends a session from this side; both sides hear of it.
func (n *node) disconnect(p scheduler.PeerID, d blob.Digest) {
	s := n.session(p, d)
	if s == nil {
		return
	}
	far := n.w.byID[p]
	n.w.after(0, func() { n.left(p, d, s, scheduler.FaultCancelled) })
	n.w.after(n.w.cfg.Latency, func() { far.left(n.id, d, s.far, scheduler.FaultTransient) })
	s.open = false
	n.over(p, d)
}

// over forgets the asks and uploads of a session.
func (n *node) over(p scheduler.PeerID, d blob.Digest) {
	x := n.disk(d)
	for i, asked := range x.asked {
		if asked == p {
			delete(x.asked, i)
		}
	}
	for u := range n.uploads {
		if u.peer == p && u.blob == d {
			delete(n.uploads, u)
		}
	}
}

// left reports the end of a session, once.
func (n *node) left(p scheduler.PeerID, d blob.Digest, s *session, why scheduler.Fault) {
	key := peerBlob{p, d}
	if n.sessions[key] != s {
		return
	}
	s.open = false
	delete(n.sessions, key)
	n.over(p, d)
	n.step(scheduler.PeerLeft{Blob: d, Peer: p, Why: why})
}

// send delivers an event to the far side if the session lasts as long.
func (n *node) send(p scheduler.PeerID, d blob.Digest, ev scheduler.Event) {
	s, far := n.session(p, d), n.w.byID[p]
	if s == nil || !s.open {
		return
	}
	n.w.after(n.w.cfg.Latency, func() {
		if s.far.open && far.sessions[peerBlob{n.id, d}] == s.far {
			far.receive(n.id, ev)
		}
	})
}

// receive gives a peer's message to the Machine, unless this node's fault swallows it.
func (n *node) receive(from scheduler.PeerID, ev scheduler.Event) {
	switch ev := ev.(type) { //nolint:gochecksumtype // all others pass as they are
	case scheduler.PeerAsked:
		if n.spec.Mute {
			return
		}
	case scheduler.PeerHas:
		s := n.session(from, ev.Blob)
		for i := range ev.Chunks.All() {
			s.has.Add(i)
		}
	case scheduler.PeerRefused:
		if x := n.disk(ev.Blob); x.asked[ev.Chunk] == from {
			delete(x.asked, ev.Chunk)
		}
	}
	n.step(ev)
}

func (n *node) ask(a scheduler.AskPeer) {
	n.checkAsk(a)
	n.disk(a.Blob).asked[a.Chunk] = a.Peer
	n.send(a.Peer, a.Blob, scheduler.PeerAsked{Blob: a.Blob, Peer: n.id, Chunk: a.Chunk})
}

func (n *node) cancelAsk(a scheduler.CancelAsk) {
	if x := n.disk(a.Blob); x.asked[a.Chunk] == a.Peer {
		delete(x.asked, a.Chunk)
	} else {
		n.w.fail(n, "cancels chunk %d, which it did not ask of %s", a.Chunk, a.Peer)
	}
	n.send(a.Peer, a.Blob, scheduler.PeerCancelled{Blob: a.Blob, Peer: n.id, Chunk: a.Chunk})
}

func (n *node) tellHave(a scheduler.TellHave) {
	d := n.disk(a.Blob)
	for i := range a.Chunks.All() {
		if !d.servable(i) {
			n.w.fail(n, "tells chunk %d, which is neither R nor V", i)
		}
	}
	for _, p := range a.Peers {
		n.send(p, a.Blob, scheduler.PeerHas{Blob: a.Blob, Peer: n.id, Chunks: a.Chunks.Clone()})
	}
}

// serve sends a chunk over the node's uplink, one after another.
func (n *node) serve(a scheduler.Serve) {
	d, key := n.disk(a.Blob), sent{a.Peer, a.Blob, a.Chunk}
	n.checkServe(a)
	n.uploads[key] = true
	n.served++
	content := d.content[a.Chunk]
	if n.spec.Lies > 0 && n.served%n.spec.Lies == 0 {
		content = n.served
	}
	size := d.geometry.Length(a.Chunk)
	start := max(n.w.now, n.uplinkFree)
	n.uplinkFree = start + scheduler.Time(int64(size)*int64(second)/int64(n.spec.Uplink))
	s, far := n.session(a.Peer, a.Blob), n.w.byID[a.Peer]
	n.w.after(n.uplinkFree-n.w.now, func() {
		delete(n.uploads, key)
		n.step(scheduler.UploadEnded(a))
	})
	if s == nil {
		return
	}
	n.w.after(n.uplinkFree-n.w.now+n.w.cfg.Latency, func() {
		if !far.dead && s.far.open && far.sessions[peerBlob{n.id, a.Blob}] == s.far && !n.dead {
			far.chunk(n.id, a.Blob, a.Chunk, content)
		}
	})
}

// chunk stores what a peer sent.
func (n *node) chunk(from scheduler.PeerID, digest blob.Digest, i blob.ChunkIndex, content int) {
	d := n.live(digest)
	if d == nil {
		return
	}
	if d.asked[i] == from {
		delete(d.asked, i)
	}
	if d.proven || !d.write(i, content, q) {
		n.step(scheduler.PeerRefused{Blob: digest, Peer: from, Chunk: i})
		return
	}
	d.fromPeers += d.geometry.Length(i)
	n.step(scheduler.ChunkArrived{Blob: digest, Peer: from, Chunk: i})
}

func (n *node) sendChain(a scheduler.SendChain) {
	d := n.disk(a.Blob)
	if !d.proven {
		n.w.fail(n, "sends a chain that it did not check")
	}
	bad := map[blob.ChunkIndex]bool{}
	if n.spec.LiesChain && d.n > 1 {
		bad[1+blob.ChunkIndex(n.w.random.IntN(int(d.n-1)))] = true
	}
	for _, p := range a.Peers {
		s, far := n.session(p, a.Blob), n.w.byID[p]
		if s == nil {
			continue
		}
		n.w.after(n.w.cfg.Latency, func() {
			if x := far.live(a.Blob); x != nil && !far.dead && s.far.open {
				x.chains[n.id] = bad
				far.step(scheduler.ChainArrived{Blob: a.Blob, Peer: n.id})
			}
		})
	}
}

func (n *node) quarantine(a scheduler.Quarantine) {
	n.w.result.Quarantined[a.Peer]++
	n.checkQuarantine(a)
	for _, d := range n.disks {
		n.disconnect(a.Peer, d.blob)
	}
}
