// Package discovery finds members: first contact when the node is alone, and by content
// afterwards, through a DHT of Shoal's own (design section 8).
//
// Every node serves the DHT. kad-dht keeps the routing table; the server and the walks towards
// keys are this package's, on Kademlia's wire. A walk announces and asks at once. Records live
// minutes and are swept: keys that lie close together are announced together, after one walk.
// What a found peer really has is for p2p/exchange to learn.
package discovery
