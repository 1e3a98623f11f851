/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One kind of operation on timers, done so many times among so many armed ones. Under callgrind only that is counted.
 *
 *     timer_count arm|move|cancel|fire [TIMERS]
 *
 * `arm` arms all, in random order of deadline; `move` gives each another random deadline; `cancel`
 * ends all, in an order far from that of arming; `fire` fires all, in total order.
 */
#include "bench.h"
#include <errno.h>

#if defined(__has_include)
#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#endif
#endif
#ifndef CALLGRIND_START_INSTRUMENTATION
#define CALLGRIND_START_INSTRUMENTATION (void)0
#define CALLGRIND_STOP_INSTRUMENTATION (void)0
#endif

#define SPAN_NS IOR_NS_PER_MS
#define FAR_NS (100000 * IOR_NS_PER_SEC)
#define STEP 7919 /* a prime: i * STEP mod n visits all of n, far apart */

static struct ior_runtime *rt;
static struct ior_context *cx;
static ior_timer_id *ids;
static unsigned fired;

static void on_timer(void *self, struct ior_context *context, ior_timer_id id, void *user)
{
    (void)self, (void)context, (void)id, (void)user;
    fired++;
}

static uint64_t random_ns(void)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % SPAN_NS;
}

static void arm(unsigned n, uint64_t from_ns)
{
    for (unsigned i = 0; i < n; i++)
        bench_must(ior_timer_at(cx, from_ns + random_ns(), NULL, &ids[i]), "ior_timer_at");
}

static void move(unsigned n, uint64_t from_ns)
{
    for (unsigned i = 0; i < n; i++)
        bench_must(ior_timer_move_at(cx, ids[i], from_ns + random_ns()), "ior_timer_move_at");
}

static void cancel(unsigned n)
{
    for (uint64_t i = 0; i < n; i++)
        bench_must(ior_timer_cancel(cx, ids[i * STEP % n]), "ior_timer_cancel");
}

static void turn(void)
{
    bench_must(ior_runtime_turn(rt, 0), "ior_runtime_turn");
}

static void fire(unsigned n)
{
    while (fired < n)
        turn();
}

static int usage(void)
{
    fprintf(stderr, "usage: timer_count arm|move|cancel|fire [TIMERS]\n");
    return 2;
}

int main(int argc, char **argv)
{
    static const struct ior_handler handler = {.struct_size = sizeof handler, .timer = on_timer};
    struct ior_config config = {.struct_size = sizeof config, .timers = UINT32_MAX};
    const char *what = argc > 1 ? argv[1] : "";
    unsigned n = argc > 1 ? bench_number(argc - 1, argv + 1, 1000) : 0;
    bool arms = strcmp(what, "arm") == 0, moves = strcmp(what, "move") == 0, fires = strcmp(what, "fire") == 0;
    if (!arms && !moves && !fires && strcmp(what, "cancel") != 0)
        return usage();
    ids = calloc(n, sizeof *ids);
    bench_must(ids ? 0 : -ENOMEM, "calloc");
    bench_must(ior_runtime_new(&config, &handler, NULL, &rt), "ior_runtime_new");
    cx = ior_runtime_context(rt);
    turn();
    arm(n, ior_now(cx) + FAR_NS); /* the tables have their size, and are empty again */
    cancel(n);
    uint64_t from_ns = ior_now(cx) + (fires ? 0 : FAR_NS);
    if (!arms)
        arm(n, from_ns);
    while (fires && ior_now(cx) <= from_ns + SPAN_NS)
        ;
    CALLGRIND_START_INSTRUMENTATION;
    if (arms)
        arm(n, from_ns);
    else if (moves)
        move(n, from_ns);
    else if (fires)
        fire(n);
    else
        cancel(n);
    CALLGRIND_STOP_INSTRUMENTATION;
    printf("%s=%u\n", what, fires ? fired : n);
    ior_runtime_free(rt);
    free(ids);
    return 0;
}
