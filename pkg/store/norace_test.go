//go:build !race

package store_test

const (
	raceStride  = 1
	crowdRounds = 400
)
