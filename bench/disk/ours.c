/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"
#include "disk.h"
#include <errno.h>

static struct ior_runtime *rt;
static struct ior_context *cx;
static ior_id file, out, echoed;
static bool working;
static uint64_t sleep_ns;

static int sleeps(struct ior_job *job)
{
    struct timespec ts = {0, (long)sleep_ns};
    (void)job;
    nanosleep(&ts, NULL);
    return 0;
}

void disk_work(unsigned jobs, uint64_t ns)
{
    sleep_ns = ns;
    working = true;
    for (unsigned i = 0; i < jobs; i++) {
        struct ior_job *job = calloc(1, sizeof(*job));
        ior_job_id id;
        bench_must(job ? 0 : -ENOMEM, "calloc");
        job->work = sleeps;
        bench_must(ior_job_submit(cx, IOR_LANE_FILES, job, &id), "ior_job_submit");
    }
}

static void on_job(struct ior_job *job)
{
    ior_job_id id;
    if (!working || ior_job_submit(cx, IOR_LANE_FILES, job, &id) < 0)
        free(job);
}

static void on_data(const struct ior_event *ev)
{
    if (ev->id == echoed) {
        bench_must(ior_send(cx, ev->id, ev->data.bytes, ev->data.len), "ior_send");
        return;
    }
    struct ior_buf *buf = ior_file_take(cx, ev);
    bench_must(buf ? 0 : -ENOMEM, "ior_file_take");
    int r = ior_send_buf(cx, out, buf);
    bench_must(r, "ior_send_buf");
    ior_buf_unref(buf);
    if (r == 1)
        ior_pause(cx, file);
}

static void on_transport(void *self, struct ior_context *context, const struct ior_event *ev)
{
    (void)self;
    (void)context;
    if (ev->type == IOR_EV_JOB)
        on_job(ev->job);
    else if (ev->type == IOR_EV_DATA)
        on_data(ev);
    else if (ev->type == IOR_EV_DRAINED && ev->id == out)
        ior_resume(cx, file);
    else if (ev->type == IOR_EV_EOF && ev->id == file)
        ior_finish(cx, out);
    else if (ev->type == IOR_EV_END && ev->id == file)
        bench_must(-ev->end.error, "the file");
    else if (ev->type == IOR_EV_END && ev->id == out)
        disk_on_sent();
    else if (ev->type == IOR_EV_END && ev->id == echoed)
        disk_stop();
}

static void on_timer(void *self, struct ior_context *context, ior_timer_id id, void *user)
{
    (void)self;
    (void)id;
    (void)user;
    disk_on_tick();
    bench_must(ior_timer_set(context, IOR_NS_PER_MS, NULL, &id), "ior_timer_set");
}

void disk_open(void)
{
    static const struct ior_handler handler = {
        .struct_size = sizeof(handler), .transport = on_transport, .timer = on_timer};
    struct ior_config config = {.struct_size = sizeof(config), .engine = ior_engine_from_env()};
    config.files = getenv("IOR_FILES"); /* "uring", "threads", or NULL */
    bench_must(ior_runtime_new(&config, &handler, NULL, &rt), "ior_runtime_new");
    cx = ior_runtime_context(rt);
    file = out = echoed = 0;
}

void disk_run(void)
{
    bench_must(ior_runtime_run(rt), "ior_runtime_run");
    ior_runtime_free(rt);
}

void disk_stop(void)
{
    working = false;
    ior_stop(cx, IOR_NS_PER_SEC);
}

void disk_tick(void)
{
    ior_timer_id id;
    bench_must(ior_timer_set(cx, IOR_NS_PER_MS, NULL, &id), "ior_timer_set");
}

void disk_send(const char *path, int fd)
{
    struct ior_stream_options opts = {.struct_size = sizeof(opts), .half_open = true};
    struct ior_file_options file_opts = {.struct_size = sizeof(file_opts), .flags = IOR_FILE_READ | IOR_FILE_STREAM};
    bench_must(ior_adopt(cx, fd, &opts, &out), "ior_adopt");
    bench_must(ior_file_open(cx, path, &file_opts, &file), "ior_file_open");
}

void disk_echo(int fd)
{
    bench_must(ior_adopt(cx, fd, NULL, &echoed), "ior_adopt");
}
