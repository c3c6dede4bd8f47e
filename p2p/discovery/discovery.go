package discovery

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"sync"
	"time"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"golang.org/x/time/rate"

	"github.com/shoal-project/shoal/p2p"
	"github.com/shoal-project/shoal/pkg/blob"
)

const (
	// Prefix of the DHT's protocol, which is /shoal/kad/1.0.0.
	Prefix protocol.ID = "/shoal"

	// DefaultValidity is how long a provider record lives if it is not announced again.
	DefaultValidity = 15 * time.Minute
	// DefaultMaxKeys is how many keys a node announces at most.
	DefaultMaxKeys = 8192
	// DefaultRetryFrom is the wait between the first two tries to find anybody; it doubles.
	DefaultRetryFrom = time.Second
	// DefaultRetryUpTo is the longest such wait.
	DefaultRetryUpTo = time.Minute
	// DefaultMeet is how often a node that is not alone dials a bootstrap address all the same.
	DefaultMeet = 2 * time.Minute

	// MaxFound bounds the answers to one question.
	MaxFound    = 100
	findTimeout = 10 * time.Second
	maxSources  = 256
	// refresh is how often the DHT looks for new neighbours.
	refresh = 5 * time.Minute
)

// A Config says how members are found. Its zero value, but for Host, works.
type Config struct {
	// Host is this node among the members. Required; it outlives the Discovery.
	Host *p2p.Host
	// DataDir is the folder that keeps the last known peers. Empty keeps none.
	DataDir string
	// Bootstrap are first contacts, see ParseBootstrap.
	Bootstrap []string
	// Resolver looks their names up. Nil is the system's.
	Resolver Resolver
	// Validity, MaxKeys, RetryFrom, RetryUpTo and Meet are as their defaults say; 0 is the default.
	Validity             time.Duration
	MaxKeys              int
	RetryFrom, RetryUpTo time.Duration
	Meet                 time.Duration
	// Logger takes what is worth telling. Nil means nothing is.
	Logger *slog.Logger
}

// Validate reports what is wrong with the configuration, in one sentence.
func (c Config) Validate() error {
	if c.Host == nil {
		return errors.New("discovery has no p2p host")
	}
	if len(c.Bootstrap) > maxSources {
		return fmt.Errorf("%d bootstrap addresses: at most %d are tried", len(c.Bootstrap), maxSources)
	}
	if c.Validity < 0 || c.MaxKeys < 0 || c.RetryFrom < 0 || c.RetryUpTo < 0 || c.Meet < 0 {
		return errors.New("a limit or a time of discovery is negative")
	}
	for _, s := range c.Bootstrap {
		if _, err := ParseBootstrap(s); err != nil {
			return err
		}
	}
	return nil
}

func (c Config) withDefaults() Config {
	orDefault := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	orDefault(&c.Validity, DefaultValidity)
	orDefault(&c.RetryFrom, DefaultRetryFrom)
	orDefault(&c.RetryUpTo, DefaultRetryUpTo)
	orDefault(&c.Meet, DefaultMeet)
	if c.MaxKeys == 0 {
		c.MaxKeys = DefaultMaxKeys
	}
	if c.Resolver == nil {
		c.Resolver = net.DefaultResolver
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// A Discovery takes part in the DHT and keeps this node in touch with other members. It is
// safe for concurrent use.
type Discovery struct {
	config    Config
	host      *p2p.Host
	log       *slog.Logger
	sources   []Source
	ledger    *ledger
	pace      *rate.Limiter
	dht       *dht.IpfsDHT // nil when the host runs alone
	messenger *pb.ProtocolMessenger
	server    *server
	patience  patience

	begin  func(*search) // has it run; called with mu held
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	searches map[blob.Digest]*search // the latest under way for each key
}

// New joins the DHT and starts looking for members. On a host that runs alone it does nothing,
// and so do all methods. The caller closes it before the host.
func New(config Config) (*Discovery, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	config = config.withDefaults()
	d := &Discovery{
		config: config, host: config.Host, log: config.Logger, cancel: func() {},
		// Announced twice within its validity, a record survives one failure.
		ledger: newLedger(config.MaxKeys, config.Validity*2/5, randomSeed()),
		pace:   rate.NewLimiter(lookupsPerSecond, lookupsPerSecond), searches: map[blob.Digest]*search{},
	}
	for _, s := range config.Bootstrap {
		source, err := ParseBootstrap(s)
		if err != nil {
			return nil, err
		}
		d.sources = append(d.sources, source)
	}
	if d.host.Alone() {
		return d, nil
	}
	if err := d.join(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	d.begin = func(s *search) { d.wg.Go(func() { d.run(ctx, s) }) }
	for range announcers {
		d.wg.Go(func() { d.announce(ctx) })
	}
	d.wg.Go(func() { d.keepInTouch(ctx) })
	return d, nil
}

// join makes the DHT's routing table, which the library fills from now on, and the server that
// is asked by others. Walks towards keys are this package's own.
func (d *Discovery) join() (err error) {
	d.dht, err = dht.New(d.host.Host(),
		dht.Mode(dht.ModeClient),
		dht.ProtocolPrefix(Prefix),
		dht.DisableValues(),
		dht.DisableProviders(),
		dht.RoutingTableRefreshPeriod(refresh),
	)
	if err != nil {
		return fmt.Errorf("join the DHT: %w", err)
	}
	d.server = &server{
		host: d.host, table: d.dht.RoutingTable(), own: d.ledger, records: newRecords(d.config.Validity, randomSeed()),
		kept: d.announcedHere, log: d.log,
	}
	if d.messenger, err = pb.NewProtocolMessenger(d.dht.MessageSender()); err == nil {
		err = d.server.start()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("join the DHT: %w", err), d.dht.Close())
	}
	return nil
}

func randomSeed() uint64 {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	return binary.NativeEndian.Uint64(random[:])
}

// Close leaves the DHT, once what it was at has ended. What this node announced runs out by itself.
func (d *Discovery) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	if d.dht == nil {
		return nil
	}
	d.server.close()
	d.cancel()
	d.wg.Wait()
	return d.dht.Close()
}

// Provide announces that this node takes part in the swarm of the key, now and again until it
// is withdrawn. It does not wait. It reports false if the node announces too many keys already.
func (d *Discovery) Provide(key blob.Digest) bool {
	if d.dht == nil {
		return true
	}
	return d.ledger.add(key, placeOf(key))
}

// Withdraw ends the announcing of the key. What was announced runs out within Config.Validity.
func (d *Discovery) Withdraw(key blob.Digest) { d.ledger.remove(key) }

// Announced is the number of keys that this node announces.
func (d *Discovery) Announced() int { return d.ledger.len() }

// Neighbours is the number of peers in the DHT's routing table.
func (d *Discovery) Neighbours() int {
	if d.dht == nil {
		return 0
	}
	return d.dht.RoutingTable().Size()
}

// Messages is the number of DHT messages that other nodes sent to this one.
func (d *Discovery) Messages() uint64 {
	if d.server == nil {
		return 0
	}
	return d.server.messages.Load()
}

// Find yields peers that announced the key, as answers come in, up to limit (at most MaxFound).
// It ends when the DHT knows no more, when ctx does, or after ten seconds. Neither this node
// nor a blocked peer is among them, and no peer comes twice. Each peer's addresses are with it
// and in the host's peerstore for as long as its record can live. If this node announces the
// key and has not done so yet, that is done on the way.
func (d *Discovery) Find(ctx context.Context, key blob.Digest, limit int) iter.Seq[peer.AddrInfo] {
	return func(yield func(peer.AddrInfo) bool) {
		if d.dht == nil || limit <= 0 {
			return
		}
		limit = min(limit, MaxFound)
		s := d.search(key, limit)
		if s == nil {
			return
		}
		defer s.leave()
		for i := range limit {
			found, ok := s.await(ctx, i)
			if !ok {
				return
			}
			if !d.host.Blocked(found.ID) && !yield(found) { // since it was found, perhaps
				return
			}
		}
	}
}

// ErrUnknown is wrapped by Locate's error for a peer that nobody knows the addresses of.
var ErrUnknown = errors.New("nobody knows where the peer is")

// Locate returns the addresses of a peer of which only the ID is known. For a member that is
// connected they may be those of its connections.
func (d *Discovery) Locate(ctx context.Context, p peer.ID) (peer.AddrInfo, error) {
	if info := d.whereabouts(p); len(info.Addrs) > 0 {
		return info, nil
	}
	if d.dht == nil {
		return peer.AddrInfo{}, fmt.Errorf("locate %s: %w", p, ErrUnknown)
	}
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	if _, err := d.dht.FindPeer(ctx, p); err != nil {
		return peer.AddrInfo{}, fmt.Errorf("locate %s: %w: %w", p, ErrUnknown, err)
	}
	if info := d.whereabouts(p); len(info.Addrs) > 0 {
		return info, nil
	}
	return peer.AddrInfo{}, fmt.Errorf("locate %s: %w", p, ErrUnknown)
}

// whereabouts is what this node itself knows.
func (d *Discovery) whereabouts(p peer.ID) peer.AddrInfo {
	info := d.host.Host().Peerstore().PeerInfo(p)
	if len(info.Addrs) == 0 {
		for _, c := range d.host.Host().Network().ConnsToPeer(p) {
			info.Addrs = append(info.Addrs, c.RemoteMultiaddr())
		}
	}
	return info
}
