/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests about one resource: how it ends, pauses, is looked at. Each checks its caller and its id (ior__find),
 * changes state at once, and leaves what needs the engine or the kernel's buffers to the end of the turn.
 */
#include <errno.h>
#include <sys/socket.h>

#include "kinds.h"
#include "output.h"

int ior__enter_slow(const struct ior_context *cx)
{
    return cx ? -EPERM : -EINVAL;
}

int ior__find_failed(const struct ior_context *cx, const struct ior_resource *res)
{
    if (!res)
        return -ENOENT;
    return res->cx != cx ? -EACCES : -EALREADY;
}

/* ---- the user's own kinds, and what was handed back ---- */

void ior_resource_init(struct ior_resource *res, const struct ior_resource_ops *ops, int fd, void *user)
{
    *res = (struct ior_resource){.ops = ops, .fd = fd, .user = user};
}

static bool usable(const struct ior_resource_ops *ops)
{
    return ops && ops->struct_size >= sizeof(*ops) && ops->name && ops->interests && ops->handle_io && ops->destroy;
}

int ior_register(struct ior_context *cx, struct ior_resource *res, ior_id *ret_id)
{
    int err = ior__enter(cx);
    if (err < 0)
        return err;
    if (!res || !ret_id || !usable(res->ops))
        return -EINVAL;
    if (res->cx)
        return -EBUSY;
    const struct ior__kind *kind = ior__kind_of(res);
    if ((res->fd < 0 && !(kind && kind->no_fd)) || (res->bits & IOR__LOST))
        return -EBADF;
    err = ior__may_register(cx);
    if (err < 0)
        return err;
    if (kind && kind->enter)
        return kind->enter(cx, res, ret_id);
    if (res->ops->listener)
        res->bits |= IOR__LISTENER;
    return ior__attach_resource(cx, res, IOR__TELL_REGISTERED, ret_id);
}

struct ior_context *ior_resource_context(const struct ior_resource *res)
{
    return res->cx;
}

int ior_touch(struct ior_context *cx, ior_id id)
{
    struct ior_resource *res;
    int err = ior__find(cx, id, &res);
    if (err < 0)
        return err;
    ior__work_add(cx->rt, res);
    return 0;
}

static const struct ior_os *os_of(const struct ior_resource *res)
{
    if (res->bits & IOR__STREAM)
        return ((const struct ior__stream *)(const void *)res)->opts->os;
    if (ior__is_datagram(res))
        return ior__datagram_of(res)->os;
    const struct ior__output *out = res->output;
    return out ? out->os : ior_os_default();
}

void ior_resource_free(struct ior_resource *res)
{
    if (res && !res->cx)
        ior__destroy(res, os_of(res));
}

int ior_resource_release(struct ior_resource *res)
{
    if (!res)
        return -EINVAL;
    if (res->cx)
        return -EBUSY;
    const struct ior__kind *kind = ior__kind_of(res);
    if (!kind || !kind->let_go)
        return -EOPNOTSUPP;
    kind->let_go(res);
    int fd = (res->bits & IOR__LOST) ? -EBADF : res->fd;
    res->fd = -1;
    ior_resource_free(res);
    return fd < 0 ? -EBADF : fd;
}

/* ---- ends ---- */

int ior_unregister(struct ior_context *cx, ior_id id)
{
    struct ior_resource *res;
    int err = ior__find(cx, id, &res);
    if (err < 0)
        return err;
    ior__end(res, IOR_ASKED, 0, -1);
    return 0;
}

int ior_close(struct ior_context *cx, ior_id id, uint64_t drain_ns)
{
    struct ior_resource *res;
    int err = ior__find(cx, id, &res);
    if (err < 0)
        return err;
    const struct ior__kind *kind = ior__kind_of(res);
    if (kind && kind->close)
        return kind->close(res, IOR_ASKED, ior__deadline_after(cx->rt, drain_ns));
    if ((res->bits & (IOR__LISTENER | IOR__CONNECTING)) || !res->ops->write) {
        ior__end(res, IOR_ASKED, 0, -1);
        return 0;
    }
    return ior__start_close(res, IOR_ASKED, ior__deadline_after(cx->rt, drain_ns));
}

int ior_abort(struct ior_context *cx, ior_id id)
{
    struct ior_resource *res;
    int err = ior__find(cx, id, &res);
    if (err == -EALREADY)
        return ior__end_give_up(ior__slots_find(&cx->rt->slots, id)) ? 0 : err;
    if (err < 0)
        return err;
    if ((res->bits & IOR__LISTENER) || res->ops == &ior__watch_ops)
        return -EOPNOTSUPP;
    const struct ior__kind *kind = ior__kind_of(res);
    if (kind && kind->close)
        return kind->close(res, IOR_ASKED, 0);
    const struct ior_os *os = cx->rt->os;
    ior__end(res, IOR_ASKED, 0, -1);
    (void)ior__end_give_up(res);
    if (!(res->bits & IOR__STREAM) || (res->bits & IOR__LOST) || res->fd < 0)
        return 0;
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    if (res->ops == &ior__serial_ops)
        ior__serial_restore(res, true);
    if (res->bits & IOR__SOCKET)
        (void)os->setsockopt(os->arg, res->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    os->close(os->arg, res->fd);
    res->fd = -1;
    return 0;
}

int ior_finish(struct ior_context *cx, ior_id id)
{
    struct ior_resource *res;
    int err = ior__find(cx, id, &res);
    if (err < 0)
        return err;
    if (!(res->bits & IOR__STREAM) || !(res->bits & IOR__SOCKET))
        return -EOPNOTSUPP;
    if (res->bits & IOR__CONNECTING)
        return -ENOTCONN;
    res->finishes = true; /* a close that ends first does not undo it */
    res->bits |= IOR__FINISHING;
    ior__work_add(cx->rt, res);
    return 0;
}

/* ---- pause and resume ---- */

int ior_pause(struct ior_context *cx, ior_id id)
{
    struct ior_resource *res;
    int err = ior__find(cx, id, &res);
    if (err < 0)
        return err;
    if (!(res->bits & IOR__CLOSING)) /* that reads only to discard */
        res->bits |= IOR__PAUSED;
    return 0;
}

int ior_resume(struct ior_context *cx, ior_id id)
{
    struct ior_resource *res;
    int err = ior__find(cx, id, &res);
    if (err < 0)
        return err;
    if (!(res->bits & IOR__PAUSED))
        return 0;
    res->bits &= ~(uint32_t)IOR__PAUSED;
    bool unread = ior_resource_unread(res, NULL, 0, NULL) > 0;
    if (unread)
        res->bits |= IOR__AGAIN;
    if (unread || (res->bits & IOR__WRITE_DEAD) || ior__looks_itself(res))
        ior__ready_add(cx->rt, res, IOR_READ);
    ior__work_add(cx->rt, res);
    return 0;
}

/* ---- looking ---- */

void *ior_user(struct ior_context *cx, ior_id id)
{
    if (ior__enter(cx) < 0)
        return NULL;
    struct ior_resource *res = ior__slots_find(&cx->rt->slots, id);
    return res && res->cx == cx ? res->user : NULL;
}

static int address_of(struct ior_context *cx, ior_id id, struct ior_addr *addr, bool peer)
{
    struct ior_resource *res;
    int err = ior__find(cx, id, &res);
    if (err < 0)
        return err;
    if (!addr)
        return -EINVAL;
    if (res->fd < 0)
        return -ENOTCONN;
    const struct ior_os *os = cx->rt->os;
    struct ior_addr found = {.len = 0};
    err = peer ? os->getpeername(os->arg, res->fd, &found) : os->getsockname(os->arg, res->fd, &found);
    if (err == 0)
        *addr = found;
    return err;
}

int ior_local(struct ior_context *cx, ior_id id, struct ior_addr *addr)
{
    return address_of(cx, id, addr, false);
}

int ior_peer(struct ior_context *cx, ior_id id, struct ior_addr *addr)
{
    return address_of(cx, id, addr, true);
}

size_t ior_count(struct ior_context *cx)
{
    return ior__enter(cx) < 0 ? 0 : cx->resources - cx->attempts;
}
