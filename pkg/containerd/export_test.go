package containerd

// OnChange sets what is called before each change to the disk; see hostfs.
func (n *Node) OnChange(before func(change, name string) error) { n.tree.OnChange(before) }
