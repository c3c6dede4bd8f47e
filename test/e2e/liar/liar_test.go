package liar

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	mocknet "github.com/libp2p/go-libp2p/p2p/net/mock"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/shoal-project/shoal/p2p/discovery"
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
	"github.com/shoal-project/shoal/pkg/wire"
)

// Nobody may have to know a mode by heart: names are unique, and bounds are those that
// docs/security.md promises at least.
func TestModes(t *testing.T) {
	seen := make(map[string]bool)
	for _, m := range Modes() {
		if seen[m.Name] || m.Name == "" || m.About == "" {
			t.Errorf("mode %q (%s) is there twice, or says nothing", m.Name, m.About)
		}
		seen[m.Name] = true
		most := 2.0
		if m.Name == "stall" {
			most = 3 // two after each other, in a pull of four seconds
		}
		if m.Bound.Time < 1 || m.Bound.Time > most || m.Bound.Egress < 1 || m.Bound.Egress > 2 {
			t.Errorf("mode %q has the bound %+v", m.Name, m.Bound)
		}
		if found, err := Find(m.Name); err != nil || found.Name != m.Name {
			t.Errorf("mode %q is not found: %v", m.Name, err)
		}
	}
	if _, err := Find("honesty"); err == nil {
		t.Error("there is no mode of that name")
	}
}

// someBlob makes a blob of a little more than four chunks, and the folder that it lies in.
func someBlob(t *testing.T) (folder string, d blob.Digest, g blob.Geometry, content []byte) {
	t.Helper()
	content = make([]byte, 4*blob.MinChunk+1000)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content)
	d = sha256.Sum256(content)
	folder = t.TempDir()
	dir := filepath.Join(folder, d.Hex()[:2], d.Hex())
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := blob.NewGeometry(blob.ByteCount(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	return folder, d, g, content
}

// Each chain is wrong where its mode says.
func TestChains(t *testing.T) {
	folder, d, g, _ := someBlob(t)
	k := newTruth(folder).of(d, g)
	for name, c := range map[string]struct {
		states []chain.State
		chunk  func(blob.ChunkIndex) []byte
		broken []blob.ChunkIndex
	}{
		"true":   {k.chain(), k.chunk, nil},
		"false":  {falseChain(k), k.chunk, []blob.ChunkIndex{0, 1, 2, 3, 4}},
		"link":   {wrongLink(k), k.chunk, []blob.ChunkIndex{2, 3}},
		"forged": {forgedChain(k), k.forged, []blob.ChunkIndex{4}},
	} {
		claimed, err := chain.New(g, d, c.states)
		if err != nil {
			t.Fatal(err)
		}
		var broken []blob.ChunkIndex
		for i := range g.Chunks() {
			after, err := chain.Next(g, i, claimed.Before(i), bytes.NewReader(c.chunk(i)), nil)
			if err != nil {
				t.Fatal(err)
			}
			if after != claimed.After(i) {
				broken = append(broken, i)
			}
		}
		if !slices.Equal(broken, c.broken) {
			t.Errorf("chain %s is broken at %v, want %v", name, broken, c.broken)
		}
	}
}

// A stream is one end of a pipe.
type stream struct {
	network.Stream
	pipe net.Conn
}

func (s stream) Read(p []byte) (int, error)  { return s.pipe.Read(p) }
func (s stream) Write(p []byte) (int, error) { return s.pipe.Write(p) }
func (s stream) Close() error                { return s.pipe.Close() }
func (s stream) Conn() network.Conn          { return conn{} }

// A conn leads to the listener.
type conn struct{ network.Conn }

const listener = peer.ID("listener")

func (conn) RemotePeer() peer.ID { return listener }

// A peer says Hello and asks for chunk 1. It hears the daemon's words as they are, but for
// those that the mode hides, the claim to have nearly everything, and the liar's answer. Chunk 2 it asks
// for and takes that back, so it is no lie that counts.
func TestTalk(t *testing.T) {
	folder, d, g, content := someBlob(t)
	mode, err := Find("wrong-bytes")
	if err != nil {
		t.Fatal(err)
	}
	liar := New(mode, folder)
	here, there := net.Pipe()
	daemon := newTalk(liar, stream{pipe: here})
	t.Cleanup(func() {
		_ = daemon.Close()
		liar.Close()
		_ = there.Close()
	})
	go func() { // the daemon, which hears no Ask
		_, _ = daemon.Write(frames(t, g, wire.Hello{Blob: d, Size: g.Size()}))
		_, _ = io.Copy(io.Discard, daemon)
	}()
	heard := bufio.NewReader(there)
	hello, err := readWord(heard, blob.Geometry{})
	if m, ok := hello.message.(wire.Hello); err != nil || !ok || m.Blob != d {
		t.Fatalf("the daemon said %+v, %v", hello.message, err)
	}
	for _, said := range [][]wire.Message{
		{wire.Hello{Blob: d, Size: g.Size()}, wire.Ask{Chunk: 1}, wire.Ask{Chunk: 2}, wire.Cancel{Chunk: 2}},
		{wire.Have{Chunks: blob.NewBitset(g.Chunks())}}, // read once the words before were heard
	} {
		if _, err := there.Write(frames(t, g, said...)); err != nil {
			t.Fatal(err)
		}
	}
	claimed, got := blob.ChunkIndex(0), map[blob.ChunkIndex][]byte{}
	for claimed == 0 || blob.ByteCount(len(got[1])) < g.Length(1) || blob.ByteCount(len(got[2])) < g.Length(2) {
		w, err := readWord(heard, g)
		if err != nil {
			t.Fatal(err)
		}
		switch m := w.message.(type) { //nolint:gochecksumtype // nothing else is said
		case wire.Have:
			claimed = m.Chunks.Count()
		case wire.Chunk:
			got[m.Chunk] = append(got[m.Chunk], w.bytes...)
		}
	}
	if claimed != g.Chunks()-1 {
		t.Errorf("the liar claims %d chunks of %d: one with all is believed with a chain only", claimed, g.Chunks())
	}
	if right := content[g.Offset(1):g.Offset(2)]; bytes.Equal(got[1], right) || !bytes.Equal(got[1][1:1000], right[1:1000]) {
		t.Error("the chunk is not what it is but for a byte of each piece")
	}
	_ = daemon.Close()
	liar.Close()
	want := []Told{{Listener: listener.String(), Claims: 1, Answers: 2, Chunks: 1}}
	if told := liar.Told(); !slices.Equal(told, want) || mode.Lies(want[0]) != 1 {
		t.Errorf("the liar counts %+v, want %+v", told, want)
	}
}

// Nobody can have a liar keep count without end.
func TestListenersAreBounded(t *testing.T) {
	var l ledger
	for i := range byte(2 * maxListeners) {
		l.note(peer.ID([]byte{i}), answers)
	}
	l.note(peer.ID([]byte{0}), chunks)
	all := l.all()
	first := slices.IndexFunc(all, func(told Told) bool { return told.Chunks == 1 && told.Answers == 1 })
	if len(all) != maxListeners || first < 0 {
		t.Errorf("%d listeners: %+v", len(all), all)
	}
}

// Who floods the DHT announces what is pulled, too: itself, and peers that do not exist.
func TestAnnouncements(t *testing.T) {
	folder, known, _, _ := someBlob(t)
	mode, err := Find("provider-flood")
	if err != nil {
		t.Fatal(err)
	}
	net, err := mocknet.FullMeshConnected(2)
	if err != nil {
		t.Fatal(err)
	}
	liar, self, listener := New(mode, folder), net.Hosts()[0], net.Hosts()[1]
	t.Cleanup(func() {
		liar.Close()
		_ = net.Close()
	})
	heard := make(chan *pb.Message)
	listener.SetStreamHandler(discovery.Protocol, func(s network.Stream) {
		for in := bufio.NewReader(s); ; {
			m := new(pb.Message)
			if protodelim.UnmarshalFrom(in, m) != nil {
				return
			}
			select {
			case heard <- m:
			case <-liar.ctx.Done():
			}
		}
	})
	liar.Around(self)
	key := string(append([]byte{0x12, 32}, known[:]...)) // the multihash
	for ghost, own, other := false, false, false; !ghost || !own || !other; {
		m := <-heard
		mine := peer.ID(m.GetProviderPeers()[0].GetId()) == self.ID()
		ghost = ghost || !mine && string(m.GetKey()) == key
		own = own || mine && string(m.GetKey()) == key
		other = other || mine && string(m.GetKey()) != key
	}
}

// frames are messages as they travel.
func frames(t *testing.T, g blob.Geometry, messages ...wire.Message) []byte {
	t.Helper()
	var all []byte
	for _, m := range messages {
		var err error
		if all, err = wire.Append(all, m, g); err != nil {
			t.Fatal(err)
		}
	}
	return all
}
