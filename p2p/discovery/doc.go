// Package discovery finds members: first contact when the node is alone, and by content
// afterwards, through a DHT of Shoal's own (design section 8).
//
// Every node serves the DHT. Records live minutes and are swept: keys that lie close together
// are announced together, after one lookup. What a found peer really has is for p2p/exchange
// to learn.
package discovery
