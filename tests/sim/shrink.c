/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes a failing story smaller: its choices are recorded, then as many of them as possible become 0, the plainest
 * choice, as long as the same promise is broken. What is left is played once more, with its trace.
 */
#include "story.h"

#include <sys/mman.h>

#define CHOICES_MOST ((size_t)1 << 20)

/* The least n whose choices, with zeros behind them, still fail. */
static size_t shorten(const struct options *options, const uint32_t *list, size_t n, int oracle)
{
    size_t fails = n, passes = 0;
    while (passes + 1 < fails) {
        size_t middle = passes + (fails - passes) / 2;
        if (play(options, options->seed, list, middle, NULL) == oracle)
            fails = middle;
        else
            passes = middle;
    }
    return fails;
}

/* Zeros in the place of whole parts, then of smaller ones. */
static void flatten(const struct options *options, uint32_t *list, size_t n, int oracle)
{
    static uint32_t was[CHOICES_MOST];
    for (size_t part = n / 2 + 1; part > 0; part /= 2) {
        for (size_t at = 0; at < n; at += part) {
            size_t len = n - at < part ? n - at : part;
            bool any = false;
            for (size_t i = at; i < at + len; i++)
                any |= list[i] != 0;
            if (!any)
                continue;
            memcpy(was + at, list + at, len * sizeof(*list));
            memset(list + at, 0, len * sizeof(*list));
            if (play(options, options->seed, list, n, NULL) != oracle)
                memcpy(list + at, was + at, len * sizeof(*list));
        }
    }
}

static size_t count(const uint32_t *list, size_t n)
{
    size_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += list[i] != 0;
    return sum;
}

int shrink(const struct options *options)
{
    /* Shared with the process that fails, so that its choices are here when it is gone. */
    size_t size = sizeof(struct choices) + CHOICES_MOST * sizeof(uint32_t);
    struct choices *kept = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (kept == MAP_FAILED)
        return 1;
    uint32_t *list = (uint32_t *)(kept + 1);
    *kept = (struct choices){.kept = list, .kept_room = CHOICES_MOST, .keep = true};
    int oracle = play(options, options->seed, NULL, 0, kept);
    if (oracle == 0) {
        printf("seed %llu does not fail\n", (unsigned long long)options->seed);
        return 1;
    }
    size_t n = kept->kept_n;
    printf("seed %llu: oracle %d, %zu choices, %zu of them not 0\n", (unsigned long long)options->seed, oracle, n,
           count(list, n));
    if (play(options, options->seed, list, n, NULL) != oracle) {
        puts("the list of choices does not fail like the seed");
        return 1;
    }
    n = shorten(options, list, n, oracle);
    flatten(options, list, n, oracle);
    n = shorten(options, list, n, oracle);
    printf("shrunk: %zu choices, %zu of them not 0\n", n, count(list, n));
    struct options verbose = *options;
    verbose.verbose = true;
    (void)play(&verbose, options->seed, list, n, NULL);
    return 0;
}
