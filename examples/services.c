/* SPDX-License-Identifier: Apache-2.0 */
/*
 * services: two services, each with a loop in a thread of its own, that share nothing and talk through controllers.
 *
 *     clients  <-- TCP lines -->  gateway  -- command -->  store
 *                                         <-- reply ---
 *
 * The gateway reads lines ("put K V", "get K", "del K") and sends each as a command to the store, which owns the map.
 * The store answers with ior_reply, and the reply comes back to the gateway as the same command. There is not one lock.
 *
 * What it shows:
 *  - A command carries the id of the connection, never a pointer. Where the client has gone meanwhile, the id is stale:
 *    the send answers -ENOENT, and that is all.
 *  - Order: commands from one sender arrive in order, the store replies in order, so each client gets its answers in
 *    the order of its lines. A line that is no command goes the same way, lest its answer overtake others.
 *  - Ownership: a request is made by the gateway, travels, comes back, and is freed by the gateway; `drop` frees those
 *    that can't be delivered at the end. Nobody else ever frees one.
 *  - Bounds: a client has at most PENDING_MAX requests under way; then it is paused until half of them are answered.
 *  - Shutdown, in this order: the gateway stops listening and reading; when every request that was read has been
 *    answered (or after some seconds), it stops and flushes; then the store, to which nobody talks any more; then all
 *    is freed.
 *
 * Try it:  build/release/examples/services     and     nc 127.0.0.1 7002
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ioreactor.h>
#include "program.h"

#define LINE_MAX_BYTES 1024
#define READ_BYTES 65536
#define PENDING_MAX 32
#define DRAIN_NS (5 * IOR_NS_PER_SEC)
#define SLOTS 4096

enum { REQUEST_LINE = 1, REQUEST_QUIESCE = 2 };

/* A line of a client on its way to the store and back; the answer is written over it. */
struct request {
    struct ior_command command; /* first, so that a command can be turned into its request */
    ior_id client;
    size_t len;
    char text[LINE_MAX_BYTES + 32]; /* zero-terminated; room for the words of an answer */
};

static void request_drop(struct ior_command *command)
{
    free(command);
}

/* ---- The store: a map in a thread of its own. ---- */

struct item {
    struct item *next;
    char *key; /* the value follows its zero */
    char *value;
};

struct store {
    struct item *slots[SLOTS];
};

static struct item **store_find(struct store *store, const char *key)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (const char *p = key; *p; p++)
        hash = (hash ^ (unsigned char)*p) * UINT64_C(1099511628211);
    struct item **link = &store->slots[hash % SLOTS];
    while (*link && strcmp((*link)->key, key) != 0)
        link = &(*link)->next;
    return link;
}

static void item_free(struct item *item)
{
    free(item->key);
    free(item);
}

static const char *store_put(struct store *store, const char *key, const char *value)
{
    size_t key_size = strlen(key) + 1;
    size_t value_size = strlen(value) + 1;
    struct item **link = store_find(store, key);
    char *bytes = malloc(key_size + value_size);
    struct item *item = *link ? *link : calloc(1, sizeof(*item));
    if (!bytes || !item) {
        free(bytes);
        if (item != *link)
            free(item);
        return "error out of memory\n";
    }
    memcpy(bytes, key, key_size);
    memcpy(bytes + key_size, value, value_size);
    free(item->key);
    item->key = bytes;
    item->value = bytes + key_size;
    *link = item;
    return "ok\n";
}

static const char *store_delete(struct store *store, const char *key)
{
    struct item **link = store_find(store, key);
    struct item *item = *link;
    if (!item)
        return "none\n";
    *link = item->next;
    item_free(item);
    return "ok\n";
}

/* Cuts the first word off a text; answers what follows it. */
static char *cut_word(char *text)
{
    text += strcspn(text, " ");
    if (*text)
        *text++ = '\0';
    return text + strspn(text, " ");
}

static void store_serve(struct store *store, struct request *request)
{
    char answer[sizeof(request->text)];
    char *verb = request->text;
    char *key = cut_word(verb);
    char *value = cut_word(key);
    const char *text = answer;
    if (strcmp(verb, "put") == 0 && *key && *value) {
        text = store_put(store, key, value);
    } else if (strcmp(verb, "get") == 0 && *key && !*value) {
        const struct item *item = *store_find(store, key);
        snprintf(answer, sizeof(answer), item ? "value %s\n" : "none\n", item ? item->value : "");
    } else if (strcmp(verb, "del") == 0 && *key && !*value) {
        text = store_delete(store, key);
    } else {
        text = "error usage: put KEY VALUE | get KEY | del KEY\n";
    }
    request->len = strlen(text);
    memcpy(request->text, text, request->len + 1);
}

static void store_on_command(void *self, struct ior_context *cx, struct ior_command *command)
{
    store_serve(self, (struct request *)(void *)command);
    ior_reply(cx, command, 0);
}

static void store_deinit(struct store *store)
{
    for (size_t i = 0; i < SLOTS; i++) {
        while (store->slots[i]) {
            struct item *item = store->slots[i];
            store->slots[i] = item->next;
            item_free(item);
        }
    }
}

static const struct ior_handler store_handler = {
    .struct_size = sizeof(struct ior_handler),
    .command = store_on_command,
};

/* ---- The gateway: clients on one side, the store on the other. ---- */

struct client {
    size_t pending; /* requests under way */
    bool paused;    /* because of PENDING_MAX */
    bool eof;       /* it finished sending; it is closed once it has all answers */
};

struct gateway {
    struct program *program;
    struct ior_controller *store; /* borrowed: the store outlives the gateway */
    struct ior_controller *self;  /* a reference: where replies come back */
    ior_id listener;
    size_t pending; /* requests under way, also of clients who have gone */
    bool quiescing;
};

/* Sends a line to the store; false: the client has to be ended. */
static bool ask_store(struct gateway *gateway, struct client *client, ior_id id, const char *line, size_t len)
{
    if (len > 0 && line[len - 1] == '\r')
        len--;
    struct request *request = malloc(sizeof(*request));
    if (!request)
        return false;
    memset(&request->command, 0, sizeof(request->command));
    request->command.kind = REQUEST_LINE;
    request->command.reply_to = gateway->self;
    request->command.drop = request_drop;
    request->client = id;
    /* Too long a line, or one with a zero in it, is answered as no command. */
    if (len > LINE_MAX_BYTES || memchr(line, '\0', len))
        len = 0;
    memcpy(request->text, line, len);
    request->text[len] = '\0';
    if (ior_controller_send(gateway->store, &request->command) < 0) {
        free(request);
        return false;
    }
    client->pending++;
    gateway->pending++;
    return true;
}

static void gateway_on_data(struct gateway *gateway, struct ior_context *cx, const struct ior_event *ev)
{
    struct client *client = ev->user;
    const char *bytes = ev->data.bytes;
    size_t used = 0;
    while (used < ev->data.len && client->pending < PENDING_MAX && !gateway->quiescing) {
        const char *end = memchr(bytes + used, '\n', ev->data.len - used);
        size_t len = end ? (size_t)(end - bytes) - used : ev->data.len - used;
        if (!end && len <= LINE_MAX_BYTES)
            break;
        /* A line without an end in sight: its client cannot be served any further. */
        if (!end || !ask_store(gateway, client, ev->id, bytes + used, len)) {
            ior_abort(cx, ev->id);
            return;
        }
        used += len + 1;
    }
    if (used < ev->data.len && ior_unread(cx, ev->id, ev->data.len - used) < 0) {
        ior_abort(cx, ev->id);
    } else if (client->pending >= PENDING_MAX || gateway->quiescing) {
        client->paused = true;
        ior_pause(cx, ev->id);
    }
}

static void gateway_on_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct client *client = ev->user;
    if (ev->type == IOR_EV_DATA) {
        gateway_on_data(self, cx, ev);
    } else if (ev->type == IOR_EV_EOF) {
        client->eof = true;
        if (client->pending == 0)
            ior_close(cx, ev->id, DRAIN_NS);
    }
}

static void gateway_on_listener(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    (void)self;
    ior_id id;
    if (ev->type == IOR_EV_ACCEPTED)
        ior_accept(cx, ev, &id);
}

/* A request came back: routes its answer to the client, who may have gone. */
static void gateway_on_reply(struct gateway *gateway, struct ior_context *cx, struct request *request)
{
    struct client *client = ior_user(cx, request->client);
    if (client) {
        client->pending--;
        /*
         * PENDING_MAX answers and what is queued below the high-water mark fit the cap; above the mark no further line
         * is read. So a refusal means that the peer is gone, or that memory ran out.
         */
        if (ior_send(cx, request->client, request->text, request->len) < 0)
            ior_abort(cx, request->client);
        else if (client->eof && client->pending == 0)
            ior_close(cx, request->client, DRAIN_NS);
        if (client->paused && client->pending <= PENDING_MAX / 2 && !gateway->quiescing) {
            client->paused = false;
            ior_resume(cx, request->client);
        }
    }
    free(request);
    gateway->pending--;
    if (gateway->quiescing && gateway->pending == 0)
        ior_stop(cx, DRAIN_NS);
}

/* The beginning of the end: nothing new is read. Connections are paused when their next bytes come. */
static void gateway_quiesce(struct gateway *gateway, struct ior_context *cx)
{
    ior_timer_id timer;
    gateway->quiescing = true;
    ior_unregister(cx, gateway->listener);
    /* A store that never answers must not keep the program alive. */
    if (gateway->pending == 0 || ior_timer_set(cx, DRAIN_NS, NULL, &timer) < 0)
        ior_stop(cx, DRAIN_NS);
}

static void gateway_on_command(void *self, struct ior_context *cx, struct ior_command *command)
{
    if (command->kind == REQUEST_QUIESCE)
        gateway_quiesce(self, cx);
    else
        gateway_on_reply(self, cx, (struct request *)(void *)command);
}

static void gateway_on_timer(void *self, struct ior_context *cx, ior_timer_id id, void *user)
{
    (void)self;
    (void)id;
    (void)user;
    ior_stop(cx, DRAIN_NS);
}

static int gateway_on_start(void *self, struct ior_context *cx)
{
    struct gateway *gateway = self;
    struct ior_listen_options opts = {.struct_size = sizeof(opts)};
    opts.stream.struct_size = sizeof(opts.stream);
    opts.stream.user_size = sizeof(struct client);
    opts.stream.half_open = true; /* "printf 'get k\n' | nc -N" finishes before it has its answer */
    opts.stream.unread_max_bytes = READ_BYTES + LINE_MAX_BYTES;
    gateway->self = ior_controller_of(cx);
    if (!gateway->self)
        return -ENOMEM;
    return program_listen(gateway->program, cx, &opts, &gateway->listener);
}

static const struct ior_handler gateway_handler = {
    .struct_size = sizeof(struct ior_handler),
    .start = gateway_on_start,
    .listener = gateway_on_listener,
    .transport = gateway_on_transport,
    .command = gateway_on_command,
    .timer = gateway_on_timer,
};

/* Runs the gateway until a signal has come and all that was read has been answered. */
static int serve(struct program *program, const struct ior_config *config, struct gateway *gateway)
{
    struct ior_command quiesce = {.kind = REQUEST_QUIESCE};
    struct ior_reactor *reactor;
    int err = ior_reactor_new(config, &gateway_handler, gateway, &reactor);
    if (err < 0)
        return program_fail(program, "cannot start the gateway", err);
    program_announce(program);
    program_wait_for_signal();
    /* A second signal does not wait for anything. */
    program_stop_on_signal(program, ior_reactor_controller(reactor));
    ior_controller_send(ior_reactor_controller(reactor), &quiesce);
    err = ior_reactor_join(reactor);
    program_stop_on_signal(program, NULL);
    ior_reactor_free(reactor);
    return err < 0 ? program_fail(program, "the gateway failed", err) : 0;
}

int main(int argc, char **argv)
{
    struct program program = {
        .name = "services",
        .summary = "A gateway and a store, two services in two threads: put KEY VALUE, get KEY, del KEY.",
        .listen = "127.0.0.1:7002",
    };
    program_init(&program, argc, argv);
    program_block_signals(); /* for all threads to come; this one waits for them */

    static struct store store;
    struct ior_config config = {.struct_size = sizeof(config), .engine = program.engine, .thread_name = "store"};
    struct ior_reactor *reactor;
    int err = ior_reactor_new(&config, &store_handler, &store, &reactor);
    if (err < 0)
        return program_fail(&program, "cannot start the store", err);

    struct gateway gateway = {.program = &program, .store = ior_reactor_controller(reactor)};
    config.thread_name = "gateway";
    config.read_bytes = READ_BYTES;
    int status = serve(&program, &config, &gateway);
    ior_reactor_free(reactor);
    ior_controller_unref(gateway.self);
    store_deinit(&store);
    return status;
}
