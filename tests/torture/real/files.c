/* SPDX-License-Identifier: Apache-2.0 */
/* What is done on threads: regular files, jobs, look-ups of names and the dialling that begins with them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/check.h"

#include "real.h"

/* ---- regular files ---- */

enum { LEN = 1000, PIECE = 400 };

static void path_of(const struct run *run, const char *name, char path[static 300])
{
    (void)snprintf(path, 300, "%s/%s", run->dir, name);
}

static ior_id open_file(struct run *run, const char *name, const struct ior_file_options *opts)
{
    char path[300];
    ior_id id = 0;
    path_of(run, name, path);
    ask(run);
    int answer = ior_file_open(run->cx, path, opts, &id);
    return given(run, answer, id);
}

/* Operations that were taken, and what came of them. */
static struct {
    unsigned asked, told;
    size_t readable;
} ops;

static void note_op(struct run *run, struct probe_res *r, const struct ior_event *ev)
{
    (void)r;
    if (ev->type != IOR_EV_FILE)
        return;
    const struct ior_file_result *result = ev->file;
    ops.told++;
    if (result->error != 0 && !explains(run, result->error))
        fail_msg("an operation answered %s", ior_errname(result->error));
    if (result->error == 0 && result->op == IOR_FILE_OP_READ &&
        (result->len != ops.readable || !net_is_pattern(result->bytes, 0, result->len)))
        fail_msg("other bytes were read than are there");
    if (result->error == 0 && result->op == IOR_FILE_OP_WRITE && result->len != 100)
        fail_msg("a write that is not whole, without an error");
    if ((result->stat != NULL) != (result->op == IOR_FILE_OP_STAT && result->error == 0))
        fail_msg("a stat with an error, or none without");
}

/* Sends, writes, reads, asks; each in its turn. */
static void write_and_ask(struct run *run, ior_id id)
{
    unsigned char bytes[LEN];
    if (id == 0)
        return;
    net_pattern(bytes, 0, LEN);
    bool sent = taken(run, ior_send(run->cx, id, bytes, LEN));
    net_pattern(bytes, LEN, 100);
    ops.asked += taken(run, ior_file_write(run->cx, id, LEN, bytes, 100, NULL));
    ops.readable = sent ? 500 : 0;
    ops.asked += taken(run, ior_file_read(run->cx, id, 0, ops.readable, NULL));
    ops.asked += taken(run, ior_file_sync(run->cx, id, NULL));
    ops.asked += taken(run, ior_file_stat(run->cx, id, NULL));
}

static void files(struct run *run)
{
    char path[300];
    run->threads = true;
    run->on_event = note_op;
    run->p->pattern = true;
    memset(&ops, 0, sizeof(ops));
    path_of(run, "old", path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    net_write_pattern(fd, 0, LEN);

    ior_id out =
        open_file(run, "new",
                  OPTIONS(ior_file_options, .flags = IOR_FILE_READ | IOR_FILE_WRITE | IOR_FILE_CREATE | IOR_FILE_SYNC));
    ior_id in = open_file(run, "old",
                          OPTIONS(ior_file_options, .flags = IOR_FILE_READ | IOR_FILE_STREAM, .piece_bytes = PIECE));
    write_and_ask(run, out);
    until(run, out, ops.told == ops.asked);
    until(run, in, res(run, in)->end == 1);
    assert_true(in == 0 || (res(run, in)->why == IOR_EOF) == (res(run, in)->bytes == LEN && res(run, in)->error == 0));
    want(run, res(run, in)->why == IOR_EOF);
    if (lives(run, out) && taken(run, ior_close(run->cx, out, IOR_NEVER)))
        until(run, out, res(run, out)->end == 1);
    want(run, res(run, out)->written == LEN && res(run, out)->unsent == 0 && res(run, out)->why == IOR_ASKED);

    so_far(run);
    ior_id adopted = 0;
    run->threads = false; /* all of them are done */
    ask(run);
    int answer =
        ior_file_adopt(run->cx, fd, OPTIONS(ior_file_options, .flags = IOR_FILE_READ | IOR_FILE_WRITE), &adopted);
    adopted = given(run, answer, adopted);
    if (adopted == 0)
        (void)close(fd); /* it stayed the caller's */
    adopted = again(run, adopted);
    write_and_ask(run, adopted); /* and in the midst of it comes the end */
    run->threads = true;
    (void)open_file(run, "old", NULL);
}

/* ---- jobs ---- */

enum { JOBS = 4 };

static struct work {
    struct ior_job job;
    bool taken;
    unsigned done;
} works[JOBS];

static int work(struct ior_job *job)
{
    (void)job;
    return 7;
}

static void on_job(struct probe *p, struct ior_job *job)
{
    struct work *at = (struct work *)job;
    (void)p;
    if (!at->taken || at->done++ != 0 || (job->status != 7 && job->status != -ECANCELED))
        fail_msg("a job that was refused, or came twice, or answers %d", job->status);
}

static void jobs(struct run *run)
{
    ior_job_id id = 0;
    memset(works, 0, sizeof(works));
    run->p->on_job = on_job;
    for (unsigned i = 0; i < JOBS; i++) {
        works[i].job.work = work;
        ior_job_id one = 0;
        works[i].taken = true; /* what comes back comes from the loop, but the thread reads it now */
        int answer = ior_job_submit(run->cx, IOR_LANE_USER + i % 2, &works[i].job, &one);
        works[i].taken = taken(run, answer);
        assert_true(works[i].taken == (one != 0));
        if (one != 0)
            id = one;
        if (i == 1)
            probe_until(run->p, works[0].done == works[0].taken && works[1].done == works[1].taken);
    }
    if (id != 0) {
        int answer = ior_job_cancel(run->cx, id);
        assert_true(answer == 0 || answer == 1 || answer == -EALREADY);
    }
}

static void jobs_over(struct run *run)
{
    (void)run;
    for (unsigned i = 0; i < JOBS; i++)
        assert_int_equal(works[i].done, works[i].taken);
}

/* ---- names ---- */

static int listener, peer;

static void names(struct run *run)
{
    listener = net_tcp_listener(&faulty_addr, 8);
    peer = -1;
    ior_id lookup = 0, dialled = 0, late = 0;
    ask(run);
    int answer = ior_resolve(run->cx, "host.example", 80, NULL, &lookup);
    lookup = given(run, answer, lookup);
    until(run, lookup, res(run, lookup)->end == 1);
    want(run, res(run, lookup)->resolved == 1);

    run->threads = true;
    ask(run);
    answer = ior_dial(run->cx, "host.example", 80, NULL, &dialled);
    dialled = given(run, answer, dialled);
    until(run, dialled, res(run, dialled)->open == 1);
    if (lives(run, dialled) && taken(run, ior_send(run->cx, dialled, "hello", 5))) {
        char bytes[5];
        until(run, dialled, ior_queued(run->cx, dialled) == 0);
        if (lives(run, dialled)) {
            peer = accept(listener, NULL, NULL);
            assert_true(peer >= 0);
            net_read(peer, bytes, 5);
            net_write(peer, bytes, 5);
        }
        until(run, dialled, res(run, dialled)->bytes == 5);
    }
    so_far(run);
    ask(run);
    answer = ior_dial(run->cx, "other.example", 80, NULL, &late); /* is called off by the end, wherever it is */
    (void)given(run, answer, late);
}

static void names_leave(struct run *run)
{
    run->peers_leave = true;
    if (peer >= 0)
        net_close(&peer);
    net_close(&listener);
}

const struct scene real_files[] = {
    {.name = "files", .play = files},
    {.name = "jobs", .play = jobs, .over = jobs_over},
    {.name = "names", .play = names, .leave = names_leave},
    {.name = NULL},
};
