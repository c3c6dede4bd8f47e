package upstream

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

const (
	// unsignedLife is how long a redirect is reused that does not say when it expires.
	unsignedLife = time.Minute
	// longestLife bounds the reuse of one that does: the registry is asked again, and so
	// may refuse the credential.
	longestLife = time.Hour
	// expiryMargin is how long before its end a signed URL is no longer used.
	expiryMargin = 10 * time.Second
)

// A locationKey says whose redirect was followed: it holds for one credential only.
type locationKey struct {
	repository Repository
	digest     blob.Digest
	credential Credential
}

// A location is where a registry redirected a blob to, and until when that is used.
type location struct {
	hop   hop
	until time.Time
}

// located returns where a blob was last redirected to.
func (c *Client) located(k locationKey) (hop, bool) {
	l, ok := c.locations.Get(k)
	if !ok {
		return hop{}, false
	}
	if !time.Now().Before(l.until) {
		c.unlocate(k, l.hop)
		return hop{}, false
	}
	return l.hop, true
}

// locate remembers a redirect that led to the content.
func (c *Client) locate(k locationKey, at hop) {
	now := time.Now()
	if until := expiry(at.url, now); until.After(now) {
		c.locations.Add(k, location{hop: at, until: until})
	}
}

// unlocate forgets a redirect, unless another took its place meanwhile.
func (c *Client) unlocate(k locationKey, at hop) {
	if l, ok := c.locations.Peek(k); ok && l.hop == at {
		c.locations.Remove(k)
	}
}

// expiry is until when a redirect's target is used. The dates in signed URLs are those
// of S3 and its kin (X-Amz-Date with X-Amz-Expires), Google Cloud Storage (the same with
// X-Goog), CloudFront, Cloudflare and older S3 (Expires, seconds since 1970) and Azure (se).
func expiry(u *url.URL, now time.Time) time.Time {
	end, signed := now.Add(longestLife), false
	sooner := func(t time.Time, ok bool) {
		if ok {
			signed = true
			if t = t.Add(-expiryMargin); t.Before(end) {
				end = t
			}
		}
	}
	values := u.Query()
	query := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		query[strings.ToLower(key)] = values[key][0]
	}
	for _, vendor := range []string{"x-amz-", "x-goog-"} {
		sooner(issued(query[vendor+"date"], query[vendor+"expires"]))
	}
	sooner(unixSeconds(query["expires"]))
	sooner(azureTime(query["se"]))
	if !signed {
		return now.Add(unsignedLife)
	}
	return end
}

func issued(date, lifetime string) (time.Time, bool) {
	at, err := time.Parse("20060102T150405Z", date)
	if err != nil {
		return time.Time{}, false
	}
	seconds, ok := seconds(lifetime)
	return at.Add(seconds), ok
}

func unixSeconds(s string) (time.Time, bool) {
	n, err := strconv.ParseUint(s, 10, 40)
	return time.Unix(int64(n), 0), err == nil
}

func azureTime(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// seconds reads a number of seconds of at most 34 years.
func seconds(s string) (time.Duration, bool) {
	n, err := strconv.ParseUint(s, 10, 30)
	return time.Duration(n) * time.Second, err == nil
}
