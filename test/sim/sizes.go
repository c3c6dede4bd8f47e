package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/shoal-project/shoal/pkg/blob"
)

// maxLayers bounds the layers of --size.
const maxLayers = 100

// parseSizes reads the sizes of layers, as "20MiB,300KiB" or in bytes.
func parseSizes(text string) ([]blob.ByteCount, error) {
	words := strings.Split(text, ",")
	if len(words) > maxLayers {
		return nil, fmt.Errorf("--size takes up to %d layers", maxLayers)
	}
	sizes := make([]blob.ByteCount, len(words))
	for i, word := range words {
		number, unit := word, blob.ByteCount(1)
		for _, u := range []struct {
			name  string
			bytes blob.ByteCount
		}{{"KiB", blob.KiB}, {"MiB", blob.MiB}, {"GiB", blob.GiB}} {
			if cut, ok := strings.CutSuffix(word, u.name); ok {
				number, unit = cut, u.bytes
			}
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n < 0 || n > int64(maxSize/unit) {
			return nil, fmt.Errorf("--size takes sizes up to %d GiB, as 20MiB, not %q", maxSize/blob.GiB, word)
		}
		sizes[i] = blob.ByteCount(n) * unit
	}
	return sizes, nil
}

// maxSize bounds a layer of --size: more would only take long.
const maxSize = 64 * blob.GiB
