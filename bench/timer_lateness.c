/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How late a periodic timer of 1 ms is: in a loop that does nothing else, and in one that is busy, where each turn takes
 * 20 us to serve an fd that is always readable. Usage: timer_lateness [TICKS]. The engine is IOR_ENGINE's.
 */
#include "bench.h"
#include <errno.h>
#include <unistd.h>

#define PERIOD_NS IOR_NS_PER_MS
#define WORK_NS (20 * IOR_NS_PER_US)

static struct ior_runtime *rt;
static struct ior_context *cx;
static uint64_t *late_ns;
static uint64_t due_ns, missed;
static unsigned ticks, most;

static void on_timer(void *self, struct ior_context *context, ior_timer_id id, void *user)
{
    uint64_t now_ns = ior_now(context);
    (void)self, (void)id, (void)user;
    if (ticks < most)
        late_ns[ticks++] = now_ns - due_ns;
    missed += ior_timer_missed(context);
    due_ns += PERIOD_NS * (1 + ior_timer_missed(context));
}

static void on_transport(void *self, struct ior_context *context, const struct ior_event *ev)
{
    (void)self;
    uint64_t until_ns = ior_now(context) + WORK_NS;
    while (ev->type == IOR_EV_READY && ior_now(context) < until_ns)
        ;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double percentile_us(double of_thousand)
{
    return (double)late_ns[(size_t)((ticks - 1) * of_thousand / 1000)] / 1000;
}

static void run(const char *what)
{
    ior_timer_id id;
    ticks = 0;
    missed = 0;
    /* A little before: the clock is read again inside, so that the due times are not before these. */
    due_ns = ior_now(cx) + PERIOD_NS;
    bench_must(ior_timer_every(cx, PERIOD_NS, PERIOD_NS, NULL, &id), "ior_timer_every");
    while (ticks < most)
        bench_must(ior_runtime_turn(rt, IOR_NEVER), "ior_runtime_turn");
    bench_must(ior_timer_cancel(cx, id), "ior_timer_cancel");
    qsort(late_ns, ticks, sizeof *late_ns, by_size);
    printf("%s_p50_us=%.1f %s_p99_us=%.1f %s_p999_us=%.1f %s_missed=%llu ", what, percentile_us(500), what,
           percentile_us(990), what, percentile_us(999), what, (unsigned long long)missed);
}

int main(int argc, char **argv)
{
    static const struct ior_handler handler = {
        .struct_size = sizeof handler, .transport = on_transport, .timer = on_timer};
    struct ior_config config = {.struct_size = sizeof config, .engine = ior_engine_from_env()};
    int ends[2];
    ior_id id;
    most = bench_number(argc, argv, 5000);
    late_ns = calloc(most, sizeof *late_ns);
    bench_must(late_ns ? 0 : -ENOMEM, "calloc");
    bench_must(ior_runtime_new(&config, &handler, NULL, &rt), "ior_runtime_new");
    cx = ior_runtime_context(rt);
    bench_must(ior_runtime_turn(rt, 0), "ior_runtime_turn");
    run("idle");
    bench_must(pipe(ends) < 0 ? -errno : 0, "pipe");
    bench_must(write(ends[1], "x", 1) == 1 ? 0 : -EIO, "write");
    bench_must(ior_watch(cx, ends[0], IOR_READ, NULL, &id), "ior_watch");
    run("busy");
    printf("ticks=%u\n", most);
    ior_runtime_free(rt);
    free(late_ns);
    close(ends[0]);
    close(ends[1]);
    return 0;
}
