/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The race of RFC 8305, section 5. Attempts begin in the order of the addresses: the next one when the last one has had
 * its head start (delay_ns), or at once when one fails. The first that is connected wins, and the others are closed.
 *
 * An attempt is a resource with an id of its own, for its place in the engine. Services are not told of it: it is
 * registered without a word, and life.c destroys it without END. It never outlives its dial's interest: whatever ends
 * it (its outcome, the end of the stream) takes it off dial->attempts first, and its memory goes at the end of the turn.
 *
 * Invariant: while no attempt is under way and no look-up is, the dial is over (won, or its stream is ending).
 */
#include <errno.h>

#include "dial.h"

static struct ior__attempt *attempt_of(const struct ior_resource *res)
{
    return (struct ior__attempt *)(uintptr_t)res;
}

static unsigned interests(struct ior_resource *res)
{
    (void)res;
    return IOR_WRITE;
}

/* Takes the attempt out of the race and the engine; its fd is the caller's. */
static int withdraw(struct ior__attempt *attempt)
{
    struct ior__attempt **link = &attempt->dial->attempts;
    while (*link != attempt)
        link = &(*link)->next;
    *link = attempt->next;
    attempt->dial = NULL;
    ior__end(&attempt->base, IOR_ASKED, 0, -1);
    int fd = (attempt->base.bits & IOR__LOST) ? -1 : attempt->base.fd;
    attempt->base.fd = -1;
    return fd;
}

static void withdraw_and_close(struct ior__attempt *attempt)
{
    const struct ior_os *os = attempt->base.cx->rt->os;
    int fd = withdraw(attempt);
    if (fd >= 0)
        os->close(os->arg, fd);
}

void ior__dial_call_off_attempts(struct ior__dial *dial, int error)
{
    while (dial->attempts) {
        dial->causes[dial->attempts->index].error = error;
        withdraw_and_close(dial->attempts);
    }
}

static int handle_io(struct ior_resource *res, unsigned io, struct ior_emit *emit)
{
    struct ior__attempt *attempt = attempt_of(res);
    struct ior__dial *dial = attempt->dial;
    uint32_t index = attempt->index;
    (void)io;
    (void)emit;
    int r = ior__connect_outcome(res->cx->rt->os, res->fd);
    if (r > 0)
        return IOR_IO_DONE;
    if (r == 0) {
        int fd = withdraw(attempt);
        r = fd < 0 ? -EBADF : ior__dial_won(dial, fd); /* -EBADF: it was somebody else's by now */
    } else {
        withdraw_and_close(attempt);
    }
    if (r < 0) {
        dial->causes[index].error = -r;
        ior__dial_advance(dial);
    }
    return IOR_IO_DONE;
}

/* Its fd is closed by whatever takes it out of the race, but for a forked child, where nothing does. */
static void destroy(struct ior_resource *res)
{
    struct ior__attempt *attempt = attempt_of(res);
    if (res->fd >= 0 && !(res->bits & IOR__LOST))
        res->cx->rt->os->close(res->cx->rt->os->arg, res->fd);
    ior__free(attempt, sizeof(*attempt));
}

/* Step 6, in the place of END and handover: the engine may have ended it (its fd was closed by somebody). */
static void over(struct ior_resource *res)
{
    struct ior__attempt *attempt = attempt_of(res);
    res->cx->attempts--;
    if (attempt->dial) {
        struct ior__dial *dial = attempt->dial;
        dial->causes[attempt->index].error = res->error != 0 ? res->error : ECANCELED;
        withdraw_and_close(attempt);
        dial->next_ns = 0;
        ior__ready_add(dial->stream->cx->rt, dial->stream, IOR_WRITE);
    }
}

static const struct ior__kind kind = {
    .one_try = true,
    .over = over,
};

const struct ior_resource_ops ior__attempt_ops = {
    .struct_size = sizeof(struct ior_resource_ops),
    .name = "attempt",
    .interests = interests,
    .handle_io = handle_io,
    .destroy = destroy,
    .reserved = &kind,
};

/* ---- beginning ---- */

/* Watches an fd that is about to be connected. On failure it stays the caller's. */
static int attempt_add(struct ior__dial *dial, uint32_t index, int fd)
{
    struct ior__attempt *attempt = ior__calloc(sizeof(*attempt));
    ior_id id;
    if (!attempt)
        return -ENOMEM;
    ior_resource_init(&attempt->base, &ior__attempt_ops, fd, NULL);
    int err = ior__attach_resource(dial->stream->cx, &attempt->base, 0, &id);
    if (err < 0) {
        ior__free(attempt, sizeof(*attempt));
        return err;
    }
    dial->stream->cx->attempts++;
    attempt->dial = dial;
    attempt->index = index;
    attempt->next = dial->attempts;
    dial->attempts = attempt;
    return 0;
}

/* 0: under way; 1: connected, with the fd in *ret_fd; or why not. */
static int attempt_begin(struct ior__dial *dial, uint32_t index, int *ret_fd)
{
    const struct ior_runtime *rt = dial->stream->cx->rt;
    bool connecting;
    int fd = ior__connect_socket(rt, &dial->causes[index].addr, ior__stream_opts_of(dial->stream), &connecting);
    if (fd < 0)
        return fd;
    if (!connecting) {
        *ret_fd = fd;
        return 1;
    }
    int err = attempt_add(dial, index, fd);
    if (err < 0)
        rt->os->close(rt->os->arg, fd);
    return err;
}

void ior__dial_advance(struct ior__dial *dial)
{
    struct ior_resource *stream = dial->stream;
    while (dial->tried < dial->count) {
        uint32_t index = dial->tried++;
        int fd;
        int r = attempt_begin(dial, index, &fd);
        if (r > 0) {
            r = ior__dial_won(dial, fd);
            if (r == 0)
                return;
        } else if (r == 0) {
            dial->next_ns = ior__deadline_after(stream->cx->rt, dial->delay_ns);
            if (dial->tried == dial->count || ior__deadline_set(stream, IOR__DEADLINE_BACKOFF, dial->next_ns) == 0)
                return;
            continue; /* no memory to wait with: the next one joins at once */
        }
        dial->causes[index].error = -r;
    }
    if (!dial->attempts)
        ior__end(stream, IOR_ERROR, ior__dial_error(dial->causes, dial->count), -1);
}
