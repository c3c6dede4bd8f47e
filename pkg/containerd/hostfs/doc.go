// Package hostfs is the file tree of a machine, seen from the machine itself or from a
// container that has it mounted under a folder.
//
// Names are absolute names of that machine. Symbolic links are followed as the machine
// would follow them, never out of the tree. Reads are bounded, and changes are atomic:
// a reader sees a file as it was or as it will be, also after a crash.
package hostfs
