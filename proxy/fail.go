package proxy

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// A failure is an answer other than success that the proxy makes itself, in the form of the
// OCI distribution specification, "Error Codes".
type failure struct {
	Status  int
	Code    string
	Message string // one sentence, without secrets
	// Challenges are WWW-Authenticate values that came from upstream and may pass.
	Challenges []string
	Outcome    Outcome
}

func (f *failure) Error() string { return f.Message }

// The failures that need no further words.
func notFound(code, message string) *failure {
	return &failure{Status: http.StatusNotFound, Code: code, Message: message, Outcome: OutcomeNotFound}
}

func refused(status int, code, message string) *failure {
	return &failure{Status: status, Code: code, Message: message, Outcome: OutcomeRefused}
}

// unavailable is the answer that makes a client try its next host at once.
func unavailable(message string) *failure {
	return &failure{
		Status: http.StatusServiceUnavailable, Code: "UNAVAILABLE",
		Message: message, Outcome: OutcomeUnavailable,
	}
}

// write sends the failure. HEAD gets the same headers and no body.
func (f *failure) write(w http.ResponseWriter) {
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	body, err := json.Marshal(map[string][]entry{"errors": {{Code: f.Code, Message: f.Message}}})
	if err != nil {
		body = []byte(`{"errors":[]}`)
	}
	h := w.Header()
	for _, name := range []string{
		"Content-Range", "Content-Encoding", "Docker-Content-Digest", "ETag", "Accept-Ranges", "Warning", "Link",
	} {
		if name == "Content-Range" && f.Status == http.StatusRequestedRangeNotSatisfiable {
			continue
		}
		h.Del(name)
	}
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	for _, c := range f.Challenges {
		h.Add("WWW-Authenticate", c)
	}
	w.WriteHeader(f.Status)
	_, _ = w.Write(body) // the client is gone, or it was a HEAD: nothing is left to do about it
}
