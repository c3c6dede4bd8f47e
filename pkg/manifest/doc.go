// Package manifest reads what a manifest refers to, so that the layers of an image can
// be fetched ahead of the client that will ask for them.
//
// It is pure, and it knows manifests only as far as their references: an OCI image
// manifest or index, Docker's schema 2 manifest or list, and OCI artifacts. Any other
// JSON is opaque: it is passed through and refers to nothing. The package neither
// checks a manifest against its digest nor says which platform a client wants, and it
// never changes a byte: a manifest is served exactly as it came.
package manifest
