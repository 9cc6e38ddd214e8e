package sidecar

import (
	"context"
	"io"
)

// check is written next.
func (p Program) check(ctx context.Context, c *Config, args []string, stdout io.Writer) error {
	return c.WriteEffective(stdout)
}
