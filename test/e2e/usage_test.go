package e2e

import "testing"

func TestCPUTicks(t *testing.T) {
	// A name with brackets and spaces shifts no field.
	const stat = "71 (a) b (c) S 1 71 71 0 -1 4194560 100 200 0 0 250 50 7 8 20 0 9 0 300 1 2 3\n"
	if got, err := cpuTicks(stat); got != 300 || err != nil {
		t.Errorf("%d ticks, %v, want 300", got, err)
	}
	for _, bad := range []string{"", "71 (a) S 1", "71 (a) S 1 71 71 0 -1 4194560 100 200 0 0 many few 7 8"} {
		if got, err := cpuTicks(bad); err == nil {
			t.Errorf("%q has %d ticks", bad, got)
		}
	}
}

func TestPeakKiB(t *testing.T) {
	if got, err := peakKiB("Name:\tshoal\nVmPeak:\t  9000 kB\nVmHWM:\t   42 kB\nVmRSS:\t 41 kB\n"); got != 42 || err != nil {
		t.Errorf("%d KiB, %v, want 42", got, err)
	}
	if got, err := peakKiB("Name:\tshoal\nState:\tZ (zombie)\n"); err == nil {
		t.Errorf("a zombie has %d KiB", got)
	}
}
