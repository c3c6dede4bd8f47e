// Package configtoml reads containerd's own configuration, config.toml with all that it
// imports, for one question: where does containerd look for the mirrors of registries,
// and does it heed them?
//
// It follows the rules of containerd: which file counts, how they are merged, how older
// versions of the format are migrated. It reads nothing itself: files come from a Source.
package configtoml
