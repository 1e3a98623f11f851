/* SPDX-License-Identifier: Apache-2.0 */
/* The other end of a Unix stream that fds are passed over: a plain socket, and files that can be told apart. */
#ifndef TESTS_SUPPORT_PASSING_H
#define TESTS_SUPPORT_PASSING_H

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <ioreactor/fds.h>

#include "check.h"
#include "net.h"

/* musl's CMSG_NXTHDR mixes signed and unsigned. */
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wsign-compare"

enum { MOST = IOR_FDS_MAX };

/* All that a peer has got. */
struct got {
    unsigned char bytes[1 << 20];
    size_t len;
    int fds[2 * MOST];
    size_t from[2 * MOST], to[2 * MOST]; /* of the bytes of the call that brought each */
    size_t n;
};

static struct got got;

static inline void forget(void)
{
    for (size_t i = 0; i < got.n; i++)
        close(got.fds[i]);
    got.len = got.n = 0;
}

/* Reads what is there. False: the end, or nothing now. */
static inline bool hear(int peer)
{
    union {
        struct cmsghdr align;
        unsigned char bytes[CMSG_SPACE(sizeof(int) * MOST)];
    } control;
    struct iovec iov = {.iov_base = got.bytes + got.len, .iov_len = sizeof(got.bytes) - got.len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(peer, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n <= 0)
        return false;
    assert_int_equal(msg.msg_flags & MSG_CTRUNC, 0);
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&msg); header != NULL; header = CMSG_NXTHDR(&msg, header)) {
        size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        assert_int_equal(header->cmsg_type, SCM_RIGHTS);
        memcpy(got.fds + got.n, CMSG_DATA(header), count * sizeof(int));
        for (size_t i = got.n; i < got.n + count; i++) {
            got.from[i] = got.len;
            got.to[i] = got.len + (size_t)n;
        }
        got.n += count;
    }
    got.len += (size_t)n;
    return true;
}

/* Sends bytes with fds to the service. */
static inline void tell(int peer, const char *text, const int *fds, size_t n)
{
    union {
        struct cmsghdr align;
        unsigned char bytes[CMSG_SPACE(sizeof(int) * MOST)];
    } control;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    memset(&control, 0, sizeof(control));
    msg.msg_control = &control;
    msg.msg_controllen = (__typeof__(msg.msg_controllen))CMSG_SPACE(sizeof(int) * n);
    struct cmsghdr *header = CMSG_FIRSTHDR(&msg);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = (__typeof__(header->cmsg_len))CMSG_LEN(sizeof(int) * n);
    memcpy(CMSG_DATA(header), fds, sizeof(int) * n);
    assert_int_equal(sendmsg(peer, &msg, 0), strlen(text));
}

static inline bool same_file(int a, int b)
{
    struct stat x, y;
    assert_int_equal(fstat(a, &x), 0);
    assert_int_equal(fstat(b, &y), 0);
    return x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* `n` different files. */
static inline void make(int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        fds[i] = net_sparse_file(i + 1, 0, 1);
}

static inline void done_with(int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
}

#endif
