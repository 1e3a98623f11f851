/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Terminals and serial devices: streams (stream.c does the reading and the writing) that also hold the settings that
 * were found, and those that were asked for.
 *
 * The settings are put back in one place, ior__serial_restore, which each way out passes before END: it does nothing the
 * second time, nor where somebody else has closed the fd, nor in a forked child (ior__serial_forget).
 */
#include <errno.h>
#include <string.h>

#include "kinds.h"
#include "output.h"
#include "tty.h"

#define DRAIN_LOOK_NS (10 * IOR_NS_PER_MS) /* how often a closing device is asked whether all has left it */

struct serial {
    struct ior__stream stream;
    struct ior_os_tty found, asked;
    bool exclusive, locked; /* asked for; in force */
    bool blocking;          /* it was when it came */
    bool in_force;
};

/* Behind it lies the memory of its service, as behind a stream. */
#define SERIAL_BYTES ((sizeof(struct serial) + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1))

static struct serial *serial_of(const struct ior_resource *res)
{
    return (struct serial *)(uintptr_t)res;
}

/* ---- settings ---- */

static int set(const struct ior_os *os, int fd, const struct ior_os_tty *settings)
{
    int err;
    do {
        err = os->tty_set(os->arg, fd, settings);
    } while (err == -EINTR);
    return err;
}

static void put_back(struct serial *serial, const struct ior_os *os, int fd)
{
    int err = set(os, fd, &serial->found);
    if (serial->locked)
        (void)os->tty_ask(os->arg, fd, IOR_TTY_SHARED);
    serial->locked = false;
    if (serial->blocking)
        (void)os->set_nonblock(os->arg, fd, false);
    if (err < 0 && err != -EIO) /* EIO: it was hung up, and has no settings any more */
        ior__log(IOR_LOG_WARN, "the settings of terminal fd %d cannot be put back: %s", fd, ior_strerror(err));
}

static int apply(struct ior_resource *res)
{
    struct serial *serial = serial_of(res);
    const struct ior_os *os = serial->stream.opts->os;
    struct ior_os_tty now;
    int was = os->set_nonblock(os->arg, res->fd, true);
    int err = was < 0 ? was : set(os, res->fd, &serial->asked);
    serial->blocking = was == 0;
    if (err == 0)
        err = os->tty_get(os->arg, res->fd, &now);
    if (err == 0 && !ior__tty_took(&now, &serial->asked))
        err = -EINVAL;
    if (err == 0 && serial->exclusive)
        err = os->tty_ask(os->arg, res->fd, IOR_TTY_EXCLUSIVE);
    serial->locked = serial->exclusive && err == 0;
    if (err < 0) {
        if (was >= 0)
            put_back(serial, os, res->fd);
        return err;
    }
    serial->in_force = true;
    return 0;
}

void ior__serial_restore(struct ior_resource *res, bool drop_queued)
{
    struct serial *serial = serial_of(res);
    const struct ior_os *os = serial->stream.opts->os;
    if (!serial->in_force)
        return;
    serial->in_force = false;
    if (res->fd < 0 || (res->bits & IOR__LOST))
        return;
    if (drop_queued)
        (void)os->tty_ask(os->arg, res->fd, IOR_TTY_DROP_QUEUED); /* or close(2) would wait for it, for half a minute */
    put_back(serial, os, res->fd);
}

/* What an orderly end left in the device goes on; what a deadline or an error found there would hold up close(2). */
static void leave(struct ior_resource *res)
{
    bool orderly = res->why == IOR_ASKED || res->why == IOR_EOF;
    ior__serial_restore(res, !orderly || ior__output_left(res) > 0);
}

static void let_go(struct ior_resource *res)
{
    serial_of(res)->in_force = false;
}

bool ior__serial_sends(struct ior_resource *res)
{
    struct ior_runtime *rt = res->cx->rt;
    if (!serial_of(res)->in_force || rt->os->tty_ask(rt->os->arg, res->fd, IOR_TTY_QUEUED) <= 0)
        return false;
    if (res->bits & IOR__BACKOFF)
        return true;
    if (ior__deadline_set(res, IOR__DEADLINE_BACKOFF, ior__deadline_after(rt, DRAIN_LOOK_NS)) < 0)
        return false;
    res->bits |= IOR__BACKOFF;
    return true;
}

/* ---- the kind: a stream's ---- */

static unsigned interests(struct ior_resource *res)
{
    return ior__stream_interest(res);
}

static int handle_io(struct ior_resource *res, unsigned io, struct ior_emit *emit)
{
    return ior__stream_ops.handle_io(res, io, emit);
}

static ssize_t write_some(struct ior_resource *res, const struct iovec *iov, int n)
{
    return ior__stream_ops.write(res, iov, n);
}

static void destroy(struct ior_resource *res)
{
    struct serial *serial = serial_of(res);
    size_t size = SERIAL_BYTES + serial->stream.opts->user_size;
    ior__serial_restore(res, false);
    ior__stream_deinit(&serial->stream);
    ior__free(serial, size);
}

static int enter(struct ior_context *cx, struct ior_resource *res, ior_id *ret_id)
{
    int err = apply(res);
    if (err == 0)
        err = ior__stream_enter(cx, res, ret_id);
    if (err < 0)
        ior__serial_restore(res, false);
    return err;
}

static const struct ior__kind kind = {
    .told = true,
    .enter = enter,
    .leave = leave,
    .discarded = ior__stream_discarded,
    .let_go = let_go,
};

const struct ior_resource_ops ior__serial_ops = {
    .struct_size = sizeof(struct ior_resource_ops),
    .name = "serial",
    .interests = interests,
    .handle_io = handle_io,
    .write = write_some,
    .destroy = destroy,
    .reserved = &kind,
};

/* ---- requests ---- */

static bool valid(const struct ior_serial_options *in)
{
    return (in->data_bits == 0 || (in->data_bits >= 5 && in->data_bits <= 8)) && in->stop_bits <= 2 &&
           (unsigned)in->parity <= IOR_PARITY_SPACE && (unsigned)in->flow <= IOR_FLOW_XON_XOFF &&
           in->speed <= INT32_MAX && !in->stream.receive_fds;
}

/* Checks all that is no matter of the device. */
static int begin(struct ior_context *cx, const struct ior_serial_options *opts, const ior_id *ret_id,
                 struct ior_serial_options *in)
{
    int err = ior__enter(cx);
    if (err < 0)
        return err;
    if (!ret_id)
        return -EINVAL;
    err = ior__struct_in(in, sizeof(*in), opts, sizeof(*in));
    if (err < 0)
        return err;
    if (!valid(in))
        return -EINVAL;
    err = ior__may_register(cx);
    if (err < 0)
        return err;
    return cx->rt->os->tty_open ? 0 : -EOPNOTSUPP;
}

static struct serial *serial_new(int fd, struct ior__stream_opts *opts, uint32_t bits)
{
    struct serial *serial = ior__calloc(SERIAL_BYTES + opts->user_size);
    if (!serial)
        return NULL;
    serial->stream.opts = ior__stream_opts_ref(opts);
    serial->stream.base.ops = &ior__serial_ops;
    serial->stream.base.fd = fd;
    serial->stream.base.user = opts->user_size ? (void *)((unsigned char *)serial + SERIAL_BYTES) : opts->user;
    serial->stream.base.bits = IOR__STREAM | bits | opts->bits;
    return serial;
}

/* The fd stays the caller's on failure. */
static int attach(struct ior_context *cx, int fd, uint32_t bits, const struct ior_serial_options *in, ior_id *ret_id)
{
    const struct ior_os *os = cx->rt->os;
    struct ior_os_tty found;
    struct ior__stream_opts *opts;
    int err = os->tty_get(os->arg, fd, &found);
    if (err < 0)
        return err;
    err = ior__stream_opts_new(cx->rt, in->stream.struct_size ? &in->stream : NULL, &opts);
    if (err < 0)
        return err;
    struct serial *serial = serial_new(fd, opts, bits);
    ior__stream_opts_unref(opts);
    if (!serial)
        return -ENOMEM;
    struct ior_resource *res = &serial->stream.base;
    serial->found = serial->asked = found;
    serial->exclusive = in->exclusive;
    err = ior__tty_configure(&serial->asked, in);
    if (err == 0)
        err = apply(res);
    if (err == 0)
        err = ior__stream_attach(cx, res, IOR__TELL_REGISTERED | IOR__TELL_OPEN, ret_id);
    if (err < 0) {
        ior__serial_restore(res, false);
        res->fd = -1;
        destroy(res);
    }
    return err;
}

int ior_serial_open(struct ior_context *cx, const char *path, const struct ior_serial_options *opts, ior_id *ret_id)
{
    struct ior_serial_options in;
    int err = begin(cx, opts, ret_id, &in);
    if (err < 0)
        return err;
    if (!path)
        return -EINVAL;
    const struct ior_os *os = cx->rt->os;
    int fd = os->tty_open(os->arg, path);
    if (fd < 0)
        return fd;
    err = attach(cx, fd, 0, &in, ret_id);
    if (err < 0)
        os->close(os->arg, fd);
    return err;
}

int ior_serial_adopt(struct ior_context *cx, int fd, const struct ior_serial_options *opts, ior_id *ret_id)
{
    struct ior_serial_options in;
    int err = begin(cx, opts, ret_id, &in);
    if (err < 0)
        return err;
    const struct ior_os *os = cx->rt->os;
    int what = fd < 0 ? -EBADF : os->fd_kind(os->arg, fd);
    if (what < 0)
        return what;
    if ((what & IOR_FD_KIND_MASK) != IOR_FD_OTHER)
        return -ENOTTY;
    uint32_t bits = (what & IOR_FD_NO_READ) ? (uint32_t)IOR__NO_READ : 0u;
    bits |= (what & IOR_FD_NO_WRITE) ? (uint32_t)IOR__NO_WRITE : 0u;
    return attach(cx, fd, bits, &in, ret_id);
}
