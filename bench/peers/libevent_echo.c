/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The echo server on libevent's bare events, in the shape of the non-blocking example in the libevent book ("A tiny
 * introduction to asynchronous IO", the ROT13 server with event_new and EV_PERSIST). An answer is written at once; only
 * what the kernel does not take is kept, and reading rests until it is written, which bounds it to one read.
 *
 * --idle: a connection ends that was silent for ten minutes: the time-out of a persistent event, which starts anew
 * whenever the event becomes active ("About event persistence").
 *
 * Fairness: the book's example reads in a loop until EAGAIN, a second recv for each message; we read once, as on every
 * other loop here, which is in libevent's favour.
 */
#include "server.h"
#include <event2/event.h>

struct connection {
    struct event *reading, *writing;
    char *rest;
    size_t at, len;
};

static struct event_base *base;
static char buffer[SERVER_BUFFER_BYTES];
static const struct timeval *idle; /* NULL: none */

static void end(struct connection *connection, int fd)
{
    event_free(connection->reading);
    if (connection->writing)
        event_free(connection->writing);
    close(fd);
    free(connection->rest);
    free(connection);
}

static void on_writable(int fd, short what, void *arg)
{
    struct connection *connection = arg;
    ssize_t n = send(fd, connection->rest + connection->at, connection->len - connection->at, 0);
    (void)what;
    if (n < 0) {
        if (!server_not_now())
            end(connection, fd);
        return;
    }
    connection->at += (size_t)n;
    if (connection->at < connection->len)
        return;
    free(connection->rest);
    connection->rest = NULL;
    event_del(connection->writing);
    event_add(connection->reading, idle);
}

static void keep_rest(struct connection *connection, int fd, const char *bytes, size_t len)
{
    if (!connection->writing)
        connection->writing = event_new(base, fd, EV_WRITE | EV_PERSIST, on_writable, connection);
    connection->rest = malloc(len);
    if (!connection->writing || !connection->rest)
        server_fail("malloc", ENOMEM);
    memcpy(connection->rest, bytes, len);
    connection->at = 0;
    connection->len = len;
    event_del(connection->reading);
    event_add(connection->writing, NULL);
}

static void on_readable(int fd, short what, void *arg)
{
    ssize_t n = what & EV_TIMEOUT ? 0 : recv(fd, buffer, sizeof buffer, 0);
    if (n <= 0) {
        if (n == 0 || !server_not_now())
            end(arg, fd);
        return;
    }
    ssize_t sent = send(fd, buffer, (size_t)n, 0);
    if (sent == n)
        return;
    if (sent < 0 && !server_not_now())
        end(arg, fd);
    else
        keep_rest(arg, fd, buffer + (sent > 0 ? sent : 0), (size_t)(n - (sent > 0 ? sent : 0)));
}

static void on_connection(int listener, short what, void *arg)
{
    int fd;
    (void)what, (void)arg;
    while ((fd = server_accept(listener)) >= 0) {
        struct connection *connection = calloc(1, sizeof *connection);
        if (connection)
            connection->reading = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, connection);
        if (!connection || !connection->reading)
            server_fail("event_new", ENOMEM);
        event_add(connection->reading, idle);
    }
}

int main(int argc, char **argv)
{
    static const struct timeval idle_time = {.tv_sec = SERVER_IDLE_SECONDS};
    idle = server_flag(argc, argv, "--idle") ? &idle_time : NULL;
    server_begin();
    base = event_base_new();
    int fd = server_listen();
    struct event *listener = base ? event_new(base, fd, EV_READ | EV_PERSIST, on_connection, NULL) : NULL;
    if (!listener)
        server_fail("event_base_new", ENOMEM);
    event_add(listener, NULL);
    server_announce(fd);
    event_base_dispatch(base);
    return 1;
}
