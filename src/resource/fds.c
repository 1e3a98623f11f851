/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fds over Unix streams, and the credentials of who is there.
 *
 * What is sent are pieces of the queue of output, with dups: output.c writes the pieces in their order, those with fds by
 * ior__fds_write.
 *
 * The kernel installs fds only in a call that has room for them. A stream without receive_fds is read without such room,
 * so what is sent to it is thrown away by the kernel and costs nothing. With it, the stream is read by recvmsg(2), by the
 * runtime itself on each engine. What was received lives until the callback of FDS returns: what is not taken is closed.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* struct ucred */
#endif
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#if defined(__APPLE__) || defined(__FreeBSD__)
#include <sys/ucred.h>
#include <sys/un.h>
#endif

#include "kinds.h"
#include "output.h"

#define TAKEN (-1)

/* 0 for a Unix stream, -EOPNOTSUPP for others, or why the system does not tell. */
static int must_be_unix(const struct ior_resource *res)
{
    const struct ior_os *os = res->cx->rt->os;
    struct ior_addr addr;
    struct sockaddr family;
    if ((res->bits & (IOR__STREAM | IOR__SOCKET)) != (IOR__STREAM | IOR__SOCKET))
        return -EOPNOTSUPP;
    int err = os->getsockname(os->arg, res->fd, &addr);
    if (err < 0)
        return err;
    if (addr.len < sizeof(sa_family_t))
        return -EOPNOTSUPP;
    memcpy(&family, addr.raw, sizeof(family));
    return family.sa_family == AF_UNIX ? 0 : -EOPNOTSUPP;
}

/* ---- sending ---- */

/* A piece with a copy of the bytes and room for the fds behind them. NULL: out of memory. */
static struct ior__piece *piece_with_fds(const void *bytes, size_t len, unsigned n)
{
    size_t capacity = ((len + sizeof(int) - 1) & ~(sizeof(int) - 1)) + n * sizeof(int);
    struct ior__piece *piece = ior__alloc(sizeof(*piece) + capacity);
    if (!piece)
        return NULL;
    *piece = (struct ior__piece){.bytes = (unsigned char *)(piece + 1),
                                 .end = len,
                                 .capacity = (uint32_t)capacity,
                                 .cost = IOR__PIECE_COST + n * IOR__FD_COST,
                                 .kind = IOR__PIECE_FDS,
                                 .fds = (uint8_t)n};
    memcpy(piece->bytes, bytes, len);
    return piece;
}

/* All of them, or none. */
static int dup_fds(const struct ior_os *os, int *own, const int *fds, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        own[i] = os->dup(os->arg, fds[i]);
        if (own[i] >= 0)
            continue;
        int err = own[i];
        while (i-- > 0)
            os->close(os->arg, own[i]);
        return err;
    }
    return 0;
}

static int fds_refused(const struct ior_resource *res, const void *bytes, size_t len, const int *fds, unsigned n)
{
    int err = res->cx->rt->os->send_fds ? must_be_unix(res) : -EOPNOTSUPP;
    if (err < 0)
        return err;
    if (!bytes || len == 0 || !fds || n == 0 || n > IOR_FDS_MAX)
        return -EINVAL;
    for (unsigned i = 0; i < n; i++) {
        if (fds[i] < 0)
            return -EBADF;
    }
    return len > INT32_MAX ? -EMSGSIZE : 0;
}

int ior_send_fds(struct ior_context *cx, ior_id id, const void *bytes, size_t len, const int *fds, unsigned n)
{
    struct ior_resource *res;
    int err = ior__send_find(cx, id, &res);
    if (err < 0)
        return err;
    err = fds_refused(res, bytes, len, fds, n);
    if (err < 0)
        return err;
    size_t most = sizeof(struct ior__piece) + len + (n + 1) * sizeof(int);
    err = ior__send_admit(res, len, IOR__PIECE_COST + n * IOR__FD_COST, most);
    if (err < 0)
        return err;
    struct ior__piece *piece = piece_with_fds(bytes, len, n);
    if (!piece)
        return -ENOMEM;
    size_t size = sizeof(*piece) + piece->capacity;
    const struct ior_os *os = cx->rt->os;
    err = dup_fds(os, ior__piece_fds(piece), fds, n);
    struct ior__output *out = err < 0 ? NULL : ior__send_queue(res);
    if (!out) {
        for (unsigned i = 0; err == 0 && i < n; i++)
            os->close(os->arg, ior__piece_fds(piece)[i]);
        ior__free(piece, size);
        return err < 0 ? err : -ENOMEM;
    }
    out->memory += size;
    cx->rt->output_bytes += size;
    out->cost += piece->cost;
    ior__send_append(out, piece);
    return ior__send_taken(res, len, len);
}

/* Its fds are sent, or will never be: what is left of the piece are bytes. */
void ior__fds_close(struct ior__output *out, struct ior__piece *piece, const struct ior_os *os)
{
    for (unsigned i = 0; i < piece->fds; i++)
        os->close(os->arg, ior__piece_fds(piece)[i]);
    uint32_t cost = piece->fds * IOR__FD_COST;
    out->cost -= cost;
    piece->cost -= cost;
    piece->fds = 0;
    piece->kind = IOR__PIECE_COPY;
}

/*
 * Writes the piece at the front with its fds. It goes out in a call of its own, since the receiver gets
 * the fds with the first byte of a call. What the kernel took of it took all the fds along: what is left of it are bytes,
 * so that no fd goes out twice.
 */
int ior__fds_write(struct ior_resource *res)
{
    struct ior__output *out = res->output;
    struct ior__piece *piece = out->head;
    const struct ior_os *os = res->cx->rt->os;
    size_t len = (size_t)(piece->end - piece->start);
    ssize_t n;
    do {
        n = os->send_fds(os->arg, res->fd, piece->bytes + piece->start, len, ior__piece_fds(piece), piece->fds);
    } while (n == -EINTR);
    if (n <= 0)
        return (int)n;
    ior__fds_close(out, piece, os);
    ior__output_consume(res, (uint64_t)n);
    return (size_t)n == len;
}

/* ---- receiving ---- */

ssize_t ior__fds_recv(struct ior_resource *res, void *bytes, size_t len, struct ior_os_fds *ret)
{
    const struct ior_os *os = res->cx->rt->os;
    ssize_t n;
    do {
        ret->count = 0;
        ret->lost = false;
        n = os->recv_fds(os->arg, res->fd, bytes, len, ret);
    } while (n == -EINTR);
    return n;
}

void ior__fds_tell(struct ior_resource *res, struct ior_os_fds *fds)
{
    struct ior_runtime *rt = res->cx->rt;
    const struct ior_fds told = {.count = fds->count, .lost = fds->lost};
    struct ior_event ev = {.type = IOR_EV_FDS};
    ev.fds = &told;
    rt->offered = fds;
    ior__tell(res, &ev);
    rt->offered = NULL;
    for (uint32_t i = 0; i < fds->count; i++) {
        if (fds->fds[i] != TAKEN)
            rt->os->close(rt->os->arg, fds->fds[i]);
    }
}

int ior_take_fd(struct ior_context *cx, const struct ior_event *ev, unsigned index)
{
    int err = ior__enter(cx);
    if (err < 0)
        return err;
    struct ior_os_fds *offered = cx->rt->offered;
    if (!ev || ev->type != IOR_EV_FDS || !offered || index >= offered->count)
        return -EINVAL;
    int fd = offered->fds[index];
    if (fd == TAKEN)
        return -EALREADY;
    offered->fds[index] = TAKEN;
    return fd;
}

/* ---- the peer ---- */

#if defined(__linux__)
static int credentials(const struct ior_os *os, int fd, struct ior_credentials *ret)
{
    struct ucred cred = {.pid = 0};
    uint32_t len = sizeof(cred);
    int err = os->getsockopt(os->arg, fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
    if (err < 0 || len < sizeof(cred))
        return err < 0 ? err : -EIO;
    *ret = (struct ior_credentials){.pid = cred.pid, .uid = cred.uid, .gid = cred.gid};
    return 0;
}
#elif defined(__APPLE__) || defined(__FreeBSD__)
#if !defined(SOL_LOCAL)
#define SOL_LOCAL 0 /* FreeBSD */
#endif
static int credentials(const struct ior_os *os, int fd, struct ior_credentials *ret)
{
    struct xucred cred = {.cr_version = 0};
    uint32_t len = sizeof(cred);
    int err = os->getsockopt(os->arg, fd, SOL_LOCAL, LOCAL_PEERCRED, &cred, &len);
    if (err < 0 || len < sizeof(cred) || cred.cr_version != XUCRED_VERSION)
        return err < 0 ? err : -EIO;
    pid_t pid = 0;
#if defined(LOCAL_PEERPID)
    len = sizeof(pid);
    if (os->getsockopt(os->arg, fd, SOL_LOCAL, LOCAL_PEERPID, &pid, &len) < 0)
        pid = 0;
#endif
    *ret = (struct ior_credentials){.pid = pid, .uid = cred.cr_uid, .gid = cred.cr_groups[0]};
    return 0;
}
#else
static int credentials(const struct ior_os *os, int fd, struct ior_credentials *ret)
{
    (void)os;
    (void)fd;
    (void)ret;
    return -EOPNOTSUPP;
}
#endif

int ior_peer_credentials(struct ior_context *cx, ior_id id, struct ior_credentials *ret)
{
    struct ior_resource *res;
    int err = ior__find(cx, id, &res);
    if (err < 0)
        return err;
    if (!ret)
        return -EINVAL;
    if (res->bits & IOR__CONNECTING)
        return -ENOTCONN;
    err = must_be_unix(res);
    return err < 0 ? err : credentials(cx->rt->os, res->fd, ret);
}
