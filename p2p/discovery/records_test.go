package discovery

import (
	"fmt"
	"slices"
	"testing"
	"time"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/peer"
)

var noon = time.Unix(43200, 0)

func putRecord(r *records, now time.Time, key int, id string) bool {
	return r.put(now, keyNumber(key), peer.ID(id), &pb.Message_Peer{Id: []byte(id)})
}

// idsOf are the participants that an answer names, in order.
func idsOf(peers []*pb.Message_Peer) []string {
	ids := make([]string, 0, len(peers))
	for _, p := range peers {
		ids = append(ids, string(p.GetId()))
	}
	return slices.Sorted(slices.Values(ids))
}

// checkRecords compares the counts with what is there.
func checkRecords(t *testing.T, r *records) {
	t.Helper()
	n, peers := 0, map[peer.ID]int{}
	for key, list := range r.keys {
		if len(list) == 0 || len(list) > recordsPerKey {
			t.Errorf("%s has %d records", key.Short(), len(list))
		}
		for _, rec := range list {
			if n++; rec.of.keys[rec.at] != key {
				t.Errorf("%q does not know where its record of %s is", rec.of.id, key.Short())
			}
			peers[rec.of.id]++
			if r.peers[rec.of.id] != rec.of {
				t.Errorf("the participant %q is another in a record", rec.of.id)
			}
		}
	}
	if r.len() != n || len(r.peers) != len(peers) || len(r.most) != len(peers) {
		t.Errorf("%d records of %d peers counted, %d of %d there", r.len(), len(r.peers), n, len(peers))
	}
	for id, p := range r.peers {
		if len(p.keys) != peers[id] || len(p.keys) > len(r.most[0].keys) || r.most[p.place] != p {
			t.Errorf("%q: %d records counted, %d there", id, len(p.keys), peers[id])
		}
	}
}

func TestRecords(t *testing.T) {
	r := newRecords(time.Minute, 1)
	for _, id := range []string{"a", "b", "a"} {
		if !putRecord(r, noon, 1, id) {
			t.Error("there is no room")
		}
	}
	putRecord(r, noon, 2, "c")
	checkRecords(t, r)
	if got := idsOf(r.some(noon, keyNumber(1), "", 10)); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("found %v", got)
	}
	if got := idsOf(r.some(noon, keyNumber(1), "a", 10)); !slices.Equal(got, []string{"b"}) {
		t.Errorf("the one who asks is told %v", got)
	}
	if got := r.some(noon, keyNumber(3), "", 10); len(got) != 0 {
		t.Errorf("found %v under a key that nobody announced", got)
	}
	moved := &pb.Message_Peer{Id: []byte("a"), Addrs: [][]byte{{1}}}
	r.put(noon, keyNumber(2), "a", moved)
	if got := r.some(noon, keyNumber(1), "b", 10); len(got) != 1 || got[0] != moved {
		t.Error("an answer tells where a participant was")
	}
}

func TestRecordsRunOut(t *testing.T) {
	r := newRecords(time.Minute, 1)
	putRecord(r, noon, 1, "a")
	putRecord(r, noon, 1, "b")
	putRecord(r, noon, 2, "a")
	putRecord(r, noon.Add(30*time.Second), 1, "a")
	late := noon.Add(time.Minute)
	if got := idsOf(r.some(late, keyNumber(1), "", 10)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("found %v after a minute", got)
	}
	checkRecords(t, r)
	r.sweep(late)
	if checkRecords(t, r); r.len() != 1 {
		t.Errorf("%d records are left", r.len())
	}
	r.sweep(late.Add(time.Minute))
	if checkRecords(t, r); r.len() != 0 || len(r.keys) != 0 {
		t.Errorf("%d records are left", r.len())
	}
}

// Of a hot key a few records are kept and fewer told, and over time everybody's turn comes.
func TestRecordsPerKeyAreBounded(t *testing.T) {
	r := newRecords(time.Minute, 1)
	for i := range 10 * recordsPerKey {
		putRecord(r, noon, 1, fmt.Sprint(i))
	}
	if checkRecords(t, r); r.len() != recordsPerKey {
		t.Errorf("%d records are kept", r.len())
	}
	last := fmt.Sprint(10*recordsPerKey - 1)
	told := map[string]bool{}
	for range 100 {
		some := idsOf(r.some(noon, keyNumber(1), "", maxTaken))
		if len(slices.Compact(some)) != maxTaken {
			t.Fatalf("told of %d, some twice", len(some))
		}
		for _, id := range some {
			told[id] = true
		}
	}
	if len(told) != recordsPerKey || !told[last] {
		t.Errorf("%d are told of in the end, the last one: %v", len(told), told[last])
	}
}

func TestRecordsAreBounded(t *testing.T) {
	r := newRecords(time.Minute, 1)
	for i := range recordsPerPeer {
		putRecord(r, noon, i, "greedy")
	}
	if putRecord(r, noon, recordsPerPeer, "greedy") || r.len() != recordsPerPeer {
		t.Error("one peer may fill the place")
	}
	if !putRecord(r, noon, 0, "greedy") || !putRecord(r, noon, recordsPerPeer, "other") {
		t.Error("there is no room for what is there, or for another")
	}
	checkRecords(t, r)
}

// However many peers fill the place, another finds room, at the cost of who has the most; and who
// has as many as anybody gets no more.
func TestRecordsOfTheFewMakeRoom(t *testing.T) {
	const sybils, each, honest = 25, 400, 100
	r := newRecords(time.Minute, 1)
	r.limit = sybils * each
	for i := range sybils * (each + 1) { // their last does not fit
		if kept := putRecord(r, noon, i, fmt.Sprint("sybil ", i%sybils)); kept != (i < r.limit) {
			t.Fatalf("record %d of %d: kept is %v", i, r.limit, kept)
		}
	}
	for i := range honest {
		if !putRecord(r, noon, -1-i, "honest") {
			t.Fatalf("there is no room for record %d of an honest peer", i)
		}
		if r.len() != r.limit {
			t.Fatalf("%d records are kept, want %d", r.len(), r.limit)
		}
	}
	checkRecords(t, r)
	for i := range honest {
		if got := idsOf(r.some(noon, keyNumber(-1-i), "", 10)); !slices.Equal(got, []string{"honest"}) {
			t.Fatalf("under its key %d is %v", i, got)
		}
	}
	for id, p := range r.peers {
		if n := len(p.keys); id != "honest" && (n < each-honest/sybils-1 || n > each-honest/sybils+1) {
			t.Errorf("%s has %d records left", id, n)
		}
	}
	if !putRecord(r, noon.Add(time.Second), -1, "honest") {
		t.Error("a record that is there is not renewed")
	}
}

// Whatever is put, the counts stay those of what is there.
func TestRecordsCount(t *testing.T) {
	r := newRecords(time.Minute, 1)
	r.limit = 150
	for i := range 5000 {
		now := noon.Add(time.Duration(i) * 20 * time.Millisecond)
		putRecord(r, now, i%3, fmt.Sprint(i*7%211))
		if i%100 == 0 {
			r.some(now, keyNumber(i%3), "", 5)
			checkRecords(t, r)
		}
	}
	r.sweep(noon.Add(time.Hour))
	checkRecords(t, r)
}
