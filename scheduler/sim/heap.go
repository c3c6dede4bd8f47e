package sim

// comesBefore orders the elements of a heap.
type comesBefore[T any] interface{ less(other T) bool }

// A heap keeps the least of its elements in front. The zero value is empty.
type heap[T comesBefore[T]] struct{ items []T }

func (h *heap[T]) len() int { return len(h.items) }

func (h *heap[T]) push(x T) {
	h.items = append(h.items, x)
	at := len(h.items) - 1
	for at > 0 {
		above := (at - 1) / 2
		if !x.less(h.items[above]) {
			break
		}
		h.items[at] = h.items[above]
		at = above
	}
	h.items[at] = x
}

// pop takes the least element out. The heap must not be empty.
func (h *heap[T]) pop() T {
	var zero T
	first, last := h.items[0], len(h.items)-1
	x := h.items[last]
	h.items[last] = zero // what it refers to is not kept
	h.items = h.items[:last]
	if last > 0 {
		h.sink(0, x)
	}
	return first
}

// replace puts x in the place of the least element, and x itself where it belongs.
func (h *heap[T]) replace(x T) { h.sink(0, x) }

// order makes a heap of elements in any order.
func (h *heap[T]) order() {
	for at := len(h.items)/2 - 1; at >= 0; at-- {
		h.sink(at, h.items[at])
	}
}

// sink puts x at the place, or below it.
func (h *heap[T]) sink(at int, x T) {
	for {
		below := 2*at + 1
		if below >= len(h.items) {
			break
		}
		if below+1 < len(h.items) && h.items[below+1].less(h.items[below]) {
			below++
		}
		if !h.items[below].less(x) {
			break
		}
		h.items[at] = h.items[below]
		at = below
	}
	h.items[at] = x
}
