// Package containerd sets up containerd's mirror configuration for Shoal, takes it back,
// and says whether the pulls of this node really go through Shoal.
//
// It edits nothing but hosts.toml files, in the folder that containerd's own configuration
// names, and it keeps a record there of what was before. It never touches config.toml:
// containerd reads that at its start only, and restarting it is the operator's to decide.
// What a file means to containerd is the business of the packages below.
package containerd
