/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fds over Unix sockets, unix(7). The kernel installs what was sent when the message is received, as far as the process
 * has room; of what it could not install it says only that there was more (MSG_CTRUNC). Each fd that it did install is
 * ours to close from that moment on, whatever kind of control message it came in.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cmsg.h"
#include "engine/engine.h"
#include "os_kinds.h"

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* macOS: SO_NOSIGPIPE is set on each socket instead. */
#endif
#if defined(__linux__) && !defined(SCM_PIDFD)
#define SCM_PIDFD 4 /* Linux 6.5 */
#endif

/* One message with the most fds, and what else may come where somebody asked the socket for it. */
union control {
    struct cmsghdr align;
    unsigned char bytes[CMSG_SPACE(sizeof(int) * IOR_FDS_MAX) + 256];
};

/* musl refuses more than 1,024 bytes of control messages, 252 fds; its struct is the kernel's. */
static ssize_t send_message(int fd, const struct msghdr *msg)
{
#if defined(__linux__) && !defined(__GLIBC__) && defined(SYS_sendmsg)
    return (ssize_t)syscall(SYS_sendmsg, fd, msg, MSG_NOSIGNAL);
#else
    return sendmsg(fd, msg, MSG_NOSIGNAL);
#endif
}

ssize_t ior__os_send_fds(void *arg, int fd, const void *bytes, size_t len, const int *fds, unsigned n)
{
    union control control;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes};

    (void)arg;
    if (n == 0 || n > IOR_FDS_MAX)
        return -EINVAL;
    memset(&control, 0, sizeof(control));
    msg.msg_controllen = (__typeof__(msg.msg_controllen))CMSG_SPACE(sizeof(int) * n);
    struct cmsghdr *header = CMSG_FIRSTHDR(&msg);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = (__typeof__(header->cmsg_len))CMSG_LEN(sizeof(int) * n);
    memcpy(CMSG_DATA(header), fds, sizeof(int) * n);
    ssize_t sent = send_message(fd, &msg);
    return sent < 0 ? -errno : sent;
}

/* An fd that was installed: into the list, above stdio. */
static void keep(struct ior_os_fds *ret, int fd)
{
#if !defined(MSG_CMSG_CLOEXEC)
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
#endif
    fd = ior__above_stdio(fd);
    if (fd >= 0 && ret->count < IOR_FDS_MAX) {
        ret->fds[ret->count++] = fd;
        return;
    }
    if (fd >= 0)
        close(fd);
    ret->lost = true;
}

static void take(struct ior_os_fds *ret, const struct cmsghdr *header)
{
    const unsigned char *data = CMSG_DATA((struct cmsghdr *)(uintptr_t)header);
    size_t len = (size_t)header->cmsg_len - (size_t)(data - (const unsigned char *)header);
    bool rights = header->cmsg_type == SCM_RIGHTS;
#if defined(SCM_PIDFD)
    rights = rights || header->cmsg_type == SCM_PIDFD;
#endif
    if (header->cmsg_level != SOL_SOCKET || !rights)
        return;
    for (size_t at = 0; at + sizeof(int) <= len; at += sizeof(int)) {
        int fd;
        memcpy(&fd, data + at, sizeof(fd));
        if (header->cmsg_type == SCM_RIGHTS)
            keep(ret, fd);
        else if (fd >= 0)
            close(fd); /* SO_PASSPIDFD, which nobody here asked for */
    }
}

ssize_t ior__os_recv_fds(void *arg, int fd, void *bytes, size_t len, struct ior_os_fds *ret)
{
    union control control;
    struct iovec iov = {.iov_base = bytes, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes};
    int flags = 0;

    (void)arg;
    ret->count = 0;
    ret->lost = false;
    msg.msg_controllen = (__typeof__(msg.msg_controllen))sizeof(control.bytes);
#if defined(MSG_CMSG_CLOEXEC)
    flags = MSG_CMSG_CLOEXEC;
#endif
    ssize_t n = recvmsg(fd, &msg, flags);
    if (n < 0)
        return -errno;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&msg); header; header = ior__cmsg_next(&msg, header))
        take(ret, header);
    if (msg.msg_flags & MSG_CTRUNC)
        ret->lost = true;
    return n;
}
