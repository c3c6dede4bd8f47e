//go:build race

package main

// raceDetector makes compressing an image take minutes, in one goroutine, where it has
// nothing to find.
const raceDetector = true
