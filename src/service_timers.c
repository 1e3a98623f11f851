/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timers of services, and step 3 of the turn: what is due fires, in the order of deadline and then of arming.
 *
 * What a callback arms waits for the next turn, whatever its deadline: a timer of 0 ns that arms itself anew does not
 * keep the loop (the sequence number at the start of the step is the line). A timer's id is stale when its callback
 * runs.
 */
#include <errno.h>

#include "core.h"

static int find_timer(struct ior_context *cx, ior_timer_id id, struct ior__timer **ret)
{
    *ret = NULL;
    int err = ior__enter(cx);
    if (err < 0)
        return err;
    struct ior__timer *timer = ior__slots_find(&cx->rt->timer_slots, id);
    if (!timer)
        return -ENOENT;
    if (timer->cx != cx)
        return -EACCES;
    *ret = timer;
    return 0;
}

static void timer_free(struct ior_runtime *rt, struct ior__timer *timer)
{
    ior__timers_remove(&rt->timers, &timer->node);
    ior__slots_remove(&rt->timer_slots, timer->id);
    timer->cx->timers--;
    ior__free(timer, sizeof(*timer));
}

int ior_timer_set(struct ior_context *cx, uint64_t after_ns, void *user, ior_timer_id *ret_id)
{
    int err = ior__enter(cx);
    if (err < 0)
        return err;
    if (!ret_id)
        return -EINVAL;
    if (cx->phase == IOR__PHASE_GONE)
        return -ESHUTDOWN;
    struct ior_runtime *rt = cx->rt;
    struct ior__timer *timer = ior__alloc(sizeof(*timer));
    if (!timer)
        return -ENOMEM;
    timer->node = (struct ior__timer_node){.pos = IOR__TIMER_IDLE, .kind = IOR__TIMER_SERVICE};
    timer->cx = cx;
    timer->user = user;
    err = ior__slots_add(&rt->timer_slots, timer);
    if (err < 0) {
        ior__free(timer, sizeof(*timer));
        return err;
    }
    err = ior__timers_add(&rt->timers, &timer->node, ior__deadline_after(rt, after_ns));
    if (err < 0) {
        ior__slots_remove(&rt->timer_slots, timer->id);
        ior__free(timer, sizeof(*timer));
        return err;
    }
    cx->timers++;
    *ret_id = timer->id;
    return 0;
}

int ior_timer_move(struct ior_context *cx, ior_timer_id id, uint64_t after_ns)
{
    struct ior__timer *timer;
    int err = find_timer(cx, id, &timer);
    if (err < 0)
        return err;
    ior__timers_move(&cx->rt->timers, &timer->node, ior__deadline_after(cx->rt, after_ns));
    return 0;
}

int ior_timer_cancel(struct ior_context *cx, ior_timer_id id)
{
    struct ior__timer *timer;
    int err = find_timer(cx, id, &timer);
    if (err < 0)
        return err;
    timer_free(cx->rt, timer);
    return 0;
}

size_t ior_timer_count(struct ior_context *cx)
{
    return ior__enter(cx) < 0 ? 0 : cx->timers;
}

uint64_t ior_timer_next(struct ior_context *cx)
{
    return ior__enter(cx) < 0 ? IOR_NEVER : ior__timers_next(&cx->rt->timers);
}

/* The service has ended: its timers will not fire. */
void ior__drop_timers(struct ior_context *cx)
{
    struct ior_runtime *rt = cx->rt;
    for (uint32_t i = 0; cx->timers > 0 && i < rt->timer_slots.made; i++) {
        struct ior__timer *timer = ior__slots_at(&rt->timer_slots, i);
        if (timer && timer->cx == cx)
            timer_free(rt, timer);
    }
}

static void fire_service_timer(struct ior_runtime *rt, struct ior__timer *timer)
{
    struct ior_context *cx = timer->cx;
    ior_timer_id id = timer->id;
    void *user = timer->user;
    timer_free(rt, timer);
    rt->timers_fired++;
    if (cx->handler.timer)
        cx->handler.timer(cx->self, cx, id, user);
}

void ior__fire_timers(struct ior_runtime *rt)
{
    ior__start_services(rt);
    uint64_t seq_limit = rt->timers.next_seq;
    for (uint32_t i = 0; i < rt->budget_timers; i++) {
        struct ior__timer_node *node = ior__timers_pop(&rt->timers, rt->now_ns, seq_limit);
        if (!node)
            break;
        if (node->kind == IOR__TIMER_SERVICE)
            fire_service_timer(rt, IOR_CONTAINER(node, struct ior__timer, node));
        else
            ior__deadlines_due(IOR_CONTAINER(node, struct ior__deadlines, node));
    }
}
