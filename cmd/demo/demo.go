package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"

	"token-sidecar/cmd/internal/sidecar"
)

// demo is the providers and the sidecar, running.
type demo struct {
	providers providers
	redis     *miniredis.Miniredis
	more      []string // settings that go before those of the demo
	sidecar   *sidecar.Sidecar
	replica   *sidecar.Sidecar // a second one that shares tokens with the first
	direct    *http.Client     // of an app that addresses the sidecar
	proxied   *http.Client     // of an app that has it as its http_proxy
}

// anyPort is a loopback address with a port that the system chooses.
const anyPort = "127.0.0.1:0"

// free returns address, or any port if another program has it.
func free(address string) string {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return anyPort
	}
	_ = l.Close()
	return l.Addr().String()
}

// unused returns a loopback address with a port at which nobody listens. It is below those that the
// system chooses by itself, so that nobody else is given it, either.
func unused() string {
	for {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(10000+rand.IntN(20000)))
		if free(address) == address {
			return address
		}
	}
}

// beside returns the address whose port is two above that of address, as 8082 is above the
// 8080 that the documentation speaks of; or any port if another program has that one, or if
// address leaves the choice to the system.
func beside(address string) string {
	host, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port)
	if n == 0 {
		return anyPort
	}
	return free(net.JoinHostPort(host, strconv.Itoa(n+2)))
}

// address returns where a listener of the sidecar listens: data, admin, or
// that of a route.
func (d *demo) address(listener string) string { return d.sidecar.Addr(listener).String() }

// series holds the sidecar's metrics by name and labels as they are written.
type series map[string]float64

// lookups returns how many look-ups of tokens had that result.
func (s series) lookups(upstream, result string) int {
	return int(s[fmt.Sprintf("token_sidecar_token_lookups_total{result=%q,upstream=%q}", result, upstream)])
}

// refreshes returns how often a token was replaced ahead of its expiry.
func (s series) refreshes(upstream string) int {
	return int(s[fmt.Sprintf("token_sidecar_refreshes_total{outcome=\"ok\",upstream=%q}", upstream)])
}

// left returns how long the pinned token of an upstream still lives.
func (s series) left(upstream string) time.Duration {
	return time.Duration(s[fmt.Sprintf("token_sidecar_token_expiry_seconds{upstream=%q}", upstream)] * float64(time.Second))
}

// scrape reads the metrics from the admin listener, as Prometheus would.
func (d *demo) scrape(ctx context.Context, s *sidecar.Sidecar) (series, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Addr("admin").String()+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	res, err := d.direct.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the metrics are answered %s", res.Status)
	}
	all := series{}
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		i := strings.LastIndexByte(lines.Text(), ' ')
		if i < 0 || strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		if value, err := strconv.ParseFloat(lines.Text()[i+1:], 64); err == nil {
			all[lines.Text()[:i]] = value
		}
	}
	return all, lines.Err()
}

// await blocks until the metrics are as told, or ctx ends.
func (d *demo) await(ctx context.Context, s *sidecar.Sidecar, told func(series) bool) error {
	for {
		now, err := d.scrape(ctx, s)
		if err != nil {
			return err
		}
		if told(now) {
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
