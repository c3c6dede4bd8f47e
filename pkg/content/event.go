package content

import (
	"context"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A Held is a blob that containerd says it holds. It is a claim.
type Held struct {
	Digest blob.Digest
	Size   blob.ByteCount
}

// A Runtime is the containerd whose content it is. pkg/content/socket is one.
type Runtime interface {
	// List names the blobs that are held now, the latest first, HeldMax at most.
	List(ctx context.Context) ([]Held, error)
	// Follow tells what happens from now on, one event at a time, until ctx ends or the
	// runtime does. It always returns an error.
	Follow(ctx context.Context, tell func(Event)) error
}

// HeldMax bounds the blobs that are known of. More are left alone.
const HeldMax = 1 << 16

// An Event is something that containerd has done. It is Created, Removed or Changed.
type Event interface{ isEvent() }

type (
	// Created reports a blob that is new.
	Created struct{ Held Held }
	// Removed reports a blob that is gone.
	Removed struct{ Digest blob.Digest }
	// Changed reports images that came or went, and blobs with them perhaps.
	Changed struct{}
)

func (Created) isEvent() {}
func (Removed) isEvent() {}
func (Changed) isEvent() {}
