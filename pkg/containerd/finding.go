package containerd

// A Severity says what a finding means.
type Severity string

// The values of Severity.
const (
	// Problem: pulls do not go through Shoal.
	Problem Severity = "problem"
	// Warning: they do, but not all of them, or not for long.
	Warning Severity = "warning"
	// Note: good to know.
	Note Severity = "note"
)

// A Code names a kind of finding, for programs. They are stable.
type Code string

// The codes.
const (
	CodeConfigBroken       Code = "config_broken"
	CodeCRIDisabled        Code = "cri_disabled"
	CodeLegacyMirrors      Code = "legacy_mirrors"
	CodeNoConfigPath       Code = "no_config_path"
	CodeTwoFolders         Code = "two_folders"
	CodeNotGenerated       Code = "not_generated"
	CodeDiscardsLayers     Code = "discards_layers"
	CodeNothingCovered     Code = "nothing_covered"
	CodeNotCovered         Code = "not_covered"
	CodeShadowed           Code = "shadowed"
	CodeMalformed          Code = "malformed"
	CodeUnreadable         Code = "unreadable"
	CodeNotFirst           Code = "not_first"
	CodeWrongPort          Code = "wrong_port"
	CodeCapabilities       Code = "capabilities"
	CodeEnforced           Code = "enforced"
	CodeRewritten          Code = "rewritten_at_start"
	CodeLinked             Code = "linked"
	CodeOtherHostsDropped  Code = "other_hosts_dropped"
	CodeCertificatesUnused Code = "certificates_unused"
	CodeDaemonDown         Code = "daemon_down"
	CodeDaemonStrange      Code = "daemon_strange"
	CodeEditedSince        Code = "edited_since"
	CodeProbeFailed        Code = "probe_failed"
	CodeProbeElsewhere     Code = "probe_elsewhere"
	CodeProbesLimited      Code = "probes_limited"
)

// A Finding is one thing that was found out. Its JSON is stable.
type Finding struct {
	Code     Code     `json:"code"`
	Severity Severity `json:"severity"`
	// Registry and File are empty where the finding is about neither.
	Registry string `json:"registry"`
	File     string `json:"file"`
	// Message is a sentence for people, Remedy what to do; it may be empty.
	Message string `json:"message"`
	Remedy  string `json:"remedy"`
}
