/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Regular files, and what goes wrong before a thread is asked: limits of options and operations, systems without the
 * calls, fds that cannot do what is said, no memory. No refusal has an effect.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/check.h"
#include "support/live.h"
#include "support/probe.h"

#define FILE_OPTIONS(...) \
    (&(const struct ior_file_options){.struct_size = sizeof(struct ior_file_options), __VA_ARGS__})

static char *dir, path[300];
static size_t threads; /* before there was a runtime */

/* A file of ten bytes of the pattern. */
static void make(void)
{
    threads = net_threads_at_rest();
    dir = net_temp_dir();
    snprintf(path, sizeof(path), "%s/file", dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    net_write_pattern(fd, 0, 10);
    close(fd);
}

/* A thread may still be at what was called off, and the memory it has is the library's. */
static void over(struct probe *p)
{
    probe_free(p);
    net_await_threads(threads);
}

static void ends(struct probe *p, ior_id id)
{
    probe_until(p, probe_of(p, id)->handover == 1);
}

static void refused_at(struct probe *p, const struct ior_file_options *opts, int err, int line)
{
    ior_id id = 4711;
    size_t fds = net_fd_count(), blocks = live_alloc_blocks();
    int answer = ior_file_open(p->cx, path, opts, &id);
    if (answer != err || id != 4711 || net_fd_count() != fds || live_alloc_blocks() != blocks || ior_count(p->cx) != 0)
        fail_msg("line %d: %s in place of %s, or an effect", line, ior_errname(answer), ior_errname(err));
}
#define refused(opts, err) refused_at(p, (opts), (err), __LINE__)

static void limits_of_options(void **state)
{
    struct ior_file_options old = *FILE_OPTIONS(0);
    (void)state;
    live_alloc_start();
    make();
    struct probe *p = probe_new(NULL);
    if (sizeof(size_t) == 8) /* else no size is too large */
        refused(FILE_OPTIONS(.high_bytes = SIZE_MAX / 4), -EINVAL);
    refused(FILE_OPTIONS(.high_bytes = 10, .low_bytes = 11), -EINVAL);
    refused(FILE_OPTIONS(.high_bytes = 100, .cap_bytes = 99), -EINVAL);
    refused(FILE_OPTIONS(.piece_bytes = (size_t)1 << 31), -EINVAL);
    refused(FILE_OPTIONS(.ops_bytes = SIZE_MAX / 4 + 1), -EINVAL);
    refused(FILE_OPTIONS(.offset = UINT64_C(1) << 63), -EINVAL);
    old.struct_size = 4;
    refused(&old, -EINVAL);
    ior_id id;
    assert_int_equal(
        ior_file_open(p->cx, path, FILE_OPTIONS(.high_bytes = 100, .cap_bytes = 100, .low_bytes = 100), &id), 0);
    assert_int_equal(ior_close(p->cx, id, IOR_NEVER), 0);
    ends(p, id);
    over(p);
    live_alloc_stop();
    net_temp_dir_remove(dir);
}

/* A table of an older program, or of a world, may lack any of them. */
static void without_the_calls(void **state)
{
    struct ior_config config = probe_config();
    struct ior_os os = *ior_os_default();
    struct ior_os_blocking blocking = *os.blocking;
    (void)state;
    live_alloc_start();
    make();
    os.blocking = &blocking;
    config.os = &os;
    struct probe *p = probe_new(&config);
    blocking.struct_size = offsetof(struct ior_os_blocking, file_open), refused(NULL, -ENOSYS);
    blocking = *ior_os_default()->blocking, blocking.file_open = NULL, refused(NULL, -ENOSYS);
    blocking = *ior_os_default()->blocking, blocking.file_read = NULL, refused(NULL, -ENOSYS);
    blocking = *ior_os_default()->blocking, blocking.file_write = NULL, refused(NULL, -ENOSYS);
    blocking = *ior_os_default()->blocking, blocking.file_sync = NULL, refused(NULL, -ENOSYS);
    blocking = *ior_os_default()->blocking, blocking.file_stat = NULL, refused(NULL, -ENOSYS);
    blocking = *ior_os_default()->blocking, blocking.thread = NULL, refused(NULL, -ENOSYS);
    blocking = *ior_os_default()->blocking;
    os.blocking = NULL, refused(NULL, -ENOSYS);
    os.blocking = &blocking;
    ior_id id;
    assert_int_equal(ior_file_open(p->cx, path, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM), &id), 0);
    ends(p, id);
    assert_int_equal(probe_of(p, id)->bytes, 10);
    over(p);
    live_alloc_stop();
    net_temp_dir_remove(dir);
}

static void fds_that_cannot_do_it(void **state)
{
    static const struct {
        int opened;
        unsigned flags;
        int answer;
    } cases[] = {
        {O_RDONLY, IOR_FILE_READ, 0},
        {O_RDONLY, IOR_FILE_WRITE, -EBADF},
        {O_RDONLY, IOR_FILE_READ | IOR_FILE_WRITE, -EBADF},
        {O_WRONLY, IOR_FILE_WRITE, 0},
        {O_WRONLY, IOR_FILE_READ, -EBADF},
        {O_WRONLY, IOR_FILE_READ | IOR_FILE_WRITE, -EBADF},
        {O_RDWR, IOR_FILE_READ | IOR_FILE_WRITE, 0},
    };
    struct ior_config config = probe_config();
    ior_id id = 4711, only;
    (void)state;
    make();
    config.max_resources = 1;
    struct probe *p = probe_new(&config);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int fd = open(path, cases[i].opened | O_CLOEXEC);
        assert_true(fd >= 0);
        id = 4711;
        assert_int_equal(ior_file_adopt(p->cx, fd, FILE_OPTIONS(.flags = cases[i].flags), &id), cases[i].answer);
        if (cases[i].answer == 0) {
            assert_int_equal(ior_unregister(p->cx, id), 0);
            ends(p, id);
            assert_int_equal(fcntl(fd, F_GETFD), -1);
            continue;
        }
        assert_int_equal(id, 4711);
        assert_true(fcntl(fd, F_GETFD) >= 0); /* it stays the caller's */
        close(fd);
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(ior_file_open(p->cx, path, NULL, &only), 0);
    id = 4711;
    assert_int_equal(ior_file_adopt(p->cx, fd, NULL, &id), -ENOSPC); /* no slot */
    assert_int_equal(ior_file_open(p->cx, path, NULL, &id), -ENOSPC);
    assert_int_equal(id, 4711);
    assert_true(fcntl(fd, F_GETFD) >= 0);
    assert_int_equal(ior_unregister(p->cx, only), 0);
    ends(p, only);
    close(fd);
    over(p);
    net_temp_dir_remove(dir);
}

static void adopted_without_memory(void **state)
{
    uint64_t nth = 1;
    (void)state;
    make();
    for (int err = -ENOMEM; err < 0; nth++) {
        live_alloc_start();
        struct probe *p = probe_new(NULL);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ior_id id = 4711;
        live_alloc_fail(nth, false);
        err = ior_file_adopt(p->cx, fd, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM), &id);
        live_alloc_fail(0, false);
        if (err < 0) {
            assert_int_equal(err, -ENOMEM);
            assert_int_equal(id, 4711);
            assert_int_equal(ior_count(p->cx), 0);
            assert_true(fcntl(fd, F_GETFD) >= 0);
            close(fd);
        } else {
            ends(p, id);
            assert_int_equal(probe_of(p, id)->bytes, 10);
        }
        over(p);
        live_alloc_stop();
    }
    assert_true(nth > 4);
    net_temp_dir_remove(dir);
}

static void released(void *arg)
{
    ++*(unsigned *)arg;
}

/* Each operation with no memory for it, and with what it cannot be asked for. */
static void operations_that_are_refused(void **state)
{
    char bytes[64] = "";
    unsigned freed = 0;
    ior_id id, reader;
    (void)state;
    live_alloc_start();
    make();
    struct probe *p = probe_new(NULL);
    struct ior_context *cx = p->cx;
    struct ior_buf *buf = ior_buf_wrap(bytes, sizeof(bytes), released, &freed);
    assert_non_null(buf);
    assert_int_equal(
        ior_file_open(cx, path, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_WRITE, .ops_bytes = 64), &id), 0);
    assert_int_equal(ior_file_open(cx, path, NULL, &reader), 0);
    probe_until(p, probe_of(p, id)->open == 1 && probe_of(p, reader)->open == 1);
    for (int i = 0; i < 5; i++) {
        live_alloc_fail(1, true);
        int err = i == 0   ? ior_file_read(cx, id, 0, 1, NULL)
                  : i == 1 ? ior_file_write(cx, id, 0, "x", 1, NULL)
                  : i == 2 ? ior_file_write_buf(cx, id, 0, buf, NULL)
                  : i == 3 ? ior_file_sync(cx, id, NULL)
                           : ior_file_stat(cx, id, NULL);
        live_alloc_fail(0, false);
        assert_int_equal(err, -ENOMEM);
    }
    const uint64_t past = UINT64_C(1) << 63;
    assert_int_equal(ior_file_write(cx, id, 0, NULL, 1, NULL), -EINVAL);
    assert_int_equal(ior_file_write_buf(cx, id, 0, NULL, NULL), -EINVAL);
    assert_int_equal(ior_file_read(cx, id, past, 0, NULL), -EOVERFLOW);
    assert_int_equal(ior_file_read(cx, id, past - 1, 1, NULL), -EOVERFLOW);
    assert_int_equal(ior_file_write_buf(cx, id, past, buf, NULL), -EOVERFLOW);
    assert_int_equal(ior_file_write_buf(cx, reader, 0, buf, NULL), -EBADF);
    assert_int_equal(ior_file_read(cx, id, 0, 65, NULL), -EMSGSIZE);
    probe_turns(p, 3);
    assert_int_equal(probe_of(p, id)->file, 0);
    assert_int_equal(freed, 0);
    /* Nothing of all that is counted: there is room for the most that is allowed. */
    assert_int_equal(ior_file_write_buf(cx, id, 0, buf, NULL), 0);
    ior_buf_unref(buf);
    probe_until(p, probe_of(p, id)->file == 1);
    assert_int_equal(ior_file_write(cx, id, 64, NULL, 0, NULL), 0);
    probe_until(p, probe_of(p, id)->file == 2);
    assert_int_equal(ior_unregister(cx, id), 0);
    assert_int_equal(ior_unregister(cx, reader), 0);
    ends(p, id);
    ends(p, reader);
    over(p);
    assert_int_equal(freed, 1);
    live_alloc_stop();
    net_temp_dir_remove(dir);
}

/* ---- taking a piece ---- */

static struct ior_buf *taken;
static unsigned pieces;

static void takes(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    struct ior_event other = *ev;
    (void)r;
    if (ev->type != IOR_EV_DATA) {
        assert_null(ior_file_take(p->cx, ev));
        return;
    }
    if (pieces++ > 0)
        return;
    assert_null(ior_file_take(NULL, ev));
    assert_null(ior_file_take(p->cx, NULL));
    other.type = IOR_EV_EOF;
    assert_null(ior_file_take(p->cx, &other));
    other = *ev;
    other.id = ev->id + 16;
    assert_null(ior_file_take(p->cx, &other)); /* no such file */
    live_alloc_fail(1, false);
    assert_null(ior_file_take(p->cx, ev));
    live_alloc_fail(0, false);
    taken = ior_file_take(p->cx, ev);
    assert_non_null(taken);
    assert_null(ior_file_take(p->cx, ev)); /* twice */
}

static void takes_of_a_stream(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    (void)r;
    if (ev->type == IOR_EV_DATA)
        assert_null(ior_file_take(p->cx, ev));
}

static void what_can_be_taken(void **state)
{
    int peer;
    ior_id id;
    (void)state;
    live_alloc_start();
    make();
    struct probe *p = probe_new(NULL);
    pieces = 0;
    p->on_event = takes;
    assert_int_equal(
        ior_file_open(p->cx, path, FILE_OPTIONS(.flags = IOR_FILE_READ | IOR_FILE_STREAM, .piece_bytes = 4), &id), 0);
    ends(p, id);
    assert_int_equal(pieces, 3);
    assert_int_equal(probe_of(p, id)->bytes, 10);
    assert_int_equal(ior_buf_len(taken), 4);
    assert_true(net_is_pattern(ior_buf_bytes(taken), 0, 4));
    p->on_event = takes_of_a_stream;
    id = probe_unix(p, NULL, &peer);
    net_write(peer, "hello", 5);
    probe_until(p, probe_of(p, id)->bytes == 5);
    net_close(&peer);
    ends(p, id);
    over(p);
    ior_buf_unref(taken); /* it may outlive the file, and the runtime */
    live_alloc_stop();
    net_temp_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_of_options),           cmocka_unit_test(without_the_calls),
        cmocka_unit_test(fds_that_cannot_do_it),       cmocka_unit_test(adopted_without_memory),
        cmocka_unit_test(operations_that_are_refused), cmocka_unit_test(what_can_be_taken),
    };
    (void)net_threads_at_rest(); /* before there are others */
    return cmocka_run_group_tests_name("files, faults", tests, NULL, NULL);
}
