// Package soak has no code of its own. Its tests run the built program for a
// while, under load and random faults and in little memory, and look for what
// grows, what is mixed up and what gets out.
//
// With SOAK=1 in the environment the soak lasts 10 minutes. SOAK_SEED repeats
// the faults of an earlier run.
package soak
