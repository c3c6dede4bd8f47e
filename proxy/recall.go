package proxy

import (
	"net/http"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/shoal-project/shoal/pkg/upstream"
)

const (
	// maxRecalled bounds the registries whose challenge is remembered, and maxChallenge each of
	// them, in bytes.
	maxRecalled  = 256
	maxChallenge = 1 << 10
)

// A recall remembers how registries asked for a name and a password. Clients begin every pull
// without a credential, and show it to whoever challenges them: while the registry is away, its
// own challenge of before has them show what Config.AuthStale lets in. Bearer challenges are
// not remembered, for the token that answers one is new, and upstream never accepted it.
// Safe for concurrent use; bounded.
type recall struct {
	last *lru.Cache[string, recalled]
}

type recalled struct {
	challenges []string
	at         time.Time
}

func newRecall() (recall, error) {
	last, err := lru.New[string, recalled](maxRecalled)
	return recall{last}, err
}

// challenged notes the WWW-Authenticate values of a 401 of the registry that may be passed on.
func (r recall) challenged(registry string, values []string) {
	var basic []string
	size := 0
	for _, v := range values {
		all, err := upstream.ParseChallenges([]string{v})
		if err == nil && len(all) == 1 && strings.EqualFold(all[0].Scheme, "Basic") {
			basic = append(basic, v)
			size += len(v)
		}
	}
	if len(basic) == 0 || size > maxChallenge {
		r.last.Remove(registry)
		return
	}
	r.last.Add(registry, recalled{basic, time.Now()})
}

// again is the answer, while the registry is away, to a client that showed no credential; nil
// when the registry did not ask for names and passwords within that time.
func (r recall) again(registry string, within time.Duration) *failure {
	last, ok := r.last.Get(registry)
	if !ok || time.Since(last.at) >= within {
		return nil
	}
	f := passedFailure(http.StatusUnauthorized, KindOther)
	f.Message = "Upstream cannot be asked now. It asked for a credential when it could be."
	f.Challenges, f.Outcome = last.challenges, OutcomeUnauthorized
	return f
}
