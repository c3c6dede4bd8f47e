// Package wire holds the messages of the exchange protocol and their form on the wire.
//
// A frame is its length as a varint and then one message in the protobuf encoding; the raw
// bytes of each piece of a chunk follow a frame that holds a Chunk header. The schema:
//
//	message Frame {
//	  oneof message {
//	    Hello hello = 1;    Have have = 2;      Index ask = 3;      Index cancel = 4;
//	    Chunk chunk = 5;    Index busy = 6;     Chain chain = 7;    Peers peers = 8;
//	    Reading reading = 9;
//	  }
//	}
//	message Hello { bytes digest = 1; uint64 size = 2; }
//	message Have  { oneof chunks { bytes bitset = 1; bytes increments = 2; } }
//	message Index { uint32 chunk = 1; }
//	message Chunk { uint32 chunk = 1; uint32 length = 2; }
//	message Chain { bytes inner = 1; }
//	message Peers { repeated Contact contacts = 1; }
//	message Contact { bytes peer = 1; repeated bytes addresses = 2; }
//	message Reading { repeated Span spans = 1; }
//	message Span { uint32 first = 1; uint32 count = 2; }
//
// Increments are varints: the first chunk, and then for each chunk how many lie between it
// and the one before. Whichever of bitset and increments is shorter is used, the bitset when
// both are as long, and neither when the set is empty. Spans ascend and do not overlap.
//
// Every message has exactly one encoding, and Decode accepts no other: no field twice, out
// of order, unknown or written out although it is zero, and no varint longer than it must be.
// What a message may hold follows from the blob's geometry, so that both sides agree on each
// limit without telling it. Another schema is another protocol with another number.
//
// The package computes: it neither reads a network nor decides what a violation costs.
package wire
