package e2e

import (
	"maps"
	"testing"
)

func TestBeginnings(t *testing.T) {
	const profile = `goroutine profile: total 4
3 @ 0x48de8e 0x41ca2e
#	0x95f464	example.org/a.(*Loop).wait+0xe4	example.org/a/loop.go:20
#	0x95f465	example.org/a.(*Loop).Run+0x4	example.org/a/loop.go:9

1 @ 0x48de8e
#	0x95f466	main.main+0x1	example.org/main.go:3

`
	want := map[string]int{"example.org/a.(*Loop).Run+0x4": 3, "main.main+0x1": 1}
	if got := beginnings(profile); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
