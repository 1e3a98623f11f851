/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PING server on libevent.
 *
 * As documented (the default): a bufferevent, a bufferevent_write for each request ("Bufferevents: concepts and basics");
 * they gather in the output buffer, which is written when the loop finds the socket writable.
 *
 * --corked: by hand on bare events: all answers to what one read brought leave in one send. What the kernel does not
 * take waits for writability, and reading rests meanwhile. Static answers need no copy.
 */
#include "ping.h"
#include "server.h"
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

struct connection {
    struct event *reading, *writing;
    size_t at;   /* ping_count */
    size_t owed; /* bytes of answers that are not sent yet; they end where an answer ends */
};

static struct event_base *base;
static char buffer[SERVER_BUFFER_BYTES], answers[PING_ANSWERS_BYTES];

static void end(struct connection *connection, int fd)
{
    event_free(connection->reading);
    event_free(connection->writing);
    close(fd);
    free(connection);
}

/* Sends what is owed; false: the connection is gone. */
static bool pay(struct connection *connection, int fd)
{
    size_t skip = (PING_ANSWER_BYTES - connection->owed % PING_ANSWER_BYTES) % PING_ANSWER_BYTES;
    ssize_t n = send(fd, answers + skip, connection->owed, 0);
    if (n < 0 && !server_not_now()) {
        end(connection, fd);
        return false;
    }
    connection->owed -= n > 0 ? (size_t)n : 0;
    return true;
}

static void on_writable(int fd, short what, void *arg)
{
    struct connection *connection = arg;
    (void)what;
    if (!pay(connection, fd) || connection->owed > 0)
        return;
    event_del(connection->writing);
    event_add(connection->reading, NULL);
}

static void on_readable(int fd, short what, void *arg)
{
    struct connection *connection = arg;
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    int requests = n > 0 ? ping_count(&connection->at, buffer, (size_t)n) : -1;
    (void)what;
    if (requests < 0) {
        if (n >= 0 || !server_not_now())
            end(connection, fd);
        return;
    }
    connection->owed = (size_t)requests * PING_ANSWER_BYTES;
    if (requests == 0 || !pay(connection, fd) || connection->owed == 0)
        return;
    event_del(connection->reading);
    event_add(connection->writing, NULL);
}

static void on_data(struct bufferevent *bev, void *arg)
{
    size_t *at = arg;
    struct evbuffer *input = bufferevent_get_input(bev);
    int n = evbuffer_remove(input, buffer, sizeof buffer), requests = n < 0 ? -1 : ping_count(at, buffer, (size_t)n);
    if (requests < 0) {
        bufferevent_free(bev);
        free(at);
        return;
    }
    for (int i = 0; i < requests; i++)
        bufferevent_write(bev, PING_ANSWER, PING_ANSWER_BYTES);
    if (evbuffer_get_length(bufferevent_get_output(bev)) > SERVER_BUFFER_BYTES)
        bufferevent_disable(bev, EV_READ);
}

static void on_drained(struct bufferevent *bev, void *arg)
{
    (void)arg;
    if (!(bufferevent_get_enabled(bev) & EV_READ))
        bufferevent_enable(bev, EV_READ);
}

static void on_event(struct bufferevent *bev, short events, void *arg)
{
    if (events & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) {
        bufferevent_free(bev);
        free(arg);
    }
}

static void on_connection(int listener, short what, void *arg)
{
    int fd;
    (void)what, (void)arg;
    while ((fd = server_accept(listener)) >= 0) {
        struct bufferevent *bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
        size_t *at = calloc(1, sizeof *at);
        if (!bev || !at)
            server_fail("bufferevent_socket_new", ENOMEM);
        bufferevent_setcb(bev, on_data, on_drained, on_event, at);
        bufferevent_enable(bev, EV_READ | EV_WRITE);
    }
}

static void on_connection_corked(int listener, short what, void *arg)
{
    int fd;
    (void)what, (void)arg;
    while ((fd = server_accept(listener)) >= 0) {
        struct connection *connection = calloc(1, sizeof *connection);
        if (connection) {
            connection->reading = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, connection);
            connection->writing = event_new(base, fd, EV_WRITE | EV_PERSIST, on_writable, connection);
        }
        if (!connection || !connection->reading || !connection->writing)
            server_fail("event_new", ENOMEM);
        event_add(connection->reading, NULL);
    }
}

int main(int argc, char **argv)
{
    bool corked = server_flag(argc, argv, "--corked");
    server_begin();
    for (size_t i = 0; i < sizeof answers / PING_ANSWER_BYTES; i++)
        memcpy(answers + i * PING_ANSWER_BYTES, PING_ANSWER, PING_ANSWER_BYTES);
    base = event_base_new();
    int fd = server_listen();
    struct event *listener =
        base ? event_new(base, fd, EV_READ | EV_PERSIST, corked ? on_connection_corked : on_connection, NULL) : NULL;
    if (!listener)
        server_fail("event_base_new", ENOMEM);
    event_add(listener, NULL);
    server_announce(fd);
    event_base_dispatch(base);
    return 1;
}
