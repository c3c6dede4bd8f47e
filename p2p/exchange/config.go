package exchange

import (
	"errors"
	"log/slog"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/blob"
)

// Defaults of Config.
const (
	DefaultHelloTimeout    = 10 * time.Second
	DefaultConnectTimeout  = 15 * time.Second
	DefaultStallTimeout    = 20 * time.Second
	DefaultFlushTimeout    = 2 * time.Second
	DefaultMinRate         = 64 * blob.KiB
	DefaultSessions        = 4096
	DefaultSessionsPerPeer = 256
)

// A Config says how the exchange runs. The zero value of each field means its default.
type Config struct {
	// HelloTimeout bounds the time between a stream and its session, on both sides.
	HelloTimeout time.Duration
	// ConnectTimeout bounds Connect, a dial included.
	ConnectTimeout time.Duration
	// StallTimeout is how long a frame that has begun may stand still, in either direction.
	StallTimeout time.Duration
	// FlushTimeout bounds what Disconnect still sends.
	FlushTimeout time.Duration
	// MinRate is how many bytes a second a frame must make on average, in either direction,
	// once StallTimeout is over. A peer slower than that holds a chunk that another could bring.
	MinRate blob.ByteCount
	// Sessions and SessionsPerPeer bound the sessions, and the streams that may become one.
	Sessions, SessionsPerPeer int
	// Violated learns of violations before there is a session that could end by them. Nil
	// means that nobody does. It is called from several goroutines and must not block.
	Violated func(p peer.ID, v *ViolationError)
	// Logger takes what is worth telling. Nil means nothing is.
	Logger *slog.Logger
}

// Validate reports what is wrong with the configuration, in one sentence.
func (c Config) Validate() error {
	if c.HelloTimeout < 0 || c.ConnectTimeout < 0 || c.StallTimeout < 0 || c.FlushTimeout < 0 {
		return errors.New("a timeout of the exchange is negative")
	}
	if c.MinRate < 0 || c.Sessions < 0 || c.SessionsPerPeer < 0 {
		return errors.New("a limit of the exchange is negative")
	}
	return nil
}

func (c Config) withDefaults() Config {
	c.HelloTimeout = orDefault(c.HelloTimeout, DefaultHelloTimeout)
	c.ConnectTimeout = orDefault(c.ConnectTimeout, DefaultConnectTimeout)
	c.StallTimeout = orDefault(c.StallTimeout, DefaultStallTimeout)
	c.FlushTimeout = orDefault(c.FlushTimeout, DefaultFlushTimeout)
	c.MinRate = orDefault(c.MinRate, DefaultMinRate)
	c.Sessions = orDefault(c.Sessions, DefaultSessions)
	c.SessionsPerPeer = orDefault(c.SessionsPerPeer, DefaultSessionsPerPeer)
	if c.Violated == nil {
		c.Violated = func(peer.ID, *ViolationError) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func orDefault[T ~int | ~int64](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}

// allowance is how long n bytes may take altogether.
func (c Config) allowance(n blob.ByteCount) time.Duration {
	return c.StallTimeout + time.Duration(n)*time.Second/time.Duration(c.MinRate)
}
