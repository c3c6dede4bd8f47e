package daemon

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"iter"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/shoal-project/shoal/p2p/exchange"
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/engine"
	"github.com/shoal-project/shoal/pkg/store"
	"github.com/shoal-project/shoal/proxy"
	"github.com/shoal-project/shoal/scheduler"
)

func TestEndsOfSessionsInTheEnginesWords(t *testing.T) {
	for _, c := range []struct{ err, is error }{
		{fmt.Errorf("read: %w", exchange.ErrPeerClosed), engine.ErrPeerLeft},
		{fmt.Errorf("open: %w", exchange.ErrRefused), engine.ErrRefused},
		{fmt.Errorf("open: %w", exchange.ErrTooMany), engine.ErrRefused},
		{exchange.ErrClosed, engine.ErrStopping},
		{exchange.ErrStalled, exchange.ErrStalled},
		{io.ErrUnexpectedEOF, io.ErrUnexpectedEOF},
	} {
		got := ending(c.err)
		if !errors.Is(got, c.is) || !errors.Is(got, c.err) {
			t.Errorf("%v: %v", c.err, got)
		}
	}
	if ending(nil) != nil {
		t.Error("a good end is an error")
	}
	// A violation stays one, whatever it wraps.
	v := &exchange.ViolationError{Err: exchange.ErrPeerClosed}
	var violation engine.Violation
	if got := ending(v); errors.Is(got, engine.ErrPeerLeft) || !errors.As(got, &violation) || !violation.Violation() {
		t.Errorf("%v", got)
	}
}

func TestNoSessionBeforeTheEngineKnowsItsPeers(t *testing.T) {
	h := handler{joined: make(chan struct{})}
	if err := h.Accept(t.Context(), "p", blob.Digest{}, 0); !errors.Is(err, errNotJoined) {
		t.Errorf("Accept = %v", err)
	}
}

// Every text for people has a class for metrics that was chosen for it.
func TestClassesOfQuarantines(t *testing.T) {
	want := map[string]string{
		"sent a chain that the registry's bytes do not fit":           "bad_chain",
		"sent a blob that does not match its digest":                  "bad_chunk",
		"sent a chunk that differs from the registry's":               "bad_chunk",
		"sent a chunk that the proven chain refuses":                  "bad_chunk",
		"said it reads chunks beyond the end of the blob":             "protocol",
		"told a set of chunks of another blob size":                   "bad_size",
		"claims another blob size":                                    "bad_size",
		"asked for a chunk beyond the end of the blob":                "protocol",
		"peer X broke the exchange protocol: a chain that is too big": "protocol",
	}
	for what, class := range want {
		if got := classOf(what); got != class {
			t.Errorf("%q: %s, want %s", what, got, class)
		}
	}
	files, err := filepath.Glob("../../scheduler/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			fun, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || fun.Sel.Name != "quarantine" || len(call.Args) != 3 {
				return true
			}
			if text, ok := call.Args[2].(*ast.BasicLit); ok {
				what, _ := strconv.Unquote(text.Value)
				if _, known := want[what]; !known {
					t.Errorf("%s: no class is chosen for %q", file, what)
				}
				found++
			}
			return true
		})
	}
	if found == 0 {
		t.Error("the scheduler quarantines nobody")
	}
}

// A book is a DHT that remembers what is announced.
type book map[blob.Digest]bool

func (b book) Provide(key blob.Digest) bool { b[key] = true; return true }
func (b book) Withdraw(key blob.Digest)     { delete(b, key) }
func (b book) Find(context.Context, blob.Digest, int) iter.Seq[peer.AddrInfo] {
	return func(func(peer.AddrInfo) bool) {}
}

func TestAnnouncedIsBoundedAndSwept(t *testing.T) {
	b := book{}
	a, err := newAnnouncer(b, 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []byte{1, 2, 3, 1, 4} { // 1 is announced again: 2 is the oldest
		a.Provide(blob.Digest{i})
	}
	if len(b) != 3 || b[blob.Digest{2}] || !b[blob.Digest{1}] {
		t.Errorf("announced: %v", b)
	}
	a.sweep(func(d blob.Digest) bool { return d == blob.Digest{4} })
	if len(b) != 1 || !b[blob.Digest{4}] {
		t.Errorf("after the sweep: %v", b)
	}
}

func TestOnlyDialableAddressesAreTaken(t *testing.T) {
	claimed := []string{
		"/dns4/registry.test/tcp/80", "/ip4/0.0.0.0/tcp/1", "/ip4/224.0.0.1/tcp/1", "/ip4/169.254.169.254/tcp/80",
		"/ip6/fe80::1/tcp/1", "/ip4/10.0.0.1/udp/1", "/ip4/10.0.0.1/tcp/1/ws", "/ip4/10.0.0.1",
		"/ip4/10.0.0.1/tcp/1", "/ip6/fd00::1/tcp/2", "/ip4/127.0.0.1/tcp/3", "/ip4/10.0.0.2/tcp/4", "/ip4/10.0.0.3/tcp/5",
	}
	raw := make([][]byte, 0, len(claimed)+2)
	raw = append(raw, []byte{0xff, 0xff}, nil)
	for _, s := range claimed {
		raw = append(raw, ma.StringCast(s).Bytes())
	}
	got := make([]string, 0, contactAddrs)
	for _, a := range dialable(raw) {
		got = append(got, a.String())
	}
	want := []string{"/ip4/10.0.0.1/tcp/1", "/ip6/fd00::1/tcp/2", "/ip4/127.0.0.1/tcp/3", "/ip4/10.0.0.2/tcp/4"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestDiskWarning(t *testing.T) {
	var d diskState
	if _, failing := d.warning(); failing {
		t.Error("a disk that nobody used fails")
	}
	d.tell(&store.DiskError{Op: "write", Err: syscall.ENOSPC})
	if w, _ := d.warning(); w.Code != "disk_full" {
		t.Errorf("%+v", w)
	}
	d.tell(&store.DiskError{Op: "write", Err: syscall.EIO})
	if w, _ := d.warning(); w.Code != "disk_failed" {
		t.Errorf("%+v", w)
	}
	d.tell(nil)
	if _, failing := d.warning(); failing {
		t.Error("it failed once, and works")
	}
}

func TestWrongBytesInTheProxysWords(t *testing.T) {
	wrong := error(&engine.AbandonedError{Why: scheduler.FaultMismatch, Upstream: engine.ErrWrongBytes})
	if got := wrongBytes(wrong); !errors.Is(got, proxy.ErrWrongBytes) || !errors.Is(got, wrong) {
		t.Errorf("%v", got)
	}
	other := error(&engine.AbandonedError{Why: scheduler.FaultDisk})
	if got := wrongBytes(other); errors.Is(got, proxy.ErrWrongBytes) || !errors.Is(got, other) {
		t.Errorf("%v", got)
	}
	if wrongBytes(nil) != nil {
		t.Error("nothing is wrong")
	}
}
