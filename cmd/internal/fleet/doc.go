// Package fleet has no code of its own. Its tests run what operators run: many
// replicas of the built program, real Redis servers, and a provider that
// counts, and look at what the replicas share.
//
// With SOAK=1 in the environment the two long tests run for minutes.
package fleet
