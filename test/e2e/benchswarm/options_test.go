package main

import (
	"errors"
	"flag"
	"io"
	"strings"
	"testing"
	"time"
)

func TestBitrate(t *testing.T) {
	for text, want := range map[string]bitrate{
		"100mbit": 100e6, "1500kbit": 1.5e6, "1gbit": 1e9, "100gbit": 100e9, "1mbit": 1e6,
	} {
		if got, err := parseBitrate(text); got != want || err != nil {
			t.Errorf("%s: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "100", "mbit", "999kbit", "101gbit", "-5mbit", "1.5mbit", "100mbps", "99999999999999999999mbit"} {
		if got, err := parseBitrate(text); err == nil {
			t.Errorf("%q passes as %d", text, got)
		}
	}
	for rate, want := range map[bitrate]string{100e6: "100mbit", 2.5e6: "2500kbit", 1e9: "1000mbit"} {
		if got := rate.String(); got != want {
			t.Errorf("%d is written %s, want %s", int64(rate), got, want)
		}
	}
	if got := bitrate(100e6).seconds(12_500_000); got != 1 {
		t.Errorf("12.5 MB at 100 Mbit/s take %v s", got)
	}
}

func TestParse(t *testing.T) {
	o, err := parse([]string{"--checkout", "../../..", "--rate", "50mbit", "--scenarios", "slow,flash"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if o.registryRate != 50e6 {
		t.Errorf("the registry's rate is %s, want that of the nodes", o.registryRate)
	}
	if len(o.scenarios) != 2 || o.scenarios[0].name != "slow" || o.scenarios[1].name != "flash" {
		t.Errorf("chosen were %+v", o.scenarios)
	}
	// 64 MiB at 5 Mbit/s take 107 s.
	if limit := o.timeout(); limit < 4*time.Minute || limit > 10*time.Minute {
		t.Errorf("a round may take %v", limit)
	}
}

func TestParseRefuses(t *testing.T) {
	for args, says := range map[string]string{
		"--nodes 1":                "--nodes takes 2 to 64",
		"--layers 0":               "--layers takes",
		"--layers 100 --size 64":   "--size takes",
		"--repeat 0":               "--repeat takes",
		"--rate fast":              `"fast"`,
		"--registry-rate 1":        `"1"`,
		"--scenarios flash,crowd":  `"crowd"`,
		"--shoal /does/not/exist":  "--shoal",
		"--checkout /does/not":     "--checkout",
		"now":                      `"now" is no flag`,
		"--scenarios flash,,churn": `""`,
	} {
		full := append([]string{"--checkout", "../../.."}, strings.Fields(args)...)
		if _, err := parse(full, io.Discard); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want an error with %s", args, err, says)
		}
	}
}

func TestHelp(t *testing.T) {
	var out strings.Builder
	if _, err := parse([]string{"--help"}, &out); !errors.Is(err, flag.ErrHelp) {
		t.Fatal(err)
	}
	for _, s := range scenarios() {
		if !strings.Contains(out.String(), s.name+" ") || !strings.Contains(out.String(), s.about) {
			t.Errorf("the help does not explain %s", s.name)
		}
	}
}

func TestSHAInstructions(t *testing.T) {
	for cpuinfo, want := range map[string]bool{
		"processor\t: 0\nflags\t\t: fpu sse2 sha_ni avx\n": true,
		"processor\t: 0\nflags\t\t: fpu sse2 avx\n":        false,
		"Features\t: fp asimd aes sha1 sha2\n":             true,
		"model name\t: sha_ni\n":                           false,
		"":                                                 false,
	} {
		if got := hasSHA(cpuinfo); got != want {
			t.Errorf("%q: %v", cpuinfo, got)
		}
	}
}
