/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File ranges in the queue of a transport: order, chunks, the queue's own dup, files that shrink, transports that have
 * no sendfile(2).
 */
#include <errno.h>

#include "support/check.h"
#include "support/recorder.h"

static struct recorder *one_stream(ior_id *id, int *fd)
{
    struct recorder *r = rec_new();
    *id = rec_stream(r, NULL, fd);
    rec_settle(r);
    rec_expect(r, "registered 1\nopen 1\n");
    script_forget(r->script);
    return r;
}

static void a_range_is_sent(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    int file = script_file(r->script, 100000);
    (void)state;
    assert_int_equal(rec_send_file(r, id, file, 1000, 50000), 0);
    assert_int_equal(ior_queued(r->cx, id), 50000);
    script_close(r->script, file); /* the queue has a dup of its own */
    rec_settle(r);
    script_hear_pattern(r->script, fd, 1000, 50000);
    assert_int_equal(script_count(r->script, SCRIPT_SENDFILE), 1);
    assert_int_equal(script_count(r->script, SCRIPT_PREAD), 0);
    assert_int_equal(script_open_fds(r->script), 1);
    assert_int_equal(rec_stats(r).output_bytes, 0);
    assert_true(rec_idle(r));
    rec_free(r);
}

static void bytes_and_ranges_keep_their_order(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    int file = script_file(r->script, 10000);
    unsigned char bytes[3000];
    (void)state;
    script_pattern(bytes, 0, 1000);
    assert_int_equal(rec_send(r, id, bytes, 1000), 0);
    assert_int_equal(rec_send_file(r, id, file, 1000, 500), 0);
    assert_int_equal(rec_send_file(r, id, file, 1500, 500), 0);
    script_pattern(bytes, 2000, 1000);
    assert_int_equal(rec_send(r, id, bytes, 1000), 0);
    rec_turn(r);
    script_hear_pattern(r->script, fd, 0, 3000);
    rec_free(r);
}

static void r28_partial_writes_of_ranges(void **state)
{
    (void)state;
    for (size_t take = 1; take < 700; take += take < 20 ? 1 : 37) {
        ior_id id;
        int fd;
        struct recorder *r = one_stream(&id, &fd);
        int file = script_file(r->script, 1000);
        script_take(r->script, fd, take);
        assert_int_equal(rec_send_pattern(r, id, 100), 0);
        assert_int_equal(rec_send_file(r, id, file, 100, 400), 0);
        assert_int_equal(rec_send_pattern(r, id, 100), 0);
        rec_settle(r);
        script_hear_pattern(r->script, fd, 0, 600);
        rec_free(r);
    }
}

static void a_full_kernel_is_waited_for(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    int file = script_file(r->script, 10000);
    (void)state;
    script_room(r->script, fd, 3000);
    assert_int_equal(rec_send_file(r, id, file, 0, 10000), 0);
    assert_true(rec_idle(r));
    script_hear_pattern(r->script, fd, 0, 3000);
    assert_int_equal(ior_queued(r->cx, id), 7000);
    script_room(r->script, fd, SIZE_MAX);
    rec_settle(r);
    script_hear_pattern(r->script, fd, 3000, 7000);
    rec_free(r);
}

/* R31: more than 2 GiB are counted in 64 bits. */
static void r31_five_gib_are_counted(void **state)
{
    const uint64_t len = UINT64_C(5) << 30;
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    int file = script_file(r->script, len + 10);
    (void)state;
    script_deaf(r->script, fd);
    assert_int_equal(rec_send_file(r, id, file, 10, len), 0);
    assert_int_equal(ior_queued(r->cx, id), len);
    rec_settle(r);
    assert_int_equal(script_heard(r->script, fd), len);
    script_eof(r->script, fd);
    rec_settle(r);
    assert_int_equal(rec_of(r, id)->written, len);
    assert_int_equal(rec_of(r, id)->unsent, 0);
    rec_free(r);
}

/* A large file does not keep the loop: others are served between its parts. */
static void inv11_a_large_file_lets_others_be_served(void **state)
{
    ior_id id;
    int fd, other;
    struct recorder *r = one_stream(&id, &fd);
    int file = script_file(r->script, UINT64_C(1) << 30);
    (void)state;
    rec_stream(r, NULL, &other);
    rec_settle(r);
    rec_forget(r);
    script_deaf(r->script, fd);
    assert_int_equal(rec_send_file(r, id, file, 0, UINT64_C(1) << 30), 0);
    rec_turn(r);
    assert_in_range(script_heard(r->script, fd), 1, 64u << 20);
    script_say_text(r->script, other, "me too");
    rec_turn(r);
    rec_expect(r, "data 2 me too\n");
    assert_in_range(script_heard(r->script, fd), 1, 128u << 20);
    assert_int_equal(ior_runtime_deadline(r->rt), 0); /* what is left goes on without a wait */
    rec_settle(r);
    assert_int_equal(script_heard(r->script, fd), UINT64_C(1) << 30);
    rec_free(r);
}

static void ranges_hardly_count_towards_the_marks(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    int file = script_file(r->script, 10 << 20);
    (void)state;
    script_room(r->script, fd, 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(rec_send_file(r, id, file, 0, 10 << 20), 0);
    assert_true(rec_stats(r).output_bytes < 65536);
    rec_free(r);
}

/* ... but their number is bounded. */
static void the_number_of_ranges_is_bounded(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    int file = script_file(r->script, 1), n = 0, answer = 0;
    (void)state;
    script_room(r->script, fd, 0);
    while (n < 100000 && (answer = rec_send_file(r, id, file, 0, 1)) >= 0)
        n++;
    assert_int_equal(answer, -ENOBUFS);
    unsigned open = script_open_fds(r->script);
    assert_int_equal(rec_send_file(r, id, file, 0, 1), -ENOBUFS);
    assert_int_equal(script_open_fds(r->script), open); /* refused: no fd is left behind */
    script_room(r->script, fd, SIZE_MAX);
    rec_settle(r);
    rec_expect(r, "drained 1\n");
    assert_int_equal(script_open_fds(r->script), 2);
    rec_free(r);
}

static void a_file_that_shrank_ends_the_transport(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    int file = script_file(r->script, 10000);
    (void)state;
    assert_int_equal(rec_send_file(r, id, file, 0, 10000), 0);
    script_shrink(r->script, file, 4000);
    rec_settle(r);
    script_hear_pattern(r->script, fd, 0, 4000);
    rec_expect(r, "end 1 error EIO 4000 6000 0\nhandover 1\n");
    rec_free(r);
}

static void a_disk_error_ends_the_transport(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    int file = script_file(r->script, 10000);
    (void)state;
    script_fail_next(r->script, SCRIPT_SENDFILE, EIO);
    assert_int_equal(rec_send_file(r, id, file, 0, 10000), 0);
    rec_settle(r);
    rec_expect(r, "end 1 error EIO 0 10000 0\nhandover 1\n");
    rec_free(r);
}

static void r35_interrupted_sendfile_is_repeated(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    int file = script_file(r->script, 100);
    (void)state;
    script_fail_next(r->script, SCRIPT_SENDFILE, EINTR);
    assert_int_equal(rec_send_file(r, id, file, 0, 100), 0);
    rec_settle(r);
    script_hear_pattern(r->script, fd, 0, 100);
    rec_free(r);
}

static void without_sendfile(int err, size_t take)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    int file = script_file(r->script, 300000);
    script_fail_always(r->script, SCRIPT_SENDFILE, err);
    script_take(r->script, fd, take);
    assert_int_equal(rec_send_file(r, id, file, 7, 299993), 0);
    rec_settle(r);
    script_hear_pattern(r->script, fd, 7, 299993);
    assert_true(script_count(r->script, SCRIPT_PREAD) > 0);
    rec_free(r);
}

static void where_sendfile_cannot_it_is_read_and_written(void **state)
{
    (void)state;
    without_sendfile(EINVAL, 0);
    without_sendfile(ENOSYS, 0);
    without_sendfile(EINVAL, 1234);
}

static void shrank_while_read_and_written(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    int file = script_file(r->script, 1000);
    (void)state;
    script_fail_always(r->script, SCRIPT_SENDFILE, EINVAL);
    script_room(r->script, fd, 600);
    assert_int_equal(rec_send_file(r, id, file, 0, 1000), 0);
    rec_settle(r);
    script_shrink(r->script, file, 600);
    script_room(r->script, fd, SIZE_MAX);
    rec_settle(r);
    rec_expect(r, "end 1 error EIO 600 400 0\nhandover 1\n");
    rec_free(r);
}

static void a_pipe_gets_a_file(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    int fd = script_fd(r->script, IOR_FD_PIPE | IOR_FD_NO_READ);
    int file = script_file(r->script, 5000);
    ior_id id = rec_adopt(r, fd, NULL);
    assert_int_equal(rec_send_file(r, id, file, 0, 5000), 0);
    rec_settle(r);
    script_hear_pattern(r->script, fd, 0, 5000);
    rec_free(r);
}

static void refused_ranges_change_nothing(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    int file = script_file(r->script, 100);
    (void)state;
    assert_int_equal(ior_send_file(r->cx, id, -1, 0, 10), -EBADF);
    assert_int_equal(ior_send_file(r->cx, id, file, (uint64_t)INT64_MAX, 1), -EOVERFLOW);
    assert_int_equal(ior_send_file(r->cx, id, file, UINT64_MAX, UINT64_MAX), -EOVERFLOW);
    assert_int_equal(ior_send_file(r->cx, id, file, 1, (uint64_t)INT64_MAX), -EOVERFLOW);
    assert_int_equal(ior_send_file(r->cx, id, file, 10, 0), 0);
    script_fail_next(r->script, SCRIPT_DUP, EMFILE);
    assert_int_equal(rec_send_file(r, id, file, 0, 100), -EMFILE);
    script_close(r->script, file);
    assert_int_equal(rec_send_file(r, id, file, 0, 100), -EBADF);
    assert_int_equal(ior_queued(r->cx, id), 0);
    rec_settle(r);
    script_hear(r->script, fd, "", 0);
    rec_expect(r, "");
    assert_int_equal(script_open_fds(r->script), 1);
    rec_free(r);
}

/* The most a range can say: up to the last byte a file can have. */
static void the_last_byte_there_can_be(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    int file = script_file(r->script, (uint64_t)INT64_MAX);
    (void)state;
    assert_int_equal(rec_send_file(r, id, file, (uint64_t)INT64_MAX - 100, 100), 0);
    rec_settle(r);
    script_hear_pattern(r->script, fd, (uint64_t)INT64_MAX - 100, 100);
    rec_free(r);
}

static void a_range_is_handed_over_and_goes_on(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    int file = script_file(r->script, 10000);
    struct iovec iov[4];
    int n = 0;
    (void)state;
    r->keep = true;
    script_room(r->script, fd, 1500);
    assert_int_equal(rec_send_pattern(r, id, 1000), 0);
    assert_int_equal(rec_send_file(r, id, file, 1000, 9000), 0);
    rec_settle(r);
    assert_int_equal(rec_unregister(r, id), 0);
    rec_settle(r);
    rec_expect(r, "end 1 asked 1500 8500 0\nhandover 1\n");
    struct ior_resource *res = rec_of(r, id)->handed;
    assert_int_equal(ior_resource_unsent(res, iov, 4, &n), 8500);
    assert_int_equal(n, 1);
    assert_null(iov[0].iov_base);
    assert_int_equal(iov[0].iov_len, 8500);
    script_room(r->script, fd, SIZE_MAX);
    rec_register(r, res);
    rec_settle(r);
    script_hear_pattern(r->script, fd, 0, 10000);
    rec_expect(r, "registered 2\nopen 2\n");
    rec_free(r);
}

static void a_range_is_freed_with_its_resource(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    int file = script_file(r->script, 10000);
    (void)state;
    script_room(r->script, fd, 0);
    assert_int_equal(rec_send_file(r, id, file, 0, 100), 0);
    assert_int_equal(rec_abort(r, id), 0);
    rec_settle(r);
    assert_int_equal(script_open_fds(r->script), 1); /* the test's own */
    rec_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_range_is_sent),
        cmocka_unit_test(bytes_and_ranges_keep_their_order),
        cmocka_unit_test(r28_partial_writes_of_ranges),
        cmocka_unit_test(a_full_kernel_is_waited_for),
        cmocka_unit_test(r31_five_gib_are_counted),
        cmocka_unit_test(inv11_a_large_file_lets_others_be_served),
        cmocka_unit_test(ranges_hardly_count_towards_the_marks),
        cmocka_unit_test(the_number_of_ranges_is_bounded),
        cmocka_unit_test(a_file_that_shrank_ends_the_transport),
        cmocka_unit_test(a_disk_error_ends_the_transport),
        cmocka_unit_test(r35_interrupted_sendfile_is_repeated),
        cmocka_unit_test(where_sendfile_cannot_it_is_read_and_written),
        cmocka_unit_test(shrank_while_read_and_written),
        cmocka_unit_test(a_pipe_gets_a_file),
        cmocka_unit_test(refused_ranges_change_nothing),
        cmocka_unit_test(the_last_byte_there_can_be),
        cmocka_unit_test(a_range_is_handed_over_and_goes_on),
        cmocka_unit_test(a_range_is_freed_with_its_resource),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
