/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Orderly ends: close with its flush, half-close and drain; finish; the end of input with and without half_open; hang-ups
 * that match no interest.
 */
#include <errno.h>

#include "support/check.h"
#include "support/recorder.h"

#define SEC IOR_NS_PER_SEC

static struct recorder *one_stream(const struct ior_stream_options *opts, ior_id *id, int *fd)
{
    struct recorder *r = rec_new();
    *id = rec_stream(r, opts, fd);
    rec_settle(r);
    rec_expect(r, "registered 1\nopen 1\n");
    script_forget(r->script);
    return r;
}

/* ---- close ---- */

static void close_flushes_shuts_discards_and_ends(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_room(r->script, fd, 2);
    assert_int_equal(rec_send_text(r, id, "bye now"), 0);
    assert_int_equal(rec_close(r, id, 10 * SEC), 0);
    script_say_text(r->script, fd, "unheard");
    rec_settle(r);
    assert_false(script_got_fin(r->script, fd));
    script_room(r->script, fd, SIZE_MAX);
    rec_settle(r);
    script_hear_text(r->script, fd, "bye now");
    assert_true(script_got_fin(r->script, fd));
    assert_int_equal(script_unread(r->script, fd), 0); /* else the close would reset the connection */
    rec_expect(r, "");
    script_say_text(r->script, fd, "more");
    rec_settle(r);
    rec_expect(r, "");
    script_eof(r->script, fd);
    rec_settle(r);
    rec_expect(r, "end 1 asked 7 0 11\nhandover 1\n");
    assert_false(script_is_open(r->script, fd));
    assert_false(script_got_reset(r->script, fd));
    rec_free(r);
}

static void close_without_output(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    assert_int_equal(rec_close(r, id, 10 * SEC), 0);
    assert_int_equal(script_count(r->script, SCRIPT_SHUTDOWN), 0);
    rec_turn(r);
    assert_true(script_got_fin(r->script, fd));
    script_hangup(r->script, fd);
    rec_settle(r);
    rec_expect(r, "end 1 asked 0 0 0\nhandover 1\n");
    assert_int_equal(script_count(r->script, SCRIPT_SHUTDOWN), 1);
    rec_free(r);
}

static void keep_and_close(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type != IOR_EV_DATA)
        return;
    assert_int_equal(rec_unread(r, ev->id, 3), 0);
    assert_int_equal(rec_close(r, ev->id, 10 * SEC), 0);
}

static void close_in_a_data_event(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    r->on_event = keep_and_close;
    script_say_pattern(r->script, fd, 200000);
    rec_settle(r);
    assert_int_equal(rec_of(r, id)->data_events, 1);
    size_t taken = rec_of(r, id)->in_len;
    script_eof(r->script, fd);
    rec_settle(r);
    assert_int_equal(rec_of(r, id)->why, IOR_ASKED);
    assert_int_equal(rec_of(r, id)->unread, 200000 - taken); /* given back, or discarded */
    rec_free(r);
}

static void close_after_pause(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_say_text(r->script, fd, "held back");
    assert_int_equal(rec_pause(r, id), 0);
    rec_settle(r);
    assert_int_equal(rec_close(r, id, 10 * SEC), 0);
    rec_settle(r);
    script_eof(r->script, fd);
    rec_settle(r);
    rec_expect(r, "end 1 asked 0 0 9\nhandover 1\n");
    rec_free(r);
}

/* What was given back is held until output has drained; closing comes in between: it is not told again. */
static void fill_and_keep(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type != IOR_EV_DATA)
        return;
    assert_int_equal(rec_send_pattern(r, ev->id, 70000), 1);
    assert_int_equal(rec_unread(r, ev->id, 3), 0);
}

static void close_with_a_full_queue_and_bytes_given_back(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    r->on_event = fill_and_keep;
    script_room(r->script, fd, 0);
    script_say_text(r->script, fd, "abcdef");
    rec_settle(r);
    assert_int_equal(rec_close(r, id, 10 * SEC), 0);
    rec_settle(r);
    script_room(r->script, fd, SIZE_MAX);
    rec_settle(r);
    script_hear_pattern(r->script, fd, 0, 70000);
    script_eof(r->script, fd);
    rec_settle(r);
    rec_expect(r, "data 1 abc\nend 1 asked 70000 0 3\nhandover 1\n");
    rec_free(r);
}

static void close_and_a_reset(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    assert_int_equal(rec_close(r, id, 10 * SEC), 0);
    rec_settle(r);
    script_reset(r->script, fd);
    rec_settle(r);
    rec_expect(r, "end 1 error ECONNRESET 0 0 0\nhandover 1\n");
    assert_true(rec_idle(r)); /* the drain deadline is gone */
    rec_free(r);
}

static void close_and_a_broken_pipe(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    assert_int_equal(rec_send_text(r, id, "bye"), 0);
    assert_int_equal(rec_close(r, id, 10 * SEC), 0);
    script_hangup(r->script, fd);
    rec_settle(r);
    rec_expect(r, "end 1 error EPIPE 0 3 0\nhandover 1\n");
    rec_free(r);
}

static void close_with_no_time_at_all(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    assert_int_equal(rec_send_text(r, id, "bye"), 0);
    assert_int_equal(rec_close(r, id, 0), 0);
    rec_settle(r);
    assert_int_equal(rec_of(r, id)->why, IOR_TIMEOUT);
    assert_int_equal(rec_of(r, id)->which, IOR_DEADLINE_DRAIN);
    assert_int_equal(rec_of(r, id)->written, script_heard(r->script, fd));
    rec_free(r);
}

static void close_of_what_has_no_streams_end(void **state)
{
    struct recorder *r = rec_new();
    int listener, connecting;
    (void)state;
    int foreign = script_fd(r->script, IOR_FD_OTHER);
    ior_id a = rec_listen(r, "192.0.2.1:80", NULL, &listener), b = rec_watch(r, foreign, IOR_READ);
    ior_id c = rec_connect(r, "192.0.2.7:80", NULL, &connecting);
    assert_int_equal(rec_close(r, a, SEC), 0);
    assert_int_equal(rec_close(r, b, SEC), 0);
    assert_int_equal(rec_close(r, c, SEC), 0);
    assert_int_equal(script_interest(r->script, listener), -1);
    rec_settle(r);
    rec_expect(r, "end 1 asked 0 0 0\nhandover 1\nend 2 asked 0 0 0\nhandover 2\nend 3 asked 0 0 0\nhandover 3\n");
    assert_true(script_is_open(r->script, foreign));
    assert_false(script_is_open(r->script, listener) || script_is_open(r->script, connecting));
    rec_free(r);
}

/* ---- finish and half-close ---- */

static void finish_shuts_once_the_queue_is_written(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_room(r->script, fd, 3);
    assert_int_equal(rec_send_text(r, id, "hello"), 0);
    assert_int_equal(ior_finish(r->cx, id), 0);
    assert_int_equal(ior_finish(r->cx, id), 0);
    assert_int_equal(ior_send(r->cx, id, "x", 1), -EPIPE);
    rec_settle(r);
    assert_false(script_got_fin(r->script, fd));
    script_room(r->script, fd, SIZE_MAX);
    rec_settle(r);
    script_hear_text(r->script, fd, "hello");
    assert_true(script_got_fin(r->script, fd));
    script_say_text(r->script, fd, "still read");
    rec_settle(r);
    assert_int_equal(ior_finish(r->cx, id), 0);
    rec_settle(r);
    assert_int_equal(script_count(r->script, SCRIPT_SHUTDOWN), 1);
    rec_expect(r, "data 1 still read\n");
    script_eof(r->script, fd);
    rec_settle(r);
    rec_expect(r, "eof 1\nend 1 eof 5 0 0\nhandover 1\n");
    rec_free(r);
}

static void answer_eof(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_EOF)
        assert_int_equal(rec_send_text(r, ev->id, ", and good-bye"), 0);
}

static void eof_ends_after_the_flush(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    r->on_event = answer_eof;
    script_room(r->script, fd, 2);
    assert_int_equal(rec_send_text(r, id, "hello"), 0);
    script_eof(r->script, fd);
    assert_false(rec_idle(r)); /* the drain deadline is armed; but it does not spin */
    rec_expect(r, "eof 1\n");
    assert_int_equal(ior_send(r->cx, id, "late", 4), -EPIPE);
    script_room(r->script, fd, SIZE_MAX);
    rec_settle(r);
    script_hear_text(r->script, fd, "hello, and good-bye");
    rec_expect(r, "end 1 eof 19 0 0\nhandover 1\n");
    rec_free(r);
}

static void r19_half_open_ends_nothing(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(REC_STREAM(.half_open = true), &id, &fd);
    (void)state;
    script_say_text(r->script, fd, "question");
    script_eof(r->script, fd);
    assert_true(rec_idle(r)); /* readable for ever, and nobody spins */
    rec_expect(r, "data 1 question\neof 1\n");
    assert_int_equal(rec_send_text(r, id, "answer"), 0);
    rec_settle(r);
    script_hear_text(r->script, fd, "answer");
    assert_int_equal(ior_finish(r->cx, id), 0);
    rec_settle(r);
    rec_expect(r, "end 1 eof 6 0 0\nhandover 1\n");
    rec_free(r);
}

static void half_open_and_close(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(REC_STREAM(.half_open = true), &id, &fd);
    (void)state;
    script_eof(r->script, fd);
    rec_settle(r);
    assert_int_equal(rec_send_text(r, id, "answer"), 0);
    assert_int_equal(rec_close(r, id, SEC), 0);
    rec_settle(r);
    script_hear_text(r->script, fd, "answer");
    rec_expect(r, "eof 1\nend 1 asked 6 0 0\nhandover 1\n");
    rec_free(r);
}

static void half_open_finished_before_eof(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(REC_STREAM(.half_open = true), &id, &fd);
    (void)state;
    assert_int_equal(ior_finish(r->cx, id), 0);
    rec_settle(r);
    script_say_text(r->script, fd, "answer");
    script_eof(r->script, fd);
    rec_settle(r);
    rec_expect(r, "data 1 answer\neof 1\nend 1 eof 0 0 0\nhandover 1\n");
    rec_free(r);
}

/* R18: the input is over, nothing is queued, and now the peer is gone altogether: no interest would ever match. */
static void r18_a_hang_up_behind_half_open(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(REC_STREAM(.half_open = true), &id, &fd);
    (void)state;
    script_eof(r->script, fd);
    rec_settle(r);
    rec_expect(r, "eof 1\n");
    script_hangup(r->script, fd);
    rec_settle(r);
    assert_true(rec_of(r, id)->ended && rec_of(r, id)->handed_over);
    rec_free(r);
}

static void r18_a_reset_behind_half_open(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(REC_STREAM(.half_open = true), &id, &fd);
    (void)state;
    script_eof(r->script, fd);
    rec_settle(r);
    script_reset(r->script, fd);
    rec_settle(r);
    rec_expect(r, "eof 1\nend 1 error ECONNRESET 0 0 0\nhandover 1\n");
    rec_free(r);
}

/* Reading stopped because the own output is full; then the peer is gone. */
static void r18_a_hang_up_while_output_is_full(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_room(r->script, fd, 0);
    assert_int_equal(rec_send_pattern(r, id, 70000), 1);
    rec_settle(r);
    script_say_text(r->script, fd, "last words");
    script_reset(r->script, fd);
    rec_settle(r);
    rec_expect(r, "data 1 last words\nend 1 error ECONNRESET 0 70000 0\nhandover 1\n");
    rec_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(close_flushes_shuts_discards_and_ends),
        cmocka_unit_test(close_without_output),
        cmocka_unit_test(close_in_a_data_event),
        cmocka_unit_test(close_after_pause),
        cmocka_unit_test(close_with_a_full_queue_and_bytes_given_back),
        cmocka_unit_test(close_and_a_reset),
        cmocka_unit_test(close_and_a_broken_pipe),
        cmocka_unit_test(close_with_no_time_at_all),
        cmocka_unit_test(close_of_what_has_no_streams_end),
        cmocka_unit_test(finish_shuts_once_the_queue_is_written),
        cmocka_unit_test(eof_ends_after_the_flush),
        cmocka_unit_test(r19_half_open_ends_nothing),
        cmocka_unit_test(half_open_and_close),
        cmocka_unit_test(half_open_finished_before_eof),
        cmocka_unit_test(r18_a_hang_up_behind_half_open),
        cmocka_unit_test(r18_a_reset_behind_half_open),
        cmocka_unit_test(r18_a_hang_up_while_output_is_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
