package sim

import "testing"

// TestDroppedChunkIsNotSent: a chunk that is dropped before its turn is answered with busy, and one
// that is dropped or replaced on its way ends the session.
func TestDroppedChunkIsNotSent(t *testing.T) {
	for _, c := range []struct {
		name               string
		does               func(d *disk)
		left, came, busies int
	}{
		{"before its turn", func(d *disk) { d.lose(2) }, 0, 1, 1},
		{"on its way", func(d *disk) { d.lose(0) }, 1, 0, 0},
		{"replaced", func(d *disk) { d.replace(0, 5) }, 1, 0, 0},
		{"read again, and the same", func(d *disk) { d.replace(0, 0) }, 0, 2, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l listener
			st := newStage(t, l.listen)
			st.d.write(2, 0, fromRegistry)
			st.asked(0, 2)
			st.serve(0, 2)
			st.until(2 * millisecond)
			c.does(st.d)
			st.until(second)
			for what, n := range map[string]int{"PeerLeft": c.left, "ChunkArrived": c.came, "PeerRefused": c.busies} {
				if got := l.heard(st.b, what); len(got) != n {
					t.Errorf("heard %s at %v, want it %d times", what, got, n)
				}
			}
			if left, ended := l.heard(st.a, "PeerLeft"), l.heard(st.a, "UploadEnded"); len(left) != c.left || len(ended) != 2 || st.a.uploads != 0 {
				t.Errorf("left at %v; uploads ended at %v, and %d go on", left, ended, st.a.uploads)
			}
			if st.w.err != nil {
				t.Error(st.w.err)
			}
		})
	}
}
