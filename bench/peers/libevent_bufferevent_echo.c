/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The echo server on libevent's bufferevents, as the libevent book has it ("Connection listeners: accepting TCP
 * connections", the echo example): evconnlistener, and evbuffer_add_buffer from input to output, which moves and does
 * not copy.
 *
 * The example lets the output of a peer that never reads grow without bound. Here reading rests while the output is
 * past 64 KiB, and goes on when it has drained: the low-water mark of writing, 0, calls on_drained ("Bufferevents:
 * concepts and basics"). The call is the library's for every write, so that an empty callback costs the same.
 *
 * --idle: a connection ends that was silent for ten minutes (bufferevent_set_timeouts).
 */
#include "server.h"
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

static const struct timeval *idle; /* NULL: none */

static void on_data(struct bufferevent *bev, void *arg)
{
    struct evbuffer *output = bufferevent_get_output(bev);
    (void)arg;
    evbuffer_add_buffer(output, bufferevent_get_input(bev));
    if (evbuffer_get_length(output) > SERVER_BUFFER_BYTES)
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
    (void)arg;
    if (events & (BEV_EVENT_EOF | BEV_EVENT_ERROR | BEV_EVENT_TIMEOUT))
        bufferevent_free(bev);
}

static void on_connection(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *peer, int len,
                          void *arg)
{
    int one = 1;
    struct event_base *base = evconnlistener_get_base(listener);
    struct bufferevent *bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    (void)peer, (void)len, (void)arg;
    if (!bev)
        server_fail("bufferevent_socket_new", ENOMEM);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    bufferevent_setcb(bev, on_data, on_drained, on_event, NULL);
    if (idle)
        bufferevent_set_timeouts(bev, idle, NULL);
    bufferevent_enable(bev, EV_READ | EV_WRITE);
}

int main(int argc, char **argv)
{
    static const struct timeval idle_time = {.tv_sec = SERVER_IDLE_SECONDS};
    idle = server_flag(argc, argv, "--idle") ? &idle_time : NULL;
    server_begin();
    struct event_base *base = event_base_new();
    int fd = server_listen();
    /* Backlog 0: the socket listens already. */
    if (!base || !evconnlistener_new(base, on_connection, NULL, LEV_OPT_CLOSE_ON_FREE, 0, fd))
        server_fail("evconnlistener_new", ENOMEM);
    server_announce(fd);
    event_base_dispatch(base);
    return 1;
}
