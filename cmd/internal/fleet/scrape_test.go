package fleet

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"token-sidecar/cmd/internal/testkit"
)

// series is what a replica's /metrics said: values by name and labels.
type series map[string]float64

// scrape reads the metrics of a replica.
func (r *replica) scrape(t *testing.T) series {
	t.Helper()
	return parseSeries(r.show(t, "/metrics"))
}

func parseSeries(text string) series {
	s := series{}
	for line := range strings.Lines(text) {
		i := strings.LastIndexByte(line, ' ')
		if i < 0 || line[0] == '#' {
			continue
		}
		s[line[:i]], _ = strconv.ParseFloat(strings.TrimSpace(line[i:]), 64)
	}
	return s
}

// show returns a page of the admin listener.
func (r *replica) show(t *testing.T, path string) string {
	t.Helper()
	text, err := r.read(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// read returns a page of the admin listener, asked for with the given header fields.
func (r *replica) read(path string, header ...string) (string, error) {
	client := http.Client{Timeout: testkit.Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequest(http.MethodGet, "http://"+r.admin+path, nil)
	if err != nil {
		return "", err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}

// excuses returns how often the replicas say that they could not share: how many
// operations on Redis failed, or were left out after failures. On a machine that is
// busy with other things Redis may take longer than a replica waits for it. Then the
// replica goes on alone, as it should, and one more token request is no fault. Who
// makes one without saying so is at fault. A lease that ran out under its holder is
// no excuse: the holder renews it four times in its term.
func excuses(t *testing.T, replicas []*replica) (n int) {
	t.Helper()
	for _, r := range replicas {
		n += r.scrape(t).excuses()
	}
	return n
}

func (s series) excuses() int {
	n := 0.0
	for _, outcome := range []string{"error", "skipped"} {
		n += s.sum("redis_operations_total", fmt.Sprintf("outcome=%q", outcome))
	}
	return int(n)
}

// has reports whether a series of that name has all the labels, whatever its value.
func (s series) has(name string, labels ...string) bool {
	one := series{}
	for id := range s {
		one[id] = 1
	}
	return one.sum(name, labels...) > 0
}

// sum adds up all series of that name that have all the labels, each written
// as in the exposition format.
func (s series) sum(name string, labels ...string) (total float64) {
next:
	for id, value := range s {
		rest, ok := strings.CutPrefix(id, "token_sidecar_"+name)
		if !ok || (rest != "" && rest[0] != '{') {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(rest, label) {
				continue next
			}
		}
		total += value
	}
	return total
}
