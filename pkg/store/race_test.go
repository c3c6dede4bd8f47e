//go:build race

package store_test

// raceStride thins out what takes much copying in one goroutine: the race detector makes
// it fifty times slower and has nothing to find there. What it looks for is in the crowds.
const (
	raceStride  = 11
	crowdRounds = 100
)
