package proxy

import (
	"errors"
	"fmt"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/upstream"
)

// StaleTags says what a tag may stand for while upstream cannot be asked.
type StaleTags string

// The ways to answer for a tag while upstream is out of reach.
const (
	StaleMembers StaleTags = "members" // what this node saw last, else what most members saw last
	StaleLocal   StaleTags = "local"   // what this node saw last
	StaleOff     StaleTags = "off"     // nothing
)

// Config holds the settings of a Proxy and of its Server. The zero value of every field
// means the default that is named with it.
type Config struct {
	// Listen is the address the server listens on, "host:port". Its host is accepted in Host
	// headers, and it is refused as an upstream, which would be a loop. Default: none known.
	Listen string
	// Hosts are further names and addresses, without a port, that a Host header may carry
	// besides loopback ones. Others are refused, against DNS rebinding. Default: none.
	Hosts []string
	// DefaultRegistry is the upstream of requests that name none. Default "docker.io".
	DefaultRegistry string
	// OnDemand leaves layers alone until a client asks for them, instead of starting all
	// layers of an image with its manifest. For nodes whose clients load lazily.
	OnDemand bool

	// StaleTags is the answer for tags while upstream is out of reach. Default StaleMembers.
	StaleTags StaleTags
	// GrantTTL is how long upstream's yes to a credential holds. Default 60 s.
	GrantTTL time.Duration
	// AuthStale is how long it holds while upstream is out of reach. Default 12 h; negative: not at all.
	AuthStale time.Duration
	// StalePublic is how long, while upstream is out of reach, a repository counts as public
	// after an anonymous request was accepted. Default 12 h; negative: not at all.
	StalePublic time.Duration

	// PublicProbe is how often a repository that opened to a bearer token is asked for without a
	// password, to learn whether it is public. Default 6 h; negative: never.
	PublicProbe time.Duration

	// UpstreamTimeout bounds one manifest, list or blob-header request to upstream, body
	// included; its last fifth is for finding out whether upstream is there at all. Default 10 s;
	// containerd waits 30 s for headers.
	UpstreamTimeout time.Duration
	// DownFor is how long an upstream that is away counts as that, and is not asked again if it
	// was slow to show it. Default 5 s.
	DownFor time.Duration
	// MembersWait is how long members are asked for a manifest that upstream can deliver too: the
	// price of a cold pull, twice for an image of many platforms. Default 75 ms.
	MembersWait time.Duration
	// MembersTimeout is how long they are asked when upstream cannot. Default 2 s.
	MembersTimeout time.Duration

	// HeaderWait is how long the headers of a blob wait for its first byte. Default 10 s.
	HeaderWait time.Duration
	// LazyWait is how long a bounded range of a blob that is not proven waits before it is read
	// from upstream directly. Default 3 s.
	LazyWait time.Duration
	// LazyMax is the longest range that counts as a lazy loader's. Default 64 MiB.
	LazyMax blob.ByteCount
	// StallWait is the same wait for any other range that does not start at 0: less than the 5 min
	// that containerd waits for a byte. Default 4 min.
	StallWait time.Duration
	// DripEvery is how long a body may stand still before 1 KiB of the reserve goes out. Default 30 s.
	DripEvery time.Duration
	// WriteStall is how long a client may take to accept one piece of at most 1 MiB. Default 5 min.
	WriteStall time.Duration

	// SaveEvery is how often last known tags are saved, if there are new ones. Default 30 s.
	SaveEvery time.Duration

	// MaxURL bounds the request target, in bytes. Default 4096.
	MaxURL int
	// MaxHeader bounds the headers of a request, in bytes. Default 64 KiB: bearer tokens are long.
	MaxHeader int
	// MaxRequests bounds the requests that are worked on at once, those that wait for their clients to read not
	// counted; one more is answered 503. Twice as many connections may be open. Default 512: a container
	// runtime uses a handful.
	MaxRequests int
	// MaxBuffered bounds the memory for manifests and lists that are held whole until their clients have read
	// them, in bytes, besides 64 KiB for each request. Default 64 MiB.
	MaxBuffered blob.ByteCount
	// MaxGrants, MaxNamed and MaxTags bound the memory for accepted credentials, for blobs
	// known to belong to a repository and for last known tags. Defaults 4096, 65536 and 4096.
	MaxGrants, MaxNamed, MaxTags int
}

// withDefaults returns c with every zero field set.
func (c Config) withDefaults() Config {
	orString(&c.DefaultRegistry, dockerHub)
	if c.StaleTags == "" {
		c.StaleTags = StaleMembers
	}
	for _, d := range c.durations() {
		if *d.field == 0 {
			*d.field = d.def
		}
	}
	if c.LazyMax == 0 {
		c.LazyMax = 64 * blob.MiB
	}
	if c.MaxBuffered == 0 {
		c.MaxBuffered = 64 * blob.MiB
	}
	orInt(&c.MaxURL, 4096)
	orInt(&c.MaxHeader, 64<<10)
	orInt(&c.MaxRequests, 512)
	orInt(&c.MaxGrants, 4096)
	orInt(&c.MaxNamed, 65536)
	orInt(&c.MaxTags, 4096)
	return c
}

// A setting is one duration of a Config.
type setting struct {
	name  string
	field *time.Duration
	def   time.Duration
	off   bool // a negative value switches it off
}

// durations lists the durations of c.
func (c *Config) durations() []setting {
	return []setting{
		{"grant TTL", &c.GrantTTL, time.Minute, false},
		{"auth stale", &c.AuthStale, 12 * time.Hour, true},
		{"stale public", &c.StalePublic, 12 * time.Hour, true},
		{"public probe", &c.PublicProbe, 6 * time.Hour, true},
		{"upstream timeout", &c.UpstreamTimeout, 10 * time.Second, false},
		{"down for", &c.DownFor, 5 * time.Second, false},
		{"members wait", &c.MembersWait, 75 * time.Millisecond, false},
		{"members timeout", &c.MembersTimeout, 2 * time.Second, false},
		{"header wait", &c.HeaderWait, 10 * time.Second, false},
		{"lazy wait", &c.LazyWait, 3 * time.Second, false},
		{"stall wait", &c.StallWait, 4 * time.Minute, false},
		{"drip every", &c.DripEvery, 30 * time.Second, false},
		{"write stall", &c.WriteStall, 5 * time.Minute, false},
		{"save every", &c.SaveEvery, 30 * time.Second, false},
	}
}

func orString(field *string, def string) {
	if *field == "" {
		*field = def
	}
}

func orInt(field *int, def int) {
	if *field == 0 {
		*field = def
	}
}

// ErrConfig is wrapped by every error that Validate returns.
var ErrConfig = errors.New("proxy configuration")

// Validate reports the first setting that makes no sense.
func (c Config) Validate() error {
	c = c.withDefaults()
	switch c.StaleTags {
	case StaleMembers, StaleLocal, StaleOff:
	default:
		return fmt.Errorf("%w: stale tags %q: want members, local or off", ErrConfig, c.StaleTags)
	}
	if !upstream.ValidRegistry(c.DefaultRegistry) {
		return fmt.Errorf("%w: default registry %q is not a host name", ErrConfig, c.DefaultRegistry)
	}
	for _, d := range c.durations() {
		if *d.field < 0 && !d.off {
			return fmt.Errorf("%w: %s is negative", ErrConfig, d.name)
		}
	}
	if min(c.LazyMax, c.MaxBuffered) < 0 || min(c.MaxURL, c.MaxHeader, c.MaxRequests, c.MaxGrants, c.MaxNamed, c.MaxTags) < 0 {
		return fmt.Errorf("%w: a bound is negative", ErrConfig)
	}
	return nil
}
