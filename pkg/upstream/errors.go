package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

// What callers branch on. The first three are statuses and come as a *StatusError.
var (
	ErrNotFound     = errors.New("upstream has no such content")     // 404, 410
	ErrUnauthorized = errors.New("upstream refuses the credential")  // 401, 403
	ErrThrottled    = errors.New("upstream asks for fewer requests") // 429
	ErrUnreachable  = errors.New("upstream is unreachable")          // no answer, or one that stalled
	ErrRedirect     = errors.New("upstream redirects astray")        // too often, malformed, or to less security
)

// ErrTooLong is matched by an *InvalidResponseError about an answer with more bytes than are read.
var ErrTooLong = errors.New("upstream's answer is too long")

// ErrRequest is wrapped for a request that makes no sense and was not sent.
var ErrRequest = errors.New("invalid request")

// A StatusError reports an answer that is not the content asked for. It matches
// ErrNotFound, ErrUnauthorized and ErrThrottled by its code.
type StatusError struct {
	Registry string
	Host     string // that answered; another than the registry's after a redirect
	Code     int
	// RetryAfter is how long the upstream asks to wait, at most an hour, 0 if it does not say.
	RetryAfter time.Duration
	// Challenges are the WWW-Authenticate headers of a 401 as they came; none when they
	// must not be passed on (see Client.TLSVerified).
	Challenges []string
}

func (e *StatusError) Error() string {
	from := ""
	if e.Host != e.Registry {
		from = fmt.Sprintf(" (at %.255q)", e.Host)
	}
	asks := ""
	if schemes := wants(e.Challenges); schemes != "" {
		asks = ", asks for " + schemes
	}
	return fmt.Sprintf("%s%s answers %d %s%s", e.Registry, from, e.Code, http.StatusText(e.Code), asks)
}

// Is matches the sentinels.
func (e *StatusError) Is(target error) bool {
	switch e.Code {
	case http.StatusNotFound, http.StatusGone:
		return target == ErrNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return target == ErrUnauthorized
	case http.StatusTooManyRequests:
		return target == ErrThrottled
	}
	return false
}

// An InvalidResponseError reports an answer that claims success and cannot be what was
// asked for. Nothing of its body was given out.
type InvalidResponseError struct {
	Registry string
	Host     string
	Reason   string // in Shoal's words; holds nothing of the answer but numbers
	Long     bool   // it has more bytes than are read
}

func (e *InvalidResponseError) Error() string {
	return fmt.Sprintf("invalid answer from %s (at %.255q): %s", e.Registry, e.Host, e.Reason)
}

// Is matches ErrTooLong.
func (e *InvalidResponseError) Is(target error) bool { return e.Long && target == ErrTooLong }

// A TruncatedError reports a body that ended, broke or stalled before its last byte. It
// matches io.ErrUnexpectedEOF, and ErrUnreachable when the body stalled.
type TruncatedError struct {
	Registry string
	Got      blob.ByteCount // bytes given out
	Want     blob.ByteCount // bytes expected, -1 if the answer did not say
	Stalled  bool
}

func (e *TruncatedError) Error() string {
	how := "ended"
	if e.Stalled {
		how = "stalled"
	}
	if e.Want < 0 {
		return fmt.Sprintf("body from %s %s after %d bytes", e.Registry, how, e.Got)
	}
	return fmt.Sprintf("body from %s %s after %d of %d bytes", e.Registry, how, e.Got, e.Want)
}

// Is matches the sentinels.
func (e *TruncatedError) Is(target error) bool {
	return target == io.ErrUnexpectedEOF || e.Stalled && target == ErrUnreachable
}

// An UnreachableError reports that no answer came. It matches ErrUnreachable.
type UnreachableError struct {
	Registry string
	Host     string
	Reason   string // in Shoal's words, or those of crypto/x509
	// Certificate says that the host was reached and could not prove to be it.
	Certificate bool
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("%s (at %.255q) is unreachable: %s", e.Registry, e.Host, e.Reason)
}

// Is matches ErrUnreachable.
func (e *UnreachableError) Is(target error) bool { return target == ErrUnreachable }

// Temporary reports whether the same request may succeed later with nothing changed.
func Temporary(err error) bool {
	if status, ok := errors.AsType[*StatusError](err); ok {
		return status.Code >= 500 || status.Code == http.StatusTooManyRequests || status.Code == http.StatusRequestTimeout
	}
	if unreachable, ok := errors.AsType[*UnreachableError](err); ok {
		return !unreachable.Certificate
	}
	return errors.Is(err, io.ErrUnexpectedEOF)
}

// unreachable turns an error of the transport into one that is safe to print: texts of
// net/http may repeat bytes of the answer, and those may repeat the request.
func unreachable(registry, host string, err error) error {
	e := &UnreachableError{Registry: registry, Host: host}
	var certificate *tls.CertificateVerificationError
	if e.Certificate = errors.As(err, &certificate); e.Certificate {
		e.Reason = certificateReason(certificate.Err)
		return e
	}
	e.Reason = reason(err)
	return e
}

func reason(err error) string {
	var (
		dns    *net.DNSError
		record tls.RecordHeaderError
		alert  tls.AlertError
		errno  syscall.Errno
		limit  net.Error
	)
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "no such host"
	case errors.As(err, &dns):
		return "its name does not resolve"
	case errors.As(err, &record):
		return "it does not speak TLS"
	case errors.As(err, &alert):
		return "TLS: " + alert.Error()
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.As(err, &limit) && limit.Timeout():
		return "timed out"
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it closed the connection"
	}
	return "the connection broke, or the answer is not HTTP"
}

// certificateReason keeps what an operator needs: these texts name hosts and dates.
func certificateReason(err error) string {
	known := []bool{
		errors.As(err, new(x509.UnknownAuthorityError)),
		errors.As(err, new(x509.CertificateInvalidError)),
		errors.As(err, new(x509.HostnameError)),
	}
	if !slices.Contains(known, true) {
		return "its certificate does not verify"
	}
	return fmt.Sprintf("its certificate does not verify: %.300q", err.Error())
}

// longestRetryAfter bounds what an upstream may ask for.
const longestRetryAfter = time.Hour

// retryAfter reads a Retry-After header: seconds or a date (RFC 9110, section 10.2.3).
func retryAfter(s string) time.Duration {
	if wait, ok := seconds(s); ok {
		return min(wait, longestRetryAfter)
	}
	at, err := http.ParseTime(s)
	if err != nil {
		return 0
	}
	return min(max(0, time.Until(at)), longestRetryAfter)
}
