/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams: TCP and Unix connections (accepted, connecting) and any byte-stream fd that is adopted.
 *
 * Reading: one buffer of the runtime is lent to the service for the length of the callback; an idle stream holds none.
 * Bytes the service gives back (ior_unread) are kept in a block of the stream's own and put in front of the next ones.
 *
 * The end of input is found by reading (0 or an error), never from HUP or ERR: the kernel tells those while bytes are
 * still to be read. A write error stops writing only: what the peer sent before is read to the end, then END comes with
 * the first cause. SO_ERROR is asked only for the outcome of connect, since asking eats it.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "kinds.h"
#include "output.h"

#define FIN_WAIT_NS (500 * IOR_NS_PER_MS) /* at shutdown: for the peer's FIN, once all is written */

static struct ior__stream *stream_of(const struct ior_resource *res)
{
    return (struct ior__stream *)(uintptr_t)res;
}

unsigned ior__stream_interest(const struct ior_resource *res)
{
    const uint32_t unusual =
        IOR__CONNECTING | IOR__NO_READ | IOR__EOF_SEEN | IOR__BACKOFF | IOR__CLOSING | IOR__PAUSED | IOR__FULL;
    uint32_t bits = res->bits;
    if (IOR_LIKELY(!(bits & unusual)))
        return IOR_READ;
    if (bits & IOR__CONNECTING)
        return IOR_WRITE;
    if (bits & (IOR__NO_READ | IOR__EOF_SEEN | IOR__BACKOFF))
        return 0;
    if (bits & IOR__CLOSING)
        return IOR_READ; /* to discard it: unread input would turn close into a reset */
    bool stopped = (bits & IOR__PAUSED) || (bits & (IOR__FULL | IOR__FULL_READS)) == IOR__FULL;
    return stopped ? 0 : IOR_READ;
}

static unsigned interests(struct ior_resource *res)
{
    return ior__stream_interest(res);
}

static ssize_t write_some(struct ior_resource *res, const struct iovec *iov, int n)
{
    const struct ior_os *os = res->cx->rt->os;
    return (res->bits & IOR__SOCKET) ? os->send(os->arg, res->fd, iov, n) : os->write(os->arg, res->fd, iov, n);
}

static bool holds(const struct ior_resource *res)
{
    const struct ior__unread *unread = stream_of(res)->unread;
    return unread && unread->held;
}

static ssize_t read_some(struct ior_resource *res, void *bytes, size_t len)
{
    struct ior_runtime *rt = res->cx->rt;
    const struct ior_os *os = rt->os;
    ssize_t n = (ssize_t)ior__read_held(stream_of(res), bytes, len);
    if (n > 0)
        return n;
    if (rt->does_io && (res->bits & IOR__SOCKET)) {
        n = rt->engine_ops->recv(rt->engine, res->fd, res->id, bytes, len);
        bool engine_receives = (res->bits & IOR__IN_SET) && (res->applied & IOR_RECEIVES);
        if (n != -EAGAIN || engine_receives)
            return n;
    }
    do {
        n = (res->bits & IOR__SOCKET) ? os->recv(os->arg, res->fd, bytes, len) : os->read(os->arg, res->fd, bytes, len);
    } while (IOR_UNLIKELY(n == -EINTR));
    if (IOR_UNLIKELY(n == -EIO) && res->ops == &ior__serial_ops)
        return 0; /* hung up: the kernel answers so, or with 0, depending on who came first */
    return n;
}

/* Room for what was given back and one read behind it. */
static bool read_room(struct ior_runtime *rt, size_t held)
{
    size_t need = held + rt->read_bytes;
    if (IOR_LIKELY((size_t)(rt->read_buf + rt->read_cap - rt->read_at) >= need))
        return true;
    ior__output_keep_all(rt);
    rt->read_at = rt->read_buf;
    return rt->read_cap >= need || ior__read_buf_make(rt, need);
}

/* ---- reading ---- */

static IOR_APART void deliver(struct ior_resource *res, size_t len)
{
    struct ior__stream *stream = stream_of(res);
    struct ior_runtime *rt = res->cx->rt;
    const unsigned char *at = rt->read_at;
    if (stream->unread)
        stream->unread->len = 0; /* they are part of what is lent */
    ior__lend(rt, res, len);
    if (len >= IOR__LARGE_BYTES && rt->read_at != at)
        rt->read_large = true;
    if (stream->unread && stream->unread->len == 0)
        ior__unread_free(stream);
}

/* Unread bytes are told again alone: reading goes on after a pause, a full output, a handover. */
static void deliver_again(struct ior_resource *res)
{
    struct ior__unread *unread = stream_of(res)->unread;
    res->bits &= ~(uint32_t)IOR__AGAIN;
    if (!unread || unread->len == 0)
        return;
    if (!read_room(res->cx->rt, unread->len)) {
        res->bits |= IOR__AGAIN;
        ior__backoff(res, ENOMEM);
        return;
    }
    memcpy(res->cx->rt->read_at, unread->bytes, unread->len);
    deliver(res, unread->len);
}

static void tell_eof(struct ior_resource *res)
{
    const struct ior__stream_opts *opts = stream_of(res)->opts;
    res->bits |= IOR__EOF_SEEN;
    ior__touch_idle(res);
    ior__work_add(res->cx->rt, res);
    if (res->bits & (IOR__CLOSING | IOR__WRITE_DEAD))
        return;
    struct ior_event ev = {.type = IOR_EV_EOF};
    ior__tell(res, &ev);
    if ((res->bits & (IOR__ENDING | IOR__CLOSING)) || opts->half_open)
        return;
    ior__close_after_eof(res, opts->drain_ns);
}

/* What a read answered becomes its event. How much was read; 0: stop here; or -errno. */
static IOR_APART ssize_t was_read(struct ior_resource *res, unsigned io, size_t held, ssize_t n)
{
    struct ior_runtime *rt = res->cx->rt;
    if (n > 0) {
        ior__touch_idle(res);
        res->bits &= ~(uint32_t)IOR__TOLD_ERROR;
        if (res->bits & IOR__CLOSING) {
            stream_of(res)->discarded += (uint64_t)n;
            return n;
        }
        if (held > 0)
            memcpy(rt->read_at, stream_of(res)->unread->bytes, held);
        deliver(res, held + (size_t)n);
        return n;
    }
    if (n == 0) {
        tell_eof(res);
    } else if (n == -EAGAIN) {
        /*
         * Neither bytes nor an end, yet a hang-up: nothing more will ever come. (An engine that receives may tell the
         * hang-up first.)
         */
        bool by_engine = (res->bits & IOR__IN_SET) && (res->applied & IOR_RECEIVES);
        return (io & (IOR_HUP | IOR_ERR)) && !by_engine && !(res->bits & IOR__WRITE_DEAD) ? -EIO : 0;
    } else if (n == -ENOMEM || n == -ENOBUFS) {
        ior__backoff(res, (int)-n);
        return 0;
    }
    return n;
}

/*
 * Bytes that came with fds, when the service ended or paused the stream in being told these: they are kept, behind those
 * that it gave back before.
 */
static ssize_t keep_for_later(struct ior_resource *res, const void *bytes, size_t n)
{
    if (ior__hold(stream_of(res), bytes, n))
        return 0;
    if (stream_of(res)->unread && stream_of(res)->unread->len == 0)
        ior__unread_free(stream_of(res));
    stream_of(res)->discarded += n;
    res->bits |= IOR__NO_READ; /* a stream with a gap is none */
    return (res->bits & IOR__ENDING) ? 0 : -ENOMEM;
}

/* Reads a stream with receive_fds. What the fds belong to is told right behind them. */
static IOR_APART ssize_t read_with_fds(struct ior_resource *res, unsigned io, size_t held)
{
    struct ior_runtime *rt = res->cx->rt;
    struct ior_os_fds fds;
    ssize_t n = ior__fds_recv(res, rt->read_at + held, rt->read_bytes, &fds);
    if (fds.count > 0 || fds.lost) {
        ior__fds_tell(res, &fds);
        if (n > 0 && (res->bits & (IOR__ENDING | IOR__PAUSED)))
            return keep_for_later(res, rt->read_at + held, (size_t)n);
    }
    return was_read(res, io, held, n);
}

static ssize_t read_once(struct ior_resource *res, unsigned io)
{
    struct ior_runtime *rt = res->cx->rt;
    const struct ior__unread *unread = stream_of(res)->unread;
    size_t held = unread && !(res->bits & IOR__CLOSING) ? unread->len : 0;
    if (!read_room(rt, held)) {
        ior__backoff(res, ENOMEM);
        return 0;
    }
    if ((res->bits & (IOR__FDS | IOR__CLOSING)) == IOR__FDS && !holds(res))
        return read_with_fds(res, io, held);
    return was_read(res, io, held, read_some(res, rt->read_at + held, rt->read_bytes));
}

static bool goes_on(const struct ior_resource *res)
{
    return !(res->bits & IOR__ENDING) && (ior__stream_interest(res) & IOR_READ);
}

/* At most so many reads. */
static int read_on(struct ior_resource *res, unsigned io, uint32_t reads)
{
    const struct ior_runtime *rt = res->cx->rt;
    for (; reads > 0 && goes_on(res); reads--) {
        if (res->bits & IOR__AGAIN) {
            deliver_again(res);
            continue;
        }
        ssize_t n = read_once(res, io);
        if (n <= 0)
            return (int)n;
        /*
         * A short read is the end for now, unless the peer or the connection is gone: then the end is still to be
         * found.
         */
        if ((size_t)n < rt->read_bytes && !(io & (IOR_HUP | IOR_ERR)) && !(res->bits & IOR__WRITE_DEAD))
            return IOR_IO_DONE;
    }
    if (reads > 0)
        return IOR_IO_DONE;
    /* The engine tells again what is left, being level-triggered, where it still watches. */
    bool told_again = (res->bits & IOR__IN_SET) && !(res->bits & IOR__WRITE_DEAD) && !holds(res);
    return told_again ? IOR_IO_DONE : IOR_IO_MORE;
}

static int handle_io(struct ior_resource *res, unsigned io, struct ior_emit *emit)
{
    (void)emit;
    return read_on(res, io, res->cx->rt->budget_reads);
}

/* A read that was more, or less, than a short one: it answered n. */
void ior__stream_read_more(struct ior_resource *res, ssize_t n)
{
    const struct ior_runtime *rt = res->cx->rt;
    bool all = n >= (ssize_t)rt->read_bytes || n == -EINTR; /* there may be more */
    n = n == -EINTR ? 1 : was_read(res, IOR_READ, 0, n);
    if (n > 0)
        n = all ? read_on(res, IOR_READ, rt->budget_reads - 1) : IOR_IO_DONE;
    ior__io_done(res, IOR_READ, (int)n);
}

/* ---- ends ---- */

void ior__stream_settle(struct ior_resource *res)
{
    const struct ior_os *os = res->cx->rt->os;
    uint32_t bits = res->bits;
    if (ior__output_left(res) > 0 || (bits & IOR__WRITE_DEAD))
        return;
    bool input_over = (bits & (IOR__EOF_SEEN | IOR__NO_READ)) || !(bits & IOR__SOCKET);
    if (IOR_UNLIKELY(res->ops == &ior__serial_ops) && !(bits & IOR__EOF_SEEN) && ior__serial_sends(res))
        return;
    if ((bits & IOR__CLOSING) && input_over) {
        ior__end(res, (enum ior_why)res->why, 0, -1);
        return;
    }
    if (!(bits & IOR__FIN_SENT)) {
        int err = os->shutdown(os->arg, res->fd, SHUT_WR);
        if (err < 0)
            ior__log(IOR_LOG_DEBUG, "shutdown of fd %d: %s", res->fd, ior_strerror(err)); /* reading will tell more */
        res->bits |= IOR__FIN_SENT;
    }
    if ((bits & IOR__CLOSING) && res->why == IOR_SHUTDOWN) { /* the wait for the peer's FIN is short */
        const struct ior__deadlines *deadlines = res->deadlines;
        uint64_t short_ns = ior__deadline_after(res->cx->rt, FIN_WAIT_NS);
        if (!deadlines || deadlines->at_ns[IOR_DEADLINE_DRAIN] > short_ns)
            (void)ior__deadline_set(res, IOR_DEADLINE_DRAIN, short_ns);
    }
    if (!(bits & IOR__CLOSING) && input_over)
        ior__end(res, IOR_EOF, 0, -1);
}

/*
 * HUP or ERR, and nothing is to be read: the input has ended, or cannot be read, or waits for output to drain. Trying
 * to write brings the error out; without output a send of no bytes does (on Linux it reports a pending error and writes
 * nothing).
 */
void ior__stream_hangup(struct ior_resource *res)
{
    if (ior__output_left(res) > 0) {
        res->bits &= ~(uint32_t)IOR__BLOCKED;
        ior__work_add(res->cx->rt, res);
        return;
    }
    if (!(res->bits & (IOR__EOF_SEEN | IOR__NO_READ)))
        return; /* past its mark without output: it is about to read again */
    struct iovec nothing = {.iov_base = NULL, .iov_len = 0};
    ssize_t n = 0;
    if (!(res->bits & IOR__SOCKET))
        n = -EPIPE;
    else if (!(res->bits & IOR__FIN_SENT))
        n = write_some(res, &nothing, 1);
    if (n < 0 && n != -EAGAIN && n != -EINTR)
        ior__end(res, IOR_ERROR, (int)-n, -1);
    else
        ior__end(res, IOR_EOF, 0, -1);
}

void ior__stream_connect_result(struct ior_resource *res)
{
    if (res->fd < 0) {
        ior__dial_step(res);
        return;
    }
    if (res->bits & IOR__WRITE_DEAD) {
        ior__end(res, IOR_ERROR, res->error, -1); /* told before it was handed back */
        return;
    }
    int r = ior__connect_outcome(res->cx->rt->os, res->fd);
    if (r == 0) {
        ior__stream_connected(res);
    } else if (r < 0) {
        res->bits |= IOR__WRITE_DEAD; /* the kernel tells it once: registered again, it is told from here */
        ior__end(res, IOR_ERROR, -r, -1);
    }
}

void ior__stream_connected(struct ior_resource *res)
{
    const struct ior__stream_opts *opts = stream_of(res)->opts;
    res->bits &= ~(uint32_t)IOR__CONNECTING;
    ior__deadline_clear(res, IOR_DEADLINE_CONNECT);
    if (opts->idle_ns != IOR_NEVER && ior__idle_start(res, opts->idle_ns) < 0) {
        ior__end(res, IOR_ERROR, ENOMEM, -1);
        return;
    }
    res->bits |= IOR__TELL_OPEN;
    ior__work_add(res->cx->rt, res);
    ior__tell_pending(res);
}

void ior__stream_deinit(struct ior__stream *stream)
{
    struct ior_resource *res = &stream->base;
    struct ior__stream_opts *opts = stream->opts;
    if (res->fd >= 0 && !(res->bits & IOR__LOST))
        opts->os->close(opts->os->arg, res->fd);
    if (holds(res)) {
        struct ior__held *held = stream->unread->held;
        ior__free(held, sizeof(*held) + held->len);
        stream->unread->held = NULL;
    }
    ior__unread_free(stream);
    ior__stream_opts_unref(opts);
}

static void destroy(struct ior_resource *res)
{
    size_t size = ior__stream_size(stream_of(res)->opts->user_size);
    ior__stream_deinit(stream_of(res));
    ior__free(res, size);
}

uint64_t ior__stream_discarded(const struct ior_resource *res)
{
    return stream_of(res)->discarded;
}

int ior__stream_enter(struct ior_context *cx, struct ior_resource *res, ior_id *ret_id)
{
    bool unread = ior_resource_unread(res, NULL, 0, NULL) > 0;
    uint32_t open = (res->bits & IOR__CONNECTING) ? 0u : (uint32_t)IOR__TELL_OPEN;
    res->bits = (res->bits & IOR__KEPT_BITS) | (unread ? (uint32_t)IOR__AGAIN : 0u);
    return ior__stream_attach(cx, res, IOR__TELL_REGISTERED | open, ret_id);
}

static void call_off(struct ior_resource *res, enum ior_why why)
{
    ior__dial_call_off(res, why == IOR_TIMEOUT ? ETIMEDOUT : 0);
}

static void let_go(struct ior_resource *res)
{
    (void)res; /* a socket is all there is */
}

static const struct ior__kind kind = {
    .told = true,
    .enter = ior__stream_enter,
    .call_off = call_off,
    .discarded = ior__stream_discarded,
    .let_go = let_go,
};

const struct ior_resource_ops ior__stream_ops = {
    .struct_size = sizeof(struct ior_resource_ops),
    .name = "stream",
    .interests = interests,
    .handle_io = handle_io,
    .write = write_some,
    .destroy = destroy,
    .reserved = &kind,
};
