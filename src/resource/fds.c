/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fds that come over Unix streams, and the credentials of who is there. Sending them is part of the queue of output
 * (send.c, output.c).
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

#define TAKEN (-1)

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

bool ior__is_unix(const struct ior_resource *res)
{
    const struct ior_os *os = res->cx->rt->os;
    struct ior_addr addr;
    struct sockaddr family;
    if ((res->bits & (IOR__STREAM | IOR__SOCKET)) != (IOR__STREAM | IOR__SOCKET) ||
        os->getsockname(os->arg, res->fd, &addr) < 0 || addr.len < sizeof(sa_family_t))
        return false;
    memcpy(&family, addr.raw, sizeof(family));
    return family.sa_family == AF_UNIX;
}

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
    return ior__is_unix(res) ? credentials(cx->rt->os, res->fd, ret) : -EOPNOTSUPP;
}
