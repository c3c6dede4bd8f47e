// Hello is the program inside the test images. It hashes the files it is given,
// so that a container shows by running what it was unpacked from. It links nothing
// but the standard library and is built without cgo, so any root file system runs it.
package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
)

func main() {
	for _, name := range os.Args[1:] {
		sum, err := hash(name)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Printf("%x %s\n", sum, name)
	}
}

func hash(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return h.Sum(nil), nil
}
