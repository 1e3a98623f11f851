/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libuv: uv_fs_read in its pool of threads, into one of two buffers while the other one is written; uv_queue_work for
 * what is slow. The pool has four threads, as one lane of ours has.
 */
#include "bench.h"
#include "disk.h"
#include <fcntl.h>
#include <uv.h>

static uv_loop_t loop;
static uv_timer_t timer;
static uv_pipe_t out, echoed;
static bool has_timer, working;
static uint64_t sleep_ns;

static void must(ssize_t err, const char *what)
{
    if (err < 0) {
        fprintf(stderr, "%s: %s\n", what, uv_strerror((int)err));
        exit(1);
    }
}

/* ---- jobs ---- */

static void sleeps(uv_work_t *work)
{
    struct timespec ts = {0, (long)sleep_ns};
    (void)work;
    nanosleep(&ts, NULL);
}

static void slept(uv_work_t *work, int status)
{
    must(status, "uv_queue_work");
    if (working)
        must(uv_queue_work(&loop, work, sleeps, slept), "uv_queue_work");
    else
        free(work);
}

void disk_work(unsigned jobs, uint64_t ns)
{
    sleep_ns = ns;
    working = true;
    for (unsigned i = 0; i < jobs; i++) {
        uv_work_t *work = calloc(1, sizeof(*work));
        if (!work)
            abort();
        must(uv_queue_work(&loop, work, sleeps, slept), "uv_queue_work");
    }
}

/* ---- the file ---- */

struct piece {
    uv_fs_t read; /* `data` is the piece */
    uv_write_t write;
    bool busy;
    char bytes[DISK_PIECE_BYTES];
};

static struct piece pieces[2];
static uv_file file;
static bool reading, at_end;

static void read_next(void);

static void on_out_closed(uv_handle_t *handle)
{
    (void)handle;
    disk_on_sent();
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
    (void)request;
    must(status, "uv_shutdown");
    uv_close((uv_handle_t *)&out, on_out_closed);
}

static void on_written(uv_write_t *request, int status)
{
    struct piece *piece = request->data;
    must(status, "uv_write");
    piece->busy = false;
    read_next();
}

static void on_read(uv_fs_t *request)
{
    static uv_shutdown_t shutdown;
    struct piece *piece = request->data;
    ssize_t n = request->result;
    uv_fs_req_cleanup(request);
    must(n, "uv_fs_read");
    reading = false;
    if (n == 0) {
        uv_fs_t closing;
        at_end = true;
        uv_fs_close(&loop, &closing, file, NULL);
        must(uv_shutdown(&shutdown, (uv_stream_t *)&out, on_shutdown), "uv_shutdown");
        return;
    }
    uv_buf_t buf = uv_buf_init(piece->bytes, (unsigned)n);
    piece->write.data = piece;
    must(uv_write(&piece->write, (uv_stream_t *)&out, &buf, 1, on_written), "uv_write");
    read_next();
}

/* Into the buffer that is free. */
static void read_next(void)
{
    struct piece *piece = !pieces[0].busy ? &pieces[0] : &pieces[1];
    if (reading || at_end || piece->busy)
        return;
    uv_buf_t buf = uv_buf_init(piece->bytes, sizeof(piece->bytes));
    piece->busy = true;
    piece->read.data = piece;
    reading = true;
    must(uv_fs_read(&loop, &piece->read, file, &buf, 1, -1, on_read), "uv_fs_read");
}

static void on_open(uv_fs_t *request)
{
    must(request->result, "uv_fs_open");
    file = (uv_file)request->result;
    uv_fs_req_cleanup(request);
    read_next();
}

void disk_send(const char *path, int fd)
{
    static uv_fs_t opening;
    must(uv_pipe_init(&loop, &out, 0), "uv_pipe_init");
    must(uv_pipe_open(&out, fd), "uv_pipe_open");
    must(uv_fs_open(&loop, &opening, path, O_RDONLY, 0, on_open), "uv_fs_open");
}

/* ---- the echo ---- */

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    static char bytes[DISK_PIECE_BYTES];
    (void)handle;
    (void)suggested;
    *buf = uv_buf_init(bytes, sizeof(bytes));
}

static void on_echo_closed(uv_handle_t *handle)
{
    (void)handle;
    disk_stop();
}

static void on_echo(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    if (n == UV_EOF) {
        uv_close((uv_handle_t *)stream, on_echo_closed);
        return;
    }
    must(n, "uv_read");
    uv_buf_t answer = uv_buf_init(buf->base, (unsigned)n);
    if (n > 0)
        must(uv_try_write(stream, &answer, 1) - n, "uv_try_write"); /* so few bytes always fit */
}

void disk_echo(int fd)
{
    must(uv_pipe_init(&loop, &echoed, 0), "uv_pipe_init");
    must(uv_pipe_open(&echoed, fd), "uv_pipe_open");
    must(uv_read_start((uv_stream_t *)&echoed, allocate, on_echo), "uv_read_start");
}

/* ---- the loop ---- */

static void on_timer(uv_timer_t *handle)
{
    (void)handle;
    disk_on_tick();
}

void disk_tick(void)
{
    must(uv_timer_init(&loop, &timer), "uv_timer_init");
    must(uv_timer_start(&timer, on_timer, 1, 1), "uv_timer_start");
    has_timer = true;
}

void disk_open(void)
{
    must(uv_loop_init(&loop), "uv_loop_init");
    has_timer = false;
}

void disk_run(void)
{
    uv_run(&loop, UV_RUN_DEFAULT);
    must(uv_loop_close(&loop), "uv_loop_close");
}

void disk_stop(void)
{
    working = false;
    if (has_timer)
        uv_close((uv_handle_t *)&timer, NULL);
}
