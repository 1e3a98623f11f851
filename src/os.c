/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real operating system behind struct ior_os: thin wrappers that answer -errno, and three things the calls
 * themselves do not promise.
 *
 *  - New fds are non-blocking, close-on-exec, and never 0, 1 or 2: a program that was started with stderr closed would
 *    otherwise write its messages to a peer.
 *  - SIGPIPE is never raised. send has a flag for it; pipes and sendfile have none (pwritev2 has one since
 *    Linux 6.18), so that the signal is fenced off around them (fence.c).
 *  - Nothing is retried: EINTR is the caller's, and after close the fd is gone whatever was answered.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#ifndef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64
#endif
#include <ioreactor/os.h>
#include <ioreactor/time.h>

#include "engine/engine.h"
#include "fence.h"
#include "lookup.h"
#include "os_datagrams.h"
#include "os_kinds.h"
#include "os_processes.h"
#include "random.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/sendfile.h>
#include <sys/syscall.h>
#endif

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* macOS: SO_NOSIGPIPE is set on each socket instead. */
#endif
#if defined(__linux__) && !defined(RWF_NOSIGNAL)
#define RWF_NOSIGNAL 0x100
#endif

/* Some 32-bit systems have both sizes; ior_flags in cmake/Flags.cmake asks for the long one. */
_Static_assert(sizeof(off_t) == 8, "files past 2 GiB need 64 bits");

/* The lowest fd the library uses. */
#define FD_LOWEST 3

/* ---- time and chance ---- */

static IOR_NO_CANARY IOR_INLINE uint64_t read_clock(clockid_t id)
{
    struct timespec ts;

    if (clock_gettime(id, &ts) < 0)
        return 0;
    return (uint64_t)ts.tv_sec * IOR_NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

static IOR_NO_CANARY uint64_t os_clock(void *arg)
{
    (void)arg;
    return read_clock(CLOCK_MONOTONIC);
}

static IOR_NO_CANARY uint64_t os_wall(void *arg)
{
    (void)arg;
    return read_clock(CLOCK_REALTIME);
}

static uint64_t os_random(void *arg)
{
    (void)arg;
    return ior__random64();
}

static void os_sleep(void *arg, uint64_t ns)
{
    struct timespec ts = {(time_t)(ns / IOR_NS_PER_SEC), (long)(ns % IOR_NS_PER_SEC)};

    (void)arg;
    while (nanosleep(&ts, &ts) < 0 && errno == EINTR) {
    }
}

/* ---- fds ---- */

static int os_set_nonblock(void *arg, int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);

    (void)arg;
    if (flags < 0)
        return -errno;
    bool was_on = flags & O_NONBLOCK;
    if (was_on != on && fcntl(fd, F_SETFL, flags ^ O_NONBLOCK) < 0)
        return -errno;
    return was_on;
}

#if !defined(SOCK_NONBLOCK) || !defined(SOCK_CLOEXEC)
#define FLAGS_BY_FCNTL 1
#endif

/* What the system could not do while it made the socket. Takes and answers a valid fd, or closes it. */
static int finish_socket(int fd)
{
    int err = 0;

#if defined(FLAGS_BY_FCNTL)
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        err = -errno;
    if (err == 0)
        err = os_set_nonblock(NULL, fd, true);
#endif
#if defined(SO_NOSIGPIPE)
    int on = 1;
    /* macOS answers EINVAL for an accepted socket whose peer is gone already: it cannot be written to either. */
    if (err >= 0 && setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on)) < 0 && errno != EINVAL)
        err = -errno;
#endif
    if (err < 0) {
        close(fd);
        return err;
    }
    return fd;
}

static int os_socket(void *arg, int domain, int type, int protocol)
{
    (void)arg;
#if !defined(FLAGS_BY_FCNTL)
    type |= SOCK_NONBLOCK | SOCK_CLOEXEC;
#endif
    int fd = ior__above_stdio(socket(domain, type, protocol));
    return fd < 0 ? fd : finish_socket(fd);
}

/* The kernel filled a cleared `from`; no family it answers for streams is longer than `raw`. */
static void addr_from_kernel(struct ior_addr *addr, struct ior_addr *from, socklen_t len)
{
    from->len = len < sizeof(from->raw) ? (uint32_t)len : (uint32_t)sizeof(from->raw);
    if (addr)
        *addr = *from;
}

static int os_accept(void *arg, int fd, struct ior_addr *peer)
{
    struct ior_addr from = {0};
    socklen_t len = sizeof(from.raw);

    (void)arg;
#if !defined(FLAGS_BY_FCNTL) && !defined(__APPLE__)
    int conn = ior__above_stdio(accept4(fd, (struct sockaddr *)(void *)from.raw, &len, SOCK_NONBLOCK | SOCK_CLOEXEC));
#else
    int conn = ior__above_stdio(accept(fd, (struct sockaddr *)(void *)from.raw, &len));
#endif
    if (conn < 0)
        return conn;
    conn = finish_socket(conn);
    if (conn >= 0)
        addr_from_kernel(peer, &from, len);
    return conn;
}

static int os_bind(void *arg, int fd, const struct ior_addr *addr)
{
    (void)arg;
    return bind(fd, (const struct sockaddr *)(const void *)addr->raw, (socklen_t)addr->len) < 0 ? -errno : 0;
}

static int os_listen(void *arg, int fd, int backlog)
{
    (void)arg;
    return listen(fd, backlog) < 0 ? -errno : 0;
}

static int os_connect(void *arg, int fd, const struct ior_addr *addr)
{
    (void)arg;
    return connect(fd, (const struct sockaddr *)(const void *)addr->raw, (socklen_t)addr->len) < 0 ? -errno : 0;
}

static int os_getsockname(void *arg, int fd, struct ior_addr *addr)
{
    struct ior_addr from = {0};
    socklen_t len = sizeof(from.raw);

    (void)arg;
    if (getsockname(fd, (struct sockaddr *)(void *)from.raw, &len) < 0)
        return -errno;
    addr_from_kernel(addr, &from, len);
    return 0;
}

static int os_getpeername(void *arg, int fd, struct ior_addr *addr)
{
    struct ior_addr from = {0};
    socklen_t len = sizeof(from.raw);

    (void)arg;
    if (getpeername(fd, (struct sockaddr *)(void *)from.raw, &len) < 0)
        return -errno;
    addr_from_kernel(addr, &from, len);
    return 0;
}

static int os_getsockopt(void *arg, int fd, int level, int name, void *value, uint32_t *len)
{
    socklen_t socklen = (socklen_t)*len;

    (void)arg;
    if (getsockopt(fd, level, name, value, &socklen) < 0)
        return -errno;
    *len = (uint32_t)socklen;
    return 0;
}

static int os_setsockopt(void *arg, int fd, int level, int name, const void *value, uint32_t len)
{
    (void)arg;
    return setsockopt(fd, level, name, value, (socklen_t)len) < 0 ? -errno : 0;
}

static int os_shutdown(void *arg, int fd, int how)
{
    (void)arg;
    return shutdown(fd, how) < 0 ? -errno : 0;
}

static int os_close(void *arg, int fd)
{
    (void)arg;
    /* EINTR: the fd is closed all the same, and its number may be somebody else's by now. */
    return close(fd) < 0 && errno != EINTR ? -errno : 0;
}

static int os_dup(void *arg, int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, FD_LOWEST);

    (void)arg;
    return copy < 0 ? -errno : copy;
}

/* ---- bytes ---- */

static ssize_t os_recv(void *arg, int fd, void *bytes, size_t len)
{
    ssize_t n = recv(fd, bytes, len, 0);

    (void)arg;
    return n < 0 ? -errno : n;
}

static __attribute__((noinline)) ssize_t send_pieces(int fd, const struct iovec *iov, int n)
{
    struct msghdr msg = {0};

    msg.msg_iov = (struct iovec *)(uintptr_t)iov; /* sendmsg does not write to it. */
    msg.msg_iovlen = (__typeof__(msg.msg_iovlen))n;
    ssize_t sent = sendmsg(fd, &msg, MSG_NOSIGNAL);
    return sent < 0 ? -errno : sent;
}

static ssize_t os_send(void *arg, int fd, const struct iovec *iov, int n)
{
    (void)arg;
    if (n != 1)
        return send_pieces(fd, iov, n);
    ssize_t sent = send(fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL);
    return sent < 0 ? -errno : sent;
}

static ssize_t os_read(void *arg, int fd, void *bytes, size_t len)
{
    ssize_t n = read(fd, bytes, len);

    (void)arg;
    return n < 0 ? -errno : n;
}

static ssize_t write_fenced(int fd, const struct iovec *iov, int n)
{
    struct ior__fence fence;
    size_t len = 0;

    for (int i = 0; i < n; i++)
        len += iov[i].iov_len;
    ior__fence_up(&fence);
    ssize_t written = writev(fd, iov, n);
    if (written < 0)
        written = -errno;
    ior__fence_down(&fence, written, len);
    return written;
}

static ssize_t os_write(void *arg, int fd, const struct iovec *iov, int n)
{
    (void)arg;
#if defined(__linux__)
    /* One call instead of three, from Linux 6.18. A kernel, or a driver, that does not know the flag refuses it. */
    static atomic_bool flag_unknown;

    if (!atomic_load_explicit(&flag_unknown, memory_order_relaxed)) {
        /* By its number, since musl has no pwritev2 before 1.2.5. The offset, -1 for where the fd is, has two halves. */
        ssize_t written = syscall(SYS_pwritev2, fd, iov, (long)n, -1L, -1L, (long)RWF_NOSIGNAL);

        if (written >= 0)
            return written;
        if (errno != EOPNOTSUPP && errno != ENOSYS)
            return -errno;
        atomic_store_explicit(&flag_unknown, true, memory_order_relaxed);
    }
#endif
    return write_fenced(fd, iov, n);
}

static ssize_t os_sendfile(void *arg, int out, int in, uint64_t offset, size_t len)
{
    (void)arg;
    if (offset > INT64_MAX)
        return -EINVAL;
#if defined(__linux__)
    struct ior__fence fence;
    off_t at = (off_t)offset;

    ior__fence_up(&fence);
    ssize_t sent = sendfile(out, in, &at, len);
    if (sent < 0)
        sent = -errno;
    ior__fence_down(&fence, sent, len);
    return sent;
#else
    (void)out;
    (void)in;
    (void)len;
    return -ENOSYS;
#endif
}

ssize_t ior__os_pread(void *arg, int fd, void *bytes, size_t len, uint64_t offset)
{
    (void)arg;
    if (offset > INT64_MAX)
        return -EINVAL;
    ssize_t n = pread(fd, bytes, len, (off_t)offset);
    return n < 0 ? -errno : n;
}

/* ---- what an fd is ---- */

static int int_option(int fd, int name, int fallback)
{
    int value = fallback;
    socklen_t len = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0 ? fallback : value;
}

static int socket_family(int fd)
{
#if defined(SO_DOMAIN)
    return int_option(fd, SO_DOMAIN, AF_UNSPEC);
#else
    struct ior_addr addr;
    struct sockaddr sa;

    if (os_getsockname(NULL, fd, &addr) < 0)
        return AF_UNSPEC;
    memcpy(&sa, addr.raw, sizeof(sa));
    return sa.sa_family;
#endif
}

static int socket_kind(int fd)
{
    struct ior_addr peer;
    int family;

    if (int_option(fd, SO_TYPE, 0) != SOCK_STREAM)
        return IOR_FD_SOCKET;
    if (int_option(fd, SO_ACCEPTCONN, 0) != 0)
        return IOR_FD_LISTENER;
    if (os_getpeername(NULL, fd, &peer) < 0)
        return IOR_FD_SOCKET;
    family = socket_family(fd);
    return family == AF_INET || family == AF_INET6 ? IOR_FD_TCP : IOR_FD_UNIX;
}

static int os_fd_kind(void *arg, int fd)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    int kind = IOR_FD_OTHER;

    (void)arg;
    if (flags < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (S_ISSOCK(st.st_mode))
        kind = socket_kind(fd);
    else if (S_ISFIFO(st.st_mode))
        kind = IOR_FD_PIPE;
    else if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode))
        kind = IOR_FD_FILE;
    if ((flags & O_ACCMODE) == O_WRONLY)
        kind |= IOR_FD_NO_READ;
    if ((flags & O_ACCMODE) == O_RDONLY)
        kind |= IOR_FD_NO_WRITE;
    return kind;
}

/* ---- paths of Unix sockets ---- */

static int os_path_stat(void *arg, const char *path, struct ior_os_path *ret)
{
    struct stat st;

    (void)arg;
    if (lstat(path, &st) < 0)
        return -errno;
    ret->is_socket = S_ISSOCK(st.st_mode);
    ret->dev = (uint64_t)st.st_dev;
    ret->ino = (uint64_t)st.st_ino;
    return 0;
}

static int os_path_chmod(void *arg, const char *path, unsigned mode)
{
    (void)arg;
    return chmod(path, (mode_t)mode) < 0 ? -errno : 0;
}

static int os_fd_chmod(void *arg, int fd, unsigned mode)
{
    (void)arg;
    return fchmod(fd, (mode_t)mode) < 0 ? -errno : 0;
}

static int os_path_unlink(void *arg, const char *path)
{
    (void)arg;
    return unlink(path) < 0 ? -errno : 0;
}

const struct ior_os *ior_os_default(void)
{
    static const struct ior_os os = {
        .struct_size = sizeof(os),
        .clock = os_clock,
        .wall = os_wall,
        .random = os_random,
        .sleep = os_sleep,
        .socket = os_socket,
        .bind = os_bind,
        .listen = os_listen,
        .accept = os_accept,
        .connect = os_connect,
        .getsockname = os_getsockname,
        .getpeername = os_getpeername,
        .getsockopt = os_getsockopt,
        .setsockopt = os_setsockopt,
        .shutdown = os_shutdown,
        .close = os_close,
        .recv = os_recv,
        .send = os_send,
        .read = os_read,
        .write = os_write,
        .sendfile = os_sendfile,
        .pread = ior__os_pread,
        .dup = os_dup,
        .fd_kind = os_fd_kind,
        .set_nonblock = os_set_nonblock,
        .path_stat = os_path_stat,
        .path_chmod = os_path_chmod,
        .path_unlink = os_path_unlink,
        .blocking = &ior__os_blocking,
        .recv_datagrams = ior__os_recv_datagrams,
        .send_datagrams = ior__os_send_datagrams,
        .recv_error = ior__os_recv_error,
        .processes = &ior__os_processes,
        .send_fds = ior__os_send_fds,
        .recv_fds = ior__os_recv_fds,
#if defined(__linux__)
        .changes_open = ior__os_changes_open,
        .changes_add = ior__os_changes_add,
        .changes_remove = ior__os_changes_remove,
#endif
        .tty_open = ior__os_tty_open,
        .tty_get = ior__os_tty_get,
        .tty_set = ior__os_tty_set,
        .tty_ask = ior__os_tty_ask,
        .resolve = ior__os_resolve,
        .fd_chmod = os_fd_chmod,
    };

    return &os;
}
