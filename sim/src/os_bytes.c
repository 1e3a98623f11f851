/* SPDX-License-Identifier: Apache-2.0 */
/* System calls that move bytes, as Linux answers them. */
#include "os_calls.h"

#include <string.h>

#define PIECES_MOST 1024

/* A number for bytes, for the trace: eight at a time, the same in every order of bytes. */
static uint64_t mark(uint64_t sum, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;

    for (; len >= 8; at += 8, len -= 8) {
        uint64_t word = (uint64_t)at[0] | (uint64_t)at[1] << 8 | (uint64_t)at[2] << 16 | (uint64_t)at[3] << 24 |
                        (uint64_t)at[4] << 32 | (uint64_t)at[5] << 40 | (uint64_t)at[6] << 48 | (uint64_t)at[7] << 56;
        sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        sum ^= sum >> 29;
    }
    for (; len > 0; at++, len--)
        sum = (sum ^ *at) * UINT64_C(0x100000001b3);
    return sum;
}

/* So many of the bytes that could be moved; a fault makes them fewer. */
static size_t shortened(struct call *call, size_t most)
{
    return call->short_of && most > 1 ? 1 + (size_t)ior_sim_choose(call->node->sim, most - 1) : most;
}

/* The beginning of a call on a stream. */
static int begin(struct call *call, void *arg, enum ior_sim_call kind, int fd)
{
    bool wants_socket = kind == IOR_SIM_RECV || kind == IOR_SIM_SEND;
    int err = ior__call_begin(call, arg, kind, fd);
    if (err < 0)
        return err;
    if (!call->file->nonblock)
        ior__violate(call->node->sim, IOR_SIM_BLOCKING, "%s of fd %d", ior_sim_call_name(kind), fd - IOR_SIM_FD_FIRST);
    if (call->file->kind == FILE_LISTENER)
        return wants_socket ? -ENOTCONN : -EINVAL;
    if (call->file->kind == FILE_DATAGRAM)
        return -EOPNOTSUPP; /* not simulated: the library has other calls for them */
    if (call->file->kind != FILE_STREAM)
        return wants_socket ? -ENOTSOCK : -EAGAIN;
    if (wants_socket && call->file->end->kind != END_TCP && call->file->end->kind != END_UNIX)
        return -ENOTSOCK;
    return 0;
}

/* ---- receiving ---- */

static ssize_t take(void *arg, enum ior_sim_call kind, int fd, void *bytes, size_t len)
{
    struct call call;
    int err = begin(&call, arg, kind, fd);
    call.a = len;
    if (err < 0)
        return (ssize_t)ior__call_end(&call, err);
    struct ior_sim *sim = call.node->sim;
    struct end *end = call.file->end;
    size_t most = len < end->arrived ? len : end->arrived;
    err = ior__call_fault(&call, most);
    if (err == 0)
        err = ior__end_may_take(sim, end);
    if (err <= 0)
        return (ssize_t)ior__call_end(&call, err);
    size_t n = ior__end_take(sim, end, bytes, shortened(&call, most), NULL);
    call.b = mark(0, bytes, n);
    return (ssize_t)ior__call_end(&call, (int64_t)n);
}

ssize_t ior__sim_os_recv(void *arg, int fd, void *bytes, size_t len)
{
    return take(arg, IOR_SIM_RECV, fd, bytes, len);
}

ssize_t ior__sim_os_read(void *arg, int fd, void *bytes, size_t len)
{
    return take(arg, IOR_SIM_READ, fd, bytes, len);
}

/* ---- sending ---- */

static size_t length_of(const struct iovec *iov, int n)
{
    size_t len = 0;
    for (int i = 0; i < n; i++)
        len += iov[i].iov_len;
    return len;
}

/* How many bytes may go; <= 0: the answer. */
static int64_t admit(struct call *call, uint64_t len)
{
    struct ior_sim *sim = call->node->sim;
    struct end *end = call->file->end;
    size_t room = end->state == END_OPEN && end->kind != END_PIPE_READER ? ior__end_room(sim, end) : 0;
    size_t most = len < room ? (size_t)len : room;

    if (end->fin_sent && len > 0)
        ior__violate(sim, IOR_SIM_SEND_AFTER_SHUT, "%s of fd %d", ior_sim_call_name(call->kind),
                     call->fd - IOR_SIM_FD_FIRST);
    int err = ior__call_fault(call, most);
    if (err == 0)
        err = ior__end_may_send(sim, end);
    if (err == -EAGAIN && len == 0)
        return 0;
    return err < 0 ? err : (int64_t)shortened(call, most);
}

static ssize_t put(void *arg, enum ior_sim_call kind, int fd, const struct iovec *iov, int n)
{
    struct call call;
    int err = begin(&call, arg, kind, fd);
    if (err == 0 && (n < 0 || n > PIECES_MOST))
        err = kind == IOR_SIM_SEND ? -EMSGSIZE : -EINVAL;
    call.a = err < 0 ? 0 : length_of(iov, n);
    if (err < 0)
        return (ssize_t)ior__call_end(&call, err);
    struct end *end = call.file->end;
    int64_t sent = admit(&call, call.a);
    size_t left = sent > 0 ? (size_t)sent : 0;
    for (int i = 0; left > 0; i++) {
        size_t part = iov[i].iov_len < left ? iov[i].iov_len : left;
        ior__end_put(call.node->sim, end, iov[i].iov_base, part);
        call.b = mark(call.b, iov[i].iov_base, part);
        left -= part;
    }
    if (sent > 0)
        ior__end_sent(call.node->sim, end, (size_t)sent);
    return (ssize_t)ior__call_end(&call, sent);
}

ssize_t ior__sim_os_send(void *arg, int fd, const struct iovec *iov, int n)
{
    return put(arg, IOR_SIM_SEND, fd, iov, n);
}

ssize_t ior__sim_os_write(void *arg, int fd, const struct iovec *iov, int n)
{
    return put(arg, IOR_SIM_WRITE, fd, iov, n);
}

/* ---- files ---- */

/* A regular file of the host, or NULL. */
static const struct blob *blob_of(const struct node *node, int fd)
{
    const struct fd *at = ior__fd_at(node->sim, fd);
    bool is = at && at->state == FD_OPEN && at->host == node->host && at->file->kind == FILE_REGULAR;
    return is ? at->file->of.blob : NULL;
}

static uint64_t left_of(const struct blob *blob, uint64_t offset, size_t len)
{
    uint64_t left = offset < blob->len ? blob->len - offset : 0;
    return left < len ? left : len;
}

ssize_t ior__sim_os_sendfile(void *arg, int out, int in, uint64_t offset, size_t len)
{
    struct call call;
    int err = begin(&call, arg, IOR_SIM_SENDFILE, out);
    const struct blob *blob = blob_of(arg, in);
    call.a = len;
    call.b = offset;
    if (err == 0 && !blob)
        err = -EBADF;
    if (err < 0)
        return (ssize_t)ior__call_end(&call, err);
    uint64_t left = left_of(blob, offset, len);
    if (left == 0)
        return (ssize_t)ior__call_end(&call, 0);
    int64_t sent = admit(&call, left);
    if (sent > 0) {
        ior__end_put(call.node->sim, call.file->end, blob->bytes + offset, (size_t)sent);
        ior__end_sent(call.node->sim, call.file->end, (size_t)sent);
    }
    return (ssize_t)ior__call_end(&call, sent);
}

ssize_t ior__sim_os_pread(void *arg, int fd, void *bytes, size_t len, uint64_t offset)
{
    struct call call;
    int err = ior__call_begin(&call, arg, IOR_SIM_PREAD, fd);
    const struct blob *blob = blob_of(arg, fd);
    call.a = len;
    call.b = offset;
    if (err == 0 && !blob)
        err = -ESPIPE;
    uint64_t left = err == 0 ? left_of(blob, offset, len) : 0;
    if (err == 0)
        err = ior__call_fault(&call, left);
    if (err < 0)
        return (ssize_t)ior__call_end(&call, err);
    size_t n = shortened(&call, (size_t)left);
    memcpy(bytes, blob->bytes + (n > 0 ? offset : 0), n);
    return (ssize_t)ior__call_end(&call, (int64_t)n);
}
