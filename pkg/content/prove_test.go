package content

import (
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// What hashes reads when nobody else wants the disk.
func TestReadsAreIdle(t *testing.T) {
	inBubble(t, func(k *kit) {
		defer k.start()()
		const ofThread, idleClass = 1, 3
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, thread := range threads {
			id, err := strconv.Atoi(thread.Name())
			if err != nil {
				t.Fatal(err)
			}
			priority, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, ofThread, uintptr(id), 0)
			if errno == 0 && priority>>13 == idleClass {
				return
			}
		}
		t.Error("no thread has the idle class of I/O priorities")
	})
}
