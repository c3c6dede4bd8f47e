package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/shoal-project/shoal/test/e2e/liar"
)

// good is a run in which everything held.
func good() result {
	return result{
		Mode: "wrong-bytes", Colluders: 2, Round: 1, Pulls: 4, PullsOK: 4, Seconds: 6, EgressImages: 1.5,
		Quarantined: 2, Audits: 1, LiesTold: 10, Recorded: 100,
	}
}

// Each bound breaks by itself, and only a run that is merely late is made again.
func TestJudge(t *testing.T) {
	bound := liar.Bound{Time: 2, Egress: 2, Proven: true, OneAudit: true, Audited: true}
	honest := []result{{Seconds: 4, EgressImages: 1}, {Seconds: 3, EgressImages: 1}, {Seconds: 5, EgressImages: 1}}
	for name, c := range map[string]struct {
		change func(*result)
		broken string // part of what must be said; empty for nothing
		late   bool
	}{
		"all holds":       {func(*result) {}, "", false},
		"a pull failed":   {func(r *result) { r.PullsOK-- }, "1 of 4 pulls failed", false},
		"wrong bytes":     {func(r *result) { r.WrongBytesServed = 7 }, "served 7 wrong bytes", false},
		"wrong sentence":  {func(r *result) { r.HonestQuarantined = 1 }, "1 honest members are quarantined", false},
		"past sentence":   {func(r *result) { r.Unexplained = 1 }, "1 quarantines at honest nodes, over or not, are not of a liar", false},
		"egress":          {func(r *result) { r.EgressImages = 2.1 }, "the registry sent 2.10 times", false},
		"not quarantined": {func(r *result) { r.Unnamed = 1 }, "1 of 2 liars told an honest node a lie and are not quarantined", false},
		"never asked":     {func(r *result) { r.Quarantined = 1 }, "", false},
		"audits":          {func(r *result) { r.Audits = 21 }, "21 chunks were audited, at most 20", false},
		"no audit":        {func(r *result) { r.Audits = 0 }, "no chunk was audited", false},
		"no lie":          {func(r *result) { r.LiesTold = 0 }, "no honest node was told a lie", false},
		"no record":       {func(r *result) { r.Recorded = 0 }, "nothing was recorded", false},
		"late":            {func(r *result) { r.Seconds = 8.1 }, "took 2.02 times", true},
		"late and wrong":  {func(r *result) { r.Seconds, r.WrongBytesServed = 9, 1 }, "took 2.25 times", false},
	} {
		r := good()
		c.change(&r)
		r.compare(honest)
		late := r.judge(bound, 20)
		said := strings.Join(r.Broken, "; ")
		if late != c.late || c.broken == "" && said != "" || !strings.Contains(said, c.broken) {
			t.Errorf("%s: late %v, broken %q; want %v, %q", name, late, said, c.late, c.broken)
		}
		if failed := failures([]result{r}) != nil; failed != (c.broken != "") {
			t.Errorf("%s: the command fails: %v", name, failed)
		}
	}
	free := good()
	free.Quarantined, free.Unnamed = 0, 2
	free.compare(honest)
	if free.judge(liar.Bound{Time: 2, Egress: 2}, 0); len(free.Broken) > 0 {
		t.Errorf("a lie that cannot be proven needs no quarantine: %q", free.Broken)
	}
}

// A run that was only late is made again, and says so; the last one counts.
func TestRetries(t *testing.T) {
	mode, err := liar.Find("drip")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		seconds []float64 // of each run with a liar; the honest ones take 4
		retried int
		broken  bool
	}{
		"in time":     {[]float64{7}, 0, false},
		"late once":   {[]float64{9, 7}, 1, false},
		"late always": {[]float64{9, 9, 9}, 2, true},
	} {
		var out bytes.Buffer
		camp, made := &campaign{opts: options{repeat: 1, retries: 2}, out: json.NewEncoder(&out)}, 0
		camp.measure = func(m liar.Mode, r *result) {
			r.Pulls, r.PullsOK, r.Seconds, r.EgressImages, r.Recorded = 5, 5, 4, 1, 1
			if m.Name != honest {
				r.Seconds, r.Quarantined, r.LiesTold = c.seconds[made], 1, 1
				made++
			}
		}
		if err := camp.try(mode, 1, 1); err != nil {
			t.Fatal(err)
		}
		if len(camp.results) != 1 || made != len(c.seconds) {
			t.Fatalf("%s: %d results of %d runs", name, len(camp.results), made)
		}
		if r := camp.results[0]; r.Retried != c.retried || len(r.Broken) > 0 != c.broken {
			t.Errorf("%s: retried %d times, broken %q", name, r.Retried, r.Broken)
		}
		if told := fmt.Sprintf(`"retried":%d,`, c.retried); !strings.Contains(out.String(), told) {
			t.Errorf("%s: no %s in\n%s", name, told, &out)
		}
	}
}

func TestParse(t *testing.T) {
	o, err := parse([]string{"--checkout", "../../..", "--modes", "drip,stall", "--colluders", "1,3"}, new(bytes.Buffer))
	if err != nil || len(o.modes) != 2 || o.modes[1].Name != "stall" || !reflect.DeepEqual(o.colluders, []int{1, 3}) {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err = parse([]string{"--checkout", "../../.."}, new(bytes.Buffer)); err != nil || len(o.modes) != len(liar.Modes()) || o.retries != 0 {
		t.Errorf("%+v, %v", o, err)
	}
	for flag, want := range map[string]string{
		"--modes=honesty": `no mode "honesty"`, "--colluders=6": "--colluders", "--colluders=two": "no number",
		"--nodes=1": "--nodes", "--size=0": "--size", "--repeat=0": "--repeat", "--checkout=/nowhere": "--checkout",
	} {
		args := append([]string{"--checkout", "../../.."}, flag)
		if _, err := parse(args, new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", flag, err, want)
		}
	}
}

// The help teaches every mode.
func TestHelp(t *testing.T) {
	var help bytes.Buffer
	if _, err := parse([]string{"--help"}, &help); err == nil {
		t.Error("--help is no run")
	}
	for _, m := range liar.Modes() {
		if !strings.Contains(help.String(), m.Name) || !strings.Contains(help.String(), m.About) {
			t.Errorf("the help does not tell of %s", m.Name)
		}
	}
	if !strings.Contains(help.String(), `"retried"`) {
		t.Error("the help does not tell of runs that are made again")
	}
}

func TestTable(t *testing.T) {
	r := good()
	r.Retried, r.TimeRatio, r.EgressRatio, r.Broken = 2, 1.5, 1.4, []string{"something"}
	var out strings.Builder
	writeTable(&out, []result{{Mode: honest, Pulls: 6, PullsOK: 6, Seconds: 4, EgressImages: 1.04, Recorded: 1}}, []result{r})
	want := `
         MODE  LIARS  RETRIED  PULLS  SECONDS    TIME  EGRESS   RATIO  WRONG BYTES  QUARANTINED  AUDITS  LIES             BOUNDS
       honest      0        0    6/6     4.00  0.00 x   1.040  0.00 x            0            0       0     0               held
  wrong-bytes      2        2    4/4     6.00  1.50 x   1.500  1.40 x            0            2       1    10  BROKEN: something
`
	if got := "\n" + out.String(); !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s\nwant%s", got, want)
	}
}
