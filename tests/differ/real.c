/* SPDX-License-Identifier: Apache-2.0 */
/* A world of real sockets: one engine, loopback, Unix sockets in a fresh folder; peers are non-blocking and in this thread. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "differ.h"

#define STEP_NS (2 * IOR_NS_PER_MS)

static void must(bool good, const char *what)
{
    if (good)
        return;
    perror(what);
    exit(3); /* this machine has no more of something: no result */
}

static struct ior_addr parsed(const char *text)
{
    struct ior_addr addr;
    must(ior_addr_parse(&addr, text) == 0, text);
    return addr;
}

/* A bound socket; its address goes to `text`. */
static int bound(char *text, size_t size, bool listens)
{
    struct ior_addr addr = parsed(text);
    bool is_unix = strncmp(text, "unix:", 5) == 0;
    int fd = socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t len = sizeof(addr.raw);
    must(fd >= 0 && bind(fd, (const struct sockaddr *)addr.raw, addr.len) == 0, "bind");
    must(!listens || listen(fd, 64) == 0, "listen");
    must(getsockname(fd, (struct sockaddr *)addr.raw, &len) == 0, "getsockname");
    addr.len = len;
    must(ior_addr_format(&addr, text, size) > 0, "address");
    return fd;
}

/* Each world has an address of its own on loopback: thousands of them leave connections in TIME-WAIT, and their ports. */
static void own_address(char *text, size_t size)
{
    static uint32_t n;
    uint32_t host = (uint32_t)getpid() * 7919 + n++ / 3;
    (void)snprintf(text, size, "127.%u.%u.%u:0", 1 + (host >> 16) % 254, host >> 8 & 255, 1 + host % 254);
}

static void real_open(struct world *w)
{
    struct ior_config config = {.struct_size = sizeof(config), .engine_ops = w->engine};
    const char *temp = getenv("TMPDIR");
    (void)snprintf(w->folder, sizeof(w->folder), "%s/ior-differ-XXXXXX",
                   temp != NULL && strlen(temp) < 40 ? temp : "/tmp");
    must(mkdtemp(w->folder) != NULL, w->folder);
    own_address(w->service_tcp, sizeof(w->service_tcp));
    own_address(w->peer_tcp, sizeof(w->peer_tcp));
    own_address(w->nobody_tcp, sizeof(w->nobody_tcp));
    (void)snprintf(w->service_unix, sizeof(w->service_unix), "unix:%s/service", w->folder);
    (void)snprintf(w->peer_unix, sizeof(w->peer_unix), "unix:%s/peer", w->folder);
    (void)snprintf(w->nobody_unix, sizeof(w->nobody_unix), "unix:%s/nobody", w->folder);
    w->listener_tcp = bound(w->peer_tcp, sizeof(w->peer_tcp), true);
    w->listener_unix = bound(w->peer_unix, sizeof(w->peer_unix), true);
    w->nobody = bound(w->nobody_tcp, sizeof(w->nobody_tcp), false); /* it keeps the port from others */
    (void)close(bound(w->nobody_unix, sizeof(w->nobody_unix), false));
    (void)ior_runtime_new(&config, &differ_handler, w, &w->rt);
}

/* ---- peers ---- */

static bool is_pipe(const struct conn *c)
{
    return c->plan->how == ADOPT_PIPE_IN || c->plan->how == ADOPT_PIPE_OUT;
}

/* A peer's end: it never blocks, and what it says leaves at once. */
static void unblock(int fd)
{
    const int on = 1;
    must(fcntl(fd, F_SETFL, O_NONBLOCK) == 0, "fcntl");
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static bool wait_for(int fd, short events)
{
    struct pollfd one = {.fd = fd, .events = events};
    return poll(&one, 1, 5000) == 1;
}

static int connected(const char *text)
{
    struct ior_addr addr = parsed(text);
    int fd = socket(strncmp(text, "unix:", 5) == 0 ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0 && connect(fd, (const struct sockaddr *)addr.raw, addr.len) == 0, "connect");
    return fd;
}

static int accepted(int listener)
{
    must(wait_for(listener, POLLIN), "accept");
    int fd = accept(listener, NULL, NULL);
    must(fd >= 0, "accept");
    unblock(fd);
    return fd;
}

/*
 * What was sent over loopback before has arrived when this is back. Packets wait in a queue of the processor that sent
 * them, first in first out, and a kernel with much to do may empty it later: so another packet is sent behind them, from
 * the same processor, and awaited.
 */
static void fence(void)
{
    static int from = -1, to = -1;
    char byte = 0;
    if (from < 0) {
        char text[80] = "127.0.0.1:0";
        cpu_set_t here;
        int listener = bound(text, sizeof(text), true);
        int cpu = sched_getcpu();
        CPU_ZERO(&here);
        CPU_SET((size_t)(cpu < 0 ? 0 : cpu), &here);
        (void)sched_setaffinity(0, sizeof(here), &here);
        from = connected(text);
        unblock(from);
        to = accepted(listener);
        (void)close(listener);
    }
    must(send(from, &byte, 1, MSG_NOSIGNAL) == 1 && wait_for(to, POLLIN) && recv(to, &byte, 1, 0) == 1, "fence");
}

static int real_step(struct world *w, bool wait)
{
    fence();
    return ior_runtime_turn(w->rt, wait ? STEP_NS : 0);
}

static int real_pair(struct conn *c)
{
    int fds[2];
    if (c->plan->how == ADOPT_TCP) {
        int fd = connected(c->world->peer_tcp);
        c->fd = accepted(c->world->listener_tcp);
        return fd;
    }
    if (c->plan->how == ADOPT_UNIX) {
        must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "socketpair");
    } else {
        must(pipe(fds) == 0, "pipe");
    }
    int own = c->plan->how == ADOPT_PIPE_OUT ? 1 : 0;
    c->fd = fds[1 - own];
    unblock(c->fd);
    return fds[own];
}

static void real_close_fd(struct world *w, int fd)
{
    (void)w;
    (void)close(fd);
}

static void real_dial(struct conn *c, const char *addr)
{
    c->fd = connected(addr);
    unblock(c->fd);
}

static bool real_pick_up(struct conn *c)
{
    c->fd = accepted(c->plan->how == CONNECT_TCP ? c->world->listener_tcp : c->world->listener_unix);
    return true;
}

static ssize_t real_hear(struct conn *c, void *bytes, size_t len)
{
    if (c->world->rt == NULL)
        (void)wait_for(c->fd, POLLIN); /* the last words, and the end, are on their way */
    ssize_t n = is_pipe(c) ? read(c->fd, bytes, len) : recv(c->fd, bytes, len, 0);
    return n < 0 ? -errno : n;
}

static size_t real_say(struct conn *c, const void *bytes, size_t len)
{
    ssize_t n = is_pipe(c) ? write(c->fd, bytes, len) : send(c->fd, bytes, len, MSG_NOSIGNAL);
    return n < 0 ? 0 : (size_t)n;
}

static void real_finish(struct conn *c)
{
    (void)shutdown(c->fd, SHUT_WR);
}

static void real_hang_up(struct conn *c)
{
    (void)close(c->fd);
    c->fd = -1;
}

static void real_reset(struct conn *c)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    if (!is_pipe(c))
        (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    real_hang_up(c);
}

static void remove_path(const char *text)
{
    (void)unlink(text + strlen("unix:"));
}

static void real_close(struct world *w)
{
    for (int i = 0; i < MAX_CONNS; i++)
        if (w->conns[i].fd >= 0)
            real_reset(&w->conns[i]); /* a reset leaves no TIME-WAIT behind */
    (void)close(w->listener_tcp);
    (void)close(w->listener_unix);
    (void)close(w->nobody);
    (void)close(w->file);
    remove_path(w->peer_unix);
    remove_path(w->nobody_unix);
    must(rmdir(w->folder) == 0, "rmdir"); /* the service removed its own path */
}

static int real_file(struct world *w, const void *bytes, size_t len)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/file", w->folder);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    must(fd >= 0 && unlink(path) == 0 && write(fd, bytes, len) == (ssize_t)len, "file");
    return fd;
}

const struct backend backend_real = {
    .open = real_open,
    .close = real_close,
    .step = real_step,
    .pair = real_pair,
    .close_fd = real_close_fd,
    .dial = real_dial,
    .pick_up = real_pick_up,
    .hear = real_hear,
    .say = real_say,
    .finish = real_finish,
    .hang_up = real_hang_up,
    .reset = real_reset,
    .file = real_file,
};
