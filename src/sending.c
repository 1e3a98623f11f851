/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pending writes, with an engine that does the I/O: it is handed the first bytes of a queue, which stay where they are
 * until the engine has said what became of them. That is known after the next wait; where a resource ends before, it is
 * asked for at once. What the queue borrows stays borrowed as long: the read buffer is used anew only behind that. In the
 * midst of a turn (ior__settle_early), where more may be sent behind it, or read, it is asked for at once, too.
 *
 * Invariants: a queue is on rt->sending exactly while its `owner` is set; the engine writes its first `in_flight` bytes.
 */
#include "output.h"

#include <errno.h>

int ior__send_begin(struct ior_resource *res, const struct iovec *iov, int n, uint64_t len, ssize_t *ret_written)
{
    struct ior_runtime *rt = res->cx->rt;
    struct ior__output *out = res->output;
    int r = rt->engine_ops->send(rt->engine, res->fd, res->id, iov, n);
    if (r < 0)
        return r;
    if (r > 0 || rt->early) {
        *ret_written = rt->engine_ops->sent(rt->engine, res->fd, res->id);
        return 1;
    }
    rt->sending.begun_ns = rt->now_ns;
    out->in_flight = len;
    out->owner = res;
    out->next = NULL;
    out->previous = rt->sending.last;
    if (rt->sending.last)
        rt->sending.last->next = out;
    else
        rt->sending.first = out;
    rt->sending.last = out;
    if (ior__output_left(res) > len || (res->bits & (IOR__CLOSING | IOR__FINISHING | IOR__FULL | IOR__OWED)))
        rt->sends_awaited = true;
    return IOR__IN_FLIGHT;
}

/* A small queue stays one while it is written; what is sent in between makes it one like others. */
bool ior__send_small(struct ior_resource *res)
{
    struct ior__output *out = res->output;
    ssize_t written;
    int r = out->in_flight > 0 ? -EALREADY : ior__send_begin(res, &out->small, 1, out->small.iov_len, &written);
    if (IOR_UNLIKELY(r != IOR__IN_FLIGHT)) {
        if (r == 1)
            ior__flush_small_less(res, written);
        return false;
    }
    res->bits &= ~(uint32_t)IOR__IN_WORK;
    return true;
}

/* Takes a queue off the list of those the engine writes. What the send came to: bytes or -errno. */
static ssize_t take_sent(struct ior_resource *res)
{
    struct ior_runtime *rt = res->cx->rt;
    struct ior__output *out = res->output;
    ssize_t n = rt->engine_ops->sent(rt->engine, res->fd, res->id);
    if (out->next)
        out->next->previous = out->previous;
    else
        rt->sending.last = out->previous;
    if (out->previous)
        out->previous->next = out->next;
    else
        rt->sending.first = out->next;
    if (!rt->sending.first)
        rt->sends_awaited = false;
    out->next = out->previous = NULL;
    out->owner = NULL;
    out->in_flight = 0;
    return n;
}

/* In a request, where no buffer may be released: what was written leaves the queue later. */
void ior__send_stop(struct ior_resource *res)
{
    struct ior__output *out = res->output;
    if (!out || !out->owner)
        return;
    ssize_t n = take_sent(res);
    ior__output_open(res);
    ior__output_keep(out);
    if (n > 0) {
        out->in_flight = (uint64_t)n;
    } else if (n < 0 && n != -EAGAIN && n != -ENOBUFS && n != -ENOMEM && n != -EINTR) {
        ior__latch_error(res, (int)-n);
        res->bits |= IOR__WRITE_DEAD;
    }
}

void ior__send_settle(struct ior_resource *res)
{
    struct ior__output *out = res->output;
    uint64_t written = out ? out->in_flight : 0;
    if (written == 0)
        return;
    out->in_flight = 0;
    ior__output_consume(res, written);
    ior__output_release(res);
}

/*
 * The queue may be empty now. Services may send before the end of the turn: it goes back at once, or is made ready for
 * that, and still knows for how much room DRAINED has to wait.
 */
static void written_out(struct ior_resource *res)
{
    struct ior__output *out = res->output;
    if (out->head || !(res->bits & IOR__OWED)) {
        ior__output_release(res);
        return;
    }
    uint64_t need = out->need;
    ior__output_prime(out);
    out->need = need;
}

void ior__sends_done(struct ior_runtime *rt)
{
    for (struct ior__output *out = rt->sending.first; out; out = rt->sending.first) {
        struct ior_resource *res = out->owner;
        uint64_t tried = out->in_flight;
        ssize_t n = take_sent(res);
        const uint32_t small = IOR__USUAL_BITS | IOR__SMALL;
        bool only_written = (res->bits & (small | IOR__WRITE_UNUSUAL_BITS)) == small && (size_t)n == out->small.iov_len;
        if (IOR_LIKELY(only_written)) {
            res->bits &= ~IOR__SMALL;
            res->written += (uint64_t)n;
            res->output = NULL;
            ior__touch_idle_at(res, rt->sending.begun_ns);
            ior__output_put(rt, out);
            continue;
        }
        ior__output_open(res);
        if (n > 0) {
            ior__output_consume(res, (uint64_t)n);
            ior__touch_idle_at(res, rt->sending.begun_ns);
        }
        written_out(res);
        if (res->output)
            ior__output_keep(res->output);
        if (IOR_LIKELY(!res->output) && !(res->bits & IOR__WRITE_UNUSUAL_BITS))
            continue;
        if (n != -EINTR)
            ior__output_wrote(res, n < 0 ? (int)n : (uint64_t)n == tried);
        if (!(res->bits & IOR__ENDING))
            ior__work_add(rt, res);
    }
}
