/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watches: readiness of an fd that somebody else reads, writes and closes (another library, a device).
 *
 * READY is level-triggered, as the engine's records are. A hang-up or error without anything that was asked for cannot
 * be consumed by reading or writing, so it would come again for ever: it is told once, and the fd leaves the wait set
 * until the service asks anew. The fd's SO_ERROR is never read: it belongs to its owner.
 */
#include <errno.h>

#include "kinds.h"

struct watch {
    struct ior_resource base;
    unsigned io;
    bool hung_up; /* told, and out of the set until ior_interest */
};

static struct watch *watch_of(const struct ior_resource *res)
{
    return (struct watch *)(uintptr_t)res;
}

static unsigned interests(struct ior_resource *res)
{
    return watch_of(res)->hung_up ? 0 : watch_of(res)->io;
}

static int handle_io(struct ior_resource *res, unsigned io, struct ior_emit *emit)
{
    struct watch *watch = watch_of(res);
    if (io & watch->io) {
        struct ior_event ev = {.type = IOR_EV_READY};
        ev.ready = io;
        (void)ior_emit(emit, &ev);
        return IOR_IO_DONE;
    }
    if (!(io & (IOR_HUP | IOR_ERR)))
        return IOR_IO_DONE;
    watch->hung_up = true;
    ior__leave_set(res);
    struct ior_event ev = {.type = IOR_EV_READY};
    ev.ready = io;
    (void)ior_emit(emit, &ev);
    return IOR_IO_DONE;
}

static void destroy(struct ior_resource *res)
{
    ior__free(watch_of(res), sizeof(struct watch));
}

static const struct ior__kind kind = {
    .told = true,
};

const struct ior_resource_ops ior__watch_ops = {
    .struct_size = sizeof(struct ior_resource_ops),
    .name = "watch",
    .interests = interests,
    .handle_io = handle_io,
    .destroy = destroy,
    .reserved = &kind,
};

int ior_watch(struct ior_context *cx, int fd, unsigned io, void *user, ior_id *ret_id)
{
    int err = ior__enter(cx);
    if (err < 0)
        return err;
    if (!ret_id || (io & ~(unsigned)(IOR_READ | IOR_WRITE)))
        return -EINVAL;
    err = ior__may_register(cx);
    if (err < 0)
        return err;
    const struct ior_os *os = cx->rt->os;
    int what = fd < 0 ? -EBADF : os->fd_kind(os->arg, fd);
    if (what < 0)
        return what;
    if ((what & IOR_FD_KIND_MASK) == IOR_FD_FILE)
        return -EPERM;
    struct watch *watch = ior__calloc(sizeof(*watch));
    if (!watch)
        return -ENOMEM;
    ior_resource_init(&watch->base, &ior__watch_ops, fd, user);
    watch->io = io;
    err = ior__attach_resource(cx, &watch->base, IOR__TELL_REGISTERED, ret_id);
    if (err < 0)
        ior__free(watch, sizeof(*watch));
    return err;
}

int ior_interest(struct ior_context *cx, ior_id id, unsigned io)
{
    struct ior_resource *res;
    int err = ior__find(cx, id, &res);
    if (err < 0)
        return err;
    if (res->ops != &ior__watch_ops)
        return -EOPNOTSUPP;
    if (io & ~(unsigned)(IOR_READ | IOR_WRITE))
        return -EINVAL;
    watch_of(res)->io = io;
    watch_of(res)->hung_up = false;
    ior__work_add(cx->rt, res);
    return 0;
}
