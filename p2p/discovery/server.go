package discovery

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	kb "github.com/libp2p/go-libp2p-kbucket"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multihash"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/shoal-project/shoal/p2p"
	"github.com/shoal-project/shoal/pkg/blob"
)

// Protocol names the streams: Kademlia's, so that nodes with the library's own server understand.
const Protocol = Prefix + protocol.ID("/kad/1.0.0")

const (
	// maxMessage bounds what another node asks, maxKey the key in it, in bytes.
	maxMessage, maxKey = 16 << 10, 80
	// streamIdle is how long a stream may stay silent, streamWrite how long an answer may take.
	// It is longer than the time between two refreshes and between two announcements: the
	// library gives up keeping streams to a peer that closed four.
	streamIdle, streamWrite = 10 * time.Minute, 10 * time.Second
	// neighboursTold is how many of the closest peers are told to who looks for peers.
	neighboursTold = 20
	// streamsPerPeer is how many streams of one peer may be open at once. The library keeps one,
	// and opens another for a message where that fails.
	streamsPerPeer = 8
	// knownAskers bounds the memory of who asked how much.
	knownAskers = 4096
)

var (
	errKey       = errors.New("its key is none")
	errRecord    = errors.New("it announces nobody, or somebody else")
	errNoMessage = errors.New("a message of a kind that is not spoken")
)

// A server answers the other nodes' questions, from the records they placed here, what this
// node itself announces, and the routing table. It is safe for concurrent use.
type server struct {
	host     *p2p.Host
	table    *kb.RoutingTable
	own      *ledger
	records  *records
	kept     func(key blob.Digest, p peer.AddrInfo) // called when another node announces a key here
	log      *slog.Logger
	messages atomic.Uint64 // taken so far

	cancel context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
	closed bool
	askers *simplelru.LRU[peer.ID, *rate.Limiter]
	open   map[peer.ID]int // streams
}

// start starts answering. The caller closes the server before the host.
func (s *server) start() (err error) {
	if s.askers, err = simplelru.NewLRU[peer.ID, *rate.Limiter](knownAskers, nil); err != nil {
		return fmt.Errorf("limit what others ask: %w", err)
	}
	s.open = map[peer.ID]int{}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.wg.Go(func() { s.forget(ctx) })
	s.host.Host().SetStreamHandler(Protocol, func(stream network.Stream) { s.serve(ctx, stream) })
	return nil
}

// close stops answering and waits for the answers under way, which it interrupts.
func (s *server) close() {
	s.host.Host().RemoveStreamHandler(Protocol)
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
}

// forget drops records whose time is over, until ctx ends.
func (s *server) forget(ctx context.Context) {
	for pause(ctx, max(s.records.validity/3, time.Second)) {
		s.records.sweep(time.Now())
	}
}

// serve answers on a stream until the other side is done. It runs on a goroutine of libp2p's,
// which close waits for.
func (s *server) serve(ctx context.Context, stream network.Stream) {
	from := stream.Conn().RemotePeer()
	limiter := s.enter(from)
	if limiter == nil {
		_ = stream.Reset()
		return
	}
	defer s.leave(from)
	stop := context.AfterFunc(ctx, func() { _ = stream.Reset() })
	defer stop()
	in, turn := bufio.NewReaderSize(stream, 512), &turn{limiter: limiter}
	for {
		err := s.exchange(ctx, stream, in, turn)
		switch {
		case errors.Is(err, io.EOF):
			_ = stream.Close()
			return
		case err != nil:
			s.log.DebugContext(ctx, "a DHT stream was closed", "peer", from.String(), "error", err)
			_ = stream.Reset()
			return
		}
	}
}

// enter counts a stream. It returns what the peer may still ask: nil after close, and for one
// stream too many. Otherwise leave must follow.
func (s *server) enter(from peer.ID) *rate.Limiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.open[from] == streamsPerPeer {
		return nil
	}
	limiter, ok := s.askers.Get(from)
	if !ok {
		limiter = rate.NewLimiter(messageRate, messageBurst)
		s.askers.Add(from, limiter)
	}
	s.open[from]++
	s.wg.Add(1)
	return limiter
}

func (s *server) leave(from peer.ID) {
	s.mu.Lock()
	if s.open[from]--; s.open[from] == 0 {
		delete(s.open, from)
	}
	s.mu.Unlock()
	s.wg.Done()
}

// exchange takes one message and sends the answer, if it has one. Who asks too much waits.
func (s *server) exchange(ctx context.Context, stream network.Stream, in *bufio.Reader, turn *turn) error {
	if err := stream.SetReadDeadline(time.Now().Add(streamIdle)); err != nil {
		return err
	}
	question := new(pb.Message)
	if err := (protodelim.UnmarshalOptions{MaxSize: maxMessage}).UnmarshalFrom(in, question); err != nil {
		return err
	}
	wait, err := turn.next(time.Now())
	if err != nil {
		return err
	}
	if wait > 0 && !pause(ctx, wait) {
		return context.Cause(ctx)
	}
	s.messages.Add(1)
	reply, err := s.reply(time.Now(), stream.Conn().RemotePeer(), question)
	if err != nil || reply == nil {
		return err
	}
	out := protowire.AppendVarint(nil, uint64(proto.Size(reply)))
	if out, err = (proto.MarshalOptions{UseCachedSize: true}).MarshalAppend(out, reply); err != nil {
		return err
	}
	if err := stream.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil {
		return err
	}
	_, err = stream.Write(out)
	return err
}

// reply is what this node says to a message, nil for nothing. An error closes the stream.
func (s *server) reply(now time.Time, from peer.ID, question *pb.Message) (*pb.Message, error) {
	reply := pb.NewMessage(question.GetType(), question.GetKey(), 0)
	if n := len(question.GetKey()); n > maxKey || n == 0 && question.GetType() != pb.Message_PING {
		return nil, fmt.Errorf("%s of %d bytes: %w", question.GetType(), n, errKey)
	}
	switch question.GetType() {
	case pb.Message_PING:
		return reply, nil
	case pb.Message_FIND_NODE:
		reply.Key = nil
		reply.CloserPeers = s.neighbours(question.GetKey(), from, neighboursTold)
		if p, ok := s.whereIs(peer.ID(question.GetKey())); ok { // wherever it lies, it is the answer
			reply.CloserPeers = append([]*pb.Message_Peer{p}, reply.CloserPeers...)
		}
		return reply, nil
	case pb.Message_ADD_PROVIDER:
		return nil, s.take(now, from, question)
	case pb.Message_GET_PROVIDERS:
		key, err := digestOf(question.GetKey())
		if err != nil {
			return nil, err
		}
		reply.ProviderPeers = s.records.some(now, key, from, maxTaken)
		if s.own.has(key) {
			reply.ProviderPeers = append(reply.ProviderPeers[:min(len(reply.ProviderPeers), maxTaken-1)], wirePeer(selfOf(s.host)))
		}
		reply.CloserPeers = s.neighbours(question.GetKey(), from, maxCloser)
		return reply, nil
	case pb.Message_PUT_VALUE, pb.Message_GET_VALUE:
		return nil, fmt.Errorf("%s: %w", question.GetType(), errNoMessage)
	default:
		return nil, errNoMessage
	}
}

// take keeps the record that the message announces. A peer can announce only itself.
func (s *server) take(now time.Time, from peer.ID, message *pb.Message) error {
	key, err := digestOf(message.GetKey())
	if err != nil {
		return err
	}
	if len(message.GetProviderPeers()) != 1 || peer.ID(message.GetProviderPeers()[0].GetId()) != from {
		return errRecord
	}
	addrs := dialable(message.GetProviderPeers()[0].Addresses())
	if len(addrs) == 0 {
		return fmt.Errorf("%w: nowhere", errRecord)
	}
	p := peer.AddrInfo{ID: from, Addrs: addrs}
	s.records.put(now, key, from, wirePeer(p)) // or it comes again
	s.kept(key, p)
	return nil
}

// neighbours are the closest peers to the key that this node knows, but not the one who asks.
func (s *server) neighbours(key []byte, except peer.ID, limit int) []*pb.Message_Peer {
	out := make([]*pb.Message_Peer, 0, limit+1)
	for _, id := range s.table.NearestPeers(kb.ConvertKey(string(key)), limit+1) {
		if p, ok := s.whereIs(id); ok && id != except && len(out) < limit && id != peer.ID(key) {
			out = append(out, p)
		}
	}
	return out
}

// whereIs returns a peer in the form of an answer, if this node knows where it is.
func (s *server) whereIs(id peer.ID) (*pb.Message_Peer, bool) {
	if id == s.host.ID() {
		return wirePeer(selfOf(s.host)), true
	}
	addrs := dialable(s.host.Host().Peerstore().Addrs(id))
	return wirePeer(peer.AddrInfo{ID: id, Addrs: addrs}), len(addrs) > 0
}

// selfOf is what records say of this node.
func selfOf(host *p2p.Host) peer.AddrInfo {
	addrs := host.Addrs()
	return peer.AddrInfo{ID: host.ID(), Addrs: addrs[:min(len(addrs), maxAddrs)]}
}

func wirePeer(p peer.AddrInfo) *pb.Message_Peer {
	out := &pb.Message_Peer{Id: []byte(p.ID), Addrs: make([][]byte, len(p.Addrs))}
	for i, a := range p.Addrs {
		out.Addrs[i] = a.Bytes()
	}
	return out
}

// digestOf is the key that hashOf gave its name in the DHT.
func digestOf(hash []byte) (key blob.Digest, err error) {
	decoded, err := multihash.Decode(hash)
	if err != nil || decoded.Code != multihash.SHA2_256 || copy(key[:], decoded.Digest) != len(key) || len(decoded.Digest) != len(key) {
		return key, errKey
	}
	return key, nil
}
