/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A proxy: what one side says is told to the other, both ways. Back-pressure and ends are passed on: where one side
 * cannot take more, the other is paused until it can; where one side finishes, the other's sending side is finished
 * once all was written, and goes on in the other direction (half_open).
 *
 * Below, a client sends 16 MiB through it to a server that does not begin to read before the proxy has paused the
 * client; it half-closes, and gets the server's sum over all the bytes, sent after the server saw the end.
 */
#include "program.h"
#include <semaphore.h>

/*
 * One side of a connection through the proxy; lives and dies with its stream. The sides know each other by id: one
 * that is gone is an error that does nothing, so neither has to be told when the other ends.
 */
struct side {
    ior_id other;
    bool finished; /* it sends nothing any more */
};

struct proxy {
    struct ior_addr addr, upstream;
    uint64_t max_queued;
    unsigned streams;
    sem_t paused; /* posted at each pause: the test's server waits for it */
};

static const struct ior_stream_options side_options = {
    .struct_size = sizeof(struct ior_stream_options),
    .half_open = true,
    .user_size = sizeof(struct side),
    .connect_ns = 5 * IOR_NS_PER_SEC,
};

static void proxy_listener(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct proxy *proxy = self;
    ior_id client, server;
    if (ev->type != IOR_EV_ACCEPTED || ior_accept(cx, ev, &client) < 0)
        return;
    proxy->streams++;
    if (ior_connect(cx, &proxy->upstream, &side_options, &server) < 0) {
        ior_abort(cx, client);
        return;
    }
    proxy->streams++;
    ((struct side *)ior_user(cx, client))->other = server;
    ((struct side *)ior_user(cx, server))->other = client;
    ior_pause(cx, client); /* Until the server's side is open. */
}

static void proxy_data(struct proxy *proxy, struct ior_context *cx, const struct side *side, const struct ior_event *ev)
{
    int answer = ior_send(cx, side->other, ev->data.bytes, ev->data.len);
    uint64_t queued = ior_queued(cx, side->other);
    if (queued > proxy->max_queued)
        proxy->max_queued = queued;
    if (answer == 1) {
        ior_pause(cx, ev->id);
        sem_post(&proxy->paused);
    } else if (answer < 0) {
        ior_abort(cx, ev->id); /* The other side broke: its END is on the way. */
    }
}

static void proxy_eof(struct ior_context *cx, struct side *side, ior_id id)
{
    const struct side *other = ior_user(cx, side->other);
    side->finished = true;
    ior_finish(cx, side->other);
    if (other && other->finished) { /* Nothing more will come either way: flush and go. */
        ior_close(cx, id, 10 * IOR_NS_PER_SEC);
        ior_close(cx, side->other, 10 * IOR_NS_PER_SEC);
    }
}

static void proxy_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct proxy *proxy = self;
    struct side *side = ev->user;
    switch (ev->type) {
    case IOR_EV_OPEN: /* The server's, for which the client waits; the client's own resumes what was never paused. */
    case IOR_EV_DRAINED:
        ior_resume(cx, side->other);
        break;
    case IOR_EV_DATA:
        proxy_data(proxy, cx, side, ev);
        break;
    case IOR_EV_EOF:
        proxy_eof(cx, side, ev->id);
        break;
    case IOR_EV_END:
        proxy->streams--;
        if (ev->end.why == IOR_ERROR || ev->end.why == IOR_TIMEOUT)
            ior_abort(cx, side->other);
        break;
    default:
        break;
    }
}

static int proxy_start(void *self, struct ior_context *cx)
{
    struct proxy *proxy = self;
    struct ior_listen_options options = {
        .struct_size = sizeof options,
        .stream = side_options,
    };
    struct ior_addr any = loopback();
    ior_id id;
    int err = ior_listen(cx, &any, &options, &id);
    return err < 0 ? err : ior_local(cx, id, &proxy->addr);
}

static const struct ior_handler proxy_handler = {
    .struct_size = sizeof(struct ior_handler),
    .start = proxy_start,
    .listener = proxy_listener,
    .transport = proxy_transport,
};

/* The two ends, plain blocking threads. */

#define TOTAL_BYTES ((size_t)16 * 1024 * 1024)

struct server {
    int listener;
    struct proxy *proxy;
};

static void *server_main(void *arg)
{
    struct server *server = arg;
    static unsigned char chunk[65536];
    size_t total = 0;
    uint64_t sum = 0;
    ssize_t n;
    int fd = accept(server->listener, NULL, NULL);
    CHECK(fd >= 0);
    client_send(fd, "ready", 5);
    while (sem_wait(&server->proxy->paused) != 0)
        CHECK(errno == EINTR);
    while ((n = recv(fd, chunk, sizeof chunk, 0)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            sum = sum * 31 + chunk[i];
        total += (size_t)n;
    }
    CHECK(n == 0 && total == TOTAL_BYTES);
    client_send(fd, &sum, sizeof sum); /* The client has finished, and is still listening. */
    close(fd);
    return NULL;
}

static void server_listen(struct server *server, struct ior_addr *addr)
{
    int small = 65536;
    socklen_t len = sizeof addr->raw;
    *addr = loopback();
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(server->listener >= 0);
    /* A small window, so that the bytes pile up in the proxy and not in the kernel. */
    CHECK(setsockopt(server->listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof small) == 0);
    CHECK(bind(server->listener, (struct sockaddr *)addr->raw, addr->len) == 0);
    CHECK(listen(server->listener, 1) == 0);
    CHECK(getsockname(server->listener, (struct sockaddr *)addr->raw, &len) == 0);
    addr->len = len;
}

static void client_main(const struct ior_addr *addr)
{
    static unsigned char chunk[65536];
    uint64_t sum = 0, answer;
    int fd = client_connect(addr);
    client_expect(fd, "ready");
    for (size_t at = 0; at < TOTAL_BYTES; at += sizeof chunk) {
        for (size_t i = 0; i < sizeof chunk; i++) {
            chunk[i] = (unsigned char)((at + i) * 37 + (at >> 16));
            sum = sum * 31 + chunk[i];
        }
        client_send(fd, chunk, sizeof chunk);
    }
    CHECK(shutdown(fd, SHUT_WR) == 0);
    client_read(fd, &answer, sizeof answer);
    CHECK(answer == sum);
    client_expect_eof(fd);
    close(fd);
}

int main(void)
{
    struct ior_config config = program_config();
    struct ior_reactor *reactor;
    struct proxy proxy = {.max_queued = 0};
    struct server server = {.proxy = &proxy};
    pthread_t thread;

    program_begin();
    CHECK(sem_init(&proxy.paused, 0, 0) == 0);
    server_listen(&server, &proxy.upstream);
    CHECK(pthread_create(&thread, NULL, server_main, &server) == 0);
    CHECK(ior_reactor_new(&config, &proxy_handler, &proxy, &reactor) == 0);

    client_main(&proxy.addr);

    CHECK(pthread_join(thread, NULL) == 0);
    ior_reactor_free(reactor);
    CHECK(proxy.streams == 0);
    /* Never more than the mark and the one data event that went over it. */
    CHECK(proxy.max_queued > IOR_HIGH_BYTES_DEFAULT && proxy.max_queued <= IOR_HIGH_BYTES_DEFAULT + 65536);
    sem_destroy(&proxy.paused);
    close(server.listener);
    return 0;
}
