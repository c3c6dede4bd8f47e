// Package admission lets members in and nobody else (design section 9, promise P6).
//
// It is a security transport for libp2p: TLS, and then, as the last step of the
// handshake and before anything is multiplexed, an exchange of tokens that only holders of
// the swarm's secret can make. An outsider never reaches identify, the DHT or a stream.
//
// It does not decide whom to dial and keeps no list of members; package p2p does.
package admission
