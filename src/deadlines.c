/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The deadlines of a resource: four public ones and the back-off after the kernel was out of something.
 *
 * A resource has none of this until the first is armed. Then one node stands in the timers' heap, under the earliest
 * of its deadlines *or earlier*: moving a deadline later is one store, and the node finds out when it comes up, by being
 * queued again. The idle deadline, which each byte moves, is not even computed before: when bytes came or went is noted,
 * in active_ns.
 *
 * Invariant: while any at_ns is not IOR_NEVER the node is queued, at or before the least of them.
 */
#include <errno.h>

#include "core.h"
#include "kinds.h"
#include "output.h"

#define BACKOFF_FIRST_NS (10 * IOR_NS_PER_MS)
#define BACKOFF_ACCEPT_NS (100 * IOR_NS_PER_MS)

static uint64_t earliest(const struct ior__deadlines *deadlines)
{
    uint64_t least = IOR_NEVER;
    for (int i = 0; i < IOR__DEADLINE_COUNT; i++) {
        if (deadlines->at_ns[i] < least)
            least = deadlines->at_ns[i];
    }
    return least;
}

static uint32_t timer_ref(const struct ior_resource *res)
{
    return ior__timer_ref(res->id) | IOR__TIMER_OF_RESOURCE;
}

int ior__deadlines_reserve(struct ior_resource *res)
{
    struct ior_runtime *rt = res->cx->rt;
    int err = ior__timers_reserve(&rt->timers);
    if (err < 0 || res->deadlines)
        return err;
    struct ior__deadlines *deadlines = ior__alloc(sizeof(*deadlines));
    if (!deadlines)
        return -ENOMEM;
    deadlines->node = (struct ior__timer_node){0};
    deadlines->res = res;
    deadlines->idle_ns = IOR_NEVER;
    deadlines->active_ns = 0;
    for (int i = 0; i < IOR__DEADLINE_COUNT; i++)
        deadlines->at_ns[i] = IOR_NEVER;
    res->deadlines = deadlines;
    return 0;
}

int ior__deadline_set(struct ior_resource *res, int which, uint64_t at_ns)
{
    int err = ior__deadlines_reserve(res);
    if (err < 0)
        return err;
    struct ior__timers *timers = &res->cx->rt->timers;
    struct ior__deadlines *deadlines = res->deadlines;
    deadlines->at_ns[which] = at_ns;
    if (at_ns == IOR_NEVER)
        return 0;
    if (deadlines->node.queued_key == 0)
        return ior__timers_add(timers, &deadlines->node, timer_ref(res), at_ns);
    if (at_ns < deadlines->node.when_ns)
        ior__timers_move(timers, &deadlines->node, at_ns);
    return 0;
}

void ior__deadline_clear(struct ior_resource *res, int which)
{
    struct ior__deadlines *deadlines = res->deadlines;
    if (!deadlines)
        return;
    deadlines->at_ns[which] = IOR_NEVER;
    if (earliest(deadlines) == IOR_NEVER)
        ior__timers_remove(&res->cx->rt->timers, &deadlines->node); /* else the loop would wake for nothing */
}

void ior__deadlines_drop(struct ior_resource *res)
{
    struct ior__deadlines *deadlines = res->deadlines;
    if (!deadlines)
        return;
    ior__timers_remove(&res->cx->rt->timers, &deadlines->node);
    ior__free(deadlines, sizeof(*deadlines));
    res->deadlines = NULL;
}

uint64_t ior__deadline_after(const struct ior_runtime *rt, uint64_t after_ns)
{
    return after_ns == IOR_NEVER ? IOR_NEVER : ior_time_add(rt->os->clock(rt->os->arg), after_ns);
}

int ior__idle_start(struct ior_resource *res, uint64_t idle_ns)
{
    int err = ior__deadline_set(res, IOR_DEADLINE_IDLE, ior__deadline_after(res->cx->rt, idle_ns));
    if (err < 0)
        return err;
    ((struct ior__deadlines *)res->deadlines)->idle_ns = idle_ns;
    return 0;
}

int ior_deadline(struct ior_context *cx, ior_id id, int which, uint64_t after_ns)
{
    struct ior_resource *res;
    int err = ior__find(cx, id, &res);
    if (err < 0)
        return err;
    if (which < IOR_DEADLINE_USER || which > IOR_DEADLINE_DRAIN ||
        (which == IOR_DEADLINE_CONNECT && !(res->bits & IOR__CONNECTING)) ||
        (which == IOR_DEADLINE_DRAIN && !(res->bits & IOR__CLOSING)))
        return -EINVAL;
    if (after_ns == IOR_NEVER) {
        ior__deadline_clear(res, which);
        if (which == IOR_DEADLINE_IDLE && res->deadlines)
            ((struct ior__deadlines *)res->deadlines)->idle_ns = IOR_NEVER;
        return 0;
    }
    if (which == IOR_DEADLINE_IDLE)
        return ior__idle_start(res, after_ns);
    return ior__deadline_set(res, which, ior__deadline_after(cx->rt, after_ns));
}

/*
 * The kernel was out of memory or fds: no I/O on the resource until the back-off ends. Told once for each spell. Where
 * there is no memory for a deadline either, the runtime remembers the time, and looks for the resource then.
 */
void ior__backoff(struct ior_resource *res, int err)
{
    struct ior_runtime *rt = res->cx->rt;
    uint64_t ns = (res->bits & IOR__LISTENER) ? BACKOFF_ACCEPT_NS : BACKOFF_FIRST_NS;
    uint64_t until_ns = ior_time_add(rt->now_ns, ns);
    if (ior__deadline_set(res, IOR__DEADLINE_BACKOFF, until_ns) < 0 && until_ns < rt->unarmed_ns)
        rt->unarmed_ns = until_ns;
    if (!(res->bits & IOR__BACKOFF)) {
        res->bits |= IOR__BACKOFF | IOR__SHRINK;
        if (res->bits & IOR__LISTENER)
            rt->starving++;
        ior__work_add(rt, res);
    }
    if (res->bits & IOR__TOLD_ERROR)
        return;
    res->bits |= IOR__TOLD_ERROR;
    ior__tell_error(res, err);
}

static void backoff_over(struct ior_resource *res)
{
    struct ior_runtime *rt = res->cx->rt;
    if (!(res->bits & IOR__BACKOFF))
        return;
    res->bits &= ~(uint32_t)IOR__BACKOFF;
    if (res->bits & IOR__LISTENER)
        rt->starving--;
    ior__work_add(rt, res);
    ior__ready_add(rt, res, IOR_READ);
}

/* Back-offs that could not be armed are over. Rare enough for a look at each slot. */
void ior__unarmed_over(struct ior_runtime *rt)
{
    rt->unarmed_ns = IOR_NEVER;
    for (uint32_t i = 0; i < rt->slots.made; i++) {
        struct ior_resource *res = ior__slots_at(&rt->slots, i);
        const struct ior__deadlines *deadlines = res ? res->deadlines : NULL;
        if (res && (!deadlines || deadlines->at_ns[IOR__DEADLINE_BACKOFF] == IOR_NEVER))
            backoff_over(res);
    }
}

/* An fd or a slot became free: the listeners that wait for one try again at once. */
void ior__fd_freed(struct ior_runtime *rt)
{
    for (uint32_t i = 0; rt->starving > 0 && i < rt->slots.made; i++) {
        struct ior_resource *res = ior__slots_at(&rt->slots, i);
        if (res && (res->bits & IOR__LISTENER) && (res->bits & IOR__BACKOFF)) {
            ior__deadline_clear(res, IOR__DEADLINE_BACKOFF);
            backoff_over(res);
        }
    }
}

/* After the look for bytes: whether the deadline stands again, as some came, or the service set it anew or off. */
static bool stands_again(struct ior_resource *res)
{
    struct ior__deadlines *deadlines = res->deadlines;
    uint64_t at_ns = deadlines->at_ns[IOR_DEADLINE_IDLE];
    if (deadlines->active_ns == IOR_NEVER)
        deadlines->active_ns = 0;
    else if (at_ns == IOR_NEVER)
        at_ns = ior_time_add(deadlines->active_ns, deadlines->idle_ns);
    if (deadlines->idle_ns == IOR_NEVER)
        return true;
    return at_ns != IOR_NEVER && ior__deadline_set(res, IOR_DEADLINE_IDLE, at_ns) == 0;
}

/* An idle deadline passed: bytes that arrived already still count. */
static void idle_due(struct ior_resource *res)
{
    struct ior__deadlines *deadlines = res->deadlines;
    if (((res->bits & IOR__STREAM) || ior__is_datagram(res)) && (ior__wanted(res) & IOR_READ)) {
        if ((res->bits & IOR__IN_SET) && (res->applied & IOR_RECEIVES)) {
            ior__leave_set(res); /* then what arrived is in the engine's hands, or the kernel's */
            ior__work_add(res->cx->rt, res);
        }
        deadlines->active_ns = IOR_NEVER; /* not since */
        ior__handle_io(res, IOR_READ);
        if ((res->bits & IOR__ENDING) || stands_again(res))
            return;
    }
    ior__end(res, IOR_TIMEOUT, ETIMEDOUT, IOR_DEADLINE_IDLE);
}

static void fire(struct ior_resource *res, int which)
{
    struct ior_event ev = {.type = IOR_EV_DEADLINE};
    switch (which) {
    case IOR_DEADLINE_USER:
        ior__tell(res, &ev);
        break;
    case IOR_DEADLINE_IDLE:
        idle_due(res);
        break;
    case IOR__DEADLINE_BACKOFF:
        if (res->bits & IOR__BACKOFF)
            backoff_over(res);
        else /* a look-up's or a dial's own time */
            ior__ready_add(res->cx->rt, res, IOR_READ | IOR_WRITE);
        break;
    case IOR_DEADLINE_DRAIN:
        if (ior__kind_of(res) && ior__kind_of(res)->overdue)
            ior__kind_of(res)->overdue(res);
        else if (res->why == IOR_SHUTDOWN)
            ior__end(res, IOR_SHUTDOWN, 0, -1);
        else
            ior__end(res, IOR_TIMEOUT, ETIMEDOUT, which);
        break;
    default:
        ior__end(res, IOR_TIMEOUT, ETIMEDOUT, which);
        break;
    }
}

/* Bytes came or went: the idle deadline is later than it was set. */
static void find_idle(struct ior__deadlines *deadlines)
{
    uint64_t *at_ns = &deadlines->at_ns[IOR_DEADLINE_IDLE];
    uint64_t later_ns = ior_time_add(deadlines->active_ns, deadlines->idle_ns);
    if (*at_ns != IOR_NEVER && later_ns > *at_ns)
        *at_ns = later_ns;
}

/* The node came up and is out of the heap: queues it for what is not due yet, and fires what is, earliest first. */
void ior__deadlines_due(struct ior__deadlines *deadlines)
{
    struct ior_resource *res = deadlines->res;
    struct ior_runtime *rt = res->cx->rt;
    uint64_t now_ns = rt->now_ns;
    uint64_t later_ns = IOR_NEVER;
    unsigned due = 0;
    find_idle(deadlines);
    for (int i = 0; i < IOR__DEADLINE_COUNT; i++) {
        if (deadlines->at_ns[i] <= now_ns)
            due |= 1u << i;
        else if (deadlines->at_ns[i] < later_ns)
            later_ns = deadlines->at_ns[i];
    }
    if (later_ns != IOR_NEVER)
        (void)ior__timers_add(&rt->timers, &deadlines->node, timer_ref(res), later_ns); /* into the room it just left */
    while (due) {
        int which = __builtin_ctz(due);
        for (int i = which + 1; i < IOR__DEADLINE_COUNT; i++) {
            if ((due >> i & 1) && deadlines->at_ns[i] < deadlines->at_ns[which])
                which = i;
        }
        due &= ~(1u << which);
        if (which == IOR_DEADLINE_USER)
            ior__tell_pending(res); /* OPEN comes before the deadline, and may move it */
        if (res->bits & IOR__ENDING)
            return; /* the deadlines are gone */
        if (deadlines->at_ns[which] > now_ns)
            continue; /* a callback of this loop moved it */
        deadlines->at_ns[which] = IOR_NEVER;
        fire(res, which);
        if (res->bits & IOR__ENDING)
            return; /* the deadlines are gone */
    }
}
