/* SPDX-License-Identifier: Apache-2.0 */
/* The real system behind struct ior_os: new fds, the fence against SIGPIPE, what an fd is, and the plain calls. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "support/check.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <ioreactor.h>

#include "fence.h"

static const struct ior_os *os;

/* A TCP listener on loopback, and its address. */
static int listen_tcp(struct ior_addr *addr)
{
    int fd = os->socket(os->arg, AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    assert_int_equal(ior_addr_parse(addr, "127.0.0.1:0"), 0);
    assert_int_equal(os->bind(os->arg, fd, addr), 0);
    assert_int_equal(os->listen(os->arg, fd, 16), 0);
    assert_int_equal(os->getsockname(os->arg, fd, addr), 0);
    assert_true(ior_addr_port(addr) > 0);
    return fd;
}

static int connect_tcp(const struct ior_addr *addr)
{
    int fd = os->socket(os->arg, AF_INET, SOCK_STREAM, 0);
    int err = os->connect(os->arg, fd, addr);

    assert_true(fd >= 0);
    assert_true(err == 0 || err == -EINPROGRESS);
    return fd;
}

/* On loopback the connection is there when connect answers, but not blocking may answer a moment earlier. */
static int accept_soon(int listener, struct ior_addr *peer)
{
    for (;;) {
        int fd = os->accept(os->arg, listener, peer);
        if (fd != -EAGAIN)
            return fd;
    }
}

static void assert_new_fd(int fd)
{
    assert_true(fd > 2);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

static void sockets_do_not_block_and_are_private(void **state)
{
    struct ior_addr addr, local, peer, bound;
    int listener = listen_tcp(&addr);
    int fd = connect_tcp(&addr);
    int conn = accept_soon(listener, &peer);
    int copy = os->dup(os->arg, conn);

    (void)state;
    assert_new_fd(listener);
    assert_new_fd(fd);
    assert_new_fd(conn);
    assert_new_fd(copy);
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    assert_int_equal(fcntl(conn, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    assert_int_equal(os->accept(os->arg, listener, NULL), -EAGAIN);
    assert_int_equal(os->getsockname(os->arg, fd, &local), 0);
    assert_true(ior_addr_equal(&local, &peer));
    assert_int_equal(os->getpeername(os->arg, fd, &bound), 0);
    assert_true(ior_addr_equal(&bound, &addr));
    assert_int_equal(os->close(os->arg, copy), 0);
    assert_int_equal(os->close(os->arg, conn), 0);
    assert_int_equal(os->close(os->arg, fd), 0);
    assert_int_equal(os->close(os->arg, listener), 0);
    assert_int_equal(os->close(os->arg, listener), -EBADF);
}

/* Runs `body` in a child, and answers its exit status. */
static int in_child(int (*body)(void))
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(body());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int make_fds_without_stdio(void)
{
    struct ior_addr addr;
    int listener = listen_tcp(&addr);
    int fds[3];

    for (int fd = 0; fd <= 2; fd++)
        close(fd);
    fds[0] = connect_tcp(&addr);
    fds[1] = accept_soon(listener, NULL);
    fds[2] = os->dup(os->arg, fds[1]);
    for (int i = 0; i < 3; i++) {
        if (fds[i] <= 2 || !(fcntl(fds[i], F_GETFD) & FD_CLOEXEC) || !(fcntl(fds[i], F_GETFL) & O_NONBLOCK))
            return 10 + i;
    }
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            return 20 + fd;
    }
    return 0;
}

/* R78. */
static void new_fds_never_take_the_place_of_stdio(void **state)
{
    (void)state;
    assert_int_equal(in_child(make_fds_without_stdio), 0);
}

/* ---- SIGPIPE ---- */

static volatile sig_atomic_t sigpipes;

static void count_sigpipe(int sig)
{
    (void)sig;
    sigpipes++;
}

static bool sigpipe_blocked(void)
{
    sigset_t mask;

    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    return sigismember(&mask, SIGPIPE) == 1;
}

static bool sigpipe_pending(void)
{
    sigset_t pending;

    sigpending(&pending);
    return sigismember(&pending, SIGPIPE) == 1;
}

static void block_sigpipe(int how)
{
    sigset_t mask;

    sigemptyset(&mask);
    sigaddset(&mask, SIGPIPE);
    pthread_sigmask(how, &mask, NULL);
}

/* Everything that can raise SIGPIPE, on ends whose peer is gone. */
static void write_to_the_dead(void)
{
    struct iovec one = {"x", 1};
    struct iovec two[] = {{"x", 1}, {"y", 1}};
    int fds[2];
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

    assert_true(file >= 0);
    assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
    close(fds[0]);
    assert_int_equal(os->write(os->arg, fds[1], &one, 1), -EPIPE);
    assert_int_equal(os->write(os->arg, fds[1], two, 2), -EPIPE);
    close(fds[1]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    close(fds[0]);
    assert_int_equal(os->send(os->arg, fds[1], &one, 1), -EPIPE);
    assert_int_equal(os->send(os->arg, fds[1], two, 2), -EPIPE);
    assert_int_equal(os->sendfile(os->arg, fds[1], file, 0, 100), -EPIPE);
    assert_int_equal(os->write(os->arg, fds[1], &one, 1), -EPIPE);
    close(fds[1]);
    close(file);
}

static void restore_sigpipe(void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};

    sigpipes = 0;
    sigaction(SIGPIPE, &action, NULL);
}

/* R36: whatever the program does with SIGPIPE, it gets none, and its mask stays as it was. */
static void r36_sigpipe_never_reaches_the_program(void **state)
{
    void (*const handlers[])(int) = {SIG_DFL, SIG_IGN, count_sigpipe};

    (void)state;
    for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++) {
        restore_sigpipe(handlers[i]);
        write_to_the_dead();
        assert_false(sigpipe_blocked());
        assert_false(sigpipe_pending());
        block_sigpipe(SIG_BLOCK);
        write_to_the_dead();
        assert_true(sigpipe_blocked());
        assert_false(sigpipe_pending());
        block_sigpipe(SIG_UNBLOCK);
        assert_int_equal(sigpipes, 0);
    }
    restore_sigpipe(SIG_DFL);
}

/* One that was the program's own, and waits, goes on waiting. */
static void a_sigpipe_of_somebody_else_is_left_alone(void **state)
{
    (void)state;
    restore_sigpipe(count_sigpipe);
    block_sigpipe(SIG_BLOCK);
    raise(SIGPIPE);
    write_to_the_dead();
    assert_true(sigpipe_pending());
    assert_int_equal(sigpipes, 0);
    block_sigpipe(SIG_UNBLOCK);
    assert_int_equal(sigpipes, 1);
    restore_sigpipe(SIG_DFL);
}

/* The fence itself, as older kernels need it for pipes. */
static void the_fence_takes_what_the_call_raised(void **state)
{
    static const struct {
        ssize_t result;
        size_t len;
        bool raised;
    } calls[] = {{-EPIPE, 10, true}, {4, 10, true}, {0, 10, true}, {10, 10, false}, {-EAGAIN, 10, false}};

    (void)state;
    restore_sigpipe(count_sigpipe);
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        struct ior__fence fence;

        ior__fence_up(&fence);
        assert_true(sigpipe_blocked());
        if (calls[i].raised)
            raise(SIGPIPE);
        ior__fence_down(&fence, calls[i].result, calls[i].len);
        assert_false(sigpipe_blocked());
        assert_false(sigpipe_pending());
        assert_int_equal(sigpipes, 0);
    }
    restore_sigpipe(SIG_DFL);
}

/* ---- bytes ---- */

static void bytes_go_through_whole(void **state)
{
    struct iovec pieces[] = {{"one ", 4}, {"", 0}, {"two ", 4}, {"three", 5}};
    char bytes[64] = "";
    int fds[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(os->recv(os->arg, fds[0], bytes, sizeof(bytes)), -EAGAIN);
    assert_int_equal(os->send(os->arg, fds[1], pieces, 4), 13);
    assert_int_equal(os->send(os->arg, fds[1], pieces, 1), 4);
    assert_int_equal(os->recv(os->arg, fds[0], bytes, sizeof(bytes)), 17);
    assert_string_equal(bytes, "one two threeone ");
    assert_int_equal(os->shutdown(os->arg, fds[1], SHUT_WR), 0);
    assert_int_equal(os->recv(os->arg, fds[0], bytes, sizeof(bytes)), 0);
    close(fds[0]);
    close(fds[1]);

    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
    assert_int_equal(os->read(os->arg, fds[0], bytes, sizeof(bytes)), -EAGAIN);
    assert_int_equal(os->write(os->arg, fds[1], pieces, 4), 13);
    assert_int_equal(os->write(os->arg, fds[1], pieces, 1), 4);
    assert_int_equal(os->read(os->arg, fds[0], bytes, sizeof(bytes)), 17);
    assert_string_equal(bytes, "one two threeone ");
    close(fds[1]);
    assert_int_equal(os->read(os->arg, fds[0], bytes, sizeof(bytes)), 0);
    close(fds[0]);
}

static void a_full_pipe_takes_no_more(void **state)
{
    static char block[4096];
    struct iovec iov = {block, sizeof(block)};
    int fds[2];
    ssize_t n;

    (void)state;
    assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
    do
        n = os->write(os->arg, fds[1], &iov, 1);
    while (n > 0);
    assert_int_equal(n, -EAGAIN);
    close(fds[0]);
    close(fds[1]);
}

static void files_are_sent_and_read_from_their_offset(void **state)
{
    char name[] = "/tmp/ior_test_os_XXXXXX";
    int file = mkstemp(name);
    char bytes[16] = "";
    int fds[2];

    (void)state;
    assert_true(file >= 0);
    unlink(name);
    assert_int_equal(write(file, "0123456789", 10), 10);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(os->sendfile(os->arg, fds[1], file, 4, 3), 3);
    assert_int_equal(os->recv(os->arg, fds[0], bytes, sizeof(bytes)), 3);
    assert_string_equal(bytes, "456");
    assert_int_equal(os->sendfile(os->arg, fds[1], file, 8, 100), 2);
    assert_int_equal(os->sendfile(os->arg, fds[1], file, 10, 100), 0);
    assert_int_equal(os->pread(os->arg, file, bytes, 4, 6), 4);
    assert_memory_equal(bytes, "6789", 4);
    assert_int_equal(os->pread(os->arg, file, bytes, 4, 10), 0);
    assert_int_equal(lseek(file, 0, SEEK_CUR), 10);
    assert_int_equal(os->recv(os->arg, fds[0], bytes, sizeof(bytes)), 2);

    /* Past 4 GiB, also where a long has 32 bits. */
    const uint64_t far = (UINT64_C(1) << 32) + 4;
    assert_int_equal(lseek(file, (off_t)far, SEEK_SET), (off_t)far);
    assert_int_equal(write(file, "far", 3), 3);
    assert_int_equal(os->pread(os->arg, file, bytes, 4, far), 3);
    assert_memory_equal(bytes, "far", 3);
    assert_int_equal(os->sendfile(os->arg, fds[1], file, far, 100), 3);
    assert_int_equal(os->recv(os->arg, fds[0], bytes, sizeof(bytes)), 3);
    assert_memory_equal(bytes, "far", 3);

    /* Where sendfile cannot, or the offset is none, it says so. */
    assert_int_equal(os->sendfile(os->arg, fds[1], fds[0], 0, 1) < 0, 1);
    assert_int_equal(os->sendfile(os->arg, fds[1], file, UINT64_MAX, 1), -EINVAL);
    assert_int_equal(os->pread(os->arg, file, bytes, 1, UINT64_C(1) << 63), -EINVAL);
    close(fds[0]);
    close(fds[1]);
    close(file);
}

static void ignore_signal(int sig)
{
    (void)sig;
}

/* EINTR is the caller's to see. An interval, so that a signal comes while the read is under way. */
static void an_interrupted_call_says_so(void **state)
{
    struct sigaction action = {.sa_handler = ignore_signal};
    struct itimerval every = {{0, 5000}, {0, 5000}};
    struct itimerval never = {{0, 0}, {0, 0}};
    char byte;
    int fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &every, NULL);
    ssize_t n = os->read(os->arg, fds[0], &byte, 1);
    setitimer(ITIMER_REAL, &never, NULL);
    assert_int_equal(n, -EINTR);
    close(fds[0]);
    close(fds[1]);
}

static void bad_fds_are_answered_with_ebadf(void **state)
{
    struct iovec one = {"x", 1};
    struct ior_addr addr;
    char byte;
    uint32_t len = sizeof(int);
    int value = 0;

    (void)state;
    assert_int_equal(ior_addr_parse(&addr, "127.0.0.1:0"), 0);
    assert_int_equal(os->bind(os->arg, -1, &addr), -EBADF);
    assert_int_equal(os->listen(os->arg, -1, 1), -EBADF);
    assert_int_equal(os->accept(os->arg, -1, &addr), -EBADF);
    assert_int_equal(os->connect(os->arg, -1, &addr), -EBADF);
    assert_int_equal(os->getsockname(os->arg, -1, &addr), -EBADF);
    assert_int_equal(os->getpeername(os->arg, -1, &addr), -EBADF);
    assert_int_equal(os->getsockopt(os->arg, -1, SOL_SOCKET, SO_TYPE, &value, &len), -EBADF);
    assert_int_equal(os->setsockopt(os->arg, -1, SOL_SOCKET, SO_KEEPALIVE, &value, len), -EBADF);
    assert_int_equal(os->shutdown(os->arg, -1, SHUT_WR), -EBADF);
    assert_int_equal(os->close(os->arg, -1), -EBADF);
    assert_int_equal(os->recv(os->arg, -1, &byte, 1), -EBADF);
    assert_int_equal(os->send(os->arg, -1, &one, 1), -EBADF);
    assert_int_equal(os->read(os->arg, -1, &byte, 1), -EBADF);
    assert_int_equal(os->write(os->arg, -1, &one, 1), -EBADF);
    assert_int_equal(os->sendfile(os->arg, -1, -1, 0, 1), -EBADF);
    assert_int_equal(os->pread(os->arg, -1, &byte, 1, 0), -EBADF);
    assert_int_equal(os->dup(os->arg, -1), -EBADF);
    assert_int_equal(os->fd_kind(os->arg, -1), -EBADF);
    assert_int_equal(os->set_nonblock(os->arg, -1, true), -EBADF);
    assert_int_equal(os->socket(os->arg, -1, SOCK_STREAM, 0), -EAFNOSUPPORT);
    /* A simulated fd gets the same from the real system. */
    assert_int_equal(os->recv(os->arg, 1 << 30, &byte, 1), -EBADF);
}

static void options_are_set_and_read(void **state)
{
    int fd = os->socket(os->arg, AF_INET, SOCK_STREAM, 0);
    int value = 1;
    uint32_t len = sizeof(value);

    (void)state;
    assert_int_equal(os->setsockopt(os->arg, fd, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof(value)), 0);
    value = 7;
    assert_int_equal(os->getsockopt(os->arg, fd, SOL_SOCKET, SO_KEEPALIVE, &value, &len), 0);
    assert_int_equal(value, 1);
    assert_int_equal(len, sizeof(value));
    assert_int_equal(os->close(os->arg, fd), 0);
}

static void blocking_can_be_switched(void **state)
{
    int fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(os->set_nonblock(os->arg, fds[0], true), 0);
    assert_int_equal(fcntl(fds[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    assert_int_equal(os->set_nonblock(os->arg, fds[0], true), 1);
    assert_int_equal(fcntl(fds[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    assert_int_equal(os->set_nonblock(os->arg, fds[0], false), 1);
    assert_int_equal(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0);
    assert_int_equal(os->set_nonblock(os->arg, fds[0], false), 0);
    close(fds[0]);
    close(fds[1]);
}

/* ---- what an fd is ---- */

static int kind_of(int fd)
{
    int kind = os->fd_kind(os->arg, fd);

    assert_true(fd >= 0);
    return kind;
}

/* The kind of a fresh fd, which is closed again. */
static int kind_once(int fd)
{
    int kind = kind_of(fd);

    close(fd);
    return kind;
}

static void sockets_are_told_apart(void **state)
{
    struct ior_addr addr;
    int listener = listen_tcp(&addr);
    int fd = connect_tcp(&addr);
    int conn = accept_soon(listener, NULL);
    int fds[2];

    (void)state;
    assert_int_equal(kind_of(listener), IOR_FD_LISTENER);
    assert_int_equal(kind_of(conn), IOR_FD_TCP);
    assert_int_equal(kind_of(fd), IOR_FD_TCP);
    close(fd);
    close(conn);
    close(listener);
    assert_int_equal(kind_once(socket(AF_INET, SOCK_STREAM, 0)), IOR_FD_SOCKET);
    assert_int_equal(kind_once(socket(AF_INET, SOCK_DGRAM, 0)), IOR_FD_SOCKET);
    assert_int_equal(kind_once(socket(AF_UNIX, SOCK_STREAM, 0)), IOR_FD_SOCKET);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(kind_of(fds[0]), IOR_FD_UNIX);
    /* One whose peer has gone is still a stream: its unread bytes are to be had. */
    close(fds[1]);
    assert_int_equal(kind_once(fds[0]), IOR_FD_UNIX);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
    assert_int_equal(kind_once(fds[0]), IOR_FD_SOCKET);
    assert_int_equal(kind_once(fds[1]), IOR_FD_SOCKET);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
    assert_int_equal(kind_once(fds[0]), IOR_FD_SOCKET);
    assert_int_equal(kind_once(fds[1]), IOR_FD_SOCKET);
}

static void unix_listeners_are_listeners(void **state)
{
    struct ior_addr addr;
    int listener = os->socket(os->arg, AF_UNIX, SOCK_STREAM, 0);
    int fd = os->socket(os->arg, AF_UNIX, SOCK_STREAM, 0);
    sa_family_t family = AF_UNIX;

    (void)state;
    /* The kernel chooses an abstract name where there is none. */
    memset(&addr, 0, sizeof(addr));
    memcpy(addr.raw, &family, sizeof(family));
    addr.len = sizeof(family);
    assert_int_equal(os->bind(os->arg, listener, &addr), 0);
    assert_int_equal(os->listen(os->arg, listener, 4), 0);
    assert_int_equal(kind_of(listener), IOR_FD_LISTENER);
    assert_int_equal(os->getsockname(os->arg, listener, &addr), 0);
    assert_true(addr.len > sizeof(family));
    assert_int_equal(os->connect(os->arg, fd, &addr), 0);
    assert_int_equal(kind_of(fd), IOR_FD_UNIX);
    close(fd);
    close(listener);
}

static void what_is_no_socket_is_told_apart(void **state)
{
    char dir[] = "/tmp/ior_test_os_XXXXXX";
    char path[64];
    int fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(kind_once(fds[0]), IOR_FD_PIPE | IOR_FD_NO_WRITE);
    assert_int_equal(kind_once(fds[1]), IOR_FD_PIPE | IOR_FD_NO_READ);
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/fifo", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(kind_once(open(path, O_RDWR | O_NONBLOCK)), IOR_FD_PIPE);
    unlink(path);
    assert_int_equal(kind_once(open(path, O_RDWR | O_CREAT, 0600)), IOR_FD_FILE);
    assert_int_equal(kind_once(open(path, O_RDONLY)), IOR_FD_FILE | IOR_FD_NO_WRITE);
    assert_int_equal(kind_once(open(path, O_WRONLY | O_APPEND)), IOR_FD_FILE | IOR_FD_NO_READ);
    unlink(path);
    assert_int_equal(kind_once(open(dir, O_RDONLY | O_DIRECTORY)), IOR_FD_FILE | IOR_FD_NO_WRITE);
    rmdir(dir);
    assert_int_equal(kind_once(memfd_create("x", 0)), IOR_FD_FILE);
    assert_int_equal(kind_once(open("/dev/null", O_RDWR)), IOR_FD_OTHER);
    assert_int_equal(kind_once(open("/dev/zero", O_RDONLY)), IOR_FD_OTHER | IOR_FD_NO_WRITE);
    assert_int_equal(kind_once(eventfd(0, 0)), IOR_FD_OTHER);
    assert_int_equal(kind_once(epoll_create1(0)), IOR_FD_OTHER);
    int tty = posix_openpt(O_RDWR | O_NOCTTY);
    if (tty >= 0)
        assert_int_equal(kind_once(tty), IOR_FD_OTHER);
}

/* ---- paths, time, chance ---- */

static void paths_are_looked_at_not_followed(void **state)
{
    char dir[] = "/tmp/ior_test_os_XXXXXX";
    char path[64], link[64], text[96];
    struct ior_os_path info = {0}, other = {0};
    struct ior_addr addr;
    struct stat st;
    int fd = os->socket(os->arg, AF_UNIX, SOCK_STREAM, 0);

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/sock", dir);
    snprintf(link, sizeof(link), "%s/link", dir);
    snprintf(text, sizeof(text), "unix:%s", path);
    assert_int_equal(os->path_stat(os->arg, path, &info), -ENOENT);
    assert_int_equal(os->path_unlink(os->arg, path), -ENOENT);
    assert_int_equal(os->path_chmod(os->arg, path, 0600), -ENOENT);
    assert_int_equal(ior_addr_parse(&addr, text), 0);
    assert_int_equal(os->bind(os->arg, fd, &addr), 0);
    assert_int_equal(os->path_stat(os->arg, path, &info), 0);
    assert_true(info.is_socket);
    assert_int_equal(symlink(path, link), 0);
    assert_int_equal(os->path_stat(os->arg, link, &other), 0);
    assert_false(other.is_socket);
    assert_int_not_equal(other.ino, info.ino);
    assert_int_equal(os->path_chmod(os->arg, path, 0640), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(st.st_ino, info.ino);
    assert_int_equal(os->path_unlink(os->arg, link), 0);
    assert_int_equal(os->path_unlink(os->arg, path), 0);
    assert_int_equal(os->path_stat(os->arg, path, &info), -ENOENT);
    close(fd);
    rmdir(dir);
}

static void clocks_run(void **state)
{
    struct timespec ts;
    uint64_t before = os->clock(os->arg);

    (void)state;
    assert_true(before > 0);
    os->sleep(os->arg, 2 * IOR_NS_PER_MS);
    assert_true(os->clock(os->arg) >= before + 2 * IOR_NS_PER_MS);
    clock_gettime(CLOCK_REALTIME, &ts);
    assert_in_range(os->wall(os->arg) / IOR_NS_PER_SEC, (uint64_t)ts.tv_sec - 1, (uint64_t)ts.tv_sec + 60);
}

static void random_numbers_differ(void **state)
{
    uint64_t ones = 0, zeros = 0, last = os->random(os->arg);

    (void)state;
    for (int i = 0; i < 64; i++) {
        uint64_t value = os->random(os->arg);

        assert_true(value != last);
        ones |= value;
        zeros |= ~value;
        last = value;
    }
    assert_true(ones == UINT64_MAX && zeros == UINT64_MAX);
}

static void the_table_is_complete(void **state)
{
    (void)state;
    assert_int_equal(os->struct_size, sizeof(*os));
    assert_true(os->clock && os->wall && os->random && os->sleep && os->socket && os->bind && os->listen);
    assert_true(os->accept && os->connect && os->getsockname && os->getpeername && os->getsockopt && os->setsockopt);
    assert_true(os->shutdown && os->close && os->recv && os->send && os->read && os->write && os->sendfile);
    assert_true(os->pread && os->dup && os->fd_kind && os->set_nonblock);
    assert_true(os->path_stat && os->path_chmod && os->path_unlink);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_complete),
        cmocka_unit_test(sockets_do_not_block_and_are_private),
        cmocka_unit_test(new_fds_never_take_the_place_of_stdio),
        cmocka_unit_test(r36_sigpipe_never_reaches_the_program),
        cmocka_unit_test(a_sigpipe_of_somebody_else_is_left_alone),
        cmocka_unit_test(the_fence_takes_what_the_call_raised),
        cmocka_unit_test(bytes_go_through_whole),
        cmocka_unit_test(a_full_pipe_takes_no_more),
        cmocka_unit_test(files_are_sent_and_read_from_their_offset),
        cmocka_unit_test(an_interrupted_call_says_so),
        cmocka_unit_test(bad_fds_are_answered_with_ebadf),
        cmocka_unit_test(options_are_set_and_read),
        cmocka_unit_test(blocking_can_be_switched),
        cmocka_unit_test(sockets_are_told_apart),
        cmocka_unit_test(unix_listeners_are_listeners),
        cmocka_unit_test(what_is_no_socket_is_told_apart),
        cmocka_unit_test(paths_are_looked_at_not_followed),
        cmocka_unit_test(clocks_run),
        cmocka_unit_test(random_numbers_differ),
    };

    os = ior_os_default();
    return cmocka_run_group_tests_name("os", tests, NULL, NULL);
}
