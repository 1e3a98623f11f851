/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where streams come from: options, ior_connect, ior_adopt; ior_accept and ior_take are in listener.c. Options are
 * checked and filled in once and then shared by all streams made with them (those of a listener).
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "kinds.h"
#include "output.h"

/* ---- options ---- */

/* Sums of some marks fit a size_t as well as an int64_t. */
#define MARK_MOST ((uint64_t)(SIZE_MAX < INT64_MAX ? SIZE_MAX / 4 : INT64_MAX / 4))

/* Fills in the marks; false: they contradict each other. */
static bool marks_valid(const struct ior_stream_options *in, uint64_t read_bytes, struct ior__stream_opts *out)
{
    struct ior__marks *marks = &out->marks;
    marks->high = in->high_bytes ? in->high_bytes : IOR_HIGH_BYTES_DEFAULT;
    marks->low = in->low_bytes ? in->low_bytes : marks->high / 4;
    out->unread_max = in->unread_max_bytes ? in->unread_max_bytes : IOR_UNREAD_MAX_BYTES_DEFAULT;
    uint64_t unread_max = out->unread_max;
    if (marks->high > MARK_MOST || unread_max > MARK_MOST)
        return false;
    uint64_t least = marks->high + read_bytes + unread_max;
    marks->cap = in->cap_bytes ? in->cap_bytes : least;
    return marks->low <= marks->high && marks->cap >= least && marks->cap <= INT64_MAX / 8;
}

int ior__stream_opts_new(const struct ior_runtime *rt, const struct ior_stream_options *opts,
                         struct ior__stream_opts **ret)
{
    struct ior_stream_options in;
    int err = ior__struct_in(&in, sizeof(in), opts, sizeof(in));
    if (err < 0)
        return err;
    struct ior__stream_opts checked = {0};
    if (!marks_valid(&in, rt->read_bytes, &checked) || in.user_size > SIZE_MAX / 4)
        return -EINVAL;
    if (in.receive_fds && !rt->os->recv_fds)
        return -EOPNOTSUPP;
    struct ior__stream_opts *made = ior__calloc(sizeof(*made));
    if (!made)
        return -ENOMEM;
    *made = checked;
    atomic_init(&made->refs, 1);
    made->bits = in.read_when_full ? (uint32_t)IOR__FULL_READS : 0u;
    if (in.receive_fds)
        made->bits |= IOR__FDS;
    if (made->marks.high < IOR__OUTPUT_BLOCK)
        made->bits |= IOR__TIGHT;
    made->half_open = in.half_open;
    made->nagle = in.nagle;
    made->keep_alive = in.keep_alive;
    made->os = rt->os;
    made->user = in.user;
    made->user_size = in.user_size;
    made->connect_ns = in.connect_ns ? in.connect_ns : IOR_NEVER;
    made->idle_ns = in.idle_ns ? in.idle_ns : IOR_NEVER;
    made->drain_ns = in.drain_ns ? in.drain_ns : IOR_DRAIN_NS_DEFAULT;
    *ret = made;
    return 0;
}

struct ior__stream_opts *ior__stream_opts_ref(struct ior__stream_opts *opts)
{
    atomic_fetch_add_explicit(&opts->refs, 1, memory_order_relaxed);
    return opts;
}

void ior__stream_opts_unref(struct ior__stream_opts *opts)
{
    if (!opts || atomic_fetch_sub_explicit(&opts->refs, 1, memory_order_acq_rel) != 1)
        return;
    ior__dial_free(opts->dial);
    ior__free(opts, sizeof(*opts));
}

/* ---- streams ---- */

struct ior_resource *ior__stream_new(int fd, struct ior__stream_opts *opts, uint32_t bits)
{
    struct ior__stream *stream = ior__calloc(ior__stream_size(opts->user_size));
    if (!stream)
        return NULL;
    stream->opts = ior__stream_opts_ref(opts);
    stream->base.ops = &ior__stream_ops;
    stream->base.fd = fd;
    stream->base.user = opts->user_size ? (void *)((unsigned char *)stream + IOR__STREAM_BYTES) : opts->user;
    stream->base.bits = IOR__STREAM | bits | opts->bits;
    return &stream->base;
}

int ior__stream_attach(struct ior_context *cx, struct ior_resource *res, uint32_t tell_bits, ior_id *ret_id)
{
    const struct ior__stream_opts *opts = ((struct ior__stream *)res)->opts;
    bool connecting = (res->bits & IOR__CONNECTING) != 0;
    uint64_t connect_ns = connecting ? opts->connect_ns : IOR_NEVER;
    bool deadlines = opts->idle_ns != IOR_NEVER || connect_ns != IOR_NEVER;
    res->cx = cx;
    int err = deadlines ? ior__deadlines_reserve(res) : 0;
    if (err == 0)
        err = ior__attach_resource(cx, res, tell_bits, ret_id);
    if (err < 0) {
        res->cx = cx;
        ior__deadlines_drop(res);
        res->cx = NULL;
        return err;
    }
    /* Neither can fail: their memory is reserved. */
    if (connect_ns != IOR_NEVER)
        (void)ior__deadline_set(res, IOR_DEADLINE_CONNECT, ior__deadline_after(cx->rt, connect_ns));
    else if (opts->idle_ns != IOR_NEVER && !connecting)
        (void)ior__idle_start(res, opts->idle_ns);
    return 0;
}

static int request_checks(struct ior_context *cx, const ior_id *ret_id)
{
    int err = ior__enter(cx);
    if (err < 0)
        return err;
    return ret_id ? ior__may_register(cx) : -EINVAL;
}

/* The stream takes the fd, which stays the caller's on failure. */
static int make_and_attach(struct ior_context *cx, int fd, struct ior__stream_opts *opts, uint32_t bits,
                           uint32_t tell_bits, ior_id *ret_id)
{
    struct ior_resource *res = ior__stream_new(fd, opts, bits);
    if (!res)
        return -ENOMEM;
    int err = ior__stream_attach(cx, res, tell_bits, ret_id);
    if (err < 0) {
        res->fd = -1;
        ior_resource_free(res);
    }
    return err;
}

static void tcp_options(const struct ior_os *os, int fd, const struct ior__stream_opts *opts)
{
    int on = 1;
    if (!opts->nagle)
        (void)os->setsockopt(os->arg, fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (opts->keep_alive)
        (void)os->setsockopt(os->arg, fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

int ior__connect_socket(const struct ior_runtime *rt, const struct ior_addr *addr, const struct ior__stream_opts *opts,
                        bool *ret_connecting)
{
    const struct ior_os *os = rt->os;
    struct sockaddr family;
    memcpy(&family, addr->raw, sizeof(family));
    bool inet = family.sa_family == AF_INET || family.sa_family == AF_INET6;
    if (!inet && family.sa_family != AF_UNIX)
        return -EAFNOSUPPORT;
    if (inet && (opts->bits & IOR__FDS))
        return -EOPNOTSUPP;
    int fd = os->socket(os->arg, family.sa_family, SOCK_STREAM, 0);
    if (fd < 0)
        return fd;
    if (inet)
        tcp_options(os, fd, opts);
    int err = os->connect(os->arg, fd, addr);
    if (err < 0 && err != -EINPROGRESS && err != -EINTR) {
        os->close(os->arg, fd);
        return err;
    }
    *ret_connecting = err < 0;
    return fd;
}

int ior__connect_outcome(const struct ior_os *os, int fd)
{
    int error = 0;
    uint32_t len = sizeof(error);
    struct ior_addr peer;
    int err = os->getsockopt(os->arg, fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (err < 0 || error != 0)
        return err < 0 ? err : -error;
    return os->getpeername(os->arg, fd, &peer) == -ENOTCONN; /* a wake-up without a result */
}

int ior_connect(struct ior_context *cx, const struct ior_addr *addr, const struct ior_stream_options *opts,
                ior_id *ret_id)
{
    int err = request_checks(cx, ret_id);
    if (err < 0)
        return err;
    if (!addr || addr->len < sizeof(sa_family_t) || addr->len > sizeof(addr->raw))
        return -EINVAL;
    struct ior__stream_opts *kept;
    err = ior__stream_opts_new(cx->rt, opts, &kept);
    if (err < 0)
        return err;
    bool connecting = false;
    int fd = ior__connect_socket(cx->rt, addr, kept, &connecting);
    err = fd;
    if (fd >= 0) {
        uint32_t bits = connecting ? (uint32_t)(IOR__SOCKET | IOR__CONNECTING) : (uint32_t)IOR__SOCKET;
        uint32_t open = connecting ? 0u : (uint32_t)IOR__TELL_OPEN;
        err = make_and_attach(cx, fd, kept, bits, IOR__TELL_REGISTERED | open, ret_id);
        if (err < 0)
            cx->rt->os->close(cx->rt->os->arg, fd);
    }
    ior__stream_opts_unref(kept);
    return err;
}

/* What an adopted fd is, as bits and whether it is TCP (the answer), or why it cannot be a stream. */
static int adoptable(const struct ior_os *os, int fd, uint32_t *ret_bits)
{
    int kind = os->fd_kind(os->arg, fd);
    if (kind < 0)
        return kind;
    int type = 0;
    uint32_t len = sizeof(type);
    switch (kind & IOR_FD_KIND_MASK) {
    case IOR_FD_FILE:
        return -EPERM;
    case IOR_FD_LISTENER:
        return -EPROTOTYPE;
    case IOR_FD_SOCKET:
        if (os->getsockopt(os->arg, fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM)
            return -ENOTCONN;
        return -EPROTOTYPE;
    case IOR_FD_TCP:
    case IOR_FD_UNIX:
        *ret_bits = IOR__SOCKET;
        return (kind & IOR_FD_KIND_MASK) == IOR_FD_TCP;
    default:
        *ret_bits = 0;
        if (kind & IOR_FD_NO_READ)
            *ret_bits |= IOR__NO_READ;
        if (kind & IOR_FD_NO_WRITE)
            *ret_bits |= IOR__NO_WRITE;
        return 0;
    }
}

int ior_adopt(struct ior_context *cx, int fd, const struct ior_stream_options *opts, ior_id *ret_id)
{
    int err = request_checks(cx, ret_id);
    if (err < 0)
        return err;
    const struct ior_os *os = cx->rt->os;
    uint32_t bits = 0;
    int is_tcp = fd < 0 ? -EBADF : adoptable(os, fd, &bits);
    if (is_tcp < 0)
        return is_tcp;
    struct ior__stream_opts *kept;
    err = ior__stream_opts_new(cx->rt, opts, &kept);
    if (err < 0)
        return err;
    if ((kept->bits & IOR__FDS) && (is_tcp || !(bits & IOR__SOCKET))) {
        ior__stream_opts_unref(kept);
        return -EOPNOTSUPP;
    }
    int was = os->set_nonblock(os->arg, fd, true);
    err = was < 0 ? was : make_and_attach(cx, fd, kept, bits, IOR__TELL_REGISTERED | IOR__TELL_OPEN, ret_id);
    if (err < 0 && was == 0)
        (void)os->set_nonblock(os->arg, fd, false);
    if (err == 0 && is_tcp)
        tcp_options(os, fd, kept);
    ior__stream_opts_unref(kept);
    return err;
}
