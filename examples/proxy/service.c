/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The proxy service: each connection is a pair of streams, and what one side says is told to the other.
 *
 * What it shows:
 *  - Dialling: ior_dial gives an id at once; the client is paused until that is open, so nothing has to be kept.
 *  - Back-pressure both ways, and neither way waits for the other: where a send answers that the one side is full, the
 *    other side is paused until DRAINED. (read_when_full: by default a stream that does not read its answers is not read
 *    either, which is right for a server and wrong for a pipe.)
 *  - Where the runtime has no room at all (-ENOBUFS), the bytes are given back with ior_unread, and come again.
 *  - Half-close: EOF of one side finishes the other once all is written (half_open); a pair whose sides both have
 *    finished ends by itself. Whatever else ends a side resets the other.
 *  - A limit: a listener that is paused leaves the others waiting in its backlog.
 *
 * The sides know each other by id. One that is gone is an error that does nothing, so neither need be told when the
 * other ends; a pair is over with its second END.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "service.h"

/* Lives and dies with its stream. */
struct side {
    ior_id other;
    bool dialled; /* the server's side */
    bool open;
    bool alone; /* the other side has ended, or never was */
};

static struct ior_stream_options side_options(const struct proxy *proxy)
{
    return (struct ior_stream_options){
        .struct_size = sizeof(struct ior_stream_options),
        .half_open = true,
        .read_when_full = true,
        .user_size = sizeof(struct side),
        .high_bytes = proxy->buffer_bytes,
        .connect_ns = proxy->connect_ns,
        .idle_ns = proxy->idle_ns,
    };
}

void proxy_listen_options(const struct proxy *proxy, struct ior_listen_options *opts)
{
    *opts = (struct ior_listen_options){.struct_size = sizeof(*opts), .stream = side_options(proxy)};
}

/* ---- pairs come and go ---- */

static void begin_pair(struct proxy *proxy, struct ior_context *cx, ior_id client)
{
    struct ior_dial_options opts = {.struct_size = sizeof(opts), .stream = side_options(proxy)};
    struct side *side = ior_user(cx, client);
    ior_id server;
    ior_pause(cx, client); /* until the server's side is open */
    int err = ior_dial(cx, proxy->host, proxy->port, &opts, &server);
    if (err < 0) {
        side->alone = true;
        ior_abort(cx, client);
        return;
    }
    struct side *other = ior_user(cx, server);
    *other = (struct side){.other = client, .dialled = true};
    side->other = server;
}

static void end_pair(struct proxy *proxy, struct ior_context *cx)
{
    proxy->pairs--;
    if (proxy->full && proxy->pairs < proxy->max_pairs) {
        proxy->full = false;
        ior_resume(cx, proxy->listener);
    }
}

static void on_listener(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct proxy *proxy = self;
    ior_id client;
    if (ev->type != IOR_EV_ACCEPTED || ior_accept(cx, ev, &client) < 0)
        return;
    proxy->listener = ev->id;
    proxy->total++;
    proxy->pairs++;
    begin_pair(proxy, cx, client);
    if (proxy->pairs >= proxy->max_pairs) {
        proxy->full = true;
        ior_pause(cx, ev->id);
    }
}

/* ---- what is told ---- */

static void on_data(struct ior_context *cx, const struct side *side, const struct ior_event *ev)
{
    int answer = ior_send(cx, side->other, ev->data.bytes, ev->data.len);
    if (answer == 1) {
        ior_pause(cx, ev->id);
    } else if (answer == -ENOBUFS && ior_unread(cx, ev->id, ev->data.len) == 0) {
        ior_pause(cx, ev->id);
    } else if (answer < 0) {
        ior_abort(cx, ev->id); /* the other side is gone, or there is no memory */
        ior_abort(cx, side->other);
    }
}

/* Says why nothing was connected: the error, and in brackets what came of each address. */
static void tell_failure(struct proxy *proxy, struct ior_context *cx, const struct ior_event *ev)
{
    const struct ior_dial_cause *causes = NULL;
    char why[1024], addr[IOR_ADDR_TEXT_MAX];
    int n = ior_dial_causes(cx, ev->id, &causes);
    size_t at = (size_t)snprintf(why, sizeof(why), "%s", ior_errname(ev->end.error));
    if (proxy->failing || !proxy->failed)
        return;
    proxy->failing = true;
    for (int i = 0; i < n && at < sizeof(why); i++) {
        if (causes[i].addr.len == 0 || ior_addr_format(&causes[i].addr, addr, sizeof(addr)) < 0)
            snprintf(addr, sizeof(addr), "name look-up");
        at += (size_t)snprintf(why + at, sizeof(why) - at, "%s%s: %s", i ? ", " : " (", addr,
                               ior_errname(causes[i].error));
    }
    if (n > 0 && at + 1 < sizeof(why))
        strcpy(why + at, ")");
    proxy->failed(proxy->failed_arg, why);
}

static void on_end(struct proxy *proxy, struct ior_context *cx, const struct side *side, const struct ior_event *ev)
{
    struct side *other = ior_user(cx, side->other);
    if (side->dialled && !side->open && (ev->end.why == IOR_ERROR || ev->end.why == IOR_TIMEOUT))
        tell_failure(proxy, cx, ev);
    if (side->alone || !other) {
        end_pair(proxy, cx);
        return;
    }
    other->alone = true;
    if (ev->end.why != IOR_EOF && ev->end.why != IOR_SHUTDOWN)
        ior_abort(cx, side->other); /* a reset is passed on as one */
}

static void on_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct proxy *proxy = self;
    struct side *side = ev->user;
    switch (ev->type) {
    case IOR_EV_OPEN:
        side->open = true;
        if (side->dialled) {
            proxy->failing = false;
            ior_resume(cx, side->other);
        }
        break;
    case IOR_EV_DATA:
        on_data(cx, side, ev);
        break;
    case IOR_EV_DRAINED:
        ior_resume(cx, side->other);
        break;
    case IOR_EV_EOF:
        ior_finish(cx, side->other);
        break;
    case IOR_EV_END:
        on_end(proxy, cx, side, ev);
        break;
    default:
        break;
    }
}

const struct ior_handler proxy_handler = {
    .struct_size = sizeof(struct ior_handler),
    .listener = on_listener,
    .transport = on_transport,
};
