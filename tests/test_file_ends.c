/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Regular files that end while a thread is in the midst of changing them: END waits, and tells what is in the file, so
 * that the bytes are there once whoever takes the file over. What is not waited for any longer is said to be left
 * behind, and its file is not registered before it has returned.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/check.h"
#include "support/disk.h"
#include "support/probe.h"

#define SENT 50000u
#define APPENDS (IOR_FILE_WRITE | IOR_FILE_CREATE | IOR_FILE_APPEND)

#define FILE_OPTIONS(...) \
    (&(const struct ior_file_options){.struct_size = sizeof(struct ior_file_options), __VA_ARGS__})

struct bench {
    struct disk disk;
    struct probe *p;
    char *dir;
    char path[300];
    size_t threads;
};

static struct bench *bench_new(void)
{
    struct bench *b = calloc(1, sizeof(*b));
    struct ior_config config = probe_config();
    assert_non_null(b);
    b->threads = net_threads_at_rest();
    disk_init(&b->disk);
    config.os = &b->disk.os;
    b->p = probe_new(&config);
    b->p->keep = true;
    b->dir = net_temp_dir();
    snprintf(b->path, sizeof(b->path), "%s/file", b->dir);
    return b;
}

static void bench_free(struct bench *b)
{
    probe_free(b->p);
    net_await_threads(b->threads);
    net_temp_dir_remove(b->dir);
    disk_deinit(&b->disk);
    free(b);
}

static ior_id open_file(struct bench *b, unsigned flags)
{
    ior_id id;
    assert_int_equal(ior_file_open(b->p->cx, b->path, FILE_OPTIONS(.flags = flags), &id), 0);
    probe_of(b->p, id);
    return id;
}

static int send_pattern(struct bench *b, ior_id id)
{
    static unsigned char bytes[SENT];
    net_pattern(bytes, 0, SENT);
    return ior_send(b->p->cx, id, bytes, SENT);
}

/* A file whose bytes were sent, and whose thread is in the midst of the call that is held. */
static ior_id stuck_in(struct bench *b, enum disk_call call, unsigned flags)
{
    disk_hold(&b->disk, call);
    ior_id id = open_file(b, flags);
    assert_int_equal(send_pattern(b, id), 0);
    probe_until(b->p, disk_calls(&b->disk, call) == 1);
    disk_await(&b->disk, 1);
    return id;
}

static struct probe_res *ended(struct bench *b, ior_id id)
{
    probe_until(b->p, probe_of(b->p, id)->end == 1);
    return probe_of(b->p, id);
}

static struct ior_resource *take(struct bench *b, ior_id id)
{
    struct probe_res *r = ended(b, id);
    struct ior_resource *res = r->handed;
    r->handed = NULL;
    assert_non_null(res);
    return res;
}

/* Nothing ends, nothing spins, and no request but ior_abort can do anything. */
static void waits(struct bench *b, ior_id id)
{
    probe_turns(b->p, 3);
    assert_true(probe_quiet(b->p, 5) <= 3);
    assert_int_equal(probe_of(b->p, id)->end, 0);
    assert_int_equal(probe_stats(b->p).resources, 1);
    assert_int_equal(ior_count(b->p->cx), 1);
    assert_int_equal(ior_unregister(b->p->cx, id), -EALREADY);
    assert_int_equal(ior_close(b->p->cx, id, 0), -EALREADY);
    assert_int_equal(ior_send(b->p->cx, id, "x", 1), -EPIPE);
}

static void registers_again(struct bench *b, struct ior_resource *res)
{
    ior_id again;
    b->p->keep = false;
    assert_int_equal(ior_register(b->p->cx, res, &again), 0);
    probe_until(b->p, probe_of(b->p, again)->open == 1);
    assert_int_equal(ior_close(b->p->cx, again, IOR_NEVER), 0);
    assert_int_equal(ended(b, again)->written, SENT);
    assert_int_equal(probe_of(b->p, again)->why, IOR_ASKED);
    assert_int_equal(probe_of(b->p, again)->error, 0);
}

/* All that was sent is in the file, once. */
static void expect_once(struct bench *b)
{
    static unsigned char bytes[SENT + 1];
    int fd = open(b->path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    size_t n = 0;
    for (ssize_t got = 1; got > 0; n += (size_t)got) {
        got = read(fd, bytes + n, sizeof(bytes) - n);
        assert_true(got >= 0);
    }
    close(fd);
    assert_int_equal(n, SENT);
    assert_true(net_is_pattern(bytes, 0, SENT));
}

/* ---- END waits ---- */

static void inv04_end_counts_what_a_thread_was_writing(void **state)
{
    (void)state;
    for (unsigned whole = 0; whole < 2; whole++) {
        struct bench *b = bench_new();
        ior_id id = stuck_in(b, DISK_WRITE, APPENDS);
        b->disk.most = whole ? 0 : 10000;
        b->disk.error = ENOSPC;
        b->disk.fail[DISK_WRITE] = whole ? 0 : 4;
        assert_int_equal(ior_unregister(b->p->cx, id), 0);
        waits(b, id);
        disk_release(&b->disk);
        struct probe_res *r = ended(b, id);
        assert_int_equal(r->why, IOR_ASKED);
        assert_int_equal(r->error, 0);
        assert_int_equal(r->written, whole ? SENT : 30000);
        assert_int_equal(r->unsent, SENT - r->written);
        struct ior_resource *res = take(b, id);
        assert_int_equal(ior_resource_unsent(res, NULL, 0, NULL), whole ? 0 : SENT - 30000);
        b->disk.fail[DISK_WRITE] = 0;
        registers_again(b, res);
        expect_once(b);
        bench_free(b);
    }
}

/* Where nothing could be written END says why not. A deadline waits as a request does. */
static void end_tells_the_error_it_waited_for(void **state)
{
    (void)state;
    for (unsigned late = 0; late < 2; late++) {
        struct bench *b = bench_new();
        ior_id id = stuck_in(b, DISK_WRITE, APPENDS);
        b->disk.error = ENOSPC;
        b->disk.fail[DISK_WRITE] = 1;
        if (late)
            assert_int_equal(ior_deadline(b->p->cx, id, IOR_DEADLINE_IDLE, 0), 0);
        else
            assert_int_equal(ior_unregister(b->p->cx, id), 0);
        waits(b, id);
        disk_release(&b->disk);
        struct probe_res *r = ended(b, id);
        assert_int_equal(r->why, late ? IOR_TIMEOUT : IOR_ASKED);
        assert_int_equal(r->error, late ? ETIMEDOUT : ENOSPC);
        assert_int_equal(r->written, 0);
        assert_int_equal(r->unsent, SENT);
        b->disk.fail[DISK_WRITE] = 0;
        registers_again(b, take(b, id));
        expect_once(b);
        bench_free(b);
    }
}

/* The same where it could not be opened, and so not made. */
static void end_tells_why_it_was_not_made(void **state)
{
    struct bench *b = bench_new();
    ior_id id = stuck_in(b, DISK_OPEN, APPENDS);
    (void)state;
    b->disk.error = EDQUOT;
    b->disk.fail[DISK_OPEN] = 1;
    assert_int_equal(ior_unregister(b->p->cx, id), 0);
    waits(b, id);
    disk_release(&b->disk);
    struct probe_res *r = ended(b, id);
    assert_int_equal(r->why, IOR_ASKED);
    assert_int_equal(r->error, EDQUOT);
    assert_int_equal(r->unsent, SENT);
    b->disk.fail[DISK_OPEN] = 0;
    registers_again(b, take(b, id));
    expect_once(b);
    bench_free(b);
}

/* Operations too: after END the file is still. Their results are not told. */
static void an_operation_is_waited_for(void **state)
{
    struct bench *b = bench_new();
    (void)state;
    disk_hold(&b->disk, DISK_WRITE);
    ior_id id = open_file(b, IOR_FILE_WRITE | IOR_FILE_CREATE);
    assert_int_equal(ior_file_write(b->p->cx, id, 0, "first", 5, NULL), 0);
    assert_int_equal(ior_file_write(b->p->cx, id, 5, "second", 6, NULL), 0);
    probe_until(b->p, disk_calls(&b->disk, DISK_WRITE) == 1);
    disk_await(&b->disk, 1);
    assert_int_equal(ior_unregister(b->p->cx, id), 0);
    waits(b, id);
    disk_release(&b->disk);
    assert_int_equal(ended(b, id)->file, 0);
    assert_int_equal(disk_calls(&b->disk, DISK_WRITE), 1);
    bench_free(b);
}

/* A file that its opening makes is made once: handed over it is open, and nobody finds it there already. */
static void an_open_that_makes_the_file_is_waited_for(void **state)
{
    (void)state;
    for (unsigned aborts = 0; aborts < 2; aborts++) {
        struct bench *b = bench_new();
        size_t fds = net_fd_count();
        ior_id id = stuck_in(b, DISK_OPEN, APPENDS | IOR_FILE_EXCLUSIVE);
        assert_int_equal(ior_unregister(b->p->cx, id), 0);
        waits(b, id);
        if (aborts)
            assert_int_equal(ior_abort(b->p->cx, id), 0);
        else
            disk_release(&b->disk);
        struct probe_res *r = ended(b, id);
        assert_int_equal(r->error, aborts ? EINPROGRESS : 0);
        assert_int_equal(r->open, 0);
        assert_int_equal(r->unsent, SENT);
        struct ior_resource *res = take(b, id);
        if (aborts) {
            ior_id again = 4711;
            assert_int_equal(ior_register(b->p->cx, res, &again), -EBUSY);
            assert_int_equal(again, 4711);
            disk_release(&b->disk);
            probe_until(b->p, net_fd_count() == fds + 1); /* from the loop */
            probe_turns(b->p, 1);
            while (ior_register(b->p->cx, res, &again) == -EBUSY)
                probe_step(b->p);
            assert_int_equal(ior_unregister(b->p->cx, again), 0);
            res = take(b, again);
        }
        registers_again(b, res);
        assert_int_equal(disk_calls(&b->disk, DISK_OPEN), 1);
        expect_once(b);
        bench_free(b);
    }
}

/* No thread has begun it: it is taken back, and END waits for nothing. */
static void what_no_thread_has_begun_is_taken_back(void **state)
{
    struct bench *b = bench_new();
    (void)state;
    assert_int_equal(ior_job_lane(b->p->cx, IOR_LANE_FILES, 1, 0), 0);
    ior_id id = open_file(b, APPENDS);
    probe_until(b->p, probe_of(b->p, id)->open == 1);
    char *path = b->path + snprintf(b->path, sizeof(b->path), "%s/file", b->dir) - 1;
    *path = 'x';
    ior_id other = stuck_in(b, DISK_WRITE, APPENDS);
    *path = 'e';
    assert_int_equal(send_pattern(b, id), 0);
    probe_turns(b->p, 2);
    assert_int_equal(ior_unregister(b->p->cx, id), 0);
    probe_turns(b->p, 2);
    struct probe_res *r = probe_of(b->p, id);
    assert_int_equal(r->end, 1);
    assert_int_equal(r->error, 0);
    assert_int_equal(r->unsent, SENT);
    struct ior_resource *res = take(b, id);
    disk_release(&b->disk);
    assert_int_equal(ior_close(b->p->cx, other, IOR_NEVER), 0);
    assert_int_equal(ended(b, other)->written, SENT);
    assert_int_equal(disk_calls(&b->disk, DISK_WRITE), 1);
    registers_again(b, res);
    expect_once(b);
    bench_free(b);
}

/* ---- nobody waits any longer ---- */

/* What was left behind is counted when the file is registered again, not before it has returned. */
static void inv04_what_was_left_behind_is_not_written_twice(void **state)
{
    (void)state;
    for (unsigned waited = 0; waited < 2; waited++) {
        for (unsigned part = 0; part < 3; part++) {
            struct bench *b = bench_new();
            ior_id again = 4711;
            ior_id id = stuck_in(b, DISK_WRITE, APPENDS);
            if (waited)
                assert_int_equal(ior_unregister(b->p->cx, id), 0);
            assert_int_equal(ior_abort(b->p->cx, id), 0);
            assert_int_equal(ior_abort(b->p->cx, id), -EALREADY);
            probe_turns(b->p, 2);
            struct probe_res *r = probe_of(b->p, id);
            assert_int_equal(r->end, 1);
            assert_int_equal(r->why, IOR_ASKED);
            assert_int_equal(r->error, EINPROGRESS);
            assert_int_equal(r->written, 0);
            assert_int_equal(r->unsent, SENT);
            struct ior_resource *res = take(b, id);
            assert_int_equal(ior_register(b->p->cx, res, &again), -EBUSY);
            assert_int_equal(again, 4711);
            b->disk.most = part ? 10000 : 0; /* all, three pieces of it, nothing */
            b->disk.error = EIO;
            b->disk.fail[DISK_WRITE] = part == 1 ? 4 : part == 2 ? 1 : 0;
            disk_release(&b->disk);
            int err;
            while ((err = ior_register(b->p->cx, res, &again)) == -EBUSY)
                probe_step(b->p);
            assert_int_equal(err, 0);
            probe_of(b->p, again);
            assert_int_equal(ior_unregister(b->p->cx, again), 0);
            r = ended(b, again);
            assert_int_equal(r->written, part == 0 ? SENT : part == 1 ? 30000 : 0);
            assert_int_equal(r->unsent, SENT - r->written);
            b->disk.fail[DISK_WRITE] = 0;
            registers_again(b, take(b, again));
            expect_once(b);
            bench_free(b);
        }
    }
}

/* Freed while a thread still has its share of it. */
static void what_was_left_behind_may_be_freed(void **state)
{
    struct bench *b = bench_new();
    size_t fds = net_fd_count();
    ior_id id = stuck_in(b, DISK_WRITE, APPENDS);
    (void)state;
    b->p->keep = false;
    assert_int_equal(ior_abort(b->p->cx, id), 0);
    assert_int_equal(ended(b, id)->error, EINPROGRESS);
    assert_int_equal(probe_stats(b->p).resources, 0);
    assert_int_equal(net_fd_count(), fds + 1);
    disk_release(&b->disk);
    probe_until(b->p, net_fd_count() == fds); /* from the loop */
    bench_free(b);
}

static struct bench *volatile kept[4]; /* what threads that were left behind used last; volatile: it is never read */

/* The bench of a thread that is left behind: the runtime is freed first. */
static void leave_behind(struct bench *b, unsigned nth)
{
    probe_free(b->p);
    disk_release(&b->disk);
    net_await_threads(b->threads);
    net_temp_dir_remove(b->dir);
    kept[nth] = b;
}

/* A stop's time is over, and a second more: all is handed back. The same where it is only a service that stops. */
static void a_stop_waits_a_second_for_a_write(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) { /* a runtime with a disk that is stuck: test_regular_files */
        bool stuck = i == 2, only_service = i > 0;
        struct bench *b = bench_new();
        struct ior_context *first = b->p->cx;
        if (only_service)
            assert_int_equal(ior_attach(first, &probe_handler, b->p, &b->p->cx), 0);
        ior_id id = stuck_in(b, DISK_WRITE, APPENDS);
        probe_clock_stop(&b->disk.os);
        if (only_service)
            assert_int_equal(ior_detach(b->p->cx, 0), 0);
        else
            ior_stop(b->p->cx, 0);
        probe_turns(b->p, 4);
        probe_clock_move(IOR_NS_PER_SEC - 1);
        probe_turns(b->p, 2);
        assert_int_equal(probe_of(b->p, id)->end, 0);
        if (stuck)
            probe_clock_move(1);
        else
            disk_release(&b->disk);
        struct probe_res *r = ended(b, id);
        assert_int_equal(r->why, IOR_SHUTDOWN);
        assert_int_equal(r->error, stuck ? EINPROGRESS : 0);
        assert_int_equal(r->written, stuck ? 0 : SENT);
        assert_int_equal(r->unsent, stuck ? SENT : 0);
        probe_turns(b->p, 1);
        b->p->cx = first;
        leave_behind(b, i);
    }
}

static unsigned clocks;

static uint64_t counted_clock(void *arg)
{
    clocks++;
    return ior_os_default()->clock(arg);
}

/* ior_runtime_free waits as long, and sleeps meanwhile. */
static void the_end_of_the_runtime_does_not_wait_for_ever(void **state)
{
    struct bench *b = bench_new();
    ior_id id = stuck_in(b, DISK_WRITE, APPENDS);
    (void)state;
    clocks = 0;
    b->disk.os.clock = counted_clock;
    ior_runtime_free(b->p->rt);
    b->p->rt = NULL;
    assert_int_equal(probe_of(b->p, id)->end, 1);
    assert_int_equal(probe_of(b->p, id)->why, IOR_SHUTDOWN);
    assert_int_equal(probe_of(b->p, id)->error, EINPROGRESS);
    assert_int_equal(probe_of(b->p, id)->unsent, SENT);
    assert_in_range(clocks, 1, 100);
    leave_behind(b, 3);
}

static void the_end_of_the_runtime_counts_it(void **state)
{
    struct bench *b = bench_new();
    ior_id id = stuck_in(b, DISK_WRITE, APPENDS);
    (void)state;
    assert_int_equal(ior_unregister(b->p->cx, id), 0);
    waits(b, id);
    disk_release(&b->disk);
    ior_runtime_free(b->p->rt);
    b->p->rt = NULL;
    assert_int_equal(probe_of(b->p, id)->end, 1);
    assert_int_equal(probe_of(b->p, id)->error, 0);
    assert_int_equal(probe_of(b->p, id)->written, SENT);
    expect_once(b);
    bench_free(b);
}

static int be_the_child(void *arg)
{
    ior_runtime_free(((struct bench *)arg)->p->rt);
    return 0;
}

static void a_forked_child_does_not_wait(void **state)
{
    struct bench *b = bench_new();
    ior_id id = stuck_in(b, DISK_WRITE, APPENDS);
    (void)state;
    assert_int_equal(ior_unregister(b->p->cx, id), 0);
    waits(b, id);
    assert_int_equal(net_in_child(be_the_child, b), 0);
    assert_int_equal(probe_of(b->p, id)->end, 0);
    disk_release(&b->disk);
    assert_int_equal(ended(b, id)->written, SENT);
    expect_once(b);
    bench_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inv04_end_counts_what_a_thread_was_writing),
        cmocka_unit_test(end_tells_the_error_it_waited_for),
        cmocka_unit_test(end_tells_why_it_was_not_made),
        cmocka_unit_test(an_operation_is_waited_for),
        cmocka_unit_test(an_open_that_makes_the_file_is_waited_for),
        cmocka_unit_test(what_no_thread_has_begun_is_taken_back),
        cmocka_unit_test(inv04_what_was_left_behind_is_not_written_twice),
        cmocka_unit_test(what_was_left_behind_may_be_freed),
        cmocka_unit_test(a_stop_waits_a_second_for_a_write),
        cmocka_unit_test(the_end_of_the_runtime_does_not_wait_for_ever),
        cmocka_unit_test(the_end_of_the_runtime_counts_it),
        cmocka_unit_test(a_forked_child_does_not_wait),
    };
    (void)net_threads_at_rest(); /* before there are others */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
