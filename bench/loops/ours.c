/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The library's loop, on the engine that IOR_ENGINE names.
 *
 * Fairness: ior_timer_set counts from the moment of arming, so that each arming reads the clock; the other loops count
 * from the start of the turn. Both are measured: with TIMERS_FROM=turn in the environment ours counts from there too.
 */
#include "loop.h"
#include "bench.h"
#include <errno.h>

struct watch {
    ior_id id;
    int fd;
};

static struct ior_runtime *rt;
static struct ior_context *cx;
static struct watch *watch_table;
static ior_timer_id *timer_ids;
static bool from_turn;

static void on_transport(void *self, struct ior_context *context, const struct ior_event *ev)
{
    const struct watch *watch = ev->user;
    (void)self, (void)context;
    if (ev->type == IOR_EV_READY)
        loop_on_readable((unsigned)(watch - watch_table), watch->fd);
}

static void on_timer(void *self, struct ior_context *context, ior_timer_id id, void *user)
{
    (void)self, (void)context, (void)id;
    loop_on_timer((unsigned)((ior_timer_id *)user - timer_ids));
}

void loop_open(unsigned watches, unsigned timers)
{
    static const struct ior_handler handler = {
        .struct_size = sizeof handler, .transport = on_transport, .timer = on_timer};
    struct ior_config config = {.struct_size = sizeof config, .engine = ior_engine_from_env()};
    const char *from = getenv("TIMERS_FROM");
    from_turn = from && strcmp(from, "turn") == 0;
    watch_table = calloc(watches ? watches : 1, sizeof *watch_table);
    timer_ids = calloc(timers ? timers : 1, sizeof *timer_ids);
    bench_must(watch_table && timer_ids ? 0 : -ENOMEM, "calloc");
    bench_must(ior_runtime_new(&config, &handler, NULL, &rt), "ior_runtime_new");
    cx = ior_runtime_context(rt);
    loop_turn();
}

void loop_close(void)
{
    ior_runtime_free(rt);
    free(watch_table);
    free(timer_ids);
}

void loop_turn(void)
{
    bench_must(ior_runtime_turn(rt, 0), "ior_runtime_turn");
}

void loop_watch(unsigned index, int fd)
{
    struct watch *watch = &watch_table[index];
    watch->fd = fd;
    bench_must(ior_watch(cx, fd, IOR_READ, watch, &watch->id), "ior_watch");
}

void loop_stop(unsigned index)
{
    bench_must(ior_interest(cx, watch_table[index].id, IOR_NONE), "ior_interest");
}

void loop_start(unsigned index)
{
    bench_must(ior_interest(cx, watch_table[index].id, IOR_READ), "ior_interest");
}

void loop_timer_set(unsigned index, uint64_t after_ns)
{
    ior_timer_id *id = &timer_ids[index];
    if (from_turn)
        bench_must(ior_timer_at(cx, ior_turn_ns(cx) + after_ns, id, id), "ior_timer_at");
    else
        bench_must(ior_timer_set(cx, after_ns, id, id), "ior_timer_set");
}

void loop_timer_move(unsigned index, uint64_t after_ns)
{
    if (from_turn)
        bench_must(ior_timer_move_at(cx, timer_ids[index], ior_turn_ns(cx) + after_ns), "ior_timer_move_at");
    else
        bench_must(ior_timer_move(cx, timer_ids[index], after_ns), "ior_timer_move");
}

void loop_timer_cancel(unsigned index)
{
    bench_must(ior_timer_cancel(cx, timer_ids[index]), "ior_timer_cancel");
}
