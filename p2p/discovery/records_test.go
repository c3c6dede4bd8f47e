package discovery

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
)

func ask(t *testing.T, r *records, prefix string) []query.Entry {
	t.Helper()
	results, err := r.Query(t.Context(), query.Query{Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	entries, err := results.Rest()
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func TestRecords(t *testing.T) {
	r := newRecords()
	put := func(name string) {
		t.Helper()
		if err := r.Put(t.Context(), datastore.NewKey(name), []byte(name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"/providers/A/1", "/providers/A/2", "/providers/AB/1", "/providers/A/1"} {
		put(name)
	}
	if r.Len() != 3 {
		t.Errorf("%d records, want 3", r.Len())
	}
	if got := ask(t, r, "/providers/A"); len(got) != 2 || !strings.HasPrefix(got[0].Key, "/providers/A/") || string(got[0].Value) != got[0].Key {
		t.Errorf("A: %v", got)
	}
	if got := ask(t, r, "/providers/"); len(got) != 3 {
		t.Errorf("all: %v", got)
	}
	if got := ask(t, r, "/providers/C"); len(got) != 0 {
		t.Errorf("C: %v", got)
	}
	if v, err := r.Get(t.Context(), datastore.NewKey("/providers/AB/1")); err != nil || string(v) != "/providers/AB/1" {
		t.Errorf("Get: %q, %v", v, err)
	}
	if err := r.Delete(t.Context(), datastore.NewKey("/providers/A/1")); err != nil {
		t.Error(err)
	}
	if err := r.Delete(t.Context(), datastore.NewKey("/providers/A/1")); err != nil {
		t.Error(err)
	}
	if ok, err := r.Has(t.Context(), datastore.NewKey("/providers/A/1")); ok || err != nil || r.Len() != 2 {
		t.Errorf("deleted: %v, %v, %d left", ok, err, r.Len())
	}
}

func TestRecordsPerKeyAreBounded(t *testing.T) {
	r := newRecords()
	for i := range 10 * recordsPerKey {
		if err := r.Put(t.Context(), datastore.NewKey(fmt.Sprintf("/providers/HOT/%d", i)), nil); err != nil {
			t.Fatal(err)
		}
	}
	last := fmt.Sprintf("/providers/HOT/%d", 10*recordsPerKey-1)
	if ok, err := r.Has(t.Context(), datastore.NewKey(last)); !ok || err != nil || r.Len() != recordsPerKey {
		t.Errorf("%d records, the last is there: %v", r.Len(), ok)
	}
}

func TestRecordsAreBounded(t *testing.T) {
	r := newRecords()
	r.n = maxRecords - 1
	for _, name := range []string{"/providers/A/1", "/providers/B/1", "/providers/A/1"} {
		if err := r.Put(t.Context(), datastore.NewKey(name), nil); err != nil {
			t.Fatal(err)
		}
	}
	if r.Len() != maxRecords || len(r.folder) != 1 {
		t.Errorf("%d records in %d folders", r.Len(), len(r.folder))
	}
}
