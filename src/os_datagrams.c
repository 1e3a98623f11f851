/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams behind struct ior_os: several in one system call where there is one (recvmmsg(2), sendmmsg(2): Linux, 2.6.33
 * and 3.0), one by one elsewhere; and the queue of errors of a socket.
 *
 * Both forms answer how many went before the first that failed. Its error is lost in the kernel's form, and asked for
 * again by the next call, which meets it first; an error that is told only once is in the socket's queue of errors.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#if defined(__APPLE__) && !defined(__APPLE_USE_RFC_3542)
#define __APPLE_USE_RFC_3542
#endif
#include "os_datagrams.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#if defined(__linux__)
#include <linux/errqueue.h>
#endif

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

/* Room for either kind of address, and for the kernel's word on an error. */
#define CONTROL_BYTES 256

struct control {
    _Alignas(struct cmsghdr) unsigned char bytes[CONTROL_BYTES];
};

/* ---- where it came to, or is to leave from ---- */

#if defined(IP_PKTINFO)
static void local_v4(struct ior_os_datagram *datagram, const struct cmsghdr *cmsg)
{
    struct in_pktinfo info;
    struct sockaddr_in in = {.sin_family = AF_INET};
    memcpy(&info, CMSG_DATA(cmsg), sizeof(info));
    in.sin_addr = info.ipi_addr;
    if (datagram->local_len < sizeof(in))
        return;
    memcpy(datagram->local, &in, sizeof(in));
    datagram->local_len = sizeof(in);
    datagram->interface = (uint32_t)info.ipi_ifindex;
}
#endif

static void local_v6(struct ior_os_datagram *datagram, const struct cmsghdr *cmsg)
{
    struct in6_pktinfo info;
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    memcpy(&info, CMSG_DATA(cmsg), sizeof(info));
    in6.sin6_addr = info.ipi6_addr;
    if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
        in6.sin6_scope_id = (uint32_t)info.ipi6_ifindex;
    if (datagram->local_len < sizeof(in6))
        return;
    memcpy(datagram->local, &in6, sizeof(in6));
    datagram->local_len = sizeof(in6);
    datagram->interface = (uint32_t)info.ipi6_ifindex;
}

static void read_local(struct ior_os_datagram *datagram, struct msghdr *msg)
{
    uint32_t room = datagram->local_len;
    bool found = false;
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg && !found; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        found = true;
#if defined(IP_PKTINFO)
        if (cmsg->cmsg_level == IPPROTO_IP && cmsg->cmsg_type == IP_PKTINFO)
            local_v4(datagram, cmsg);
        else
#endif
            if (cmsg->cmsg_level == IPPROTO_IPV6 && cmsg->cmsg_type == IPV6_PKTINFO)
            local_v6(datagram, cmsg);
        else
            found = false;
    }
    if (!found || room == 0)
        datagram->local_len = 0;
}

/* Asks that the datagram leaves from its `local`. */
static int write_local(const struct ior_os_datagram *datagram, struct msghdr *msg, struct control *control)
{
    struct sockaddr sa;
    memset(control, 0, sizeof(*control));
    memcpy(&sa, datagram->local, sizeof(sa));
    msg->msg_control = control->bytes;
    if (sa.sa_family == AF_INET6) {
        struct in6_pktinfo info = {0};
        struct sockaddr_in6 in6;
        memcpy(&in6, datagram->local, sizeof(in6));
        info.ipi6_addr = in6.sin6_addr;
        info.ipi6_ifindex = (__typeof__(info.ipi6_ifindex))in6.sin6_scope_id;
        msg->msg_controllen = CMSG_SPACE(sizeof(info));
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);
        cmsg->cmsg_level = IPPROTO_IPV6;
        cmsg->cmsg_type = IPV6_PKTINFO;
        cmsg->cmsg_len = CMSG_LEN(sizeof(info));
        memcpy(CMSG_DATA(cmsg), &info, sizeof(info));
        return 0;
    }
#if defined(IP_PKTINFO)
    struct in_pktinfo info = {0};
    struct sockaddr_in in;
    memcpy(&in, datagram->local, sizeof(in));
    info.ipi_spec_dst = in.sin_addr;
    msg->msg_controllen = CMSG_SPACE(sizeof(info));
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);
    cmsg->cmsg_level = IPPROTO_IP;
    cmsg->cmsg_type = IP_PKTINFO;
    cmsg->cmsg_len = CMSG_LEN(sizeof(info));
    memcpy(CMSG_DATA(cmsg), &info, sizeof(info));
    return 0;
#else
    msg->msg_control = NULL;
    return -EOPNOTSUPP;
#endif
}

/* ---- receiving ---- */

static void ask(struct ior_os_datagram *datagram, struct msghdr *msg, struct iovec *iov, struct control *control)
{
    *iov = (struct iovec){.iov_base = datagram->bytes, .iov_len = datagram->len};
    memset(msg, 0, sizeof(*msg));
    msg->msg_iov = iov;
    msg->msg_iovlen = 1;
    msg->msg_name = datagram->peer;
    msg->msg_namelen = datagram->peer ? (socklen_t)datagram->peer_len : 0;
    if (datagram->local) {
        msg->msg_control = control->bytes;
        msg->msg_controllen = sizeof(*control);
    }
}

static void received(struct ior_os_datagram *datagram, struct msghdr *msg, size_t len)
{
    uint32_t room = datagram->peer_len;
    datagram->truncated = (msg->msg_flags & MSG_TRUNC) != 0 || len > datagram->len;
    datagram->len = len < datagram->len ? len : datagram->len;
    datagram->peer_len = (uint32_t)msg->msg_namelen < room ? (uint32_t)msg->msg_namelen : room;
    datagram->interface = 0;
    if (datagram->local)
        read_local(datagram, msg);
}

static ssize_t recv_one(int fd, struct ior_os_datagram *datagram, int flags)
{
    struct msghdr msg;
    struct iovec iov;
    struct control control;
    ask(datagram, &msg, &iov, &control);
    ssize_t len = recvmsg(fd, &msg, flags);
    if (len < 0)
        return -errno;
    received(datagram, &msg, (size_t)len);
    return len;
}

int ior__os_recv_each(int fd, struct ior_os_datagram *datagrams, int n)
{
    int done = 0;
    ssize_t len = 0;
    for (; done < n; done++) {
        len = recv_one(fd, &datagrams[done], 0);
        if (len < 0)
            break;
    }
    return done > 0 ? done : (int)len;
}

int ior__os_recv_datagrams(void *arg, int fd, struct ior_os_datagram *datagrams, int n)
{
    (void)arg;
    if (n <= 0)
        return -EINVAL;
    n = n < IOR_OS_DATAGRAMS ? n : IOR_OS_DATAGRAMS;
#if defined(__linux__)
    struct mmsghdr msgs[IOR_OS_DATAGRAMS];
    struct iovec iov[IOR_OS_DATAGRAMS];
    struct control control[IOR_OS_DATAGRAMS];
    for (int i = 0; i < n; i++) {
        ask(&datagrams[i], &msgs[i].msg_hdr, &iov[i], &control[i]);
        msgs[i].msg_len = 0;
    }
    int got = recvmmsg(fd, msgs, (unsigned)n, MSG_DONTWAIT, NULL);
    if (got < 0 && errno != ENOSYS)
        return -errno;
    if (got >= 0) {
        for (int i = 0; i < got; i++)
            received(&datagrams[i], &msgs[i].msg_hdr, msgs[i].msg_len);
        return got > 0 ? got : -EAGAIN;
    }
#endif
    return ior__os_recv_each(fd, datagrams, n);
}

/* ---- sending ---- */

static int prepare(const struct ior_os_datagram *datagram, struct msghdr *msg, struct iovec *iov,
                   struct control *control)
{
    *iov = (struct iovec){.iov_base = datagram->bytes, .iov_len = datagram->len};
    memset(msg, 0, sizeof(*msg));
    msg->msg_iov = iov;
    msg->msg_iovlen = 1;
    msg->msg_name = datagram->peer;
    msg->msg_namelen = datagram->peer ? (socklen_t)datagram->peer_len : 0;
    return datagram->local ? write_local(datagram, msg, control) : 0;
}

int ior__os_send_each(int fd, const struct ior_os_datagram *datagrams, int n)
{
    int done = 0, err = 0;
    for (; done < n; done++) {
        struct msghdr msg;
        struct iovec iov;
        struct control control;
        err = prepare(&datagrams[done], &msg, &iov, &control);
        if (err == 0 && sendmsg(fd, &msg, MSG_NOSIGNAL) < 0)
            err = -errno;
        if (err < 0)
            break;
    }
    return done > 0 ? done : err;
}

int ior__os_send_datagrams(void *arg, int fd, const struct ior_os_datagram *datagrams, int n)
{
    (void)arg;
    if (n <= 0)
        return -EINVAL;
    n = n < IOR_OS_DATAGRAMS ? n : IOR_OS_DATAGRAMS;
#if defined(__linux__)
    struct mmsghdr msgs[IOR_OS_DATAGRAMS];
    struct iovec iov[IOR_OS_DATAGRAMS];
    struct control control[IOR_OS_DATAGRAMS];
    if (n == 1)
        return ior__os_send_each(fd, datagrams, n);
    for (int i = 0; i < n; i++) {
        (void)prepare(&datagrams[i], &msgs[i].msg_hdr, &iov[i], &control[i]); /* Linux has both families' ways */
        msgs[i].msg_len = 0;
    }
    int sent = sendmmsg(fd, msgs, (unsigned)n, MSG_NOSIGNAL);
    if (sent > 0)
        return sent;
    if (sent == 0)
        return -EAGAIN;
    if (errno != ENOSYS)
        return -errno;
#endif
    return ior__os_send_each(fd, datagrams, n);
}

/* ---- errors ---- */

int ior__os_recv_error(void *arg, int fd, struct ior_os_datagram *datagram)
{
    (void)arg;
#if defined(__linux__)
    struct msghdr msg;
    struct iovec iov;
    struct control control;
    void *local = datagram->local;
    datagram->local = &control; /* so that there is room for what the kernel says */
    ask(datagram, &msg, &iov, &control);
    datagram->local = local;
    ssize_t len = recvmsg(fd, &msg, MSG_ERRQUEUE);
    if (len < 0)
        return -errno;
    datagram->local = NULL;
    received(datagram, &msg, (size_t)len);
    datagram->local = local;
    datagram->local_len = 0;
    datagram->error = 0;
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
        bool ours = (cmsg->cmsg_level == IPPROTO_IP && cmsg->cmsg_type == IP_RECVERR) ||
                    (cmsg->cmsg_level == IPPROTO_IPV6 && cmsg->cmsg_type == IPV6_RECVERR);
        struct sock_extended_err err;
        if (!ours)
            continue;
        memcpy(&err, CMSG_DATA(cmsg), sizeof(err));
        /* What this host found out itself was the answer of the send already. */
        if (err.ee_origin == SO_EE_ORIGIN_ICMP || err.ee_origin == SO_EE_ORIGIN_ICMP6)
            datagram->error = (int32_t)err.ee_errno;
    }
    return 0;
#else
    (void)fd;
    (void)datagram;
    return -ENOSYS;
#endif
}
