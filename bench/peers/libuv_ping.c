/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PING server on libuv.
 *
 * As documented (the default): the guide's TCP server with an answer for each request, a uv_write each, as one writes it
 * where a function handles one request. libuv writes each at once: a system call for each request.
 *
 * --corked: by hand, all answers to what one read brought are collected and written with one uv_try_write (the rest, if
 * any, with uv_write). Static answers need no copy, and one write request is kept in each connection for the rest.
 */
#include "ping.h"
#include "server.h"
#include <uv.h>

struct connection {
    uv_tcp_t tcp; /* first: a handle is its connection */
    uv_write_t rest;
    size_t at; /* ping_count */
};

static char shared[SERVER_BUFFER_BYTES], answers[PING_ANSWERS_BYTES];
static bool corked;

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
    if (!uv_is_closing((uv_handle_t *)stream))
        uv_close((uv_handle_t *)stream, on_closed);
}

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)handle, (void)suggested;
    *buf = uv_buf_init(shared, sizeof shared);
}

static void on_data(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

static void on_written(uv_write_t *request, int status)
{
    uv_stream_t *stream = request->handle;
    struct connection *connection = (struct connection *)stream;
    if (request != &connection->rest)
        free(request);
    if (status < 0)
        end(stream);
    else if (stream->data && uv_stream_get_write_queue_size(stream) == 0) {
        stream->data = NULL;
        must(uv_read_start(stream, allocate, on_data), "uv_read_start");
    }
}

/* Stops reading until all is written. */
static void rest(uv_stream_t *stream)
{
    uv_read_stop(stream);
    stream->data = stream;
}

static void answer_each(uv_stream_t *stream, int requests)
{
    for (int i = 0; i < requests; i++) {
        uv_write_t *request = malloc(sizeof *request);
        if (!request)
            server_fail("malloc", ENOMEM);
        uv_buf_t out = uv_buf_init(answers, PING_ANSWER_BYTES);
        must(uv_write(request, stream, &out, 1, on_written), "uv_write");
    }
    if (uv_stream_get_write_queue_size(stream) > 0)
        rest(stream);
}

static void answer_at_once(uv_stream_t *stream, int requests)
{
    struct connection *connection = (struct connection *)stream;
    uv_buf_t out = uv_buf_init(answers, (unsigned)((size_t)requests * PING_ANSWER_BYTES));
    int sent = uv_try_write(stream, &out, 1);
    if (sent >= 0 && (size_t)sent == out.len)
        return;
    if (sent < 0 && sent != UV_EAGAIN) {
        end(stream);
        return;
    }
    out.base += sent > 0 ? sent : 0;
    out.len -= sent > 0 ? (size_t)sent : 0;
    rest(stream);
    must(uv_write(&connection->rest, stream, &out, 1, on_written), "uv_write");
}

static void on_data(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    int requests = n > 0 ? ping_count(&((struct connection *)stream)->at, buf->base, (size_t)n) : (int)n;
    if (requests < 0)
        end(stream);
    else if (requests > 0 && corked)
        answer_at_once(stream, requests);
    else if (requests > 0)
        answer_each(stream, requests);
}

static void on_connection(uv_stream_t *server, int status)
{
    must(status, "listen");
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection)
        server_fail("calloc", ENOMEM);
    must(uv_tcp_init(server->loop, &connection->tcp), "uv_tcp_init");
    if (uv_accept(server, (uv_stream_t *)&connection->tcp) < 0) {
        uv_close((uv_handle_t *)&connection->tcp, on_closed);
        return;
    }
    uv_tcp_nodelay(&connection->tcp, 1);
    must(uv_read_start((uv_stream_t *)&connection->tcp, allocate, on_data), "uv_read_start");
}

int main(int argc, char **argv)
{
    uv_tcp_t server;
    struct sockaddr_in addr;
    uv_os_fd_t fd;
    corked = server_flag(argc, argv, "--corked");
    server_begin();
    for (size_t i = 0; i < sizeof answers / PING_ANSWER_BYTES; i++)
        memcpy(answers + i * PING_ANSWER_BYTES, PING_ANSWER, PING_ANSWER_BYTES);
    must(uv_tcp_init(uv_default_loop(), &server), "uv_tcp_init");
    uv_ip4_addr("127.0.0.1", 0, &addr);
    must(uv_tcp_bind(&server, (const struct sockaddr *)&addr, 0), "uv_tcp_bind");
    must(uv_listen((uv_stream_t *)&server, SERVER_BACKLOG, on_connection), "uv_listen");
    must(uv_fileno((uv_handle_t *)&server, &fd), "uv_fileno");
    server_announce(fd);
    return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
