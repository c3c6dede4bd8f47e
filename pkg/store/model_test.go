package store_test

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
	"github.com/shoal-project/shoal/pkg/store"
)

type modelLink struct{ before, after chain.State }

// A model is what a Partial should be, slow and obvious: it keeps the bytes themselves,
// hashes them each time, and draws every conclusion anew.
type model struct {
	tb      testing.TB
	of      sample
	bytes   [][]byte // nil: missing
	origin  []store.Origin
	claimed []map[modelLink]bool // links of claimed chains that held over these bytes
	prefix  []chain.State        // what was hashed in a row from the IV
	right   map[blob.ChunkIndex]chain.State
	proven  bool
}

func newModel(tb testing.TB, of sample) *model {
	tb.Helper()
	m := &model{tb: tb, of: of, right: map[blob.ChunkIndex]chain.State{}}
	m.restart()
	return m
}

// restart forgets what is not on disk.
func (m *model) restart() {
	n := m.of.geometry.Chunks()
	if m.bytes == nil {
		m.bytes, m.origin = make([][]byte, n), make([]store.Origin, n)
	}
	m.claimed = make([]map[modelLink]bool, n)
	for i := range m.claimed {
		m.claimed[i] = map[modelLink]bool{}
	}
	m.prefix = []chain.State{chain.IV()}
	m.right = map[blob.ChunkIndex]chain.State{n: chain.State(m.of.digest)}
	m.proven = false
}

func (m *model) put(i blob.ChunkIndex, from store.Origin, content []byte) {
	m.bytes[i], m.origin[i] = content, from
}

func (m *model) lose(i blob.ChunkIndex) {
	if m.bytes[i] == nil {
		return
	}
	m.bytes[i], m.origin[i], m.claimed[i] = nil, 0, map[modelLink]bool{}
	m.prefix = m.prefix[:min(len(m.prefix), int(i)+1)]
}

func (m *model) hash(i blob.ChunkIndex, before chain.State) chain.State {
	m.tb.Helper()
	after, err := chain.Next(m.of.geometry, i, before, bytes.NewReader(m.bytes[i]), nil)
	if err != nil {
		m.tb.Fatal(err)
	}
	return after
}

// holds reports whether the link was seen to hold over the bytes that are there.
func (m *model) holds(i blob.ChunkIndex, l modelLink) bool {
	inPrefix := int(i)+1 < len(m.prefix) && m.prefix[i] == l.before && m.prefix[i+1] == l.after
	return inPrefix || m.claimed[i][l]
}

// conclude applies the two rules until nothing new follows: a link that continues the
// prefix lengthens it, and a link that ends in a right state makes its beginning right.
func (m *model) conclude() {
	n := m.of.geometry.Chunks()
	for again := true; again; {
		again = false
		if k := len(m.prefix) - 1; k < int(n) {
			for l := range m.claimed[k] {
				if l.before == m.prefix[k] && len(m.prefix) == k+1 {
					m.prefix, again = append(m.prefix, l.after), true
				}
			}
		}
		for i := range n {
			after, known := m.right[i+1]
			if _, done := m.right[i]; done || !known {
				continue
			}
			candidates := []modelLink{}
			for l := range m.claimed[i] {
				candidates = append(candidates, l)
			}
			if int(i)+1 < len(m.prefix) {
				candidates = append(candidates, modelLink{m.prefix[i], m.prefix[i+1]})
			}
			for _, l := range candidates {
				if l.after == after {
					m.right[i], again = l.before, true
				}
			}
		}
	}
	for i := range n { // what proved a chunk is not forgotten with the chain it came from
		before, known := m.right[i]
		if known && m.bytes[i] != nil && m.holds(i, modelLink{before, m.right[i+1]}) {
			m.claimed[i][modelLink{before, m.right[i+1]}] = true
		}
	}
}

func (m *model) verified(i blob.ChunkIndex) bool {
	before, known := m.right[i]
	return m.bytes[i] != nil && known && m.holds(i, modelLink{before, m.right[i+1]})
}

func (m *model) dropLinks() {
	for i := range m.claimed {
		for l := range m.claimed[i] {
			before, known := m.right[blob.ChunkIndex(i)]
			if !known || l != (modelLink{before, m.right[blob.ChunkIndex(i)+1]}) {
				delete(m.claimed[i], l)
			}
		}
	}
}

func (m *model) states() (r, v, q []blob.ChunkIndex) {
	r, v, q = []blob.ChunkIndex{}, []blob.ChunkIndex{}, []blob.ChunkIndex{}
	for i := range m.of.geometry.Chunks() {
		switch {
		case m.bytes[i] == nil:
		case m.origin[i] == store.FromRegistry:
			r = append(r, i)
		case m.verified(i) || m.proven:
			v = append(v, i)
		default:
			q = append(q, i)
		}
	}
	return r, v, q
}

// whole reports whether the bytes are all there and hash to the digest.
func (m *model) whole() bool {
	return !slices.ContainsFunc(m.bytes, func(p []byte) bool { return p == nil }) &&
		sha256.Sum256(bytes.Join(m.bytes, nil)) == m.of.digest
}
