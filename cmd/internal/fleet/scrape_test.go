package fleet

import (
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
	s := series{}
	for line := range strings.Lines(r.show(t, "/metrics")) {
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
	client := http.Client{Timeout: testkit.Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + r.admin + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
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
