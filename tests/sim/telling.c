/* SPDX-License-Identifier: Apache-2.0 */
/* Where a story's choices come from, and what it tells: its trace, and the promise that was broken. */
#include "story.h"

#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const promises[16] = {
    "the world answers",
    "registered first and once, END once and last, then one handover",
    "no event but END after unregister, no data after close and pause",
    "ids never repeat, a stale one has no effect",
    "the peer sees the accepted bytes, in order, once; written and unsent are what was accepted",
    "a send is taken whole or not at all; DRAINED is owed",
    "data before EOF before END; the first cause",
    "commands arrive once and in order, or are dropped",
    "no wake-up is lost, and there are not more than commands",
    "shutdown serves, refuses, flushes, ends",
    "timers and deadlines: once, in order, never early, never late",
    "bounded turns, nobody starves",
    "idle means no system call",
    "callbacks come one at a time, from the loop",
    "memory and fds are bounded, and gone at the end",
    "the same seed, the same story",
};

/* ---- choices ---- */

uint64_t choices_next(struct choices *choices, uint64_t n)
{
    if (n < 2)
        return 0;
    uint64_t value = 0;
    if (choices->at < choices->list_n) {
        value = choices->list[choices->at++] % n;
    } else if (!choices->plain) {
        uint64_t x = choices->random += UINT64_C(0x9e3779b97f4a7c15);
        x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
        value = n <= UINT32_MAX ? (x >> 32) * n >> 32 : x % UINT32_MAX; /* all are kept in 32 bits */
    }
    if (choices->keep && choices->kept_n < choices->kept_room)
        choices->kept[choices->kept_n++] = (uint32_t)value;
    return value;
}

/* ---- telling ---- */

void note(struct story *s, const char *format, ...)
{
    char line[256];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (s->sim)
        ior_sim_note(s->sim, "%s", line);
}

void wrong(struct story *s, int oracle, const char *format, ...)
{
    va_list args;
    fflush(stdout);
    printf("FAILED oracle %d (%s): ", oracle, promises[oracle]);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n    seed %llu; again: ./dev sim --seed %llu --verbose%s\n", (unsigned long long)s->seed,
           (unsigned long long)s->seed,
           s->options->shape < 0    ? ""
           : s->options->shape == 0 ? " --shape ready"
                                    : " --shape done");
    fflush(stdout);
    if (s->options->aborts)
        abort();
    _exit(100 + oracle);
}
