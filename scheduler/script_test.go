package scheduler_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// A script drives one Machine with the verbs below and shows what it does. Peers are
// named by letters; blobs too (blob=, x when left out). Chunks are written 0-3,7 or all.
//
//	new [members=n] [neighbours=n] [readers=n] [reads-all=n] [asks-all=n] [asks-max=n] [uploads=n] [queue=n] [zone=z]
//	start [size=1MiB] [image=i] [no-upstream] [clients-only] [r=..] [v=..] [q=..]
//	held, lost, upstream, whole, client, client-left, proven
//	members n, found A,B [done], joined A,B [zone=z], left A [why=transient], told A peers=B,C, misbehaved A
//	has A 0-3, reads A 0-15 (or: reads A nothing), asked A 0, cancelled A 0, sent A 0, refused A 0, arrived A 0, chain A
//	read 1 0-3, read-ended 1 [why=none]
//	link A 3 [broken] [verified=2,3], hashed 4 [verified=all] [mismatch], audited 2 [same|differs|why=..], head-read [why=..], chunk-lost 2
//	advance 100ms (ticks at every deadline on the way), deadline, view, quarantined
type script struct {
	m      *scheduler.Machine
	now    scheduler.Time
	chunks map[blob.Digest]blob.ChunkIndex
}

func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		t.Helper()
		s := &script{m: scheduler.New(scheduler.Config{Self: "me"}), chunks: map[blob.Digest]blob.ChunkIndex{}}
		datadriven.RunTest(t, path, s.run)
	})
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	l := line{t: t, d: d, s: s}
	switch d.Cmd {
	case "new":
		cfg := scheduler.Config{
			Self: "me", Seed: 1, Zone: l.arg("zone", ""), Neighbours: l.number("neighbours", 0), Readers: l.number("readers", 0),
			ReadsAll: l.number("reads-all", 0), AsksAll: l.number("asks-all", 0), AsksMax: l.number("asks-max", 0),
			Uploads: l.number("uploads", 0), UploadQueue: l.number("queue", 0),
		}
		s.m, s.now, s.chunks = scheduler.New(cfg), 0, map[blob.Digest]blob.ChunkIndex{}
		return s.step(scheduler.MembersCounted{Members: l.number("members", 0)})
	case "advance":
		return s.advance(l.duration(l.word(0)))
	case "deadline":
		at, ok := s.m.Deadline()
		if !ok {
			return "never"
		}
		return time.Duration(at).String()
	case "view":
		return s.view()
	case "quarantined":
		var out strings.Builder
		for _, q := range s.m.Quarantined(s.now) {
			fmt.Fprintf(&out, "%s until %v times %d: %s\n", q.Peer, time.Duration(q.Until), q.Times, q.What)
		}
		return out.String()
	}
	var out strings.Builder
	for _, ev := range l.events() {
		out.WriteString(s.step(ev))
	}
	return out.String()
}

func (s *script) step(ev scheduler.Event) string {
	var out strings.Builder
	for _, a := range s.m.Step(s.now, ev) {
		out.WriteString(show(a) + "\n")
	}
	return out.String()
}

// advance lets time pass and ticks whenever the Machine asked for it.
func (s *script) advance(d scheduler.Time) string {
	var out strings.Builder
	end := s.now + d
	for {
		at, ok := s.m.Deadline()
		if !ok || at > end {
			s.now = end
			return out.String()
		}
		s.now = max(s.now, at)
		for line := range strings.Lines(s.step(scheduler.Ticked{})) {
			fmt.Fprintf(&out, "%v: %s", time.Duration(s.now).Round(time.Millisecond), line)
		}
	}
}

func (s *script) view() string {
	var out strings.Builder
	for _, v := range s.m.Blobs() {
		fmt.Fprintf(&out, "%s %d%% R %d V %d Q %d of %d, peers %d seeders %d, asks %d reads %d uploads %d proven %v\n",
			name(v.Blob), v.Percent, v.R, v.V, v.Q, v.Chunks, v.Peers, v.Seeders, v.Asks, v.Reads, v.Uploads, v.Proven)
	}
	return out.String()
}

func name(d blob.Digest) string { return string(rune(d[0])) }

func chunks(b blob.Bitset) string {
	var parts []string
	from := blob.ChunkIndex(-1)
	for i := range b.Len() + 1 {
		switch {
		case b.Has(i) && from < 0:
			from = i
		case !b.Has(i) && from >= 0:
			if from == i-1 {
				parts = append(parts, fmt.Sprint(from))
			} else {
				parts = append(parts, fmt.Sprintf("%d-%d", from, i-1))
			}
			from = -1
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ",")
}

func spans(reads []scheduler.Span) string {
	parts := make([]string, 0, len(reads))
	for _, r := range reads {
		parts = append(parts, fmt.Sprintf("%d-%d", r.First, r.End()-1))
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ",")
}

func show(a scheduler.Action) string {
	at := func(d blob.Digest) string { // x goes without saying
		if name(d) == "x" {
			return ""
		}
		return " of " + name(d)
	}
	peers := func(ps []scheduler.PeerID) string {
		out := make([]string, 0, len(ps))
		for _, p := range ps {
			out = append(out, string(p))
		}
		return strings.Join(out, ",")
	}
	switch a := a.(type) {
	case scheduler.FindPeers:
		return "find-peers" + at(a.Blob)
	case scheduler.Announce:
		return "announce " + name(a.Key)
	case scheduler.Connect:
		return fmt.Sprintf("connect %s%s", a.Peer, at(a.Blob))
	case scheduler.Disconnect:
		return fmt.Sprintf("disconnect %s%s", a.Peer, at(a.Blob))
	case scheduler.AskPeer:
		return fmt.Sprintf("ask %s %d%s", a.Peer, a.Chunk, at(a.Blob))
	case scheduler.CancelAsk:
		return fmt.Sprintf("cancel-ask %s %d%s", a.Peer, a.Chunk, at(a.Blob))
	case scheduler.Serve:
		return fmt.Sprintf("serve %s %d%s", a.Peer, a.Chunk, at(a.Blob))
	case scheduler.RefuseBusy:
		return fmt.Sprintf("refuse-busy %s %d%s", a.Peer, a.Chunk, at(a.Blob))
	case scheduler.TellHave:
		return fmt.Sprintf("tell-have %s %s%s", peers(a.Peers), chunks(a.Chunks), at(a.Blob))
	case scheduler.TellReading:
		return fmt.Sprintf("tell-reading %s %s%s", peers(a.Peers), spans(a.Spans), at(a.Blob))
	case scheduler.TellPeers:
		return fmt.Sprintf("tell-peers %s %s%s", a.Peer, peers(a.Peers), at(a.Blob))
	case scheduler.SendChain:
		return fmt.Sprintf("send-chain %s%s", peers(a.Peers), at(a.Blob))
	case scheduler.ReadUpstream:
		return fmt.Sprintf("read-upstream #%d %d-%d%s", a.Read, a.First, a.First+a.Count-1, at(a.Blob))
	case scheduler.CancelRead:
		return fmt.Sprintf("cancel-read #%d%s", a.Read, at(a.Blob))
	case scheduler.CheckLink:
		return fmt.Sprintf("check-link %s %d%s", a.Supplier, a.Chunk, at(a.Blob))
	case scheduler.HashPrefix:
		return fmt.Sprintf("hash-prefix %d-%d%s", a.First, a.Through, at(a.Blob))
	case scheduler.AuditChunk:
		return fmt.Sprintf("audit-chunk %d%s", a.Chunk, at(a.Blob))
	case scheduler.ReadHead:
		return fmt.Sprintf("read-head %d%s", a.Length, at(a.Blob))
	case scheduler.DropChunk:
		return fmt.Sprintf("drop-chunk %d%s", a.Chunk, at(a.Blob))
	case scheduler.DropChain:
		return fmt.Sprintf("drop-chain %s%s", a.Supplier, at(a.Blob))
	case scheduler.Release:
		return "release" + at(a.Blob)
	case scheduler.Abandon:
		return fmt.Sprintf("abandon %v%s", a.Why, at(a.Blob))
	case scheduler.Quarantine:
		return fmt.Sprintf("quarantine %s for %v: %s", a.Peer, time.Duration(a.For), a.What)
	}
	return fmt.Sprintf("%+v", a)
}

// A line is one command of a script with its arguments.
type line struct {
	t *testing.T
	d *datadriven.TestData
	s *script
}

// word is the i-th argument without a value.
func (l line) word(i int) string {
	l.t.Helper()
	for _, a := range l.d.CmdArgs {
		if len(a.Vals) > 0 {
			continue
		}
		if i == 0 {
			return a.Key
		}
		i--
	}
	l.d.Fatalf(l.t, "%s: too few arguments", l.d.Cmd)
	return ""
}

func (l line) flag(key string) bool { return l.d.HasArg(key) }

func (l line) arg(key, otherwise string) string {
	for _, a := range l.d.CmdArgs {
		if a.Key == key && len(a.Vals) > 0 {
			return strings.Join(a.Vals, ",")
		}
	}
	return otherwise
}

func (l line) number(key string, otherwise int) int {
	n, err := strconv.Atoi(l.arg(key, strconv.Itoa(otherwise)))
	if err != nil {
		l.d.Fatalf(l.t, "%s: %v", key, err)
	}
	return n
}

func (l line) index(s string) blob.ChunkIndex {
	n, err := strconv.Atoi(s)
	if err != nil {
		l.d.Fatalf(l.t, "chunk: %v", err)
	}
	return blob.ChunkIndex(n)
}

func (l line) duration(s string) scheduler.Time {
	d, err := time.ParseDuration(s)
	if err != nil {
		l.d.Fatalf(l.t, "%v", err)
	}
	return scheduler.Time(d)
}

func (l line) digest(key, otherwise string) blob.Digest {
	if s := l.arg(key, otherwise); s != "" {
		return blob.Digest{s[0]}
	}
	return blob.Digest{}
}

func (l line) peers(s string) (ids []scheduler.PeerID) {
	for p := range strings.SplitSeq(s, ",") {
		if p != "" {
			ids = append(ids, scheduler.PeerID(p))
		}
	}
	return ids
}

func (l line) size() blob.ByteCount {
	s := l.arg("size", "1MiB")
	unit := blob.ByteCount(1)
	for suffix, u := range map[string]blob.ByteCount{"KiB": blob.KiB, "MiB": blob.MiB, "GiB": blob.GiB} {
		if count, ok := strings.CutSuffix(s, suffix); ok {
			s, unit = count, u
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		l.d.Fatalf(l.t, "%v", err)
	}
	return blob.ByteCount(n) * unit
}

func (l line) fault() scheduler.Fault {
	want := l.arg("why", "none")
	for f := scheduler.FaultNone; f <= scheduler.FaultNoSource; f++ {
		if f.String() == want {
			return f
		}
	}
	l.d.Fatalf(l.t, "no fault is called %s", want)
	return 0
}

// set reads chunks; with the blob unknown it holds eight.
func (l line) set(s string, n blob.ChunkIndex) blob.Bitset {
	b := blob.NewBitset(n)
	if s == "nothing" {
		return b
	}
	if s == "all" {
		return blob.FullBitset(n)
	}
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if from == "" {
			continue
		}
		if !isRange {
			to = from
		}
		for i := l.index(from); i <= l.index(to); i++ {
			b.Add(i)
		}
	}
	return b
}

func (l line) list(key string, n blob.ChunkIndex) (is []blob.ChunkIndex) {
	for i := range l.set(l.arg(key, ""), n).All() {
		is = append(is, i)
	}
	return is
}

func (l line) geometry() blob.Geometry {
	g, err := blob.NewGeometry(l.size())
	if err != nil {
		l.d.Fatalf(l.t, "%v", err)
	}
	return g
}
