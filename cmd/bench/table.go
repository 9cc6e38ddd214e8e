package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"
)

const rowFormat = "%-7s %8s %6s  %-14s %9s %9s %9s %9s %9s %8s %8s\n"

// printHead says what is measured and on what, and begins the table.
func printHead(out io.Writer, p plan, missing []string) {
	fmt.Fprintf(out, "%s, %s/%s, %d cores (%s)\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), cpuModel())
	fmt.Fprintf(out, "Medians of %d interleaved rounds of %s each. Proxy, load generator and target share the cores:\n", p.rounds, p.length)
	fmt.Fprintln(out, "requests per second and times are of all three together; CPU (user and system) and peak memory are of the")
	fmt.Fprintln(out, "proxy's processes alone. Ratios are of CPU per request, less than 1 is cheaper. The sidecar runs with a fresh")
	fmt.Fprintln(out, "token, guards, metrics and access log (to /dev/null); the others set a constant header.")
	if len(missing) > 0 {
		fmt.Fprintf(out, "Not installed, so not measured: %s. To have them: apt-get install %s (they need not run as services).\n",
			strings.Join(missing, ", "), strings.Join(missing, " "))
	}
	fmt.Fprintln(out)
	fmt.Fprintf(out, rowFormat, "target", "answer", "conns", "proxy", "req/s", "µs CPU", "p50 µs", "p99 µs", "peak MiB", "/ bare", "/ nginx")
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

func printScenario(out io.Writer, s scenario, all []contender, medians map[string]sample) {
	for _, c := range all {
		m, ok := medians[c.name]
		if !ok {
			continue
		}
		fmt.Fprintf(out, rowFormat, s.target, bytesText(s.size), fmt.Sprint(s.conns), c.name,
			fmt.Sprintf("%.0f", m.perSecond), fmt.Sprintf("%.1f", m.cpu), micros(m.p50), micros(m.p99),
			fmt.Sprintf("%.1f", float64(m.peakKiB)/1024), ratio(m, medians, bareName), ratio(m, medians, "nginx"))
	}
	fmt.Fprintln(out)
}

func ratio(m sample, medians map[string]sample, name string) string {
	other, ok := medians[name]
	if !ok || other.cpu == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", m.cpu/other.cpu)
}

func micros(d time.Duration) string { return fmt.Sprintf("%.0f", float64(d)/float64(time.Microsecond)) }

func bytesText(n int) string {
	if n >= 1<<10 && n%(1<<10) == 0 {
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}

func printRefreshing(out io.Writer, s scenario, all []contender, medians map[string]sample) {
	fmt.Fprintf(out, "Refreshes under load, %d requests/s over %d connections, times from when a request was due:\n", s.rate, s.conns)
	for _, c := range all {
		m := medians[c.name]
		fmt.Fprintf(out, "  %-14s p50 %s µs, p99 %s µs, %.1f µs CPU per request, peak %.1f MiB\n",
			c.name, micros(m.p50), micros(m.p99), m.cpu, float64(m.peakKiB)/1024)
	}
	fmt.Fprintf(out, "  p99 ratio      %.2f\n\n", float64(medians[all[0].name].p99)/float64(medians[all[1].name].p99))
}
