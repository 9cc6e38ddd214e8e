package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"
)

// The bench runs itself again for its child processes: under test that is the
// test binary.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-mode" {
		main()
		return
	}
	os.Exit(m.Run())
}

// One short round of everything, to keep the bench working.
func TestBenchRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts processes, which -short leaves out")
	}
	t.Setenv("GORACE", "atexit_sleep_ms=0") // or each child would take a second to end
	b, err := newBench(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	all, missing := b.contenders()
	p := plan{pace: pace{10 * time.Millisecond, 250 * time.Millisecond, 2}, tokens: []int{1000}, scheduled: 1000, loads: 200, starts: 1}
	var out bytes.Buffer
	printHead(&out, p, missing)
	for _, s := range []scenario{{plain, 1024, 4, 0, 0}, {tlsH1, 100 << 10, 4, 0, 0}, {tlsH2, 1024, 4, 0, 0}, {plain, 1024, 4, 500, 0}} {
		medians, err := b.measure(t.Context(), s, all, p.pace)
		if err != nil {
			t.Fatal(err)
		}
		for name, m := range medians {
			if m.perSecond <= 0 || m.p50 <= 0 || m.p99 < m.p50 || m.peakKiB < 1000 {
				t.Errorf("%+v of %s: %+v", s, name, m)
			}
		}
		if len(medians) < 2 {
			t.Errorf("%+v: only %d proxies were measured", s, len(medians))
		}
		if n := medians["sidecar"].perSecond; s.rate > 0 && n > 1.2*float64(s.rate) { // a busy machine may make fewer
			t.Errorf("%.0f requests per second at a rate of %d", n, s.rate)
		}
		printScenario(&out, s, all, medians)
	}
	if err := b.measureTokens(t.Context(), p, &out); err != nil {
		t.Fatal(err)
	}
	if err := b.measureTokenLoads(t.Context(), p, &out); err != nil {
		t.Fatal(err)
	}
	if err := b.measureFootprint(t.Context(), p.starts, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ReverseProxy", "tls-h2", "bytes each", "ne load of a token", "Start to first answer"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	t.Log("\n" + out.String())
}

func TestHistogramTellsQuantiles(t *testing.T) {
	for v := uint64(1); v < 1<<50; v = v*5/4 + 1 {
		bucket := bucketOf(v)
		if low, high := floorOf(bucket), floorOf(bucket+1); v < low || v >= high || float64(high-low) > 1+float64(v)/subBuckets {
			t.Fatalf("%d is in bucket %d of %d to %d", v, bucket, low, high)
		}
	}
	var h histogram
	for i := 1; i <= 1000; i++ {
		h.add(time.Duration(i) * time.Millisecond)
	}
	for q, want := range map[float64]time.Duration{.5: 500 * time.Millisecond, .99: 990 * time.Millisecond} {
		if got := h.quantile(q); got < want*97/100 || got > want*103/100 {
			t.Errorf("quantile %v is %s, want about %s", q, got, want)
		}
	}
}

func TestFlagsChooseWhatIsMeasured(t *testing.T) {
	for args, want := range map[string]int{
		"": 6, "-quick": 2, "-full": 18, "-targets plain,tls-h2 -conns 1,32": 4, "-full -sizes 1024": 9,
	} {
		o, err := parseOptions(strings.Fields(args))
		if err != nil {
			t.Fatal(err)
		}
		p, err := o.plan()
		if err != nil || len(p.scenarios) != want || p.rounds < 5 {
			t.Errorf("%q: %d scenarios of %d rounds, error %v, want %d scenarios", args, len(p.scenarios), p.rounds, err, want)
		}
	}
	for _, args := range []string{"-targets ftp", "-conns 0", "-sizes x", "-conns 99999"} {
		o, err := parseOptions(strings.Fields(args))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.plan(); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}
