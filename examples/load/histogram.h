/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts durations in buckets whose width grows with the value, 32 for each power of two: any duration, a fixed size,
 * and an error of at most 1 in 32.
 */
#ifndef LOAD_HISTOGRAM_H
#define LOAD_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS 32
#define HISTOGRAM_BUCKETS (HISTOGRAM_STEPS * 60)

struct histogram {
    uint64_t count;
    uint64_t max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value);

/* The value that so many of 1000 do not exceed (rounded up to the end of its bucket); 0 where nothing was counted. */
uint64_t histogram_permille(const struct histogram *histogram, unsigned permille);

#endif
