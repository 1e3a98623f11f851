/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The waker of the real engines: an eventfd, or, where there is none, a pair of sockets. Not a pipe: a write to a pipe
 * can raise SIGPIPE (where somebody closed our fds) and has no flag against it.
 *
 * Invariants: both ends are non-blocking, close-on-exec and above stdio; after a wake the fd stays readable until it
 * is drained; a drain never swallows a wake that came after it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/eventfd.h>
#endif

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

int ior__above_stdio(int fd)
{
    if (fd < 0)
        return -errno;
    if (fd > STDERR_FILENO)
        return fd;
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int err = errno;
    close(fd);
    return moved < 0 ? -err : moved;
}

static int open_eventfd(struct ior__waker *waker)
{
#if defined(__linux__)
    int fd = ior__above_stdio(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));

    if (fd < 0)
        return fd;
    waker->read_fd = fd;
    waker->write_fd = fd;
    return 0;
#else
    (void)waker;
    return -ENOSYS;
#endif
}

static int prepare_end(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
#if defined(SO_NOSIGPIPE)
    int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on)) < 0)
        return -errno;
#endif
    return 0;
}

static int open_pair(struct ior__waker *waker)
{
    int ends[2];
    int type = SOCK_STREAM;

#if defined(SOCK_CLOEXEC)
    type |= SOCK_CLOEXEC;
#endif
    if (socketpair(AF_UNIX, type, 0, ends) < 0)
        return -errno;
    ends[0] = ior__above_stdio(ends[0]);
    ends[1] = ior__above_stdio(ends[1]);
    int err = ends[0] < 0 ? ends[0] : ends[1] < 0 ? ends[1] : 0;
    if (err == 0)
        err = prepare_end(ends[0]);
    if (err == 0)
        err = prepare_end(ends[1]);
    if (err < 0) {
        for (int i = 0; i < 2; i++) {
            if (ends[i] >= 0)
                close(ends[i]);
        }
        return err;
    }
    waker->read_fd = ends[0];
    waker->write_fd = ends[1];
    return 0;
}

int ior__waker_open(struct ior__waker *waker, bool try_eventfd)
{
    if (try_eventfd) {
        int err = open_eventfd(waker);

        if (err != -ENOSYS && err != -EPERM && err != -EINVAL)
            return err;
    }
    return open_pair(waker);
}

void ior__waker_close(struct ior__waker *waker)
{
    close(waker->read_fd);
    if (waker->write_fd != waker->read_fd)
        close(waker->write_fd);
}

int ior__waker_wake(const struct ior__waker *waker)
{
    const uint64_t one = 1;
    int saved_errno = errno;
    int err = 0;
    ssize_t n;

    do {
        if (waker->write_fd == waker->read_fd)
            n = write(waker->write_fd, &one, sizeof(one));
        else
            n = send(waker->write_fd, &one, 1, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
        err = -errno;
    errno = saved_errno;
    return err;
}

void ior__waker_drain(const struct ior__waker *waker)
{
    unsigned char bytes[256];
    ssize_t n;

    /* An eventfd gives its 8 bytes once; a socket gives all that fits. */
    do
        n = read(waker->read_fd, bytes, sizeof(bytes));
    while (n == (ssize_t)sizeof(bytes) || (n < 0 && errno == EINTR));
}
