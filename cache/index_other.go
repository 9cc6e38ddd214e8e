//go:build !linux

package cache

func gather([]slot) {}
