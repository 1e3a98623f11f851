/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timers of services, and step 3 of the turn: what is due fires, in the order of deadline and then of arming.
 *
 * What a callback arms waits for the next turn, whatever its deadline: a timer of 0 ns that arms itself anew does not
 * keep the loop. The id of a timer that fires once is stale when its callback runs. A periodic one is queued for its
 * next period by then, so that the callback can move or cancel it like any other; nobody looks at it afterwards.
 */
#include <errno.h>

#include "core.h"

static int find_timer(struct ior_context *cx, ior_timer_id id, struct ior__timer **ret)
{
    *ret = NULL;
    int err = ior__enter(cx);
    if (IOR_UNLIKELY(err < 0))
        return err;
    struct ior__timer *timer = ior__timer_find(&cx->rt->timers.table, id);
    if (IOR_UNLIKELY(!timer))
        return -ENOENT;
    if (IOR_UNLIKELY(timer->cx != cx))
        return -EACCES;
    *ret = timer;
    return 0;
}

static void timer_free(struct ior_runtime *rt, struct ior__timer *timer)
{
    struct ior_context *cx = timer->cx;
    cx->timers--;
    ior__timers_remove(&rt->timers, &timer->node);
    ior__timer_table_remove(&rt->timers.table, timer);
}

static int may_arm(const struct ior_context *cx, bool valid)
{
    int err = ior__enter(cx);
    if (IOR_UNLIKELY(err < 0))
        return err;
    if (!valid)
        return -EINVAL;
    return cx->phase == IOR__PHASE_GONE ? -ESHUTDOWN : 0;
}

static int arm(struct ior_context *cx, uint64_t at_ns, uint64_t period_ns, void *user, ior_timer_id *ret_id)
{
    int err = ior__timers_new(&cx->rt->timers, cx, at_ns, ret_id);
    if (IOR_UNLIKELY(err < 0))
        return err;
    struct ior__timer *timer = ior__timer_find(&cx->rt->timers.table, *ret_id);
    timer->user = user;
    timer->period_ns = period_ns;
    cx->timers++;
    return 0;
}

/* What is past is due now: it comes after all that was due before. */
static uint64_t not_past(const struct ior_runtime *rt, uint64_t at_ns)
{
    return at_ns < rt->now_ns ? rt->now_ns : at_ns;
}

int ior_timer_set(struct ior_context *cx, uint64_t after_ns, void *user, ior_timer_id *ret_id)
{
    int err = may_arm(cx, ret_id != NULL);
    return err < 0 ? err : arm(cx, ior__deadline_after(cx->rt, after_ns), 0, user, ret_id);
}

int ior_timer_at(struct ior_context *cx, uint64_t at_ns, void *user, ior_timer_id *ret_id)
{
    int err = may_arm(cx, ret_id != NULL);
    return err < 0 ? err : arm(cx, not_past(cx->rt, at_ns), 0, user, ret_id);
}

int ior_timer_every(struct ior_context *cx, uint64_t first_ns, uint64_t period_ns, void *user, ior_timer_id *ret_id)
{
    int err = may_arm(cx, ret_id && period_ns > 0 && period_ns != IOR_NEVER);
    return err < 0 ? err : arm(cx, ior__deadline_after(cx->rt, first_ns), period_ns, user, ret_id);
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

int ior_timer_move_at(struct ior_context *cx, ior_timer_id id, uint64_t at_ns)
{
    struct ior__timer *timer;
    int err = find_timer(cx, id, &timer);
    if (err < 0)
        return err;
    ior__timers_move(&cx->rt->timers, &timer->node, not_past(cx->rt, at_ns));
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

uint64_t ior_timer_missed(struct ior_context *cx)
{
    return ior__enter(cx) < 0 ? 0 : cx->rt->timer_missed;
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
    struct ior__timer_table *table = &cx->rt->timers.table;
    for (uint32_t i = 0; cx->timers > 0 && i < table->made; i++) {
        struct ior__timer *timer = &table->timers[i];
        if (timer->cx == cx)
            timer_free(cx->rt, timer);
    }
}

/* The next of start + n * period_ns that is not past; those between are missed. */
static void queue_next_period(struct ior_runtime *rt, struct ior__timer *timer)
{
    uint64_t at_ns = timer->node.when_ns;
    uint64_t missed = ior_time_sub(rt->now_ns, at_ns) / timer->period_ns;
    rt->timer_missed = missed;
    at_ns = ior_time_add(at_ns + missed * timer->period_ns, timer->period_ns);
    (void)ior__timers_add(&rt->timers, &timer->node, ior__timer_ref(timer->id), at_ns); /* where it just was */
}

static void fire_service_timer(struct ior_runtime *rt, struct ior__timer *timer)
{
    struct ior_context *cx = timer->cx;
    ior_timer_id id = timer->id;
    void *user = timer->user;
    if (timer->period_ns > 0)
        queue_next_period(rt, timer);
    else
        timer_free(rt, timer);
    rt->timers_fired++;
    if (cx->handler.timer)
        cx->handler.timer(cx->self, cx, id, user);
    rt->timer_missed = 0;
}

void ior__fire_timers(struct ior_runtime *rt)
{
    ior__start_services(rt);
    ior__timers_begin(&rt->timers);
    for (uint32_t i = 0; i < rt->budget_timers; i++) {
        struct ior__timer_node *node = ior__timers_pop(&rt->timers, rt->now_ns);
        if (!node)
            break;
        if (ior__timer_of_resource(node))
            ior__deadlines_due(IOR_CONTAINER(node, struct ior__deadlines, node));
        else
            fire_service_timer(rt, IOR_CONTAINER(node, struct ior__timer, node));
    }
}
