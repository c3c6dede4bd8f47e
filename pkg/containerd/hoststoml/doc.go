// Package hoststoml reads and edits hosts.toml, the file that tells containerd which
// hosts to ask for the images of one registry, and in which order.
//
// Parse says what containerd makes of a file, its oddities included. Insert puts a mirror
// in front of all other hosts by adding lines and touching none; Cut takes those lines out
// again and gives back the bytes that were there. Neither re-marshals: comments, order and
// spelling are the operator's. Both prove their result by parsing it.
//
// The package is pure: it knows no folders and no certificates beside the file.
package hoststoml
