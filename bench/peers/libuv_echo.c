/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The echo server on libuv.
 *
 * As documented (the default): the server of the guide, "Networking", section "TCP": a buffer allocated for each read, a
 * write request allocated for each answer, which owns the buffer until it is written. The guide's server grows without
 * bound with a peer that never reads; here reading rests while the write queue is past 64 KiB
 * (uv_stream_get_write_queue_size), as the documentation of uv_try_write and of the queue's size suggests.
 *
 * --tuned: what somebody who measures would write: one buffer for the loop, handed out by each uv_alloc_cb (libuv reads
 * and calls back before it asks again), and uv_try_write ("Same as uv_write(), but won't queue a write request if it
 * can't be completed immediately"); only the rest is copied and queued, and reading rests until it is written.
 *
 * --idle: that, and a connection ends that was silent for ten minutes: uv_timer_again with each message.
 */
#include "server.h"
#include <uv.h>

struct answer {
    uv_write_t request; /* first: a request is its answer */
    char *bytes;
    char rest[]; /* --tuned: the bytes themselves */
};

/*
 * What a stream's `data` is: as documented, whether reading rests (NULL: it does not); --idle: its timer, whose `data`
 * is the stream.
 */
static char shared[SERVER_BUFFER_BYTES];
static bool tuned, idle;

static void must(int err, const char *what)
{
    if (err < 0) {
        fprintf(stderr, "%s: %s\n", what, uv_strerror(err));
        exit(1);
    }
}

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

static void end(uv_stream_t *stream)
{
    if (uv_is_closing((uv_handle_t *)stream))
        return;
    if (idle)
        uv_close(stream->data, on_closed);
    uv_close((uv_handle_t *)stream, on_closed);
}

static void on_idle(uv_timer_t *timer)
{
    end(timer->data);
}

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)handle;
    buf->base = malloc(suggested);
    buf->len = buf->base ? suggested : 0;
}

static void allocate_shared(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)handle, (void)suggested;
    *buf = uv_buf_init(shared, sizeof shared);
}

static void on_data(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);
static void on_data_tuned(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

static void on_written(uv_write_t *request, int status)
{
    struct answer *answer = (struct answer *)request;
    uv_stream_t *stream = request->handle;
    free(answer->bytes);
    free(answer);
    if (status < 0)
        end(stream);
    else if (stream->data && uv_stream_get_write_queue_size(stream) == 0) {
        stream->data = NULL;
        must(uv_read_start(stream, allocate, on_data), "uv_read_start");
    }
}

static void on_data(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct answer *answer = NULL;
    if (n > 0 && !(answer = malloc(sizeof *answer)))
        server_fail("malloc", ENOMEM);
    if (n <= 0) {
        free(buf->base);
        if (n < 0)
            end(stream);
        return;
    }
    uv_buf_t out = uv_buf_init(buf->base, (unsigned)n);
    answer->bytes = buf->base;
    must(uv_write(&answer->request, stream, &out, 1, on_written), "uv_write");
    if (uv_stream_get_write_queue_size(stream) > SERVER_BUFFER_BYTES) {
        uv_read_stop(stream);
        stream->data = stream; /* It rests. */
    }
}

static void on_rest_written(uv_write_t *request, int status)
{
    uv_stream_t *stream = request->handle;
    free(request);
    if (status < 0)
        end(stream);
    else
        must(uv_read_start(stream, allocate_shared, on_data_tuned), "uv_read_start");
}

static void on_data_tuned(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    if (n <= 0) {
        if (n < 0)
            end(stream);
        return;
    }
    if (idle)
        uv_timer_again(stream->data);
    uv_buf_t out = uv_buf_init(buf->base, (unsigned)n);
    int sent = uv_try_write(stream, &out, 1);
    if (sent == n)
        return;
    if (sent < 0 && sent != UV_EAGAIN) {
        end(stream);
        return;
    }
    size_t at = sent > 0 ? (size_t)sent : 0, len = (size_t)n - at;
    struct answer *answer = malloc(sizeof *answer + len);
    if (!answer)
        server_fail("malloc", ENOMEM);
    memcpy(answer->rest, buf->base + at, len);
    out = uv_buf_init(answer->rest, (unsigned)len);
    uv_read_stop(stream);
    must(uv_write(&answer->request, stream, &out, 1, on_rest_written), "uv_write");
}

static void on_connection(uv_stream_t *server, int status)
{
    must(status, "listen");
    uv_tcp_t *client = malloc(sizeof *client);
    if (!client)
        server_fail("malloc", ENOMEM);
    must(uv_tcp_init(server->loop, client), "uv_tcp_init");
    if (uv_accept(server, (uv_stream_t *)client) < 0) {
        uv_close((uv_handle_t *)client, on_closed);
        return;
    }
    uv_tcp_nodelay(client, 1);
    client->data = NULL;
    if (idle) {
        uv_timer_t *timer = malloc(sizeof *timer);
        if (!timer)
            server_fail("malloc", ENOMEM);
        must(uv_timer_init(server->loop, timer), "uv_timer_init");
        timer->data = client;
        client->data = timer;
        must(uv_timer_start(timer, on_idle, SERVER_IDLE_SECONDS * 1000, SERVER_IDLE_SECONDS * 1000), "uv_timer_start");
    }
    must(uv_read_start((uv_stream_t *)client, tuned ? allocate_shared : allocate, tuned ? on_data_tuned : on_data),
         "uv_read_start");
}

int main(int argc, char **argv)
{
    uv_tcp_t server;
    struct sockaddr_in addr;
    uv_os_fd_t fd;
    idle = argc == 2 && strcmp(argv[1], "--idle") == 0;
    tuned = idle || server_flag(argc, argv, "--tuned");
    server_begin();
    must(uv_tcp_init(uv_default_loop(), &server), "uv_tcp_init");
    uv_ip4_addr("127.0.0.1", 0, &addr);
    must(uv_tcp_bind(&server, (const struct sockaddr *)&addr, 0), "uv_tcp_bind");
    must(uv_listen((uv_stream_t *)&server, SERVER_BACKLOG, on_connection), "uv_listen");
    must(uv_fileno((uv_handle_t *)&server, &fd), "uv_fileno");
    server_announce(fd);
    return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
