/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a resource in a runtime: registration, and the one way out.
 *
 * Whatever ends a resource calls ior__end, which takes effect at once (the fd leaves the engine, deadlines are gone)
 * and puts it on a list; the turn's last step tells END, frees the id and hands the resource over. So nothing is freed
 * while a callback might still be looking, and each resource ends exactly once.
 */
#include <errno.h>

#include "core.h"
#include "kinds.h"
#include "output.h"

/* In ior_resource.why, above why it ended: 1 + the deadline that passed, 0: none did. */
#define WHICH_SHIFT 4

/* The same: END waits for a thread, and the resource is on no list. */
#define AWAITS 0x80u

/* ---- registration ---- */

int ior__may_register(const struct ior_context *cx)
{
    return cx->phase > IOR__PHASE_RUNNING || cx->rt->stopping || cx->rt->freeing ? -ESHUTDOWN : 0;
}

static void detach(struct ior_resource *res)
{
    struct ior_context *cx = res->cx;
    ior__slots_remove(&cx->rt->slots, res->id);
    cx->resources--;
    res->id = 0;
    if ((res->bits & (IOR__CLOSING | IOR__FIN_SENT)) == IOR__CLOSING && !res->finishes)
        res->bits &=
            ~(uint32_t)IOR__FINISHING; /* the closing was the runtime's; whoever takes it over may send again */
    res->bits &= IOR__KEPT_BITS;
    if (!(res->bits & IOR__WRITE_DEAD))
        res->error = 0;
    res->why = res->applied = res->pending = 0;
    res->share = 0;
}

int ior__attach_resource(struct ior_context *cx, struct ior_resource *res, uint32_t tell_bits, ior_id *ret_id)
{
    struct ior_runtime *rt = cx->rt;
    int err = ior__slots_add(&rt->slots, res);
    if (err < 0)
        return err;
    cx->resources++;
    res->cx = cx;
    res->bits = (res->bits & (IOR__KEPT_BITS | IOR__AGAIN)) | tell_bits;
    if (!(res->bits & IOR__STREAM))
        res->bits |= IOR__TIGHT;
    err = ior__ready_reserve(rt);
    if (err == 0)
        err = ior__output_enter(res, rt);
    if (err < 0)
        goto out_detach;
    err = ior__first_watch(rt, res);
    if (err < 0)
        goto out_leave;
    bool at_once = (res->bits & (IOR__ALWAYS | IOR__AGAIN | IOR__WRITE_DEAD)) != 0 || ior__holds(res);
    ior__ready_add(rt, res, at_once ? IOR_READ | IOR_WRITE : 0);
    if (res->output || (res->bits & IOR__FINISHING))
        ior__work_add(rt, res);
    ior__log(IOR_LOG_DEBUG, "%s %#llx: registered, fd %d", res->ops->name, (unsigned long long)res->id, res->fd);
    *ret_id = res->id;
    return 0;

out_leave:
    ior__output_leave(res);
out_detach:
    detach(res);
    res->cx = NULL;
    return err;
}

void ior__attach_undo(struct ior_resource *res)
{
    struct ior_runtime *rt = res->cx->rt;
    for (uint32_t left = rt->ready.count; left > 0; left--) {
        struct ior_resource *other = ior__ready_take(rt);
        if (other != res)
            ior__ready_add(rt, other, 0);
    }
    ior__leave_set(res);
    ior__fd_owner_clear(rt, res);
    ior__deadlines_drop(res);
    ior__output_leave(res);
    detach(res);
    res->cx = NULL;
}

int ior__attach_fd(struct ior_resource *res, int fd)
{
    res->fd = fd;
    res->bits &= ~(uint32_t)IOR__CONNECTING;
    int err = ior__first_watch(res->cx->rt, res);
    if (err < 0) {
        res->fd = -1;
        res->bits |= IOR__CONNECTING;
    }
    return err;
}

/* ---- end ---- */

void ior__latch_error(struct ior_resource *res, int error)
{
    if (res->error == 0)
        res->error = (int16_t)error;
}

void ior__end(struct ior_resource *res, enum ior_why why, int error, int deadline)
{
    struct ior_runtime *rt = res->cx->rt;
    if (res->bits & IOR__ENDING)
        return;
    if (res->error != 0 && why == IOR_EOF)
        why = IOR_ERROR; /* an orderly end, but for what was latched before */
    if (why != IOR_TIMEOUT)
        ior__latch_error(res, error);
    if (why == IOR_ERROR && (res->bits & IOR__STREAM) && error != ENOMEM)
        res->bits |= IOR__WRITE_DEAD; /* the kernel tells a failure only once: registered again it ends by it again */
    res->why = (uint8_t)((unsigned)why | (unsigned)(deadline + 1) << WHICH_SHIFT);
    if ((res->bits & (IOR__LISTENER | IOR__BACKOFF)) == (IOR__LISTENER | IOR__BACKOFF))
        rt->starving--;
    res->bits = (res->bits & ~(uint32_t)IOR__BACKOFF) | IOR__ENDING;
    ior__leave_set(res);
    ior__send_stop(res);
    ior__fd_owner_clear(rt, res);
    ior__deadlines_drop(res);
    const struct ior__kind *kind = ior__kind_of(res);
    if (IOR_UNLIKELY(res->fd < 0) && kind && kind->call_off)
        kind->call_off(res, why);
    if (res->bits & IOR__IN_WORK)
        return; /* step 5 finds it there */
    res->bits |= IOR__IN_WORK;
    ior__queue_add(&rt->ended, res);
}

void ior__end_goes_on(struct ior_resource *res)
{
    if (!(res->why & AWAITS))
        return; /* its END has not come so far */
    res->why &= (uint8_t)~AWAITS;
    res->cx->awaiting--;
    ior__queue_add(&res->cx->rt->ended, res);
}

bool ior__end_give_up(struct ior_resource *res)
{
    const struct ior__kind *kind = ior__kind_of(res);
    if (!(res->bits & IOR__ENDING) || !kind || !kind->give_up || !kind->give_up(res))
        return false;
    ior__end_goes_on(res);
    return true;
}

int ior__start_close(struct ior_resource *res, enum ior_why why, uint64_t drain_at_ns)
{
    if (drain_at_ns != IOR_NEVER) {
        int err = ior__deadline_set(res, IOR_DEADLINE_DRAIN, drain_at_ns);
        if (err < 0)
            return err;
    } else {
        ior__deadline_clear(res, IOR_DEADLINE_DRAIN);
    }
    if (!(res->bits & IOR__CLOSING) || why == IOR_SHUTDOWN)
        res->why = (uint8_t)why;
    res->bits |= IOR__CLOSING | IOR__FINISHING;
    res->bits &= ~(uint32_t)(IOR__PAUSED | IOR__OWED | IOR__AGAIN);
    if (res->bits & IOR__WRITE_DEAD)
        ior__ready_add(res->cx->rt, res, IOR_READ); /* nobody else would look for the end of its input */
    ior__work_add(res->cx->rt, res);
    return 0;
}

/* The peer finished: what is queued is still written. */
void ior__close_after_eof(struct ior_resource *res, uint64_t drain_ns)
{
    if (ior__start_close(res, IOR_EOF, ior__deadline_after(res->cx->rt, drain_ns)) < 0)
        (void)ior__start_close(res, IOR_EOF, IOR_NEVER); /* no memory for the deadline: then without */
}

/* After the flush: a resource that closes and has nothing left to write ends. */
static void settle(struct ior_resource *res)
{
    const struct ior__kind *kind = ior__kind_of(res);
    if (res->bits & IOR__STREAM)
        ior__stream_settle(res);
    else if ((res->bits & IOR__CLOSING) && !res->output && (!kind || !kind->settled || kind->settled(res)))
        ior__end(res, (enum ior_why)res->why, 0, -1);
}

/* All that may be to settle for a resource at the end of a turn. */
static IOR_APART void settle_one(struct ior_runtime *rt, struct ior_resource *res)
{
    if (res->bits & IOR__ENDING) {
        ior__output_open(res);
        if (res->output)
            ior__output_keep(res->output); /* it is handed over at the end of the turn, and this may not be that */
        ior__queue_add(&rt->ended, res);
        return;
    }
    res->bits &= ~(uint32_t)IOR__IN_WORK;
    ior__flush(res);
    if (!(res->bits & IOR__ENDING) && (res->bits & (IOR__CLOSING | IOR__FINISHING)))
        settle(res);
    if (!(res->bits & IOR__ENDING))
        ior__apply_interest(res);
}

/* `by_engine`: the engine does the I/O. */
static IOR_INLINE void settle_all(struct ior_runtime *rt, struct ior_resource *res, bool by_engine)
{
    const uint32_t small = IOR__USUAL_BITS | IOR__SMALL;
    while (res) {
        struct ior_resource *next = res->next_work;
        bool only_writes = (res->bits & (small | IOR__WRITE_UNUSUAL_BITS)) == small;
        if (IOR_UNLIKELY(!only_writes || !(by_engine ? ior__send_small(res) : ior__flush_small(rt, res))))
            settle_one(rt, res);
        res = next;
    }
}

static IOR_APART void settle_finished(struct ior_runtime *rt, struct ior_resource *res)
{
    settle_all(rt, res, true);
}

/* Step 5: writes, ends and changes of interest of this turn. What callbacks add here is for the next turn. */
void ior__settle_work(struct ior_runtime *rt)
{
    struct ior_resource *res = ior__queue_take(&rt->work);
    if (IOR_UNLIKELY(rt->does_io))
        settle_finished(rt, res);
    else
        settle_all(rt, res, false);
    if (!rt->early)
        ior__output_relieve(rt);
}

/*
 * Waiting for the end of the turn spares calls where messages are small. Where they are large it spares next to nothing,
 * and costs: reading on takes memory that was not used yet, and bulk of many streams would pass through the caches
 * twice. So it is written now, and what is read next is read where that was.
 */
void ior__settle_early(struct ior_runtime *rt)
{
    bool large = rt->read_large;
    ior__read_as_usual(rt);
    if (rt->does_io && !large)
        return; /* the engine has what small messages borrow until after the turn */
    rt->early = true;
    ior__settle_work(rt);
    rt->early = false;
    rt->read_at = rt->read_buf; /* as at the beginning of a turn: nothing is under way, nothing is borrowed */
}

/* Frees a resource that is in no runtime. */
void ior__destroy(struct ior_resource *res, const struct ior_os *os)
{
    ior__output_free(res, os);
    res->ops->destroy(res);
}

static void tell_end(struct ior_resource *res)
{
    const struct ior__kind *kind = ior__kind_of(res);
    uint64_t unread = ior_resource_unread(res, NULL, 0, NULL);
    if (kind && kind->discarded)
        unread += kind->discarded(res);
    struct ior_event ev = {.type = IOR_EV_END};
    ev.end.why = (enum ior_why)(res->why & ((1u << WHICH_SHIFT) - 1));
    ev.end.error = ev.end.why == IOR_TIMEOUT ? ETIMEDOUT : res->error;
    ev.end.deadline = (int)(res->why >> WHICH_SHIFT) - 1;
    ev.end.written = res->written;
    ev.end.unsent = ior__output_left(res);
    ev.end.unread = unread;
    ior__log(IOR_LOG_DEBUG, "%s %#llx: end, %s, %s", res->ops->name, (unsigned long long)res->id,
             ior_why_name(ev.end.why), ior_errname(ev.end.error));
    ior__tell(res, &ev);
}

/*
 * What the engine took from the fd and nobody saw goes with the resource. The answer is an error among it: no part of
 * this end, and not told by the kernel again, so it stays with the resource, as a failed write does.
 */
static int take_held(struct ior_resource *res)
{
    if (res->bits & IOR__CONNECTING)
        return 0;
    if ((res->bits & (IOR__STREAM | IOR__SOCKET)) == (IOR__STREAM | IOR__SOCKET))
        return ior__stream_take_held(res);
    if (res->ops == &ior__listener_ops)
        ior__listener_take_held(res);
    return 0;
}

/* The end of what no service knows of. */
static IOR_APART void finalize_silently(struct ior_resource *res)
{
    struct ior_runtime *rt = res->cx->rt;
    ior__kind_of(res)->over(res);
    detach(res);
    res->cx = NULL;
    ior__destroy(res, rt->os);
    if (rt->starving > 0)
        ior__fd_freed(rt);
}

/* Tells END, frees the id, hands the resource over. */
static void finalize(struct ior_resource *res)
{
    struct ior_context *cx = res->cx;
    struct ior_runtime *rt = cx->rt;
    const struct ior__kind *kind = ior__kind_of(res);
    if (kind && IOR_UNLIKELY(kind->over != NULL)) {
        finalize_silently(res);
        return;
    }
    ior__output_open(res);
    if (kind && IOR_UNLIKELY(kind->leave != NULL)) {
        if (kind->awaits && kind->awaits(res)) {
            res->why |= AWAITS;
            cx->awaiting++;
            return;
        }
        kind->leave(res);
    }
    ior__send_settle(res);
    int held_error = IOR_UNLIKELY(rt->does_io) ? take_held(res) : 0;
    tell_end(res);
    if (IOR_UNLIKELY(held_error < 0) && !(res->bits & IOR__WRITE_DEAD)) {
        res->error = (int16_t)-held_error;
        res->bits |= IOR__WRITE_DEAD;
    }
    ior__output_leave(res);
    detach(res);
    void (*handover)(void *, struct ior_context *, struct ior_resource *) =
        (res->bits & IOR__LISTENER) ? cx->handler.handover_listener : cx->handler.handover_transport;
    res->cx = NULL;
    if (handover)
        handover(cx->self, cx, res);
    else
        ior__destroy(res, rt->os);
    if (IOR_UNLIKELY(rt->starving > 0))
        ior__fd_freed(rt);
}

/* Takes what has ended off the ready list. */
static void sweep_ready(struct ior_runtime *rt)
{
    for (uint32_t left = rt->ready.count; left > 0; left--) {
        struct ior_resource *res = ior__ready_take(rt);
        if (!(res->bits & IOR__ENDING))
            ior__ready_add(rt, res, 0);
    }
}

/* Step 6. What ends in these callbacks has its turn next time. */
void ior__end_resources(struct ior_runtime *rt)
{
    ior__start_services(rt); /* of those that were attached in this turn: no END comes before */
    struct ior_resource *res = ior__queue_take(&rt->ended);
    for (struct ior_resource *at = res; at; at = at->next_work) {
        if (at->bits & IOR__IN_READY) {
            sweep_ready(rt);
            break;
        }
    }
    while (res) {
        struct ior_resource *next = res->next_work;
        finalize(res);
        res = next;
    }
    ior__output_relieve(rt); /* what ended may have held the memory others wait for */
    if (IOR_UNLIKELY(rt->need_rebuild))
        ior__rebuild(rt);
}
