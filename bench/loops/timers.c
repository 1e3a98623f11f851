/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a timer costs where there are a million: insert, re-arm, cancel (both in the order of insertion, and scattered,
 * where the machine's memory shows) and fire. Deadlines are random within a minute. The clock is the real one, which
 * each arming reads, until the end: then it is put forward past all deadlines, so that what is measured is the work and
 * not the waiting.
 */
#include "bench.h"

#define FIRST_NS (10 * IOR_NS_PER_SEC)
#define SPAN_NS (60 * IOR_NS_PER_SEC)
#define STEP 7919 /* a prime: i * STEP mod n visits all of n, far apart */

static uint64_t offset_ns;
static uint64_t (*real_clock)(void *arg);
static unsigned fired;

static uint64_t shifted_clock(void *arg)
{
    return real_clock(arg) + offset_ns;
}

static uint64_t random_ns(void)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return FIRST_NS + state % SPAN_NS;
}

static void on_timer(void *self, struct ior_context *cx, ior_timer_id id, void *user)
{
    (void)self, (void)cx, (void)id, (void)user;
    fired++;
}

static void insert(struct ior_context *cx, ior_timer_id *ids, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        bench_must(ior_timer_set(cx, random_ns(), NULL, &ids[i]), "ior_timer_set");
}

/* ns for each re-arming of all, `step` timers on each time. */
static double rearm(struct ior_context *cx, const ior_timer_id *ids, unsigned n, uint64_t step)
{
    double began = bench_cpu_ns();
    for (uint64_t i = 0; i < n; i++)
        bench_must(ior_timer_move(cx, ids[i * step % n], random_ns()), "ior_timer_move");
    return (bench_cpu_ns() - began) / n;
}

static double cancel(struct ior_context *cx, const ior_timer_id *ids, unsigned n, uint64_t step)
{
    double began = bench_cpu_ns();
    for (uint64_t i = 0; i < n; i++)
        bench_must(ior_timer_cancel(cx, ids[i * step % n]), "ior_timer_cancel");
    return (bench_cpu_ns() - began) / n;
}

static double fire(struct ior_runtime *rt, unsigned n)
{
    offset_ns = FIRST_NS + SPAN_NS;
    double began = bench_cpu_ns();
    while (fired < n)
        bench_must(ior_runtime_turn(rt, 0), "ior_runtime_turn");
    return (bench_cpu_ns() - began) / n;
}

static void measure(struct ior_runtime *rt, ior_timer_id *ids, unsigned n)
{
    struct ior_context *cx = ior_runtime_context(rt);
    double began = bench_cpu_ns();
    insert(cx, ids, n);
    printf("insert=%.1f ", (bench_cpu_ns() - began) / n);
    printf("rearm=%.1f ", rearm(cx, ids, n, 1));
    printf("rearm_scattered=%.1f ", rearm(cx, ids, n, STEP));
    printf("cancel=%.1f ", cancel(cx, ids, n, 1));
    insert(cx, ids, n);
    printf("cancel_scattered=%.1f ", cancel(cx, ids, n, STEP));
    insert(cx, ids, n);
    printf("fire=%.1f timers=%u\n", fire(rt, n), n);
}

int main(int argc, char **argv)
{
    unsigned n = bench_number(argc, argv, 1000000);
    struct ior_handler handler = {.struct_size = sizeof handler, .timer = on_timer};
    struct ior_os os = *ior_os_default();
    struct ior_config config = {.struct_size = sizeof config, .engine = ior_engine_from_env(), .os = &os};
    ior_timer_id *ids = calloc(n, sizeof *ids);
    struct ior_runtime *rt;
    bench_must(ids ? 0 : -1, "calloc");
    real_clock = os.clock;
    os.clock = shifted_clock;
    bench_must(ior_runtime_new(&config, &handler, NULL, &rt), "ior_runtime_new");
    bench_must(ior_runtime_turn(rt, 0), "ior_runtime_turn");
    measure(rt, ids, n);
    ior_runtime_free(rt);
    free(ids);
    return 0;
}
