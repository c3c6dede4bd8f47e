// Package sim runs many scheduler Machines against each other in one discrete-event
// network: a seed goes in, a trace and a Result come out, the same every time. It decides
// between policies: what it has not measured is not believed.
//
// The model. Every node has a link up and a link down, the registry one out; bytes share
// them max-min fair (fabric.go), messages take the latency and go past them. A session sends
// one chunk at a time, and keeps the book of asks and answers, as p2p/exchange does. The registry
// answers after a while and counts all that it sends, also what nobody kept. A DHT tells
// of members late, in part, and of some that are gone. Hashing takes time on a few cores. A disk
// is the store (pkg/store) with numbers for bytes: it proves by the same rules.
//
// The DHT's figures, unless a run says otherwise: an announcement can be found after 10 ms (make
// bench-dht, 50 hosts: p50 1.5 ms, p99 23), a look takes 10 ms (0.4, 6.7), always, and yields up to
// 40 of a key's records, drawn anew each time. The case slow-dht has 100 ms in place of both.
//
// Faults come by hand or by seed: crashes, restarts, partitions, outages, slow links, lost
// messages and records, and every kind of Lie. On each action it checks what no Machine may
// ever do; an error wraps ErrInvariant.
//
// It moves no bytes and knows nothing of TCP beyond a fair share: no loss, no slow start, no
// queue in front of a link.
package sim
