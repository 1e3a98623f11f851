/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The histogram. Values below 32 have a bucket each; above, the bucket is the power of two and the five bits below the
 * highest one.
 */
#include "histogram.h"

#define STEP_BITS 5

static unsigned bucket_of(uint64_t value)
{
    if (value < HISTOGRAM_STEPS)
        return (unsigned)value;
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - STEP_BITS;
    return (shift << STEP_BITS) + (unsigned)(value >> shift);
}

static uint64_t last_of(unsigned bucket)
{
    if (bucket < 2 * HISTOGRAM_STEPS)
        return bucket;
    unsigned shift = (bucket >> STEP_BITS) - 1;
    uint64_t first = (uint64_t)(bucket - (shift << STEP_BITS)) << shift;
    return first + ((UINT64_C(1) << shift) - 1);
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->buckets[bucket_of(value)]++;
    histogram->count++;
    if (value > histogram->max)
        histogram->max = value;
}

uint64_t histogram_permille(const struct histogram *histogram, unsigned permille)
{
    uint64_t wanted = histogram->count / 1000 * permille + (histogram->count % 1000 * permille + 999) / 1000;
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen >= wanted && seen > 0)
            return last_of(i) < histogram->max ? last_of(i) : histogram->max;
    }
    return 0;
}
