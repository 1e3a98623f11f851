/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kind of resource of the service's own: it reads and writes through the table of system calls, keeps what it could
 * not tell because it is paused, asks to be called again, emits CUSTOM beside DATA, and fails now and then.
 */
#include "story.h"

static struct own *own_of(struct ior_resource *res)
{
    return (struct own *)(void *)res;
}

static unsigned interests(struct ior_resource *res)
{
    const struct own *own = own_of(res);
    return own->conn->pipe_out ? IOR_NONE : IOR_READ;
}

/* Tells what is kept. 0: it was told. */
static int tell(struct own *own, struct ior_emit *emit)
{
    struct story *s = own->s;
    size_t len = own->kept;
    if (len > 0) {
        struct ior_event ev = {.type = IOR_EV_DATA};
        ev.data.bytes = own->bytes;
        ev.data.len = len;
        own->kept = 0;
        int r = ior_emit(emit, &ev);
        if (r == -EAGAIN) {
            own->kept = len;
            CHECK(s, 2, own->conn->reg && own->conn->reg->paused, "ior_emit says paused, and it is not");
            return r;
        }
        if (r < 0)
            return r;
    }
    if (!own->eof)
        return 0;
    struct ior_event ev = {.type = IOR_EV_EOF};
    int r = ior_emit(emit, &ev);
    if (r != -EAGAIN)
        own->eof = false;
    return r;
}

static int handle_io(struct ior_resource *res, unsigned io, struct ior_emit *emit)
{
    struct own *own = own_of(res);
    struct story *s = own->s;
    (void)io;
    if (own->kept > 0 || own->eof) {
        if (tell(own, emit) < 0)
            return IOR_IO_DONE;
        return IOR_IO_MORE;
    }
    if (own->conn->pipe_out)
        return io & (IOR_HUP | IOR_ERR) ? -EPIPE : IOR_IO_DONE;
    size_t most = once_in(s, 3) ? 16 : sizeof(own->bytes);
    ssize_t n = own->socket ? own->os->recv(own->os->arg, res->fd, own->bytes, most)
                            : own->os->read(own->os->arg, res->fd, own->bytes, most);
    if (n == -EINTR || n == -ENOMEM || n == -ENOBUFS)
        return IOR_IO_MORE;
    if (n == -EAGAIN)
        return IOR_IO_DONE;
    if (n < 0)
        return (int)n;
    if (!s->plan.calm && once_in(s, 100)) {
        conn_loose(own->conn);
        own->conn->in.blind = true;
        s->harsh++;
        return -EIO;
    }
    if (once_in(s, 10)) {
        struct ior_event ev = {.type = IOR_EV_CUSTOM};
        ev.custom.kind = 7;
        if (ior_emit(emit, &ev) == -ECANCELED) {
            conn_loose(own->conn); /* what was read is told no more */
            own->conn->in.blind = true;
            return IOR_IO_DONE;
        }
    }
    own->kept = (size_t)n;
    own->eof = n == 0;
    (void)tell(own, emit);
    return once_in(s, 4) ? IOR_IO_MORE : IOR_IO_DONE;
}

static ssize_t write_some(struct ior_resource *res, const struct iovec *iov, int n)
{
    const struct own *own = own_of(res);
    ssize_t r =
        own->socket ? own->os->send(own->os->arg, res->fd, iov, n) : own->os->write(own->os->arg, res->fd, iov, n);
    if (r < 0 && r != -EAGAIN && r != -EINTR && r != -ENOBUFS && r != -ENOMEM && own->conn->failed == 0)
        own->conn->failed = (int)-r;
    return r;
}

static void destroy(struct ior_resource *res)
{
    const struct own *own = own_of(res);
    if (res->fd >= 0)
        own->os->close(own->os->arg, res->fd);
    res->fd = -1;
}

static const struct ior_resource_ops ops = {
    .struct_size = sizeof(ops),
    .name = "own",
    .interests = interests,
    .handle_io = handle_io,
    .write = write_some,
    .destroy = destroy,
};

static const struct ior_resource_ops reader_ops = {
    .struct_size = sizeof(reader_ops),
    .name = "own reader",
    .interests = interests,
    .handle_io = handle_io,
    .destroy = destroy,
};

/* An own resource around an fd; the caller registers it. */
bool own_new(struct service *service, struct conn *conn, int fd, bool socket)
{
    struct story *s = service->s;
    if (s->owns_n == OWNS)
        return false;
    struct own *own = &s->owns[s->owns_n++];
    *own = (struct own){.s = s, .conn = conn, .os = ior_context_os(service->cx), .live = true, .socket = socket};
    ior_resource_init(&own->base, conn->pipe_in ? &reader_ops : &ops, fd, own);
    conn->own = own;
    conn->res = &own->base;
    return true;
}
