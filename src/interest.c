/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the engine waits for on behalf of a resource, and whose an fd is.
 *
 * Interest is lazy: wanting more is told to the engine at the end of the turn, wanting less only once a record came
 * that nobody wanted. Stopping and starting to read in between costs no system call.
 */
#include <errno.h>
#include <string.h>

#include "core.h"
#include "jobs.h"
#include "kinds.h"
#include "output.h"

unsigned ior__own_interest(const struct ior_resource *res)
{
    if (IOR_LIKELY(res->bits & IOR__STREAM))
        return ior__stream_interest(res);
    if (res->bits & (IOR__PAUSED | IOR__BACKOFF))
        return 0;
    unsigned io = res->ops->interests((struct ior_resource *)(uintptr_t)res) & (IOR_READ | IOR_WRITE);
    if ((res->bits & IOR__EOF_SEEN) || (res->bits & (IOR__FULL | IOR__FULL_READS)) == IOR__FULL)
        io &= ~(unsigned)IOR_READ;
    return io;
}

/* What the engine is asked for: `wanted`, and that it does the I/O itself where it can. */
static unsigned asked(const struct ior_resource *res, unsigned wanted)
{
    if (IOR_LIKELY(!res->cx->rt->does_io))
        return wanted;
    if (ior__engine_receives(res))
        return wanted | IOR_RECEIVES;
    return res->ops == &ior__listener_ops ? wanted | IOR_ACCEPTS : wanted;
}

/* What the engine knows of it now. */
static void applied(struct ior_resource *res, unsigned interest)
{
    res->applied = (uint8_t)interest;
    res->bits = (interest & IOR_READ) ? res->bits & ~(uint32_t)IOR__DEAF : res->bits | (uint32_t)IOR__DEAF;
}

void ior__leave_set(struct ior_resource *res)
{
    struct ior_runtime *rt = res->cx->rt;
    if (!(res->bits & IOR__IN_SET))
        return;
    res->bits &= ~(uint32_t)IOR__IN_SET;
    res->applied = 0;
    int err = rt->engine_ops->unwatch(rt->engine, res->fd, res->id);
    if (err == -EBADF || err == -ENOENT) {
        /* Somebody closed the fd: its number is not ours any more, and a duplicate of it may keep reporting. */
        ior__log(IOR_LOG_WARN, "%s %#llx: fd %d was closed by somebody else", res->ops->name,
                 (unsigned long long)res->id, res->fd);
        res->bits |= IOR__LOST;
        rt->need_rebuild = true;
    } else if (err < 0) {
        ior__log(IOR_LOG_ERROR, "unwatch of fd %d: %s", res->fd, ior_strerror(err));
    }
}

static bool by_thread(const struct ior_resource *res)
{
    const struct ior__kind *kind = ior__kind_of(res);
    return kind && kind->by_thread;
}

static void interest_failed(struct ior_resource *res, int err)
{
    if (err == -EPERM && !(res->bits & IOR__IN_SET)) {
        res->bits |= IOR__ALWAYS;
        ior__ready_add(res->cx->rt, res, ior__own_interest(res));
    } else if (err == -EBADF || err == -ENOENT) {
        res->bits |= IOR__LOST;
        res->cx->rt->need_rebuild = true;
        ior__end(res, IOR_ERROR, EBADF, -1);
    } else if (ior__kind_of(res) && ior__kind_of(res)->one_try) {
        ior__end(res, IOR_ERROR, -err, -1);
    } else {
        ior__backoff(res, -err);
    }
}

void ior__apply_interest(struct ior_resource *res)
{
    struct ior_runtime *rt = res->cx->rt;
    unsigned wanted = asked(res, ior__wanted(res));
    bool shrink = (res->bits & IOR__SHRINK) != 0;
    int err = 0;
    res->bits &= ~(uint32_t)IOR__SHRINK;
    if (res->bits & IOR__ALWAYS) {
        /* What a thread writes is told when it is written: it needs no asking. */
        unsigned io = by_thread(res) ? ior__own_interest(res) : ior__wanted(res);
        if (io)
            ior__ready_add(rt, res, io);
        return;
    }
    if (IOR_UNLIKELY(res->fd < 0))
        return;
    if (res->bits & IOR__IN_SET) {
        if ((wanted & ~(unsigned)res->applied) == 0 && (!shrink || wanted == res->applied))
            return;
        err = rt->engine_ops->rewatch(rt->engine, res->fd, res->id, wanted);
    } else if ((wanted & (IOR_READ | IOR_WRITE)) ||
               (res->bits & (IOR__STREAM | IOR__PAUSED | IOR__BACKOFF)) == IOR__STREAM) {
        err = rt->engine_ops->watch(rt->engine, res->fd, res->id, wanted);
        if (err == 0)
            res->bits |= IOR__IN_SET;
    } else {
        return;
    }
    if (err < 0)
        interest_failed(res, err);
    else
        applied(res, wanted);
}

/* The engine's set is made anew, because it holds fds that somebody closed while a duplicate keeps them alive. */
void ior__rebuild(struct ior_runtime *rt)
{
    rt->need_rebuild = false;
    rt->rebuilds++;
    ior__log(IOR_LOG_WARN, "an fd was closed while it was registered: the engine's set is built anew");
    int err = rt->engine_ops->rebuild(rt->engine);
    if (err < 0) {
        ior__log(IOR_LOG_ERROR, "the engine's set cannot be built anew: %s", ior_strerror(err));
        return;
    }
    ior__jobs_rewatch(rt);
    for (uint32_t i = 0; i < rt->slots.made; i++) {
        struct ior_resource *res = ior__slots_at(&rt->slots, i);
        if (!res || !(res->bits & IOR__IN_SET))
            continue;
        unsigned wanted = asked(res, ior__wanted(res));
        res->bits &= ~(uint32_t)IOR__IN_SET;
        applied(res, wanted);
        err = rt->engine_ops->watch(rt->engine, res->fd, res->id, wanted);
        if (err == 0)
            res->bits |= IOR__IN_SET;
        else
            ior__work_add(rt, res); /* tried again, and told, where callbacks do not meet a set that is half built */
    }
}

/* ---- the first watch, and who has an fd ---- */

/*
 * Which resource has which fd. epoll goes by the open file, not by the number: where somebody closed a registered fd
 * and its number came again, registering it works, and ending the old resource would take the new one out of the set
 * and close its fd. Simulated fds (from 2^30 on) are counted from 0.
 */
#define FD_OWNERS_MOST (1u << 24)

static uint32_t fd_index(int fd)
{
    return (uint32_t)fd & 0x3fffffffu;
}

static int fd_owners_reserve(struct ior_runtime *rt, int fd)
{
    uint32_t count = rt->fd_owner_count;
    uint32_t index = fd_index(fd);
    if (index >= FD_OWNERS_MOST || index < count)
        return 0;
    uint32_t grown = count ? count : 64;
    while (grown <= index)
        grown *= 2;
    uint32_t *owners = ior__realloc(rt->fd_owners, count * sizeof(*owners), grown * sizeof(*owners));
    if (!owners)
        return -ENOMEM;
    memset(owners + count, 0, (grown - count) * sizeof(*owners));
    rt->fd_owners = owners;
    rt->fd_owner_count = grown;
    return 0;
}

static struct ior_resource *fd_owner(const struct ior_runtime *rt, int fd)
{
    uint32_t owner = fd_index(fd) < rt->fd_owner_count ? rt->fd_owners[fd_index(fd)] : 0;
    struct ior_resource *res = owner ? ior__slots_at(&rt->slots, owner - 1) : NULL;
    return res && res->fd == fd ? res : NULL;
}

static void fd_owner_set(struct ior_runtime *rt, const struct ior_resource *res)
{
    if (fd_index(res->fd) < rt->fd_owner_count)
        rt->fd_owners[fd_index(res->fd)] = 1 + (uint32_t)(res->id >> IOR__SLOT_SHIFT);
}

void ior__fd_owner_clear(struct ior_runtime *rt, const struct ior_resource *res)
{
    if (fd_owner(rt, res->fd) == res)
        rt->fd_owners[fd_index(res->fd)] = 0;
}

int ior__first_watch(struct ior_runtime *rt, struct ior_resource *res)
{
    if (by_thread(res)) {
        res->bits |= IOR__ALWAYS;
        applied(res, 0);
        return 0;
    }
    if (res->fd < 0)
        return 0; /* it waits for something else, or gets its fd later */
    struct ior_resource *before = fd_owner(rt, res->fd);
    unsigned wanted = asked(res, ior__wanted(res));
    int err = fd_owners_reserve(rt, res->fd);
    if (before && !(before->bits & IOR__IN_SET))
        return -EEXIST; /* as far as anybody can tell */
    if (before) {
        ior__send_stop(before); /* an engine forgets what it writes when the number is another's */
        ior__work_add(rt, before);
    }
    if (err == 0)
        err = rt->engine_ops->watch(rt->engine, res->fd, res->id, wanted);
    if (err < 0 && err != -EPERM)
        return err;
    if (err == -EPERM && before)
        return -EEXIST;
    res->bits |= err < 0 ? IOR__ALWAYS : IOR__IN_SET;
    applied(res, err < 0 ? 0 : wanted);
    if (before) {
        before->bits = (before->bits & ~(uint32_t)IOR__IN_SET) | IOR__LOST;
        rt->need_rebuild = true;
        ior__end(before, IOR_ERROR, EBADF, -1);
    }
    fd_owner_set(rt, res);
    return 0;
}
