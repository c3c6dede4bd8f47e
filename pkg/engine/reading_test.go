package engine

import (
	"slices"
	"testing"

	"github.com/shoal-project/shoal/pkg/upstream"
	"github.com/shoal-project/shoal/pkg/wire"
	"github.com/shoal-project/shoal/scheduler"
)

func TestReadingIsToldAsTheMachineSaysIt(t *testing.T) {
	if wire.MaxSpans != scheduler.MaxSpans {
		t.Errorf("the Machine tells %d spans, the wire takes %d", scheduler.MaxSpans, wire.MaxSpans)
	}
	e, d, _ := idleEngine(t)
	sent := make(chan wire.Message, 2)
	e.net.sessions = recorder{sent: sent}
	e.perform(t.Context(), scheduler.TellReading{
		Blob: d.digest, Peers: []scheduler.PeerID{"b", "c"}, Spans: []scheduler.Span{{First: 0, Count: 1}, {First: 2, Count: 2}},
	})
	for range 2 {
		m := <-sent
		e.Received("b", d.digest, m)
		got, ok := next(t, e)[0].(scheduler.PeerReads)
		want := []scheduler.Span{{First: 0, Count: 1}, {First: 2, Count: 2}}
		if !ok || got.Blob != d.digest || got.Peer != "b" || !slices.Equal(got.Spans, want) {
			t.Errorf("%#v arrives as %#v", m, got)
		}
	}
}

// Whoever asks for a part of a blob and is given the whole learns it before the bytes come.
func TestUpstreamThatIgnoresRanges(t *testing.T) {
	e, d, content := idleEngine(t)
	up := upstreamOf(content)
	e.cfg.Upstream = up
	d.addSource(upstream.Source{Repository: upstream.Repository{Registry: "registry.test", Name: "a/b"}})
	up.whole.Store(true)
	body, err := e.openUpstream(t.Context(), d, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	_ = body.Close()
	whole := scheduler.UpstreamWhole{Blob: d.digest}
	if got := next(t, e); len(got) != 1 || got[0] != scheduler.Event(whole) {
		t.Errorf("events %v", got)
	}
	// Another download knows it from the beginning.
	e.started(d, d.live())
	if _, ok := e.pending[0].(scheduler.DownloadStarted); !ok || len(e.pending) != 2 || e.pending[1] != scheduler.Event(whole) {
		t.Errorf("events %v", e.pending)
	}
	e.pending = nil
	// Who reads everything has nothing to learn.
	body, err = e.openUpstream(t.Context(), d, 0, d.geometry.Size())
	if err != nil {
		t.Fatal(err)
	}
	_ = body.Close()
	up.whole.Store(false)
	if body, err = e.openUpstream(t.Context(), d, 0, 10); err != nil {
		t.Fatal(err)
	}
	_ = body.Close()
	if len(e.inbox) > 0 {
		t.Errorf("%d more events", len(e.inbox))
	}
}
