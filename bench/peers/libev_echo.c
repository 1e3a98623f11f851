/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The echo server on libev, as ev(3) recommends: one ev_io for each connection, embedded in the connection's own struct
 * ("ASSOCIATING CUSTOM DATA WITH A WATCHER"), non-blocking reads and writes, the watcher stopped before the fd is closed.
 * libev does no I/O of its own: an answer is written at once, and only what the kernel does not take is kept; then the
 * watcher waits for writability in place of readability, which also bounds what is kept to one read.
 *
 * --idle: a connection ends that was silent for ten minutes: ev_timer_again with each message ("Be smart about
 * timeouts", the second way; the third, which looks at the clock and leaves the timer alone, is for "more than a few
 * thousand" and costs its own bookkeeping).
 *
 * Fairness: compiled with the watchers' `data` and priorities as Debian has them. The one buffer for all connections is
 * our choice, the best for it; ev(3) says nothing about buffers.
 */
#include "server.h"
#include <ev.h>

struct connection {
    ev_io io; /* first: a watcher is its connection */
    char *rest;
    size_t at, len;
};

/* With --idle. */
struct timed {
    struct connection connection; /* first */
    ev_timer timer;
};

static char buffer[SERVER_BUFFER_BYTES];
static bool idle;

static void end(struct ev_loop *loop, struct connection *connection)
{
    ev_io_stop(loop, &connection->io);
    if (idle)
        ev_timer_stop(loop, &((struct timed *)connection)->timer);
    close(connection->io.fd);
    free(connection->rest);
    free(connection);
}

static void wait_for(struct ev_loop *loop, struct connection *connection, int events)
{
    ev_io_stop(loop, &connection->io);
    ev_io_set(&connection->io, connection->io.fd, events);
    ev_io_start(loop, &connection->io);
}

static void on_writable(struct ev_loop *loop, struct connection *connection)
{
    ssize_t n = send(connection->io.fd, connection->rest + connection->at, connection->len - connection->at, 0);
    if (n < 0) {
        if (!server_not_now())
            end(loop, connection);
        return;
    }
    connection->at += (size_t)n;
    if (connection->at < connection->len)
        return;
    free(connection->rest);
    connection->rest = NULL;
    wait_for(loop, connection, EV_READ);
}

static void keep_rest(struct ev_loop *loop, struct connection *connection, const char *bytes, size_t len)
{
    connection->rest = malloc(len);
    if (!connection->rest)
        server_fail("malloc", ENOMEM);
    memcpy(connection->rest, bytes, len);
    connection->at = 0;
    connection->len = len;
    wait_for(loop, connection, EV_WRITE);
}

static void on_idle(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)events;
    end(loop, timer->data);
}

static void on_ready(struct ev_loop *loop, ev_io *io, int events)
{
    struct connection *connection = (struct connection *)io;
    if (events & EV_WRITE) {
        on_writable(loop, connection);
        return;
    }
    ssize_t n = recv(io->fd, buffer, sizeof buffer, 0);
    if (n <= 0) {
        if (n == 0 || !server_not_now())
            end(loop, connection);
        return;
    }
    if (idle)
        ev_timer_again(loop, &((struct timed *)connection)->timer);
    ssize_t sent = send(io->fd, buffer, (size_t)n, 0);
    if (sent == n)
        return;
    if (sent < 0 && !server_not_now())
        end(loop, connection);
    else
        keep_rest(loop, connection, buffer + (sent > 0 ? sent : 0), (size_t)(n - (sent > 0 ? sent : 0)));
}

static void on_connection(struct ev_loop *loop, ev_io *listener, int events)
{
    int fd;
    (void)events;
    while ((fd = server_accept(listener->fd)) >= 0) {
        struct connection *connection = calloc(1, idle ? sizeof(struct timed) : sizeof *connection);
        if (!connection)
            server_fail("calloc", ENOMEM);
        if (idle) {
            ev_timer *timer = &((struct timed *)connection)->timer;
            ev_timer_init(timer, on_idle, 0., SERVER_IDLE_SECONDS);
            timer->data = connection;
            ev_timer_again(loop, timer);
        }
        ev_io_init(&connection->io, on_ready, fd, EV_READ);
        ev_io_start(loop, &connection->io);
    }
}

int main(int argc, char **argv)
{
    ev_io listener;
    struct ev_loop *loop = ev_default_loop(0);
    idle = server_flag(argc, argv, "--idle");
    server_begin();
    if (!loop)
        server_fail("ev_default_loop", ENOSYS);
    ev_io_init(&listener, on_connection, server_listen(), EV_READ);
    ev_io_start(loop, &listener);
    server_announce(listener.fd);
    ev_run(loop, 0);
    return 1;
}
