/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hosting a foreign library: hiredis owns its socket, reads and writes it itself, and only wants to be told when. A
 * watch does that, and the whole adapter is the five hooks below. They are called by hiredis, often from inside our
 * callbacks; since requests never call back, nothing can go round in a circle.
 *
 * Where hiredis is not installed, a small stand-in with the same interface takes its place. The server it talks to is a
 * second service of ours, in a reactor of its own: it knows INCR and nothing else.
 */
#include "program.h"

#if IOR_HAVE_HIREDIS
#include <hiredis/async.h>
#else
#include "hiredis_stand_in.h"
#endif

/*
 * --- The adapter. -------------------------------------------------------------------------------------------------
 */

struct adapter {
    struct ior_context *cx;
    redisAsyncContext *redis; /* NULL once hiredis has let go of it */
    ior_id watch;
    unsigned wanted;
};

static void adapter_want(struct adapter *adapter, unsigned wanted)
{
    adapter->wanted = wanted;
    CHECK(ior_interest(adapter->cx, adapter->watch, wanted) == 0);
}

static void adapter_add_read(void *arg)
{
    adapter_want(arg, ((struct adapter *)arg)->wanted | IOR_READ);
}

static void adapter_del_read(void *arg)
{
    adapter_want(arg, ((struct adapter *)arg)->wanted & ~(unsigned)IOR_READ);
}

static void adapter_add_write(void *arg)
{
    adapter_want(arg, ((struct adapter *)arg)->wanted | IOR_WRITE);
}

static void adapter_del_write(void *arg)
{
    adapter_want(arg, ((struct adapter *)arg)->wanted & ~(unsigned)IOR_WRITE);
}

/* hiredis is about to close its fd: the watch must be out of the engine by then, and is, when this returns. */
static void adapter_cleanup(void *arg)
{
    struct adapter *adapter = arg;
    adapter->redis = NULL;
    CHECK(ior_unregister(adapter->cx, adapter->watch) == 0);
}

static void adapter_attach(struct adapter *adapter, struct ior_context *cx, redisAsyncContext *redis)
{
    *adapter = (struct adapter){.cx = cx, .redis = redis};
    CHECK(ior_watch(cx, redis->c.fd, IOR_NONE, adapter, &adapter->watch) == 0);
    redis->ev.data = adapter;
    redis->ev.addRead = adapter_add_read;
    redis->ev.delRead = adapter_del_read;
    redis->ev.addWrite = adapter_add_write;
    redis->ev.delWrite = adapter_del_write;
    redis->ev.cleanup = adapter_cleanup;
    adapter_add_write(adapter); /* Tells hiredis when the connect has a result. */
}

static void adapter_ready(struct adapter *adapter, unsigned ready)
{
    /* An error or a hang-up is found by reading. */
    if (ready & (IOR_READ | IOR_HUP | IOR_ERR))
        redisAsyncHandleRead(adapter->redis);
    if (adapter->redis && (ready & IOR_WRITE))
        redisAsyncHandleWrite(adapter->redis);
}

/*
 * --- The client service: counts on the server, many requests at a time, and leaves. -------------------------------
 */

#define REQUESTS 20000
#define AT_A_TIME 500

struct client {
    struct adapter adapter;
    struct ior_addr server;
    long long asked, answered;
    bool disconnected;
};

static void client_answer(redisAsyncContext *redis, void *arg, void *user);

static void client_ask(struct client *client, redisAsyncContext *redis)
{
    while (client->asked < REQUESTS && client->asked - client->answered < AT_A_TIME) {
        CHECK(redisAsyncCommand(redis, client_answer, client, "INCR visits") == REDIS_OK);
        client->asked++;
    }
}

static void client_answer(redisAsyncContext *redis, void *arg, void *user)
{
    struct client *client = user;
    const redisReply *reply = arg;
    CHECK(reply && reply->type == REDIS_REPLY_INTEGER && reply->integer == ++client->answered);
    client_ask(client, redis);
    if (client->answered == REQUESTS)
        redisAsyncDisconnect(redis);
}

static void client_disconnected(const redisAsyncContext *redis, int status)
{
    struct client *client = redis->data;
    CHECK(status == REDIS_OK);
    client->disconnected = true;
}

static int client_start(void *self, struct ior_context *cx)
{
    struct client *client = self;
    redisAsyncContext *redis = redisAsyncConnect("127.0.0.1", (int)ior_addr_port(&client->server));
    CHECK(redis && !redis->err);
    redis->data = client;
    adapter_attach(&client->adapter, cx, redis);
    CHECK(redisAsyncSetDisconnectCallback(redis, client_disconnected) == REDIS_OK);
    client_ask(client, redis);
    return 0;
}

static void client_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    (void)self;
    if (ev->type == IOR_EV_READY)
        adapter_ready(ev->user, ev->ready);
    else if (ev->type == IOR_EV_END)
        ior_stop(cx, 0);
}

static const struct ior_handler client_handler = {
    .struct_size = sizeof(struct ior_handler),
    .start = client_start,
    .transport = client_transport,
};

/*
 * --- The server service. ------------------------------------------------------------------------------------------
 */

struct server {
    struct ior_addr addr;
    long long visits;
};

static int server_start(void *self, struct ior_context *cx)
{
    struct server *server = self;
    struct ior_addr any = loopback();
    ior_id id;
    int err = ior_listen(cx, &any, NULL, &id);
    return err < 0 ? err : ior_local(cx, id, &server->addr);
}

static void server_listener(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    ior_id id;
    (void)self;
    if (ev->type == IOR_EV_ACCEPTED)
        CHECK(ior_accept(cx, ev, &id) == 0);
}

static void server_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    static const char incr[] = "*2\r\n$4\r\nINCR\r\n$6\r\nvisits\r\n";
    const size_t incr_len = sizeof incr - 1;
    struct server *server = self;
    char answer[32];
    if (ev->type != IOR_EV_DATA)
        return;
    const char *at = ev->data.bytes;
    size_t left = ev->data.len;
    for (; left >= incr_len; at += incr_len, left -= incr_len) {
        CHECK(memcmp(at, incr, incr_len) == 0);
        int n = snprintf(answer, sizeof answer, ":%lld\r\n", ++server->visits);
        CHECK(ior_send(cx, ev->id, answer, (size_t)n) >= 0);
    }
    CHECK(left == 0 || ior_unread(cx, ev->id, left) == 0);
}

static const struct ior_handler server_handler = {
    .struct_size = sizeof(struct ior_handler),
    .start = server_start,
    .listener = server_listener,
    .transport = server_transport,
};

int main(void)
{
    struct ior_config config = program_config();
    struct server server = {.visits = 0};
    struct client client = {.asked = 0};
    struct ior_reactor *reactor;
    struct ior_runtime *runtime;

    program_begin();
    CHECK(ior_reactor_new(&config, &server_handler, &server, &reactor) == 0);
    client.server = server.addr;
    CHECK(ior_runtime_new(&config, &client_handler, &client, &runtime) == 0);
    CHECK(ior_runtime_run(runtime) == 0);
    ior_runtime_free(runtime);
    ior_reactor_free(reactor);
    CHECK(client.answered == REQUESTS && client.disconnected && server.visits == REQUESTS);
    return 0;
}
