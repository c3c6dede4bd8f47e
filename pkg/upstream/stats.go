package upstream

import (
	"sync"

	"github.com/shoal-project/shoal/pkg/blob"
)

// maxCounted is the number of registries counted one by one. Clients name registries, so
// their number must be bounded.
const maxCounted = 256

// OtherRegistries is the name under which all further registries are counted together;
// no registry has it.
const OtherRegistries = "_other"

// Traffic is what one registry was asked for and sent.
type Traffic struct {
	Requests  uint64         // sent, those after redirects included
	Failures  uint64         // requests without an answer
	Redirects uint64         // followed
	Bytes     blob.ByteCount // read of bodies, those of errors and of discarded parts included
}

// stats counts. Its methods may be called from any goroutine.
type stats struct {
	mu         sync.Mutex
	byRegistry map[string]*Traffic
}

func (s *stats) count(registry string, add func(*Traffic)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byRegistry == nil {
		s.byRegistry = map[string]*Traffic{}
	}
	t := s.byRegistry[registry]
	if t == nil {
		if len(s.byRegistry) >= maxCounted {
			registry = OtherRegistries
		}
		if t = s.byRegistry[registry]; t == nil {
			t = &Traffic{}
			s.byRegistry[registry] = t
		}
	}
	add(t)
}

func (s *stats) asked(registry string)      { s.count(registry, func(t *Traffic) { t.Requests++ }) }
func (s *stats) failed(registry string)     { s.count(registry, func(t *Traffic) { t.Failures++ }) }
func (s *stats) redirected(registry string) { s.count(registry, func(t *Traffic) { t.Redirects++ }) }

func (s *stats) read(registry string, n int) {
	if n > 0 {
		s.count(registry, func(t *Traffic) { t.Bytes += blob.ByteCount(n) })
	}
}

// Stats returns what each registry was asked for and sent since New, by the registry's
// name. The map is the caller's.
func (c *Client) Stats() map[string]Traffic {
	c.stats.mu.Lock()
	defer c.stats.mu.Unlock()
	all := make(map[string]Traffic, len(c.stats.byRegistry))
	for registry, t := range c.stats.byRegistry {
		all[registry] = *t
	}
	return all
}
