//go:build race

package store_test

// raceStride thins out what takes much copying in one goroutine: the race detector makes
// it fifty times slower and has nothing to find there.
const raceStride = 11
