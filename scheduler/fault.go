package scheduler

// String returns the fault's name for logs and scripts.
func (f Fault) String() string {
	switch f {
	case FaultNone:
		return "none"
	case FaultCancelled:
		return "cancelled"
	case FaultGone:
		return "gone"
	case FaultUnauthorized:
		return "unauthorized"
	case FaultTransient:
		return "transient"
	case FaultDisk:
		return "disk"
	case FaultMisbehaved:
		return "misbehaved"
	case FaultNoSource:
		return "no-source"
	case FaultMismatch:
		return "mismatch"
	}
	return "unknown"
}
