package exchange

import (
	"bytes"
	"context"
	"flag"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/p2p/admission"
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/wire"
)

// inShaped tells the test's own binary that it runs in a network of its own.
var inShaped = flag.Bool("shaped", false, "shape the loopback of this network namespace")

// shaped reports true in a network namespace of its own, whose loopback carries 100 Mbit/s and
// queues for 20 ms. Elsewhere it runs the binary there with the arguments, and reports false.
// It needs root and tc.
func shaped(tb testing.TB, args ...string) bool {
	tb.Helper()
	if *inShaped {
		for _, line := range []string{
			"ip link set lo up mtu 1500",
			"tc qdisc add dev lo root tbf rate 100mbit burst 32kb latency 20ms",
		} {
			words := strings.Fields(line)
			if out, err := exec.CommandContext(tb.Context(), words[0], words[1:]...).CombinedOutput(); err != nil {
				tb.Fatalf("%s: %v: %s", line, err, out)
			}
		}
		return true
	}
	if _, err := exec.LookPath("tc"); err != nil || os.Geteuid() != 0 {
		tb.Skip("a shaped network needs root and tc")
	}
	again := exec.CommandContext(tb.Context(), "/proc/self/exe", append(args, "-shaped")...)
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := again.CombinedOutput()
	tb.Logf("%s", out)
	if err != nil {
		tb.Errorf("in the shaped network: %v", err)
	}
	return false
}

// A trader serves every chunk it is asked for, asks for another whenever one has come, and
// refuses marks: chunks that nobody wants but to see when the Ask arrives.
type trader struct {
	tb testing.TB
	*Exchange
	host    host.Host
	bytes   []byte
	next    atomic.Int32
	sent    atomic.Int64 // chunks that count as sent
	arrived atomic.Int64 // chunks
	came    chan struct{}
	marks   chan time.Time
}

// firstMark is where marks begin. Every blob here has more chunks.
const firstMark = 1000

func newTrader(tb testing.TB, secret admission.Secret, chunk blob.ByteCount) *trader {
	tb.Helper()
	t := &trader{
		tb: tb, host: newMember(tb, secret), bytes: make([]byte, chunk),
		came: make(chan struct{}, 1), marks: make(chan time.Time, 1),
	}
	t.Exchange = New(t.host, t, Config{})
	tb.Cleanup(t.Close)
	return t
}

func (t *trader) Accept(context.Context, peer.ID, blob.Digest, blob.ByteCount) error { return nil }
func (t *trader) Joined(peer.ID, blob.Digest)                                        {}
func (t *trader) Left(peer.ID, blob.Digest, error)                                   {}

func (t *trader) Received(p peer.ID, d blob.Digest, m wire.Message) {
	ask, ok := m.(wire.Ask)
	if !ok {
		return
	}
	var err error
	if ask.Chunk >= firstMark {
		t.marks <- time.Now()
		err = t.Send(p, d, wire.Busy(ask))
	} else {
		body := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(t.bytes)), nil }
		err = t.SendChunk(p, d, ask.Chunk, body, func(error) { t.sent.Add(1) })
	}
	if err != nil {
		t.tb.Error(err)
	}
}

func (t *trader) Chunk(p peer.ID, d blob.Digest, _ blob.ChunkIndex, body io.Reader) error {
	if _, err := io.Copy(io.Discard, body); err != nil {
		return err
	}
	t.arrived.Add(1)
	select {
	case t.came <- struct{}{}:
	default:
	}
	t.ask(p, d)
	return nil
}

func (t *trader) ask(p peer.ID, d blob.Digest) {
	_ = t.Send(p, d, wire.Ask{Chunk: blob.ChunkIndex(t.next.Add(1) % firstMark)}) // a session may end
}

// BenchmarkMessageBesideChunks is how long an Ask takes to a peer that is being sent chunks, on
// a network that these saturate. ahead is how much counted as sent and had not arrived, at most;
// the CPU time is that of both ends, the kernel's included.
func BenchmarkMessageBesideChunks(b *testing.B) {
	if !shaped(b, "-test.run=^$", "-test.bench=^"+b.Name()+"$", "-test.benchtime=100x") {
		return
	}
	for _, c := range []struct {
		name         string
		size         blob.ByteCount
		peers, blobs int
	}{
		{"chunks of 256 KiB", 512 * blob.MiB, 1, 1},
		{"chunks of 4 MiB", 8 * blob.GiB, 1, 1},
		{"three blobs", 512 * blob.MiB, 1, 3},
		{"four peers", blob.GiB, 4, 1},
	} {
		b.Run(c.name, func(b *testing.B) {
			g, secret := geometryOf(b, c.size), admission.GenerateSecret()
			from := newTrader(b, secret, g.ChunkSize())
			to := make([]*trader, c.peers)
			for i := range to {
				to[i] = newTrader(b, secret, g.ChunkSize())
				introduce(from.host, to[i].host)
				for n := range c.blobs {
					if err := to[i].Connect(b.Context(), from.host.ID(), digestOf(byte(n)), c.size); err != nil {
						b.Fatal(err)
					}
					to[i].ask(from.host.ID(), digestOf(byte(n)))
					to[i].ask(from.host.ID(), digestOf(byte(n)))
				}
			}
			measureMarks(b, from, to, g)
		})
	}
}

func measureMarks(b *testing.B, from *trader, to []*trader, g blob.Geometry) {
	b.Helper()
	var took []time.Duration
	ahead := int64(0)
	cpu, arrived := cpuTime(b), arrivals(to)
	for mark := blob.ChunkIndex(0); b.Loop(); mark++ {
		for range 2 { // chunks are under way
			<-to[0].came
		}
		ahead = max(ahead, from.sent.Load()-arrivals(to))
		begun := time.Now()
		if err := from.Send(to[0].host.ID(), digestOf(0), wire.Ask{Chunk: firstMark + mark%100}); err != nil {
			b.Fatal(err)
		}
		took = append(took, (<-to[0].marks).Sub(begun))
	}
	bytes := blob.ByteCount(arrivals(to)-arrived) * g.ChunkSize()
	b.ReportMetric((cpuTime(b)-cpu).Seconds()*float64(blob.GiB)/float64(bytes), "cpu-s/GiB")
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
	b.ReportMetric(float64(ahead)*float64(g.ChunkSize()/blob.KiB), "ahead-KiB")
}

// arrivals counts the chunks that came to all of them.
func arrivals(to []*trader) (n int64) {
	for _, t := range to {
		n += t.arrived.Load()
	}
	return n
}

// cpuTime is the process's, user and system.
func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
