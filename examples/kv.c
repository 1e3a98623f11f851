/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv: a key-value server that speaks RESP2, so that redis-cli and redis-benchmark drive it.
 *
 * This file is the path from bytes to bytes: a data event is cut into requests (kv/resp.c), each is served
 * (kv/commands.c, on kv/db.c and kv/pubsub.c) and its reply sent. All replies of a turn leave in one write, because
 * that is what the library does; nothing is needed for it here.
 *
 * Two things keep the memory for each client bounded, without a buffer of the server's own:
 *  - Input: the start of a request is given back with ior_unread and comes again in front of the next bytes. A request
 *    may have 1 MiB; a longer one is an error, told as soon as its length is known.
 *  - Output: once a send says that the queue is full, no further request is served; what is left of the event is given
 *    back and comes again by itself once the queue has drained.
 *
 * Invariants: requests are served in order, each once, and each has one reply. A reply that is refused (only where all
 * clients together hold too much output) is held and sent first when there is room, for its request may have changed
 * something and must not be served again.
 *
 * Try it:  build/release/examples/kv     and     redis-cli -p 6380
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ioreactor.h>
#include "kv/kv.h"
#include "program.h"

#define CLOSE_DRAIN_NS (5 * IOR_NS_PER_SEC)

bool client_sent(struct client *client, int result)
{
    if (result == 1 || result == -ENOBUFS)
        client->full = true;
    return result >= 0;
}

/* The peer is gone, or cannot be answered any more. */
static void client_abort(struct kv *kv, struct client *client)
{
    ior_abort(kv->cx, client->id);
    client->closing = true;
}

/* Sends kv->reply, or keeps it for later. */
static void client_reply(struct kv *kv, struct client *client)
{
    struct reply *reply = &kv->reply;
    if (reply->failed) {
        reply_reset(reply);
        reply_error(reply, "ERR the reply would be longer than %zu bytes, or memory ran out", reply->max);
    }
    if (reply->len == 0)
        return;
    int result = ior_send(kv->cx, client->id, reply->bytes, reply->len);
    if (client_sent(client, result))
        return;
    if (result == -ENOBUFS && (client->held = malloc(reply->len)) != NULL) {
        memcpy(client->held, reply->bytes, reply->len);
        client->held_len = reply->len;
    } else {
        client_abort(kv, client);
    }
}

static void on_drained(struct kv *kv, struct client *client)
{
    client->full = false;
    if (!client->held || client->closing)
        return;
    int result = ior_send(kv->cx, client->id, client->held, client->held_len);
    if (client_sent(client, result)) {
        free(client->held);
        client->held = NULL;
    } else if (result != -ENOBUFS) {
        client_abort(kv, client);
    }
}

/* Serves the first request in the bytes. Answers how many it took; 0: it is not complete. */
static size_t serve_one(struct kv *kv, struct client *client, const char *bytes, size_t len)
{
    if (len < client->need)
        return 0;
    reply_reset(&kv->reply);
    switch (resp_parse(bytes, len, &kv->request)) {
    case RESP_MORE:
        client->need = kv->request.need;
        return 0;
    case RESP_ERROR:
        /* Nobody knows where the next request begins: answer, and hang up. */
        reply_error(&kv->reply, "ERR %s", kv->request.error);
        client->closing = true;
        client_reply(kv, client);
        return len;
    case RESP_REQUEST:
        break;
    }
    client->need = 0;
    if (kv->request.count > 0) {
        commands_serve(kv, client);
        client_reply(kv, client);
    }
    return kv->request.used;
}

static void on_data(struct kv *kv, struct client *client, const char *bytes, size_t len)
{
    size_t used = 0;
    while (used < len && !client->full && !client->closing) {
        size_t took = serve_one(kv, client, bytes + used, len - used);
        if (took == 0)
            break;
        used += took;
    }
    if (client->closing) {
        pubsub_unsubscribe_all(kv, client, NULL);
        ior_close(kv->cx, client->id, CLOSE_DRAIN_NS);
    } else if (used < len && ior_unread(kv->cx, client->id, len - used) < 0) {
        client_abort(kv, client);
    }
}

static void on_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct kv *kv = self;
    struct client *client = ev->user;
    (void)cx;
    switch (ev->type) {
    case IOR_EV_DATA:
        on_data(kv, client, ev->data.bytes, ev->data.len);
        break;
    case IOR_EV_DRAINED:
        on_drained(kv, client);
        break;
    case IOR_EV_END:
        pubsub_unsubscribe_all(kv, client, NULL);
        free(client->held);
        kv->clients--;
        break;
    default:
        break;
    }
}

static void on_listener(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct kv *kv = self;
    ior_id id;
    if (ev->type != IOR_EV_ACCEPTED || ior_accept(cx, ev, &id) < 0)
        return;
    struct client *client = ior_user(cx, id);
    client->id = id;
    kv->clients++;
    kv->accepted++;
}

/* The only timers are those of keys. */
static void on_timer(void *self, struct ior_context *cx, ior_timer_id id, void *user)
{
    (void)cx;
    (void)id;
    db_on_timer(self, user);
}

static const struct ior_handler handler = {
    .struct_size = sizeof(struct ior_handler),
    .listener = on_listener,
    .transport = on_transport,
    .timer = on_timer,
};

static int serve(struct program *program, struct kv *kv)
{
    struct ior_config config = {
        .struct_size = sizeof(config),
        .engine = program->engine,
        .read_bytes = KV_READ_BYTES,
    };
    struct ior_runtime *rt;
    int err = ior_runtime_new(&config, &handler, kv, &rt);
    if (err < 0)
        return program_fail(program, "cannot make a runtime", err);
    kv->cx = ior_runtime_context(rt);
    kv->engine = ior_runtime_engine(rt);
    kv->started_ns = ior_now(kv->cx);
    kv->reply.max = KV_REPLY_MAX_BYTES;
    table_init(&kv->keys, ior_random(kv->cx), ior_random(kv->cx));
    table_init(&kv->channels, ior_random(kv->cx), ior_random(kv->cx));

    struct ior_listen_options opts = {.struct_size = sizeof(opts)};
    opts.stream.struct_size = sizeof(opts.stream);
    opts.stream.user_size = sizeof(struct client);
    opts.stream.high_bytes = KV_HIGH_BYTES;
    opts.stream.cap_bytes = KV_CAP_BYTES;
    opts.stream.unread_max_bytes = KV_UNREAD_MAX_BYTES;

    int status = PROGRAM_EXIT_FAILURE;
    if (program_listen(program, kv->cx, &opts, NULL) == 0)
        status = program_run(program, rt);
    /* First the keys, which hold timers, and the channels are empty once all clients have ended. */
    db_deinit(kv);
    ior_runtime_free(rt);
    pubsub_deinit(kv);
    reply_deinit(&kv->reply);
    return status;
}

int main(int argc, char **argv)
{
    struct program program = {
        .name = "kv",
        .summary = "A key-value server for redis-cli, redis-benchmark and other clients of RESP2.",
        .listen = "127.0.0.1:6380",
    };
    program_init(&program, argc, argv);
    struct kv *kv = calloc(1, sizeof(*kv));
    if (!kv)
        return program_fail(&program, "cannot start", -ENOMEM);
    int status = serve(&program, kv);
    free(kv);
    return status;
}
