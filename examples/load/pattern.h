/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Endless streams of bytes that look random and can be made from any place on: what one connection sends and expects
 * back. A byte that is lost, doubled, changed, out of place or of another connection does not fit.
 */
#ifndef LOAD_PATTERN_H
#define LOAD_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes the bytes of stream `seed` from `offset` on. */
void pattern_fill(unsigned char *bytes, size_t len, uint64_t seed, uint64_t offset);

/* Whether these are the bytes of stream `seed` from `offset` on. */
bool pattern_matches(const unsigned char *bytes, size_t len, uint64_t seed, uint64_t offset);

#endif
