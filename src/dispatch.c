/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Step 2 of the turn: records of the engine, and resources that had more than their share last time, become calls of
 * handle_io, which tells the services.
 *
 * This is the one place where stale records are dropped, where hang-ups meet resources that read nothing now, and
 * where `registered` and OPEN are told before anything else. No resource is freed in this step, so pointers stay good
 * over callbacks; whether the resource is still wanted (IOR__ENDING, IOR__PAUSED) is asked again after each of them.
 */
#include <errno.h>

#include "core.h"
#include "kinds.h"
#include "output.h"

#define READY_FIRST 64u

int ior__ready_reserve(struct ior_runtime *rt)
{
    struct ior__ready *ready = &rt->ready;
    if (rt->slots.live <= ready->capacity)
        return 0;
    uint32_t capacity = ready->capacity ? 2 * ready->capacity : READY_FIRST;
    uint32_t *slots = ior__alloc(capacity * sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    for (uint32_t i = 0; i < ready->count; i++)
        slots[i] = ready->slots[(ready->at + i) & (ready->capacity - 1)];
    ior__free(ready->slots, ready->capacity * sizeof(*slots));
    *ready = (struct ior__ready){.slots = slots, .count = ready->count, .capacity = capacity};
    return 0;
}

void ior__ready_add(struct ior_runtime *rt, struct ior_resource *res, unsigned io)
{
    struct ior__ready *ready = &rt->ready;
    res->pending |= (uint8_t)io;
    if (res->bits & IOR__IN_READY)
        return;
    res->bits |= IOR__IN_READY;
    ready->slots[(ready->at + ready->count++) & (ready->capacity - 1)] = (uint32_t)(res->id >> IOR__SLOT_SHIFT);
}

struct ior_resource *ior__ready_take(struct ior_runtime *rt)
{
    struct ior__ready *ready = &rt->ready;
    struct ior_resource *res = ior__slots_at(&rt->slots, ready->slots[ready->at]);
    ready->at = (ready->at + 1) & (ready->capacity - 1);
    ready->count--;
    res->bits &= ~(uint32_t)IOR__IN_READY;
    return res;
}

void ior__tell_error(struct ior_resource *res, int err)
{
    struct ior_context *cx = res->cx;
    ior__log(IOR_LOG_WARN, "%s %#llx: %s", res->ops->name, (unsigned long long)res->id, ior_strerror(err));
    if (cx->handler.error)
        cx->handler.error(cx->self, cx, res->id, err);
}

/* `registered` and OPEN, where they are still to be told. */
void ior__tell_pending(struct ior_resource *res)
{
    struct ior_context *cx = res->cx;
    if (res->bits & IOR__TELL_REGISTERED) {
        ior__start_services(cx->rt); /* its own may have been attached in this turn: start comes first */
        if (res->bits & IOR__ENDING)
            return;
        res->bits &= ~(uint32_t)IOR__TELL_REGISTERED;
        if (cx->handler.registered)
            cx->handler.registered(cx->self, cx, res->id, res->user);
    }
    if ((res->bits & IOR__TELL_OPEN) && !(res->bits & (IOR__ENDING | IOR__CLOSING))) {
        res->bits &= ~(uint32_t)IOR__TELL_OPEN;
        struct ior_event ev = {.type = IOR_EV_OPEN};
        ior__tell(res, &ev);
    }
}

/* Lets the resource do its I/O. What it wants is asked again at the end of the turn, for the user's own kinds. */
void ior__handle_io(struct ior_resource *res, unsigned io)
{
    if (IOR_UNLIKELY(res->bits & (IOR__TELL_REGISTERED | IOR__TELL_OPEN))) {
        ior__tell_pending(res);
        bool stream_stopped = (res->bits & IOR__STREAM) && !(ior__stream_interest(res) & IOR_READ);
        if ((res->bits & (IOR__ENDING | IOR__PAUSED)) || stream_stopped)
            return;
    }
    struct ior_emit emit = {.res = res};
    ior__io_done(res, io, res->ops->handle_io(res, io, &emit));
}

static void io_done(struct ior_runtime *rt, struct ior_resource *res, unsigned io, int r)
{
    if (IOR_UNLIKELY(res->bits & IOR__ENDING))
        return;
    if (!(res->bits & IOR__STREAM))
        ior__work_add(rt, res);
    if (r < 0) {
        ior__latch_error(res, -r);
        ior__end(res, IOR_ERROR, -r, -1);
    } else if (r == IOR_IO_MORE) {
        ior__ready_add(rt, res, io);
    } else if (IOR_UNLIKELY((res->bits & (IOR__WRITE_DEAD | IOR__PAUSED | IOR__BACKOFF | IOR__IN_READY)) ==
                            IOR__WRITE_DEAD)) {
        ior__end(res, IOR_ERROR, res->error, -1); /* what was to be read has been */
    }
}

/* What handle_io answered. */
void ior__io_done(struct ior_resource *res, unsigned io, int r)
{
    struct ior_runtime *rt = res->cx->rt;
    io_done(rt, res, io, r);
    if (IOR_UNLIKELY(rt->read_full || rt->read_large))
        ior__settle_early(rt);
}

/* HUP or ERR came for a resource that reads nothing now. */
static void hangup(struct ior_resource *res, unsigned what)
{
    if (res->bits & (IOR__PAUSED | IOR__BACKOFF)) {
        ior__leave_set(res); /* kept by the kernel: it is told again when the fd is watched again */
    } else if (res->bits & IOR__STREAM) {
        ior__stream_hangup(res);
    } else {
        ior__handle_io(res, what & (IOR_HUP | IOR_ERR | ior__own_interest(res)));
        if (!(res->bits & IOR__ENDING) && ior__wanted(res) == 0)
            ior__leave_set(res);
    }
}

static IOR_APART void on_stale(struct ior_runtime *rt, ior_id id)
{
    if (id == IOR__RING_ID)
        return; /* step 4 looks at what has completed */
    rt->stale_records++;
    ior__log(IOR_LOG_DEBUG, "a record of %#llx, which has ended", (unsigned long long)id);
    if (rt->last_stale_turn != 0 && rt->last_stale_turn + 1 == rt->turns)
        rt->need_rebuild = true; /* it comes from an fd that somebody closed behind our back: a duplicate lives on */
    rt->last_stale_turn = rt->turns;
}

static IOR_APART void on_record(struct ior_runtime *rt, struct ior_resource *res, unsigned what)
{
    if (res->bits & IOR__ENDING)
        return;
    unsigned own = ior__own_interest(res);
    if (what != (own & what) || (res->bits & IOR__BLOCKED)) {
        if (what & IOR_BAD) {
            res->bits |= IOR__LOST;
            ior__end(res, IOR_ERROR, EBADF, -1);
            return;
        }
        if ((what & (IOR_WRITE | IOR_HUP | IOR_ERR)) && (res->bits & IOR__BLOCKED)) {
            res->bits &= ~(uint32_t)IOR__BLOCKED;
            ior__work_add(rt, res);
        }
        if (what & (IOR_READ | IOR_WRITE) & ~own) {
            res->bits |= IOR__SHRINK;
            ior__work_add(rt, res);
        }
        if (!(res->bits & IOR__CONNECTING) && (what & (IOR_HUP | IOR_ERR)) && !(own & IOR_READ)) {
            hangup(res, what);
            return;
        }
    }
    unsigned io = what & (own | IOR_HUP | IOR_ERR);
    if (res->bits & IOR__IN_READY)
        res->pending |= (uint8_t)io; /* it is served behind the records anyway */
    else if (res->bits & IOR__CONNECTING)
        ior__stream_connect_result(res);
    else if (io)
        ior__handle_io(res, io);
}

static void serve_ready(struct ior_runtime *rt, struct ior_resource *res)
{
    unsigned io = res->pending;
    res->pending = 0;
    ior__tell_pending(res);
    if (res->bits & IOR__ENDING)
        return;
    unsigned own = ior__own_interest(res);
    if ((res->bits & (IOR__WRITE_DEAD | IOR__PAUSED | IOR__BACKOFF)) == IOR__WRITE_DEAD && !(own & IOR_READ))
        ior__end(res, IOR_ERROR, res->error, -1); /* handed back and registered again: there is nothing to be read */
    else if ((res->bits & IOR__CONNECTING) && io)
        ior__stream_connect_result(res);
    else if (io & (own | IOR_HUP | IOR_ERR))
        ior__handle_io(res, io & (own | IOR_HUP | IOR_ERR));
    if ((res->bits & (IOR__ALWAYS | IOR__ENDING)) == IOR__ALWAYS) {
        if (res->bits & IOR__BLOCKED) {
            res->bits &= ~(uint32_t)IOR__BLOCKED;
            ior__work_add(rt, res);
        }
        if (ior__own_interest(res))
            ior__ready_add(rt, res, ior__own_interest(res));
    }
}

/* `by_engine`: the engine does the I/O. */
static IOR_INLINE void dispatch_records(struct ior_runtime *rt, int count, bool by_engine)
{
    for (const struct ior_record *record = rt->records, *end = record + count; record < end; record++) {
        struct ior_resource *res = ior__slots_find(&rt->slots, record->id);
        if (IOR_UNLIKELY(!res))
            on_stale(rt, record->id);
        else if (IOR_LIKELY((res->bits & (IOR__USUAL_BITS | IOR__READ_UNUSUAL_BITS)) == IOR__USUAL_BITS &&
                            record->what == IOR_READ))
            ior__stream_read(rt, res, by_engine);
        else
            on_record(rt, res, record->what);
    }
}

static IOR_APART void dispatch_finished(struct ior_runtime *rt, int count)
{
    dispatch_records(rt, count, true);
}

/* Serves what was left over from the last turn, a budget's worth: what is over the budget is the first next time. */
static IOR_APART void dispatch_ready(struct ior_runtime *rt, uint32_t left_over)
{
    ior__start_services(rt); /* those attached just now: start comes before events */
    for (uint32_t i = 0; i < left_over && i < rt->budget_records; i++)
        serve_ready(rt, ior__ready_take(rt));
}

void ior__dispatch(struct ior_runtime *rt, int count)
{
    uint32_t left_over = rt->ready.count;
    rt->records_taken += (uint64_t)count;
    rt->read_at = rt->read_buf; /* nothing is borrowed any more */
    if (IOR_UNLIKELY(rt->does_io))
        dispatch_finished(rt, count);
    else
        dispatch_records(rt, count, false);
    if (IOR_UNLIKELY(left_over > 0))
        dispatch_ready(rt, left_over);
}

static bool may_emit(enum ior_event_type type)
{
    return type == IOR_EV_OPEN || type == IOR_EV_DATA || type == IOR_EV_EOF || type == IOR_EV_READY ||
           type == IOR_EV_CUSTOM;
}

int ior_emit(struct ior_emit *emit, const struct ior_event *ev)
{
    struct ior_resource *res = emit->res;
    if (!ev || !may_emit(ev->type))
        return -EINVAL;
    if (res->bits & IOR__ENDING)
        return -ECANCELED;
    if (res->bits & IOR__PAUSED)
        return -EAGAIN;
    struct ior_event own = *ev;
    ior__touch_idle(res);
    bool lost =
        ev->type == IOR_EV_EOF && (res->bits & IOR__WRITE_DEAD); /* it is no end in order: END tells the cause */
    if (!(res->bits & IOR__CLOSING) && !lost)
        ior__tell(res, &own);
    if (ev->type == IOR_EV_EOF && !(res->bits & (IOR__ENDING | IOR__EOF_SEEN))) {
        res->bits |= IOR__EOF_SEEN;
        if (!(res->bits & IOR__CLOSING))
            ior__close_after_eof(res, IOR_DRAIN_NS_DEFAULT);
        ior__work_add(res->cx->rt, res);
    }
    return (res->bits & IOR__ENDING) ? -ECANCELED : 0;
}
