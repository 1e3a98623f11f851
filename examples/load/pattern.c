/* SPDX-License-Identifier: Apache-2.0 */
/* The streams: word i of stream `seed` is splitmix64 of both, so that no place depends on the one before. */
#include "pattern.h"

#include <string.h>

#define CHUNK_BYTES 4096

static uint64_t word_at(uint64_t seed, uint64_t index)
{
    uint64_t x = seed + (index + 1) * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

void pattern_fill(unsigned char *bytes, size_t len, uint64_t seed, uint64_t offset)
{
    while (len > 0) {
        uint64_t word = word_at(seed, offset / sizeof(word));
        size_t skip = offset % sizeof(word);
        size_t part = sizeof(word) - skip < len ? sizeof(word) - skip : len;
        memcpy(bytes, (unsigned char *)&word + skip, part);
        bytes += part;
        offset += part;
        len -= part;
    }
}

bool pattern_matches(const unsigned char *bytes, size_t len, uint64_t seed, uint64_t offset)
{
    unsigned char wanted[CHUNK_BYTES];
    while (len > 0) {
        size_t part = len < sizeof(wanted) ? len : sizeof(wanted);
        pattern_fill(wanted, part, seed, offset);
        if (memcmp(bytes, wanted, part) != 0)
            return false;
        bytes += part;
        offset += part;
        len -= part;
    }
    return true;
}
