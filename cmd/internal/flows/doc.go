// Package flows holds only tests: a whole sidecar over real HTTP before the
// simulated providers, under many subjects at once and under every refusal
// that a token endpoint may give.
package flows
