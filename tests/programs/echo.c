/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Echo: the smallest useful service, in a thread of its own. It needs no code for back-pressure: while a client
 * does not read its answers, the library does not read more of its requests. The client below sends more than any
 * buffer on the way holds before it reads, half-closes, and must get every byte back, in order, and then the end.
 */
#include "program.h"

struct echo {
    struct ior_addr addr;   /* where it listens: set before ior_reactor_new returns */
    uint64_t written, ends; /* of the connections that ended: read after the reactor was joined */
};

static int echo_start(void *self, struct ior_context *cx)
{
    struct echo *echo = self;
    struct ior_addr any = loopback();
    ior_id id;
    int err = ior_listen(cx, &any, NULL, &id);
    return err < 0 ? err : ior_local(cx, id, &echo->addr);
}

static void echo_listener(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    ior_id id;
    (void)self;
    if (ev->type == IOR_EV_ACCEPTED)
        CHECK(ior_accept(cx, ev, &id) == 0);
}

static void echo_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct echo *echo = self;
    if (ev->type == IOR_EV_DATA) {
        CHECK(ior_send(cx, ev->id, ev->data.bytes, ev->data.len) >= 0);
    } else if (ev->type == IOR_EV_END) {
        CHECK(ev->end.why == IOR_EOF && ev->end.unsent == 0);
        echo->written += ev->end.written;
        echo->ends++;
    }
}

static const struct ior_handler echo_handler = {
    .struct_size = sizeof(struct ior_handler),
    .start = echo_start,
    .listener = echo_listener,
    .transport = echo_transport,
};

/* The client. */

#define TOTAL_BYTES ((size_t)32 * 1024 * 1024)

static unsigned char pattern(size_t at)
{
    return (unsigned char)(at * 131 + (at >> 8) * 17);
}

static void *client_writer(void *arg)
{
    int fd = *(int *)arg;
    static unsigned char chunk[65536];
    for (size_t at = 0; at < TOTAL_BYTES; at += sizeof chunk) {
        for (size_t i = 0; i < sizeof chunk; i++)
            chunk[i] = pattern(at + i);
        client_send(fd, chunk, sizeof chunk);
    }
    CHECK(shutdown(fd, SHUT_WR) == 0);
    return NULL;
}

static void client_reader(int fd)
{
    static unsigned char chunk[65536];
    for (size_t at = 0; at < TOTAL_BYTES; at += sizeof chunk) {
        client_read(fd, chunk, sizeof chunk);
        for (size_t i = 0; i < sizeof chunk; i++)
            CHECK(chunk[i] == pattern(at + i));
    }
    client_expect_eof(fd);
}

int main(void)
{
    struct ior_config config = program_config();
    struct ior_reactor *reactor;
    struct echo echo = {0};
    pthread_t writer;

    program_begin();
    CHECK(ior_reactor_new(&config, &echo_handler, &echo, &reactor) == 0);

    int fd = client_connect(&echo.addr);
    client_send(fd, "hello", 5);
    client_expect(fd, "hello");

    CHECK(pthread_create(&writer, NULL, client_writer, &fd) == 0);
    client_reader(fd);
    CHECK(pthread_join(writer, NULL) == 0);
    close(fd);

    CHECK(ior_controller_shutdown(ior_reactor_controller(reactor), IOR_NS_PER_SEC) == 0);
    CHECK(ior_reactor_join(reactor) == 0);
    CHECK(echo.ends == 1 && echo.written == TOTAL_BYTES + 5);
    ior_reactor_free(reactor);
    return 0;
}
