/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a timer costs where there are a million: insert, re-arm, cancel (both in the order of insertion, and scattered,
 * where the machine's memory shows) and fire. Deadlines are random within a minute; those that fire, within a second,
 * which is over before the loop is run: so that what is measured is the work and not the waiting. A round that is not
 * counted comes first, so that each loop has its memory: some have it from the caller, before it begins.
 */
#include "bench.h"
#include "loop.h"

#define FIRST_NS (10 * IOR_NS_PER_SEC)
#define SPAN_NS (60 * IOR_NS_PER_SEC)
#define FIRE_SPAN_NS IOR_NS_PER_SEC
#define STEP 7919 /* a prime: i * STEP mod n visits all of n, far apart */

static unsigned fired;

void loop_on_timer(unsigned index)
{
    (void)index;
    fired++;
}

void loop_on_readable(unsigned index, int fd)
{
    (void)index, (void)fd;
}

static uint64_t random_ns(uint64_t first, uint64_t span)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return first + state % span;
}

static double insert(unsigned n, uint64_t first, uint64_t span)
{
    double began = bench_cpu_ns();
    for (unsigned i = 0; i < n; i++)
        loop_timer_set(i, random_ns(first, span));
    return (bench_cpu_ns() - began) / n;
}

/* ns for each re-arming of all, `step` timers on each time. */
static double rearm(unsigned n, uint64_t step)
{
    double began = bench_cpu_ns();
    for (uint64_t i = 0; i < n; i++)
        loop_timer_move((unsigned)(i * step % n), random_ns(FIRST_NS, SPAN_NS));
    return (bench_cpu_ns() - began) / n;
}

static double cancel(unsigned n, uint64_t step)
{
    double began = bench_cpu_ns();
    for (uint64_t i = 0; i < n; i++)
        loop_timer_cancel((unsigned)(i * step % n));
    return (bench_cpu_ns() - began) / n;
}

static double fire(unsigned n)
{
    struct timespec past = {.tv_sec = (time_t)(FIRE_SPAN_NS / IOR_NS_PER_SEC), .tv_nsec = 50000000};
    insert(n, 1, FIRE_SPAN_NS);
    while (nanosleep(&past, &past) < 0)
        ;
    double began = bench_cpu_ns();
    while (fired < n)
        loop_turn();
    return (bench_cpu_ns() - began) / n;
}

int main(int argc, char **argv)
{
    unsigned n = bench_number(argc, argv, 1000000);
    loop_open(0, n);
    insert(n, FIRST_NS, SPAN_NS);
    cancel(n, 1);
    printf("insert=%.1f ", insert(n, FIRST_NS, SPAN_NS));
    printf("rearm=%.1f ", rearm(n, 1));
    printf("rearm_scattered=%.1f ", rearm(n, STEP));
    printf("cancel=%.1f ", cancel(n, 1));
    insert(n, FIRST_NS, SPAN_NS);
    printf("cancel_scattered=%.1f ", cancel(n, STEP));
    printf("fire=%.1f timers=%u\n", fire(n), n);
    loop_close();
    return 0;
}
