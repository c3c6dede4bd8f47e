// Package socket asks a containerd over its socket which blobs it holds, and follows what it
// says of them, as a content.Runtime. No byte of a blob comes this way.
package socket
