package p2p

import "strings"

const (
	agentName  = "shoal/"
	zonePrefix = "zone="
	// maxZone is the length of a Kubernetes label's value, which is where zones come from.
	maxZone    = 63
	maxVersion = 64
	maxAgent   = len(agentName) + maxVersion + 1 + len(zonePrefix) + maxZone
)

// agent is how a node introduces itself: "shoal/0.1.0 zone=eu-1a".
func agent(version, zone string) string {
	if !validWord(version, maxVersion) {
		version = "devel"
	}
	if zone == "" {
		return agentName + version
	}
	return agentName + version + " " + zonePrefix + zone
}

// parseAgent reads what agent wrote. What another member says of itself is checked: a part
// that is malformed is empty.
func parseAgent(s string) (version, zone string) {
	if len(s) > maxAgent {
		return "", ""
	}
	name, rest, _ := strings.Cut(s, " ")
	version, ok := strings.CutPrefix(name, agentName)
	if !ok || !validWord(version, maxVersion) {
		return "", ""
	}
	if zone, ok = strings.CutPrefix(rest, zonePrefix); !ok || !validWord(zone, maxZone) {
		return version, ""
	}
	return version, zone
}

// validWord reports whether s is 1 to limit letters, digits, dots, dashes, underscores and pluses.
func validWord(s string, limit int) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("._-+", rune(c)) {
			return false
		}
	}
	return true
}
