package main

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets of about 3 % width. It belongs to one
// goroutine.
type histogram struct {
	counts [64 * subBuckets]uint32
	total  int
}

const (
	subBits    = 5
	subBuckets = 1 << subBits
)

func (h *histogram) add(d time.Duration) {
	h.counts[bucketOf(uint64(max(d, 0)))]++
	h.total++
}

// bucketOf keeps the highest bits of v: small values are exact.
func bucketOf(v uint64) int {
	if v < subBuckets {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return (shift+1)<<subBits + int(v>>shift) - subBuckets
}

// floorOf returns the least value of a bucket.
func floorOf(bucket int) uint64 {
	if bucket < subBuckets {
		return uint64(bucket)
	}
	shift := bucket>>subBits - 1
	return uint64(bucket&(subBuckets-1)+subBuckets) << shift
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
}

// quantile returns the duration that the fraction q of all do not exceed.
func (h *histogram) quantile(q float64) time.Duration {
	left := int(q * float64(h.total))
	for i, n := range h.counts {
		if left -= int(n); left < 0 {
			return time.Duration((floorOf(i) + floorOf(i+1)) / 2)
		}
	}
	return 0
}
