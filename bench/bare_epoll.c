/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limit to measure against: an echo server written by hand on epoll, without any library. Level-triggered, one
 * buffer for all connections, an answer is written at once; only where the kernel takes less is the rest kept and
 * writability waited for. It has no timers, no budgets, no limits: what it costs is what the kernel's interface costs.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 256
#define BUFFER_BYTES 65536

/* What the kernel did not take, by fd. */
struct rest {
    char *bytes;
    size_t at, len;
};

static struct rest *rests;
static int epoll_fd, listener_fd;
static char buffer[BUFFER_BYTES];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void on_signal(int sig)
{
    (void)sig;
    exit(0); /* A benchmark may: nothing here holds a lock. */
}

static void set_interest(int op, int fd, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.fd = fd};
    if (epoll_ctl(epoll_fd, op, fd, &ev) < 0)
        die("epoll_ctl");
}

static void end(int fd)
{
    free(rests[fd].bytes);
    rests[fd] = (struct rest){0};
    close(fd);
}

static void accept_all(void)
{
    int one = 1, fd;
    while ((fd = accept4(listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        rests[fd] = (struct rest){0};
        set_interest(EPOLL_CTL_ADD, fd, EPOLLIN);
    }
}

static void keep_rest(int fd, const char *bytes, size_t len)
{
    struct rest *rest = &rests[fd];
    rest->bytes = malloc(len);
    if (!rest->bytes)
        die("malloc");
    memcpy(rest->bytes, bytes, len);
    rest->at = 0;
    rest->len = len;
    set_interest(EPOLL_CTL_MOD, fd, EPOLLOUT); /* No reading until it is written. */
}

static void on_writable(int fd)
{
    struct rest *rest = &rests[fd];
    ssize_t n = send(fd, rest->bytes + rest->at, rest->len - rest->at, MSG_NOSIGNAL);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            end(fd);
        return;
    }
    rest->at += (size_t)n;
    if (rest->at == rest->len) {
        free(rest->bytes);
        *rest = (struct rest){0};
        set_interest(EPOLL_CTL_MOD, fd, EPOLLIN);
    }
}

static void on_readable(int fd)
{
    ssize_t n = recv(fd, buffer, sizeof buffer, 0), sent;
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            end(fd);
        return;
    }
    sent = send(fd, buffer, (size_t)n, MSG_NOSIGNAL);
    if (sent == n)
        return;
    if (sent < 0 && errno != EAGAIN && errno != EINTR)
        end(fd);
    else
        keep_rest(fd, buffer + (sent > 0 ? sent : 0), (size_t)(n - (sent > 0 ? sent : 0)));
}

static void listen_loopback(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    listener_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener_fd < 0 || bind(listener_fd, (struct sockaddr *)&addr, len) < 0 || listen(listener_fd, 511) < 0 ||
        getsockname(listener_fd, (struct sockaddr *)&addr, &len) < 0)
        die("listen");
    set_interest(EPOLL_CTL_ADD, listener_fd, EPOLLIN);
    printf("listening on 127.0.0.1:%u\n", ntohs(addr.sin_port));
    fflush(stdout);
}

int main(void)
{
    struct epoll_event events[EVENTS];
    struct rlimit fds;
    if (getrlimit(RLIMIT_NOFILE, &fds) < 0)
        die("getrlimit");
    fds.rlim_cur = fds.rlim_max;
    setrlimit(RLIMIT_NOFILE, &fds);
    rests = calloc((size_t)fds.rlim_cur, sizeof *rests);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!rests || epoll_fd < 0)
        die("start");
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    listen_loopback();
    for (;;) {
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener_fd)
                accept_all();
            else if (rests[fd].bytes)
                on_writable(fd);
            else
                on_readable(fd);
        }
    }
}
