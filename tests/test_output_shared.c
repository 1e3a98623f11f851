/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending, what is shared: buffers in many queues, the cap of the whole runtime; and where nothing can be sent.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "support/check.h"
#include "support/recorder.h"

/* Small marks: high 1000, low 250, cap 1612. */
#define HIGH 1000u
#define LOW 250u
#define CAP 1612u
#define SMALL REC_STREAM(.high_bytes = HIGH, .low_bytes = LOW, .unread_max_bytes = 100)

static const struct ior_config small_config = {.read_bytes = 512};

/* An open stream with small marks. */
static struct recorder *one_stream(ior_id *id, int *fd)
{
    struct recorder *r = rec_new_with(&small_config);
    *id = rec_stream(r, SMALL, fd);
    rec_settle(r);
    rec_expect(r, "registered 1\nopen 1\n");
    script_forget(r->script);
    return r;
}

/* ---- shared buffers ---- */

struct lent {
    struct script *script;
    char bytes[600];
    unsigned released;
};

static void release(void *arg)
{
    struct lent *lent = arg;
    lent->released++;
    memset(lent->bytes, 'X', sizeof(lent->bytes));
    if (lent->script != NULL && !script_in_loop(lent->script))
        fail_msg("a buffer was released outside the loop");
}

static void shared_by_all_and_released_once_from_the_loop(void **state)
{
    struct recorder *r = rec_new_with(&small_config);
    struct lent lent = {.script = r->script};
    ior_id ids[5];
    int fds[5];
    (void)state;
    script_pattern(lent.bytes, 0, sizeof(lent.bytes));
    struct ior_buf *buf = ior_buf_wrap(lent.bytes, sizeof(lent.bytes), release, &lent);
    assert_int_equal(ior_buf_len(buf), 600);
    assert_ptr_equal(ior_buf_bytes(buf), lent.bytes);
    for (int i = 0; i < 5; i++)
        ids[i] = rec_stream(r, SMALL, &fds[i]);
    rec_settle(r);
    for (int i = 0; i < 5; i++) {
        script_room(r->script, fds[i], i == 4 ? 10 : SIZE_MAX);
        assert_int_equal(rec_send_buf(r, ids[i], buf), 0);
        assert_int_equal(ior_queued(r->cx, ids[i]), 600);
    }
    uint64_t held = rec_stats(r).output_bytes;
    assert_true(held >= 600); /* counted once, not five times, for the runtime */
    uint64_t five_queues = held - 600;
    assert_true(five_queues % 5 == 0);
    ior_buf_unref(buf);
    assert_int_equal(lent.released, 0);
    rec_settle(r);
    assert_int_equal(lent.released, 0);
    for (int i = 0; i < 4; i++)
        script_hear_pattern(r->script, fds[i], 0, 600);
    script_hear_pattern(r->script, fds[4], 0, 10);
    script_room(r->script, fds[4], SIZE_MAX);
    rec_settle(r);
    script_hear_pattern(r->script, fds[4], 10, 590);
    assert_int_equal(lent.released, 1);
    assert_int_equal(rec_stats(r).output_bytes, 0);
    rec_free(r);
}

/*
 * A message for very many: queues share few blocks, as the first are written while the last are filled. What the kernel
 * then says is told by the loop, not from inside the request, and nothing leaves twice or not at all.
 */
static void a_buffer_for_very_many_takes_few_blocks(void **state)
{
    enum { MANY = 600, EARLY = 128, FULL = 2 };
    struct recorder *r = rec_new();
    struct lent lent = {.script = r->script};
    static ior_id ids[MANY];
    static int fds[MANY];
    (void)state;
    script_pattern(lent.bytes, 0, sizeof(lent.bytes));
    struct ior_buf *buf = ior_buf_wrap(lent.bytes, sizeof(lent.bytes), release, &lent);
    for (int i = 0; i < MANY; i++)
        ids[i] = rec_stream(r, NULL, &fds[i]);
    rec_settle(r);
    rec_forget(r);
    script_room(r->script, fds[FULL], 10);
    for (int i = 0; i < MANY; i++) {
        if (i >= EARLY && i < EARLY + 2) /* met by the first and the second receiver */
            script_fail_next(r->script, SCRIPT_SEND, i == EARLY ? ENOBUFS : EPIPE);
        assert_int_equal(rec_send_buf(r, ids[i], buf), 0);
    }
    rec_expect(r, "");
    assert_true(rec_stats(r).output_bytes < (EARLY + 8) * 2048u + sizeof(lent.bytes));
    assert_true(script_heard(r->script, fds[3]) > 0);
    assert_int_equal(script_heard(r->script, fds[MANY - 1]), 0);
    ior_buf_unref(buf);
    rec_settle(r);
    rec_expect(r, "end 2 error EPIPE 0 600 0\nhandover 2\n");
    for (int i = 0; i < MANY; i++)
        if (i != FULL && i != 1)
            script_hear_pattern(r->script, fds[i], 0, sizeof(lent.bytes));
    script_hear_pattern(r->script, fds[FULL], 0, 10);
    assert_int_equal(lent.released, 0);
    script_room(r->script, fds[FULL], SIZE_MAX);
    rec_settle(r);
    script_hear_pattern(r->script, fds[FULL], 10, sizeof(lent.bytes) - 10);
    assert_int_equal(lent.released, 1);
    assert_int_equal(rec_stats(r).output_bytes, 0);
    rec_free(r);
}

static void shared_counts_fully_for_each_transport(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    struct lent lent = {.script = r->script};
    (void)state;
    struct ior_buf *buf = ior_buf_wrap(lent.bytes, 600, release, &lent);
    script_room(r->script, fd, 0);
    assert_int_equal(rec_send_buf(r, id, buf), 0);
    assert_int_equal(rec_send_buf(r, id, buf), 1);
    assert_int_equal(rec_send_buf(r, id, buf), -ENOBUFS); /* and stays the caller's */
    ior_buf_unref(buf);
    assert_int_equal(lent.released, 0);
    assert_int_equal(ior_queued(r->cx, id), 1200);
    assert_int_equal(rec_abort(r, id), 0);
    assert_int_equal(lent.released, 0); /* handed over with the resource */
    rec_settle(r);
    assert_int_equal(lent.released, 1);
    rec_free(r);
}

static void a_refused_buffer_is_not_touched(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    struct lent lent = {.script = r->script};
    (void)state;
    struct ior_buf *buf = ior_buf_wrap(lent.bytes, 600, release, &lent);
    assert_int_equal(rec_close(r, id, IOR_NEVER), 0);
    assert_int_equal(ior_send_buf(r->cx, id, buf), -EPIPE);
    assert_int_equal(ior_send_buf(r->cx, id + 16, buf), -ENOENT);
    assert_int_equal(ior_send_buf(r->cx, id, NULL), -EPIPE);
    rec_free(r);
    assert_int_equal(lent.released, 0);
    lent.script = NULL; /* the caller's own unref is the last one: it runs there */
    ior_buf_unref(ior_buf_ref(buf));
    assert_int_equal(lent.released, 0);
    ior_buf_unref(buf);
    assert_int_equal(lent.released, 1);
    ior_buf_unref(NULL);
}

/* ---- the runtime's cap ---- */

static void the_runtime_has_a_cap_too(void **state)
{
    enum { STREAMS = 100, CAP_ALL = 65536 };
    struct ior_config config = {.read_bytes = 512, .output_cap_bytes = CAP_ALL};
    struct recorder *r = rec_new_with(&config);
    ior_id ids[STREAMS];
    int fds[STREAMS], n = 0;
    char drained[32];
    (void)state;
    for (int i = 0; i < STREAMS; i++) {
        ids[i] = rec_stream(r, SMALL, &fds[i]);
        script_room(r->script, fds[i], 0);
    }
    rec_settle(r);
    rec_forget(r);
    while (n < STREAMS && rec_send_pattern(r, ids[n], 900) == 0)
        n++;
    assert_in_range(n, 1, STREAMS - 1);
    assert_true(rec_stats(r).output_bytes <= CAP_ALL);
    assert_int_equal(rec_send_pattern(r, ids[n], 900), -ENOBUFS);
    assert_int_equal(ior_queued(r->cx, ids[n]), 0);
    rec_settle(r);
    rec_expect(r, "");
    for (int i = 0; i < n; i++)
        script_room(r->script, fds[i], SIZE_MAX);
    rec_settle(r);
    snprintf(drained, sizeof(drained), "drained %d\n", n + 1);
    rec_expect(r, drained);
    assert_int_equal(rec_send_pattern(r, ids[n], 900), 0);
    rec_free(r);
}

/* Who was refused because of the others' output is told also where the others never read again, but end. */
static void room_that_comes_by_an_end_is_told(void **state)
{
    struct ior_config config = {.read_bytes = 512, .output_cap_bytes = 65536};
    struct recorder *r = rec_new_with(&config);
    int hog_fd, fd;
    (void)state;
    ior_id hog = rec_stream(r, REC_STREAM(.high_bytes = 200000), &hog_fd);
    ior_id id = rec_stream(r, SMALL, &fd);
    script_room(r->script, hog_fd, 0);
    rec_settle(r);
    rec_forget(r);
    assert_int_equal(rec_send_pattern(r, hog, 63000), 0);
    assert_int_equal(rec_send_pattern(r, id, 1500), -ENOBUFS);
    rec_settle(r);
    rec_expect(r, "");
    assert_int_equal(rec_abort(r, hog), 0);
    rec_settle(r);
    rec_expect(r, "end 1 asked 0 63000 0\nhandover 1\ndrained 2\n");
    assert_int_equal(rec_send_pattern(r, id, 1500), 1);
    rec_free(r);
}

/* Owed as soon as it would fit, however full the rest stays. */
static void room_for_one_is_told_while_others_stay(void **state)
{
    struct ior_config config = {.output_cap_bytes = 512u << 10};
    struct recorder *r = rec_new_with(&config);
    int fds[3];
    ior_id ids[3];
    (void)state;
    for (int i = 0; i < 3; i++) {
        ids[i] = rec_stream(r, REC_STREAM(.high_bytes = 600u << 10), &fds[i]);
        script_room(r->script, fds[i], 0);
    }
    rec_settle(r);
    rec_forget(r);
    assert_int_equal(rec_send_pattern(r, ids[0], 400000), 0);
    assert_int_equal(rec_send_pattern(r, ids[1], 110000), 0);
    assert_int_equal(rec_send_pattern(r, ids[2], 20000), -ENOBUFS);
    rec_settle(r);
    rec_expect(r, "");
    assert_int_equal(rec_abort(r, ids[1]), 0);
    rec_settle(r);
    rec_expect(r, "end 2 asked 0 110000 0\nhandover 2\ndrained 3\n");
    assert_int_equal(rec_send_pattern(r, ids[2], 20000), 0);
    rec_free(r);
}

static void what_the_runtime_could_never_hold(void **state)
{
    struct ior_config config = {.output_cap_bytes = 65536};
    struct recorder *r = rec_new_with(&config);
    int fd;
    (void)state;
    ior_id id = rec_stream(r, NULL, &fd);
    assert_int_equal(rec_send_pattern(r, id, 70000), -EMSGSIZE);
    rec_settle(r);
    rec_expect(r, "registered 1\nopen 1\n");
    rec_free(r);
}

/* ---- where nothing can be sent ---- */

static void where_nothing_can_be_sent(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    ior_id listener = rec_listen(r, "192.0.2.1:80", NULL, &fd);
    ior_id watch = rec_watch(r, script_fd(r->script, IOR_FD_OTHER), IOR_READ);
    ior_id connecting = rec_connect(r, "192.0.2.7:80", NULL, &fd);
    ior_id closing = rec_stream(r, NULL, &fd), finished = rec_stream(r, NULL, &fd), ended = rec_stream(r, NULL, &fd);
    int read_end = script_fd(r->script, IOR_FD_PIPE | IOR_FD_NO_WRITE);
    ior_id pipe = rec_adopt(r, read_end, NULL);
    assert_int_equal(ior_send(r->cx, listener, "x", 1), -EOPNOTSUPP);
    assert_int_equal(ior_send(r->cx, watch, "x", 1), -EOPNOTSUPP);
    assert_int_equal(ior_send(r->cx, pipe, "x", 1), -EOPNOTSUPP);
    assert_int_equal(ior_send(r->cx, connecting, "x", 1), -ENOTCONN);
    assert_int_equal(rec_close(r, closing, IOR_NEVER), 0);
    assert_int_equal(ior_send(r->cx, closing, "x", 1), -EPIPE);
    assert_int_equal(ior_finish(r->cx, finished), 0);
    assert_int_equal(ior_send(r->cx, finished, "x", 1), -EPIPE);
    assert_int_equal(rec_unregister(r, ended), 0);
    assert_int_equal(ior_send(r->cx, ended, "x", 1), -EPIPE);
    assert_int_equal(ior_send(r->cx, ended ^ 16, "x", 1), -ENOENT);
    assert_int_equal(ior_queued(r->cx, closing), 0);
    assert_int_equal(ior_queued(r->cx, ended ^ 16), 0);
    rec_free(r);
}

static void bad_arguments(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    struct iovec bad = {NULL, 5}, huge[2] = {{(void *)r, SIZE_MAX}, {(void *)r, SIZE_MAX}};
    (void)state;
    assert_int_equal(ior_send(r->cx, id, NULL, 5), -EINVAL);
    assert_int_equal(ior_sendv(r->cx, id, &bad, 1), -EINVAL);
    assert_int_equal(ior_sendv(r->cx, id, NULL, 1), -EINVAL);
    assert_int_equal(ior_sendv(r->cx, id, &bad, -1), -EINVAL);
    assert_int_equal(ior_sendv(r->cx, id, huge, 2), -EMSGSIZE);
    assert_int_equal(ior_sendv(r->cx, id, huge, 1), -EMSGSIZE);
    assert_int_equal(ior_send_buf(r->cx, id, NULL), -EINVAL);
    rec_settle(r);
    assert_int_equal(script_count(r->script, SCRIPT_SEND), 0);
    rec_expect(r, "");
    rec_free(r);
}

static void sent_before_the_loop_runs(void **state)
{
    struct recorder *r = rec_bare(NULL);
    int fd;
    (void)state;
    rec_open(r, NULL);
    ior_id id = rec_stream(r, NULL, &fd);
    assert_int_equal(rec_send_text(r, id, "hello"), 0);
    rec_settle(r);
    script_hear_text(r->script, fd, "hello");
    rec_expect(r, "start\nregistered 1\nopen 1\n");
    rec_free(r);
}

static void writing_goes_on_while_paused(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    (void)state;
    assert_int_equal(rec_pause(r, id), 0);
    script_room(r->script, fd, 2);
    assert_int_equal(rec_send_text(r, id, "hello"), 0);
    rec_settle(r);
    script_room(r->script, fd, SIZE_MAX);
    rec_settle(r);
    script_hear_text(r->script, fd, "hello");
    rec_free(r);
}

static void marks_are_checked(void **state)
{
    struct recorder *r = rec_new_with(&small_config);
    int fd = script_stream(r->script);
    ior_id id = 4711;
    (void)state;
    assert_int_equal(ior_adopt(r->cx, fd, REC_STREAM(.high_bytes = 10, .low_bytes = 11), &id), -EINVAL);
    assert_int_equal(
        ior_adopt(r->cx, fd, REC_STREAM(.high_bytes = 1000, .unread_max_bytes = 100, .cap_bytes = 1611), &id), -EINVAL);
    assert_int_equal(ior_adopt(r->cx, fd, REC_STREAM(.high_bytes = SIZE_MAX), &id), -EINVAL);
    assert_int_equal(ior_adopt(r->cx, fd, REC_STREAM(.unread_max_bytes = SIZE_MAX), &id), -EINVAL);
    assert_int_equal(id, 4711);
    id = rec_adopt(r, fd, REC_STREAM(.high_bytes = 1000, .unread_max_bytes = 100, .cap_bytes = 1612));
    script_room(r->script, fd, 0);
    assert_int_equal(rec_send_pattern(r, id, 1613), -EMSGSIZE);
    assert_int_equal(rec_send_pattern(r, id, 1612), 1);
    rec_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shared_by_all_and_released_once_from_the_loop),
        cmocka_unit_test(a_buffer_for_very_many_takes_few_blocks),
        cmocka_unit_test(shared_counts_fully_for_each_transport),
        cmocka_unit_test(a_refused_buffer_is_not_touched),
        cmocka_unit_test(the_runtime_has_a_cap_too),
        cmocka_unit_test(room_that_comes_by_an_end_is_told),
        cmocka_unit_test(room_for_one_is_told_while_others_stay),
        cmocka_unit_test(what_the_runtime_could_never_hold),
        cmocka_unit_test(where_nothing_can_be_sent),
        cmocka_unit_test(bad_arguments),
        cmocka_unit_test(sent_before_the_loop_runs),
        cmocka_unit_test(writing_goes_on_while_paused),
        cmocka_unit_test(marks_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
