package e2e

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// A Usage is what the kernel says that a process has used since it began.
type Usage struct {
	CPU        time.Duration // in user and system mode
	PeakMemory int64         // the most that was resident at once, in bytes
}

// userHZ is the number of clock ticks in a second that /proc counts in.
const userHZ = 100

// Usage reads what the process itself has used, without the processes that it started. It fails
// for one that has ended.
func (p *Process) Usage() (Usage, error) {
	folder := fmt.Sprintf("/proc/%d/", p.cmd.Process.Pid)
	stat, statErr := os.ReadFile(folder + "stat")       //nolint:gosec // of a process that the lab started
	status, statusErr := os.ReadFile(folder + "status") //nolint:gosec // the same
	if err := errors.Join(statErr, statusErr); err != nil {
		return Usage{}, fmt.Errorf("what %s used: %w", p.Name, err)
	}
	ticks, err := cpuTicks(string(stat))
	if err != nil {
		return Usage{}, fmt.Errorf("what %s used: %w", p.Name, err)
	}
	peak, err := peakKiB(string(status))
	if err != nil {
		return Usage{}, fmt.Errorf("what %s used: %w", p.Name, err)
	}
	return Usage{CPU: time.Duration(ticks) * time.Second / userHZ, PeakMemory: peak << 10}, nil
}

// cpuTicks sums utime and stime of /proc/<pid>/stat, the 14th and 15th field (proc(5)). The
// second is the program's name in brackets, which may hold anything.
func cpuTicks(stat string) (int64, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("no CPU time in %q", stat)
	}
	user, userErr := strconv.ParseInt(fields[11], 10, 64)
	system, systemErr := strconv.ParseInt(fields[12], 10, 64)
	return user + system, errors.Join(userErr, systemErr)
}

// peakKiB finds VmHWM in /proc/<pid>/status.
func peakKiB(status string) (int64, error) {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			return strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		}
	}
	return 0, errors.New("no VmHWM: it has ended")
}
