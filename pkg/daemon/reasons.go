package daemon

import "strings"

// classOf is the class of a quarantine for metrics, of which there are few. The texts are
// the scheduler's and the engine's, for people.
func classOf(what string) string {
	for _, c := range []struct{ part, class string }{
		{"broke the exchange protocol", "protocol"}, // first: it may go on with anything
		{"a chain that", "bad_chain"},
		{"differs from the registry's", "bad_chunk"},
		{"does not match its digest", "bad_chunk"},
		{"the proven chain refuses", "bad_chunk"},
		{"blob size", "bad_size"},
	} {
		if strings.Contains(what, c.part) {
			return c.class
		}
	}
	return "protocol"
}
