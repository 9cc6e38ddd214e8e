package sidecar

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"token-sidecar/cache/shared/goredis"
	"token-sidecar/cmd/internal/config"
	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/metrics"
)

// Nobody has to end the input as well.
func TestPseudonymsEndAtAnInterrupt(t *testing.T) {
	stdin, person := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- Program{Stdin: stdin}.Run(ctx, []string{"audit", "pseudonym"}, testkit.Environ("AUDIT_KEY=a:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="), io.Discard, io.Discard)
	}()
	_, _ = io.WriteString(person, "somebody\n")
	cancel()
	err := <-ended
	if exit, ok := errors.AsType[*ExitError](err); !ok || exit.Code != 1 {
		t.Errorf("it ends with %v", err)
	}
	_ = person.Close()
}

// What check warns of is in the log of each start.
func TestWarningsAreInTheLog(t *testing.T) {
	settings, err := config.Parse(testkit.Environ("LISTEN=0.0.0.0:0", "EXPOSE=true", "ADMIN_LISTEN=127.0.0.1:0", "OCLC_WSKEY=k", "OCLC_SECRET=s"), goredis.Driver{})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	s, err := Start(settings, zerolog.New(zerolog.SyncWriter(&log)), metrics.New("test"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	for _, line := range settings.Warnings() {
		if !strings.Contains(log.String(), `"level":"warn","message":"`+line) {
			t.Errorf("the log lacks %q: %s", line, &log)
		}
	}
	if len(settings.Warnings()) != 2 {
		t.Errorf("warnings: %q", settings.Warnings())
	}
}
