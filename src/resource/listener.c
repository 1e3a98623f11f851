/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listeners: TCP and Unix stream sockets that accept.
 *
 * Each connection is offered to the service as it is accepted (ACCEPTED) and never kept: what the callback does not
 * take is closed when it returns, so nothing is left over when a listener is paused or ended in its own callback.
 * Errors that belong to one connection (ECONNABORTED and the network errors of accept(2)) are passed over; being out of
 * fds or slots is told once, and the listener leaves the engine until one is free again or the back-off ends.
 *
 * TCP options are set on the listener: on Linux and the BSDs accepted sockets inherit them, which saves two system
 * calls for each connection.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "kinds.h"
#include "output.h"

#define BACKLOG_DEFAULT 511

static struct ior__listener *listener_of(const struct ior_resource *res)
{
    return (struct ior__listener *)(uintptr_t)res;
}

static unsigned interests(struct ior_resource *res)
{
    (void)res;
    return IOR_READ;
}

/* ---- accepting ---- */

/* Tells ACCEPTED; a connection nobody takes is closed. */
static void offer(struct ior_resource *res, int fd, const struct ior_addr *peer)
{
    struct ior_runtime *rt = res->cx->rt;
    struct ior_event ev = {.type = IOR_EV_ACCEPTED};
    ev.peer = peer;
    struct ior__accepting accepting = {.listener = res, .ev = &ev, .peer = peer, .fd = fd};
    rt->accepting = &accepting;
    ior__tell(res, &ev);
    rt->accepting = NULL;
    if (accepting.fd >= 0)
        rt->os->close(rt->os->arg, accepting.fd);
}

/* Errors of accept(2) that belong to one connection, or to none. */
static bool passing(int err)
{
    switch (-err) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case EPERM: /* a firewall's word */
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
#ifdef ENONET
    case ENONET:
#endif
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ETIMEDOUT:
    case EOPNOTSUPP:
        return true;
    default:
        return false;
    }
}

static bool out_of_something(int err)
{
    return err == -EMFILE || err == -ENFILE || err == -ENOMEM || err == -ENOBUFS;
}

static bool holds(const struct ior_resource *res)
{
    return res->ops == &ior__listener_ops && listener_of(res)->held;
}

/* The connection that was held longest, or -EAGAIN. */
static int held_fd(struct ior__listener *listener)
{
    struct ior__held_fds *held = listener->held;
    if (!held)
        return -EAGAIN;
    int fd = held->fds[held->at++];
    if (held->at == held->count) {
        ior__free(held, sizeof(*held) + held->capacity * sizeof(int));
        listener->held = NULL;
    }
    return fd;
}

static bool hold_fd(struct ior__listener *listener, int fd)
{
    struct ior__held_fds *held = listener->held;
    uint32_t capacity = held ? held->capacity : 0;
    if (!held || held->count == capacity) {
        uint32_t grown = capacity ? capacity * 2 : 16;
        size_t old = held ? sizeof(*held) + capacity * sizeof(int) : 0;
        held = ior__realloc(held, old, sizeof(*held) + grown * sizeof(int));
        if (!held)
            return false;
        if (capacity == 0)
            held->at = held->count = 0;
        held->capacity = grown;
        listener->held = held;
    }
    held->fds[held->count++] = fd;
    return true;
}

/* Connections that nobody will ask for are closed, as those in the backlog of a closed listener are. */
void ior__listener_take_held(struct ior_resource *res)
{
    const struct ior_runtime *rt = res->cx->rt;
    bool kept = res->cx->handler.handover_listener != NULL;
    int fd;
    while ((fd = rt->engine_ops->accept(rt->engine, res->fd, res->id)) != -EAGAIN) {
        if (fd >= 0 && !(kept && hold_fd(listener_of(res), fd)))
            rt->os->close(rt->os->arg, fd);
    }
}

/*
 * The next connection, or as accept(2). An engine cannot tell the peer's address; where the connection is reset already,
 * the kernel cannot either, and the address has only its family.
 */
static int accept_one(struct ior_resource *res, struct ior_addr *peer)
{
    const struct ior_runtime *rt = res->cx->rt;
    const struct ior_os *os = rt->os;
    int fd = held_fd(listener_of(res));
    if (fd == -EAGAIN && rt->does_io)
        fd = rt->engine_ops->accept(rt->engine, res->fd, res->id);
    bool engine_accepts = (res->bits & IOR__IN_SET) && (res->applied & IOR_ACCEPTS);
    if (fd == -EAGAIN && !engine_accepts)
        return os->accept(os->arg, res->fd, peer);
    if (fd >= 0 && os->getpeername(os->arg, fd, peer) < 0) {
        struct ior_addr local = {.len = 0};
        *peer = (struct ior_addr){.len = 0};
        if (os->getsockname(os->arg, res->fd, &local) == 0) {
            memcpy(peer->raw, local.raw, sizeof(sa_family_t));
            peer->len = local.len;
        }
    }
    return fd;
}

static int handle_io(struct ior_resource *res, unsigned io, struct ior_emit *emit)
{
    (void)io;
    (void)emit;
    struct ior_runtime *rt = res->cx->rt;
    for (uint32_t i = 0; i < rt->budget_accepts; i++) {
        if (rt->slots.live >= rt->slots.max) {
            ior__backoff(res, ENOSPC); /* they wait in the backlog, rather than being accepted and closed */
            return IOR_IO_DONE;
        }
        struct ior_addr peer = {.len = 0};
        int fd = accept_one(res, &peer);
        if (fd == -EAGAIN)
            return IOR_IO_DONE;
        if (fd < 0 && passing(fd))
            continue;
        if (out_of_something(fd)) {
            ior__backoff(res, -fd);
            return IOR_IO_DONE;
        }
        if (fd < 0)
            return fd;
        res->bits &= ~(uint32_t)IOR__TOLD_ERROR;
        offer(res, fd, &peer);
        if (res->bits & (IOR__ENDING | IOR__PAUSED))
            return IOR_IO_DONE;
    }
    return (res->bits & IOR__IN_SET) && !listener_of(res)->held ? IOR_IO_DONE : IOR_IO_MORE;
}

/* The connection that is on offer now, if `ev` is its event and cx its service. */
static struct ior__accepting *on_offer(struct ior_context *cx, const struct ior_event *ev)
{
    struct ior__accepting *accepting = cx->rt->accepting;
    bool is = accepting && ev && ev->type == IOR_EV_ACCEPTED && accepting->listener->cx == cx &&
              ev->id == accepting->listener->id && ev->peer == accepting->peer;
    return is ? accepting : NULL;
}

/* A stream for the connection on offer; the fd stays where it is. */
static struct ior_resource *accepted_stream(const struct ior__accepting *accepting)
{
    struct ior__stream_opts *opts = listener_of(accepting->listener)->opts;
#if !defined(__linux__)
    int on = 1;
    if (!opts->nagle)
        (void)opts->os->setsockopt(opts->os->arg, accepting->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
#endif
    return ior__stream_new(accepting->fd, opts, IOR__SOCKET);
}

int ior_accept(struct ior_context *cx, const struct ior_event *ev, ior_id *ret_id)
{
    int err = ior__enter(cx);
    if (err < 0)
        return err;
    struct ior__accepting *accepting = on_offer(cx, ev);
    if (!accepting || !ret_id)
        return -EINVAL;
    if (accepting->fd < 0)
        return -EALREADY;
    err = ior__may_register(cx);
    if (err < 0)
        return err;
    struct ior_resource *res = accepted_stream(accepting);
    if (!res)
        return -ENOMEM;
    err = ior__stream_attach(cx, res, IOR__TELL_REGISTERED | IOR__TELL_OPEN, ret_id);
    if (err < 0) {
        res->fd = -1;
        ior_resource_free(res);
        return err;
    }
    accepting->fd = -1;
    return 0;
}

struct ior_resource *ior_take(struct ior_context *cx, const struct ior_event *ev)
{
    if (ior__enter(cx) < 0)
        return NULL;
    struct ior__accepting *accepting = on_offer(cx, ev);
    if (!accepting || accepting->fd < 0)
        return NULL;
    struct ior_resource *res = accepted_stream(accepting);
    if (res)
        accepting->fd = -1;
    return res;
}

/* ---- making ---- */

static void tcp_options(const struct ior_os *os, int fd, int family, const struct ior_listen_options *in,
                        const struct ior__stream_opts *opts)
{
    int on = 1;
    int only = in->v6_only;
    (void)os->setsockopt(os->arg, fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (family == AF_INET6)
        (void)os->setsockopt(os->arg, fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only));
    if (!opts->nagle)
        (void)os->setsockopt(os->arg, fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (opts->keep_alive)
        (void)os->setsockopt(os->arg, fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

/* Binds, sets the permissions, and only then listens: before that nobody can connect. */
static int open_listener(const struct ior_os *os, struct ior__listener *listener, const struct ior_addr *addr,
                         int family, const struct ior_listen_options *in)
{
    int fd = os->socket(os->arg, family, SOCK_STREAM, 0);
    if (fd < 0)
        return fd;
    int on = 1;
    int err = 0;
    if (family != AF_UNIX)
        tcp_options(os, fd, family, in, listener->opts);
    if (in->reuse_port)
        err = os->setsockopt(os->arg, fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    if (err == 0)
        err = ior__bind(os, fd, addr, listener->path, SOCK_STREAM);
    if (err == 0 && listener->path)
        err = ior__path_bound(os, listener->path, in->unix_mode, &listener->dev, &listener->ino);
    if (err == 0) {
        err = os->listen(os->arg, fd, in->backlog ? in->backlog : BACKLOG_DEFAULT);
        if (err < 0 && listener->path)
            ior__path_remove(os, listener->path, listener->dev, listener->ino);
    }
    if (err < 0) {
        os->close(os->arg, fd);
        return err;
    }
    listener->base.fd = fd;
    return 0;
}

/* A copy of the path of a Unix address that has one, with its zero. */
static int keep_path(struct ior__listener *listener, const struct ior_addr *addr, int family)
{
    const size_t at = offsetof(struct sockaddr_un, sun_path);
    if (family != AF_UNIX || addr->len <= at || addr->raw[at] == 0)
        return 0;
    size_t len = strnlen((const char *)addr->raw + at, addr->len - at);
    listener->path = ior__calloc(len + 1);
    if (!listener->path)
        return -ENOMEM;
    memcpy(listener->path, addr->raw + at, len);
    listener->path_len = (uint32_t)len;
    return 0;
}

/* The path is not removed when the listener is destroyed. */
static void forget_path(struct ior_resource *res)
{
    struct ior__listener *listener = listener_of(res);
    if (listener->path)
        ior__free(listener->path, listener->path_len + (size_t)1);
    listener->path = NULL;
}

static int listener_new(struct ior_runtime *rt, const struct ior_addr *addr, const struct ior_listen_options *in,
                        struct ior__listener **ret)
{
    struct sockaddr family;
    memcpy(&family, addr->raw, sizeof(family));
    int af = family.sa_family;
    if (af != AF_INET && af != AF_INET6 && af != AF_UNIX)
        return -EAFNOSUPPORT;
    struct ior__listener *listener = ior__calloc(sizeof(*listener));
    if (!listener)
        return -ENOMEM;
    listener->base.ops = &ior__listener_ops;
    listener->base.fd = -1;
    listener->base.user = in->user;
    listener->base.bits = IOR__LISTENER | IOR__SOCKET;
    int err = ior__stream_opts_new(rt, in->stream.struct_size ? &in->stream : NULL, &listener->opts);
    if (err == 0 && af != AF_UNIX && (listener->opts->bits & IOR__FDS))
        err = -EOPNOTSUPP;
    if (err == 0)
        err = keep_path(listener, addr, af);
    if (err == 0)
        err = open_listener(rt->os, listener, addr, af, in);
    if (err < 0) {
        forget_path(&listener->base); /* it is not, or no more, ours */
        ior_resource_free(&listener->base);
        return err;
    }
    *ret = listener;
    return 0;
}

int ior_listen(struct ior_context *cx, const struct ior_addr *addr, const struct ior_listen_options *opts,
               ior_id *ret_id)
{
    int err = ior__enter(cx);
    if (err < 0)
        return err;
    if (!addr || !ret_id || addr->len < sizeof(sa_family_t) || addr->len > sizeof(addr->raw))
        return -EINVAL;
    err = ior__may_register(cx);
    if (err < 0)
        return err;
    struct ior_listen_options in;
    err = ior__struct_in(&in, sizeof(in), opts, sizeof(in));
    if (err < 0)
        return err;
    if (in.backlog < 0 || (in.unix_mode & ~0777u))
        return -EINVAL;
    struct ior__listener *listener;
    err = listener_new(cx->rt, addr, &in, &listener);
    if (err < 0)
        return err;
    err = ior__attach_resource(cx, &listener->base, IOR__TELL_REGISTERED, ret_id);
    if (err < 0)
        ior_resource_free(&listener->base);
    return err;
}

static void destroy(struct ior_resource *res)
{
    struct ior__listener *listener = listener_of(res);
    if (listener->opts) {
        const struct ior_os *os = listener->opts->os;
        if (listener->path)
            ior__path_remove(os, listener->path, listener->dev, listener->ino);
        if (res->fd >= 0 && !(res->bits & IOR__LOST))
            os->close(os->arg, res->fd);
        for (int fd; (fd = held_fd(listener)) >= 0;)
            os->close(os->arg, fd);
    }
    forget_path(res);
    ior__stream_opts_unref(listener->opts);
    ior__free(listener, sizeof(*listener));
}

static const struct ior__kind kind = {
    .told = true,
    .holds = holds,
    .let_go = forget_path,
};

const struct ior_resource_ops ior__listener_ops = {
    .struct_size = sizeof(struct ior_resource_ops),
    .name = "listener",
    .listener = true,
    .interests = interests,
    .handle_io = handle_io,
    .destroy = destroy,
    .reserved = &kind,
};
