/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending: all or nothing, marks and caps, DRAINED, one write a turn, what the kernel takes in pieces or refuses. Shared
 * buffers are in test_output_shared.c, files in test_files.c.
 */
#include <errno.h>
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

static void a_turn_writes_once(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    (void)state;
    for (int i = 0; i < 20; i++)
        assert_int_equal(rec_send_pattern(r, id, 17), 0);
    assert_int_equal(script_count(r->script, SCRIPT_SEND), 0); /* not in the request */
    rec_turn(r);
    assert_int_equal(script_count(r->script, SCRIPT_SEND), 1);
    assert_int_equal(script_count_all(r->script), 2); /* with the wait: no change of interest */
    script_hear_pattern(r->script, fd, 0, 340);
    assert_true(rec_idle(r));
    assert_int_equal(rec_stats(r).output_bytes, 0);
    rec_free(r);
}

static void pieces_are_gathered_in_one_write(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    char a[] = "one, ", b[] = "two, ", c[] = "three";
    struct iovec iov[] = {{a, 5}, {NULL, 0}, {b, 5}, {c, 5}};
    (void)state;
    assert_int_equal(rec_note_send(r, id, 15, ior_sendv(r->cx, id, iov, 4)), 0);
    memset(a, 'x', 5); /* they were copied */
    struct ior_buf *buf = ior_buf_copy("; buf", 5);
    assert_int_equal(rec_send_buf(r, id, buf), 0);
    ior_buf_unref(buf);
    assert_int_equal(rec_send_text(r, id, "; end"), 0);
    assert_int_equal(ior_queued(r->cx, id), 25);
    rec_turn(r);
    assert_int_equal(script_count(r->script, SCRIPT_SEND), 1);
    script_hear_text(r->script, fd, "one, two, three; buf; end");
    assert_int_equal(ior_queued(r->cx, id), 0);
    rec_free(r);
}

static void inv05_all_or_nothing(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    (void)state;
    script_room(r->script, fd, 0);
    assert_int_equal(rec_send_pattern(r, id, HIGH), 0);
    assert_int_equal(rec_send_pattern(r, id, 1), 1);
    assert_int_equal(rec_send_pattern(r, id, CAP - HIGH - 1), 1); /* exactly full */
    assert_int_equal(ior_queued(r->cx, id), CAP);
    assert_int_equal(rec_send_pattern(r, id, 1), -ENOBUFS);
    assert_int_equal(rec_send_pattern(r, id, CAP), -ENOBUFS);
    assert_int_equal(rec_send_pattern(r, id, CAP + 1), -EMSGSIZE);
    assert_int_equal(rec_send(r, id, "", 0), 0);
    assert_int_equal(ior_queued(r->cx, id), CAP);
    script_room(r->script, fd, SIZE_MAX);
    rec_settle(r);
    script_hear_pattern(r->script, fd, 0, CAP);
    rec_expect(r, "drained 1\n");
    assert_int_equal(rec_send_pattern(r, id, CAP), 1); /* it fits now */
    rec_settle(r);
    rec_expect(r, "drained 1\n");
    rec_free(r);
}

static void too_large_for_ever(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    (void)state;
    assert_int_equal(rec_send_pattern(r, id, CAP + 1), -EMSGSIZE);
    rec_settle(r);
    rec_expect(r, ""); /* nothing is owed */
    assert_int_equal(script_count(r->script, SCRIPT_SEND), 0);
    rec_free(r);
}

static void drained_comes_at_the_low_mark(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    (void)state;
    script_room(r->script, fd, 0);
    assert_int_equal(rec_send_pattern(r, id, HIGH + 1), 1);
    rec_settle(r);
    script_room(r->script, fd, HIGH - LOW);
    rec_settle(r);
    assert_int_equal(ior_queued(r->cx, id), LOW + 1);
    rec_expect(r, "");
    script_room(r->script, fd, 1);
    rec_settle(r);
    rec_expect(r, "drained 1\n");
    script_room(r->script, fd, SIZE_MAX);
    rec_settle(r);
    rec_expect(r, ""); /* once */
    script_hear_pattern(r->script, fd, 0, HIGH + 1);
    rec_free(r);
}

static void drained_after_a_refusal_comes_when_it_would_fit(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    (void)state;
    script_room(r->script, fd, 0);
    assert_int_equal(rec_send_pattern(r, id, 500), 0);
    assert_int_equal(rec_send_pattern(r, id, 1400), -ENOBUFS);
    rec_settle(r);
    script_room(r->script, fd, 287);
    rec_settle(r);
    assert_int_equal(ior_queued(r->cx, id), 213); /* below the low mark, but 1400 would not fit */
    rec_expect(r, "");
    script_room(r->script, fd, 1);
    rec_settle(r);
    rec_expect(r, "drained 1\n");
    assert_int_equal(rec_send_pattern(r, id, 1400), 1);
    script_room(r->script, fd, SIZE_MAX);
    rec_settle(r);
    script_hear_pattern(r->script, fd, 0, 1900);
    rec_expect(r, "drained 1\n");
    rec_free(r);
}

/* A refusal is forgotten once DRAINED was told for it. */
static void drained_after_a_refusal_is_forgotten(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    (void)state;
    script_room(r->script, fd, 0);
    assert_int_equal(rec_send_pattern(r, id, 500), 0);
    assert_int_equal(rec_send_pattern(r, id, 1400), -ENOBUFS);
    rec_settle(r);
    script_room(r->script, fd, 288);
    rec_settle(r);
    rec_expect(r, "drained 1\n"); /* 212 are left */
    assert_int_equal(rec_send_pattern(r, id, 1000), 1);
    script_room(r->script, fd, 1212 - LOW);
    rec_settle(r);
    assert_int_equal(ior_queued(r->cx, id), LOW);
    rec_expect(r, "drained 1\n");
    rec_free(r);
}

static void drained_is_owed_after_each(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rec_send_pattern(r, id, HIGH + 1), 1);
        rec_settle(r);
        rec_expect(r, "drained 1\n");
    }
    rec_free(r);
}

static void send_more(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DRAINED)
        assert_int_equal(rec_send_pattern(r, ev->id, HIGH + 1), 1);
}

/* R11: a callback that feeds the queue that is being drained does not hold the loop. */
static void r11_drained_that_sends_again_waits_for_the_next_turn(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    (void)state;
    r->on_event = send_more;
    assert_int_equal(rec_send_pattern(r, id, HIGH + 1), 1);
    for (unsigned i = 1; i <= 4; i++) {
        rec_turn(r);
        assert_true(script_count_fd(r->script, SCRIPT_SEND, fd) <= i);
    }
    assert_true(script_count_fd(r->script, SCRIPT_SEND, fd) >= 3);
    r->on_event = NULL;
    rec_settle(r);
    rec_free(r);
}

/* ---- reading stops while the own output is full ---- */

static void reading_stops_while_output_is_full(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    (void)state;
    script_room(r->script, fd, 0);
    assert_int_equal(rec_send_pattern(r, id, HIGH + 1), 1);
    rec_settle(r);
    script_say_text(r->script, fd, "hello");
    rec_settle(r); /* and does not spin */
    rec_expect(r, "");
    assert_int_equal(script_interest(r->script, fd), IOR_WRITE);
    script_room(r->script, fd, HIGH + 1 - LOW);
    rec_settle(r);
    assert_non_null(strstr(rec_lines(r), "data 1 hello\n"));
    assert_non_null(strstr(rec_lines(r), "drained 1\n"));
    rec_free(r);
}

static void reading_goes_on_with_read_when_full(void **state)
{
    struct recorder *r = rec_new_with(&small_config);
    int fd;
    (void)state;
    ior_id id = rec_stream(
        r, REC_STREAM(.high_bytes = HIGH, .low_bytes = LOW, .unread_max_bytes = 100, .read_when_full = true), &fd);
    script_room(r->script, fd, 0);
    assert_int_equal(rec_send_pattern(r, id, HIGH + 1), 1);
    rec_settle(r);
    rec_forget(r);
    script_say_text(r->script, fd, "hello");
    rec_settle(r);
    rec_expect(r, "data 1 hello\n");
    rec_free(r);
}

static void echo(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA)
        assert_true(rec_send(r, ev->id, ev->data.bytes, ev->data.len) >= 0);
}

/* R37: what an echo answers always fits, and its memory is bounded without any code of its own. */
static void r37_an_echo_is_bounded(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    (void)state;
    r->on_event = echo;
    script_room(r->script, fd, 0);
    script_say_pattern(r->script, fd, 100000);
    rec_settle(r);
    assert_true(ior_queued(r->cx, id) > HIGH);
    assert_true(ior_queued(r->cx, id) <= CAP);
    for (int i = 0; i < 1000; i++) {
        script_room(r->script, fd, 777);
        rec_settle(r);
        assert_true(ior_queued(r->cx, id) <= CAP);
    }
    script_hear_pattern(r->script, fd, 0, 100000);
    rec_free(r);
}

/* ---- what the kernel takes ---- */

/* A queue of mixed pieces: copies, shared ones, copies again. */
static void fill(struct recorder *r, ior_id id, size_t *total)
{
    unsigned char bytes[200];
    *total = 0;
    for (size_t i = 0; i < 12; i++) {
        size_t len = i * 7 % 90 + 1;
        script_pattern(bytes, *total, len);
        if (i % 3 == 1) {
            struct ior_buf *buf = ior_buf_copy(bytes, len);
            assert_true(rec_send_buf(r, id, buf) >= 0);
            ior_buf_unref(buf);
        } else {
            assert_true(rec_send(r, id, bytes, len) >= 0);
        }
        *total += len;
    }
}

static void r28_partial_writes_of_every_size(void **state)
{
    (void)state;
    for (size_t take = 1; take < 560; take += take < 100 ? 1 : 13) {
        ior_id id;
        int fd;
        struct recorder *r = one_stream(&id, &fd);
        size_t total;
        script_take(r->script, fd, take);
        fill(r, id, &total);
        rec_settle(r);
        script_hear_pattern(r->script, fd, 0, total);
        assert_int_equal(ior_queued(r->cx, id), 0);
        assert_int_equal(rec_stats(r).output_bytes, 0);
        rec_free(r);
    }
}

static void inv04_written_plus_unsent_is_accepted(void **state)
{
    (void)state;
    for (size_t room = 0; room < 560; room += 11) {
        ior_id id;
        int fd;
        struct recorder *r = one_stream(&id, &fd);
        size_t total;
        script_room(r->script, fd, room);
        fill(r, id, &total);
        rec_settle(r);
        size_t heard = room < total ? room : total;
        script_hear_pattern(r->script, fd, 0, heard);
        r->keep = true;
        assert_int_equal(rec_unregister(r, id), 0);
        rec_settle(r);
        assert_int_equal(rec_of(r, id)->written, heard);
        assert_int_equal(rec_of(r, id)->unsent, total - heard);
        struct iovec iov[32];
        int n = -1;
        assert_int_equal(ior_resource_unsent(rec_of(r, id)->handed, iov, 32, &n), total - heard);
        assert_in_range(n, 0, 32);
        size_t offset = heard;
        for (int i = 0; i < n; offset += iov[i++].iov_len)
            assert_true(script_is_pattern(iov[i].iov_base, offset, iov[i].iov_len));
        assert_int_equal(offset, total);
        rec_free(r);
    }
}

static void a_full_kernel_is_waited_for(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    (void)state;
    script_room(r->script, fd, 3);
    assert_int_equal(rec_send_text(r, id, "hello"), 0);
    rec_turn(r);
    script_hear_text(r->script, fd, "hel");
    assert_int_equal(script_count(r->script, SCRIPT_SEND), 1); /* less than all: it is full, and not asked again */
    assert_int_equal(script_interest(r->script, fd), IOR_READ | IOR_WRITE);
    assert_true(rec_idle(r)); /* it waits, it does not try again and again */
    script_forget(r->script);
    assert_int_equal(rec_send_text(r, id, ", you"), 0);
    rec_turn(r);
    assert_int_equal(script_count(r->script, SCRIPT_SEND), 0); /* still known to be full */
    script_room(r->script, fd, SIZE_MAX);
    rec_settle(r);
    script_hear_text(r->script, fd, "lo, you");
    assert_int_equal(script_count(r->script, SCRIPT_SEND), 1);
    assert_true(rec_idle(r));
    rec_free(r);
}

/* Writing all of it needs no interest in writing, ever. */
static void interest_in_writing_is_dropped_lazily(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    (void)state;
    script_room(r->script, fd, 1);
    assert_int_equal(rec_send_text(r, id, "ab"), 0);
    rec_settle(r);
    assert_int_equal(script_count(r->script, SCRIPT_REWATCH), 1);
    script_room(r->script, fd, SIZE_MAX);
    rec_settle(r);
    script_hear_text(r->script, fd, "ab");
    assert_true(script_count(r->script, SCRIPT_REWATCH) <= 2);
    assert_int_equal(script_interest(r->script, fd), IOR_READ); /* one unwanted record, one change */
    rec_free(r);
}

static void r35_interrupted_writes_are_repeated(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    (void)state;
    script_fail_next(r->script, SCRIPT_SEND, EINTR);
    script_fail_next(r->script, SCRIPT_SEND, EINTR);
    assert_int_equal(rec_send_text(r, id, "hello"), 0);
    rec_settle(r);
    script_hear_text(r->script, fd, "hello");
    rec_expect(r, "");
    rec_free(r);
}

static void a_spell_without_memory_is_told_once(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    (void)state;
    script_fail_always(r->script, SCRIPT_SEND, ENOBUFS);
    assert_int_equal(rec_send_text(r, id, "hello"), 0);
    rec_pass(r, 5 * IOR_NS_PER_SEC);
    rec_expect(r, "error 1 ENOBUFS\n");
    assert_in_range(script_count(r->script, SCRIPT_SEND), 2, 600); /* it tries again, and does not spin */
    script_fail_always(r->script, SCRIPT_SEND, 0);
    rec_pass(r, 5 * IOR_NS_PER_SEC);
    script_hear_text(r->script, fd, "hello");
    rec_expect(r, "");
    script_fail_next(r->script, SCRIPT_SEND, ENOMEM);
    assert_int_equal(rec_send_text(r, id, "again"), 0);
    rec_pass(r, 5 * IOR_NS_PER_SEC);
    rec_expect(r, "error 1 ENOMEM\n"); /* another spell */
    script_hear_text(r->script, fd, "again");
    rec_free(r);
}

static void r30_more_pieces_than_a_write_takes(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    ior_id id = rec_stream(r, NULL, &fd);
    rec_settle(r);
    script_forget(r->script);
    for (size_t i = 0; i < 3000; i++) {
        unsigned char byte = script_pattern_at(i);
        struct ior_buf *buf = ior_buf_copy(&byte, 1);
        assert_int_equal(rec_send_buf(r, id, buf), 0);
        ior_buf_unref(buf);
    }
    rec_turn(r);
    script_hear_pattern(r->script, fd, 0, 3000);
    assert_int_equal(script_count(r->script, SCRIPT_SEND), 3);
    rec_free(r);
}

static void r32_nothing_is_sent_for_nothing(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    struct iovec iov = {NULL, 0};
    struct ior_buf *empty = ior_buf_copy(NULL, 0);
    (void)state;
    assert_int_equal(ior_send(r->cx, id, NULL, 0), 0);
    assert_int_equal(ior_sendv(r->cx, id, &iov, 1), 0);
    assert_int_equal(ior_sendv(r->cx, id, NULL, 0), 0);
    assert_int_equal(ior_send_buf(r->cx, id, empty), 0);
    ior_buf_unref(empty);
    rec_settle(r);
    assert_int_equal(script_count(r->script, SCRIPT_SEND), 0);
    rec_free(r);
}

/* ---- write errors ---- */

static void a_write_error_lets_input_be_read_first(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    (void)state;
    script_say_pattern(r->script, fd, 5000);
    script_hangup(r->script, fd);
    assert_int_equal(rec_send_text(r, id, "hello"), 0);
    script_reverse(r->script, true);
    rec_settle(r);
    assert_int_equal(rec_of(r, id)->in_len, 5000);
    assert_true(script_is_pattern(rec_of(r, id)->in, 0, 5000));
    assert_true(rec_of(r, id)->ended);
    assert_int_equal(rec_of(r, id)->why, IOR_ERROR);
    assert_int_equal(rec_of(r, id)->error, EPIPE);
    assert_int_equal(rec_of(r, id)->unsent, 5);
    rec_free(r);
}

static void inv06_the_first_error_is_the_cause(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    (void)state;
    rec_settle(r);
    script_say_pattern(r->script, fd, 700);
    /* Our own write meets the reset first: it eats the error, reading goes on to 0. */
    assert_int_equal(rec_pause(r, id), 0);
    assert_int_equal(rec_send_text(r, id, "hello"), 0);
    script_reset(r->script, fd);
    rec_settle(r);
    rec_expect(r, "");
    assert_int_equal(rec_send_text(r, id, "more"), -EPIPE);
    assert_int_equal(rec_resume(r, id), 0);
    rec_settle(r);
    rec_expect(r, "data 1 (700 bytes)\nend 1 error ECONNRESET 0 5 0\nhandover 1\n");
    rec_free(r);
}

static void after_a_write_error_nothing_is_written(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(&id, &fd);
    (void)state;
    script_fail_next(r->script, SCRIPT_SEND, EIO);
    assert_int_equal(rec_send_text(r, id, "hello"), 0);
    rec_settle(r);
    script_hear(r->script, fd, "", 0);
    assert_int_equal(script_count(r->script, SCRIPT_SEND), 1);
    rec_expect(r, "end 1 error EIO 0 5 0\nhandover 1\n");
    rec_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_turn_writes_once),
        cmocka_unit_test(pieces_are_gathered_in_one_write),
        cmocka_unit_test(inv05_all_or_nothing),
        cmocka_unit_test(too_large_for_ever),
        cmocka_unit_test(drained_comes_at_the_low_mark),
        cmocka_unit_test(drained_after_a_refusal_comes_when_it_would_fit),
        cmocka_unit_test(drained_after_a_refusal_is_forgotten),
        cmocka_unit_test(drained_is_owed_after_each),
        cmocka_unit_test(r11_drained_that_sends_again_waits_for_the_next_turn),
        cmocka_unit_test(reading_stops_while_output_is_full),
        cmocka_unit_test(reading_goes_on_with_read_when_full),
        cmocka_unit_test(r37_an_echo_is_bounded),
        cmocka_unit_test(r28_partial_writes_of_every_size),
        cmocka_unit_test(inv04_written_plus_unsent_is_accepted),
        cmocka_unit_test(a_full_kernel_is_waited_for),
        cmocka_unit_test(interest_in_writing_is_dropped_lazily),
        cmocka_unit_test(r35_interrupted_writes_are_repeated),
        cmocka_unit_test(a_spell_without_memory_is_told_once),
        cmocka_unit_test(r30_more_pieces_than_a_write_takes),
        cmocka_unit_test(r32_nothing_is_sent_for_nothing),
        cmocka_unit_test(a_write_error_lets_input_be_read_first),
        cmocka_unit_test(inv06_the_first_error_is_the_cause),
        cmocka_unit_test(after_a_write_error_nothing_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
