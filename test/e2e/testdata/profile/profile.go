package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
)

// This file is added to cmd/shoal in the build that benchswarm profiles (profile.go in
// test/e2e). From SIGUSR1 to SIGUSR2 the daemon writes a CPU profile, which has its name
// once it is complete. CPUPROFILE begins the name.

func init() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
	go profile(signals)
}

func profile(signals <-chan os.Signal) {
	for part := 1; ; part++ {
		await(signals, syscall.SIGUSR1)
		name := fmt.Sprintf("%s-%d-%d.pprof", os.Getenv("CPUPROFILE"), os.Getpid(), part)
		if err := record(name, signals); err != nil {
			fmt.Fprintln(os.Stderr, "profile:", err)
		}
	}
}

func record(name string, signals <-chan os.Signal) error {
	f, err := os.Create(name + ".part")
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	await(signals, syscall.SIGUSR2)
	pprof.StopCPUProfile()
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

func await(signals <-chan os.Signal, wanted os.Signal) {
	for sig := range signals {
		if sig == wanted {
			return
		}
	}
}
