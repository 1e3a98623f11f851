/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzz target is one file with LLVMFuzzerTestOneInput: it gets bytes, and ends the program where a promise is broken.
 * It is built twice: with libFuzzer (the preset fuzz), which invents the bytes, and in each other build with replay.c,
 * which gives it those of its corpus.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the program where it does not hold. */
#define FUZZ_CHECK(holds, what)                                                   \
    do {                                                                          \
        if (!(holds)) {                                                           \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, what, #holds); \
            abort();                                                              \
        }                                                                         \
    } while (0)

/* What is left of an input that is taken apart from its front. */
struct fuzz_input {
    const uint8_t *at;
    size_t left;
};

/* The next byte; 0 past the end. */
static inline uint8_t fuzz_byte(struct fuzz_input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->at++;
}

/* A number below `below`, of as many bytes as it needs. */
static inline uint64_t fuzz_below(struct fuzz_input *in, uint64_t below)
{
    uint64_t number = 0;
    for (uint64_t most = below - 1; most > 0; most >>= 8)
        number = number << 8 | fuzz_byte(in);
    return number % below;
}

#endif
