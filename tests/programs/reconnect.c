/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client that does not give up: it connects, asks, and wants an answer within a deadline; whatever goes wrong
 * (refused, closed, too late), it lets go of the connection and tries again after a pause that doubles, with jitter.
 * The service never blocks and never loops: each step is one callback.
 *
 * The server below refuses the first attempt, hangs up on the second, is silent to the third, and answers the fourth.
 */
#include "program.h"
#include <semaphore.h>
#include <stdatomic.h>

#define CONNECT_NS (2 * IOR_NS_PER_SEC)
#define ANSWER_NS (250 * IOR_NS_PER_MS)
#define PAUSE_FIRST_NS (2 * IOR_NS_PER_MS)
#define PAUSE_MOST_NS (50 * IOR_NS_PER_MS)

struct client {
    struct ior_addr server;
    ior_id id; /* the present attempt */
    uint64_t pause_ns;
    char answer[8];
    size_t answer_len;
    unsigned attempts, refused, too_late;
    atomic_uint hung_up;
    atomic_bool answered;
    sem_t failed; /* posted after each failed attempt, for the server below */
};

static void client_retry(struct client *client, struct ior_context *cx)
{
    ior_timer_id timer;
    uint64_t jitter_ns = ior_random(cx) % (client->pause_ns / 2);
    CHECK(ior_timer_set(cx, client->pause_ns + jitter_ns, NULL, &timer) == 0);
    if (client->pause_ns < PAUSE_MOST_NS)
        client->pause_ns *= 2;
    sem_post(&client->failed);
}

static void client_attempt(struct client *client, struct ior_context *cx)
{
    struct ior_stream_options options = {.struct_size = sizeof options, .connect_ns = CONNECT_NS};
    client->attempts++;
    client->answer_len = 0;
    int err = ior_connect(cx, &client->server, &options, &client->id);
    if (err < 0) { /* Refused at once; mostly it comes as END. */
        client->refused++;
        client_retry(client, cx);
    }
}

static int client_start(void *self, struct ior_context *cx)
{
    client_attempt(self, cx);
    return 0;
}

static void client_timer(void *self, struct ior_context *cx, ior_timer_id id, void *user)
{
    (void)id;
    (void)user;
    client_attempt(self, cx);
}

static void client_data(struct client *client, struct ior_context *cx, const struct ior_event *ev)
{
    if (ev->data.len > sizeof client->answer - client->answer_len) {
        ior_abort(cx, ev->id);
        return;
    }
    memcpy(client->answer + client->answer_len, ev->data.bytes, ev->data.len);
    client->answer_len += ev->data.len;
    if (client->answer_len == 5) {
        client->answered = true;
        ior_stop(cx, IOR_NS_PER_SEC);
    }
}

static void client_end(struct client *client, struct ior_context *cx, const struct ior_event *ev)
{
    if (ev->end.why == IOR_SHUTDOWN)
        return;
    if (ev->end.why == IOR_ERROR && ev->end.error == ECONNREFUSED)
        client->refused++;
    else if (ev->end.why == IOR_ASKED)
        client->too_late++;
    else
        client->hung_up++;
    client_retry(client, cx);
}

static void client_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    switch (ev->type) {
    case IOR_EV_OPEN:
        CHECK(ior_send(cx, ev->id, "what?", 5) == 0);
        CHECK(ior_deadline(cx, ev->id, IOR_DEADLINE_USER, ANSWER_NS) == 0);
        break;
    case IOR_EV_DATA:
        client_data(self, cx, ev);
        break;
    case IOR_EV_DEADLINE:
        ior_abort(cx, ev->id);
        break;
    case IOR_EV_END:
        client_end(self, cx, ev);
        break;
    default:
        break;
    }
}

static const struct ior_handler client_handler = {
    .struct_size = sizeof(struct ior_handler),
    .start = client_start,
    .timer = client_timer,
    .transport = client_transport,
};

/* The server: a blocking thread with a script. Its port is bound, but nobody listens on it in the beginning. */

struct server {
    int listener;
    struct client *client;
};

static void wait_for(sem_t *sem)
{
    while (sem_wait(sem) != 0)
        CHECK(errno == EINTR);
}

/* The next client that asks; on a slow machine one may have lost patience before it was seen. */
static int server_next(const struct server *server)
{
    for (;;) {
        char asked[5];
        int fd = accept(server->listener, NULL, NULL);
        CHECK(fd >= 0);
        if (recv(fd, asked, sizeof asked, MSG_WAITALL) == sizeof asked && memcmp(asked, "what?", 5) == 0)
            return fd;
        close(fd);
    }
}

static void *server_main(void *arg)
{
    struct server *server = arg;
    int fd, silent;
    char byte;

    wait_for(&server->client->failed);
    CHECK(listen(server->listener, 8) == 0);

    do {
        close(server_next(server));
        wait_for(&server->client->failed);
    } while (server->client->hung_up == 0); /* Where it had lost patience before that, once more. */
    silent = server_next(server);
    do {
        fd = server_next(server); /* Comes only after the deadline of the one before has passed. */
        send(fd, "th", 2, MSG_NOSIGNAL);
        send(fd, "is!", 3, MSG_NOSIGNAL);
        while (recv(fd, &byte, 1, 0) > 0)
            ;
        close(fd);
    } while (!server->client->answered);
    close(silent);
    return NULL;
}

int main(void)
{
    struct ior_config config = program_config();
    struct ior_runtime *runtime;
    struct client client = {.pause_ns = PAUSE_FIRST_NS, .server = loopback()};
    struct server server = {.client = &client};
    socklen_t len = sizeof client.server.raw;
    pthread_t thread;

    program_begin();
    CHECK(sem_init(&client.failed, 0, 0) == 0);
    CHECK((server.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) >= 0);
    CHECK(bind(server.listener, (struct sockaddr *)client.server.raw, client.server.len) == 0);
    CHECK(getsockname(server.listener, (struct sockaddr *)client.server.raw, &len) == 0);
    CHECK(pthread_create(&thread, NULL, server_main, &server) == 0);

    /* A runtime needs no thread of its own: this one runs it, until the service has its answer. */
    CHECK(ior_runtime_new(&config, &client_handler, &client, &runtime) == 0);
    CHECK(ior_runtime_run(runtime) == 0);
    ior_runtime_free(runtime);

    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(memcmp(client.answer, "this!", 5) == 0);
    CHECK(client.refused >= 1 && client.hung_up >= 1 && client.too_late >= 1);
    CHECK(client.attempts == client.refused + client.hung_up + client.too_late + 1);
    sem_destroy(&client.failed);
    close(server.listener);
    return 0;
}
