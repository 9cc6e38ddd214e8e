package sidecar

import (
	"io"
	"time"

	"github.com/rs/zerolog"
	"github.com/rs/zerolog/diode"

	"token-sidecar/metrics"
)

// logLines is how many lines wait for a slow reader before the oldest go.
const logLines = 4096

// newLogger returns the program's logger and what writes its last lines. A
// reader of stderr that stops must not stop the requests: lines are dropped
// and counted instead.
func newLogger(c *Config, stderr io.Writer, m *metrics.Metrics) (zerolog.Logger, func()) {
	buffered := diode.NewWriter(unclosed{stderr}, logLines, 0, m.LogDropped)
	var out io.Writer = buffered
	if c.LogFormat == "console" {
		out = zerolog.ConsoleWriter{Out: buffered, TimeFormat: time.TimeOnly}
	}
	level, err := zerolog.ParseLevel(c.LogLevel)
	if err != nil {
		level = zerolog.InfoLevel
	}
	return zerolog.New(out).Level(level).With().Timestamp().Logger(), func() {
		done := make(chan struct{})
		go func() {
			_ = buffered.Close()
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(time.Second): // nobody reads
		}
	}
}

// unclosed keeps the diode from closing what it does not own.
type unclosed struct{ io.Writer }
