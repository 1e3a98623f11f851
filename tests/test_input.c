/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receiving: borrowed bytes, given back in all positions, ends of input in their order; pipes. Pausing is in test_pause.c.
 */
#include <errno.h>

#include "support/check.h"
#include "support/recorder.h"

static const struct ior_config small_config = {.read_bytes = 512, .reads = 2};

/* An open stream on a runtime that reads 512 bytes at a time, twice a turn. */
static struct recorder *one_stream(const struct ior_stream_options *opts, ior_id *id, int *fd)
{
    struct recorder *r = rec_new_with(&small_config);
    *id = rec_stream(r, opts, fd);
    rec_settle(r);
    rec_expect(r, "registered 1\nopen 1\n");
    script_forget(r->script);
    return r;
}

static void assert_pattern_in(struct recorder *r, ior_id id, size_t len)
{
    assert_int_equal(rec_of(r, id)->in_len, len);
    assert_true(script_is_pattern(rec_of(r, id)->in, 0, len));
}

static void a_message_costs_two_system_calls(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_say_text(r->script, fd, "hello");
    rec_turn(r);
    rec_expect(r, "data 1 hello\n");
    assert_int_equal(script_count(r->script, SCRIPT_RECV), 1);
    assert_int_equal(script_count_all(r->script), 2);
    rec_free(r);
}

static void inv11_reads_of_a_turn_are_bounded(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_say_pattern(r->script, fd, 5000);
    for (unsigned turns = 1; turns <= 4; turns++) {
        rec_turn(r);
        assert_int_equal(rec_of(r, id)->data_events, 2 * turns);
        assert_int_equal(rec_of(r, id)->in_len, 1024 * turns);
    }
    rec_settle(r);
    assert_pattern_in(r, id, 5000);
    rec_free(r);
}

static void r17_a_short_read_beside_a_hang_up_is_not_the_end(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_give(r->script, fd, 10);
    script_say_pattern(r->script, fd, 3000);
    script_hangup(r->script, fd);
    rec_settle(r);
    assert_pattern_in(r, id, 3000);
    assert_true(rec_of(r, id)->eof && rec_of(r, id)->ended);
    rec_free(r);
}

static void inv06_data_then_eof_then_end(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_say_text(r->script, fd, "bye");
    script_eof(r->script, fd);
    rec_settle(r);
    rec_expect(r, "data 1 bye\neof 1\nend 1 eof 0 0 0\nhandover 1\n");
    rec_free(r);
}

static void inv06_data_then_the_error(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_say_pattern(r->script, fd, 2000);
    script_reset(r->script, fd);
    rec_settle(r);
    assert_pattern_in(r, id, 2000);
    rec_expect(r, "data 1 (2000 bytes)\nend 1 error ECONNRESET 0 0 0\nhandover 1\n");
    assert_int_equal(script_count(r->script, SCRIPT_GETSOCKOPT), 0); /* SO_ERROR would have eaten it */
    rec_free(r);
}

static void other_read_errors_end_too(void **state)
{
    static const int errors[] = {ETIMEDOUT, EIO, EHOSTUNREACH, ENOTCONN, EBADF};
    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        ior_id id;
        int fd;
        struct recorder *r = one_stream(NULL, &id, &fd);
        script_say_text(r->script, fd, "x");
        script_fail_next(r->script, SCRIPT_RECV, errors[i]);
        rec_settle(r);
        assert_int_equal(rec_of(r, id)->why, IOR_ERROR);
        assert_int_equal(rec_of(r, id)->error, errors[i]);
        rec_free(r);
    }
}

static void r35_interrupted_reads_are_repeated(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_say_text(r->script, fd, "hello");
    script_fail_next(r->script, SCRIPT_RECV, EINTR);
    script_fail_next(r->script, SCRIPT_RECV, EINTR);
    rec_settle(r);
    rec_expect(r, "data 1 hello\n");
    rec_free(r);
}

static void a_false_alarm_is_no_end(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_record(r->script, id, IOR_READ);
    rec_settle(r);
    rec_expect(r, "");
    assert_int_equal(script_count(r->script, SCRIPT_RECV), 1);
    script_say_text(r->script, fd, "x");
    rec_settle(r);
    rec_expect(r, "data 1 x\n");
    rec_free(r);
}

static void a_spell_without_memory_is_told_once(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_say_text(r->script, fd, "hello");
    script_fail_always(r->script, SCRIPT_RECV, ENOMEM);
    rec_pass(r, 5 * IOR_NS_PER_SEC);
    rec_expect(r, "error 1 ENOMEM\n");
    assert_in_range(script_count(r->script, SCRIPT_RECV), 2, 600);
    script_fail_always(r->script, SCRIPT_RECV, 0);
    rec_pass(r, IOR_NS_PER_SEC);
    rec_expect(r, "data 1 hello\n");
    script_say_text(r->script, fd, "again");
    script_fail_next(r->script, SCRIPT_RECV, ENOBUFS);
    rec_pass(r, IOR_NS_PER_SEC);
    rec_expect(r, "error 1 ENOBUFS\ndata 1 again\n"); /* another spell */
    rec_free(r);
}

static void abort_on_data(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA)
        assert_int_equal(rec_abort(r, ev->id), 0);
}

static void r09_ended_in_its_data_event(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    r->on_event = abort_on_data;
    assert_int_equal(rec_send_text(r, id, "queued"), 0);
    script_say_pattern(r->script, fd, 5000);
    script_hangup(r->script, fd);
    rec_settle(r);
    rec_expect(r, "data 1 (512 bytes)\nend 1 asked 0 6 0\nhandover 1\n");
    assert_true(script_got_reset(r->script, fd));
    rec_free(r);
}

/* ---- unread ---- */

struct keep_some {
    size_t keep;
    unsigned events;
};

static void unread_some(struct recorder *r, const struct ior_event *ev)
{
    struct keep_some *some = r->arg;
    if (ev->type != IOR_EV_DATA || some->events++ != 0)
        return;
    assert_int_equal(rec_unread(r, ev->id, some->keep), 0);
}

static void unread_in_every_position(void **state)
{
    (void)state;
    for (size_t keep = 0; keep <= 10; keep++) {
        ior_id id;
        int fd;
        struct recorder *r = one_stream(NULL, &id, &fd);
        struct keep_some some = {.keep = keep};
        r->arg = &some;
        r->on_event = unread_some;
        script_say_pattern(r->script, fd, 10);
        assert_true(rec_idle(r)); /* they are not told again before something new comes */
        assert_int_equal(some.events, 1);
        assert_int_equal(rec_of(r, id)->in_len, 10 - keep);
        script_say_pattern(r->script, fd, 7);
        rec_settle(r);
        assert_int_equal(some.events, 2);
        assert_pattern_in(r, id, 17);
        rec_free(r);
    }
}

static void unread_is_asked_again(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type != IOR_EV_DATA || rec_of(r, ev->id)->data_events > 1)
        return;
    assert_int_equal(ior_unread(r->cx, ev->id, 5), 0);
    assert_int_equal(ior_unread(r->cx, ev->id, 0), 0);
    assert_int_equal(rec_unread(r, ev->id, 2), 0);
}

static void the_last_asking_counts(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    r->on_event = unread_is_asked_again;
    script_say_text(r->script, fd, "abcdef");
    rec_settle(r);
    rec_expect(r, "data 1 abcd\n");
    script_say_text(r->script, fd, "gh");
    rec_settle(r);
    rec_expect(r, "data 1 efgh\n");
    rec_free(r);
}

static void unread_wrongly(struct recorder *r, const struct ior_event *ev)
{
    ior_id other = rec_id(r, ev->id == rec_id(r, 1) ? 2 : 1);
    if (ev->type != IOR_EV_DATA)
        return;
    assert_int_equal(ior_unread(r->cx, ev->id, ev->data.len + 1), -EINVAL);
    assert_int_equal(ior_unread(r->cx, ev->id, SIZE_MAX), -EINVAL);
    assert_int_equal(ior_unread(r->cx, other, 1), -EINVAL);
    assert_int_equal(ior_unread(r->cx, ev->id, 101), -EMSGSIZE);
    assert_int_equal(rec_unread(r, ev->id, 100), 0);
}

static void unread_has_its_bounds(void **state)
{
    ior_id id;
    int fd, other;
    struct recorder *r = one_stream(REC_STREAM(.unread_max_bytes = 100), &id, &fd);
    (void)state;
    rec_stream(r, NULL, &other);
    rec_settle(r);
    assert_int_equal(ior_unread(r->cx, id, 0), -EINVAL); /* not inside its event */
    r->on_event = unread_wrongly;
    script_say_pattern(r->script, fd, 300);
    rec_settle(r);
    r->on_event = NULL;
    assert_int_equal(ior_unread(r->cx, id, 1), -EINVAL);
    script_say_pattern(r->script, fd, 1);
    rec_settle(r);
    assert_pattern_in(r, id, 301);
    rec_free(r);
}

/* Nothing is taken before 3,000 bytes are there: they come together from one read after another. */
static void take_whole_messages(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA && ev->data.len < 3000)
        assert_int_equal(rec_unread(r, ev->id, ev->data.len), 0);
    else if (ev->type == IOR_EV_DATA)
        assert_int_equal(rec_unread(r, ev->id, ev->data.len - 3000), 0);
}

static void a_message_larger_than_a_read(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    r->on_event = take_whole_messages;
    for (int i = 0; i < 70; i++) {
        script_say_pattern(r->script, fd, 100);
        rec_settle(r);
    }
    assert_pattern_in(r, id, 6000);
    script_eof(r->script, fd);
    rec_settle(r);
    assert_int_equal(rec_of(r, id)->unread, 1000);
    assert_int_equal(rec_of(r, id)->why, IOR_EOF);
    rec_free(r);
}

static void pause_and_keep(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA && rec_of(r, ev->id)->data_events == 1) {
        assert_int_equal(rec_unread(r, ev->id, 3), 0);
        assert_int_equal(rec_pause(r, ev->id), 0);
    }
}

static void unread_comes_again_on_resume(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    r->on_event = pause_and_keep;
    script_say_text(r->script, fd, "abcdef");
    assert_true(rec_idle(r));
    rec_expect(r, "data 1 abc\n");
    assert_int_equal(rec_resume(r, id), 0);
    rec_expect(r, ""); /* not inside the request */
    assert_true(rec_idle(r));
    rec_expect(r, "data 1 def\n"); /* alone */
    script_say_text(r->script, fd, "g");
    rec_settle(r);
    rec_expect(r, "data 1 g\n");
    rec_free(r);
}

static void unread_comes_before_what_arrived_meanwhile(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    r->on_event = pause_and_keep;
    script_say_pattern(r->script, fd, 10);
    rec_settle(r);
    script_say_pattern(r->script, fd, 1500);
    rec_settle(r);
    assert_int_equal(rec_of(r, id)->in_len, 7);
    assert_int_equal(rec_resume(r, id), 0);
    rec_settle(r);
    assert_pattern_in(r, id, 1510);
    rec_free(r);
}

/* A proxy that cannot pass on: it fills its own output and gives the input back. */
static void fill_and_keep(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA && rec_of(r, ev->id)->data_events == 1) {
        assert_int_equal(rec_send_pattern(r, ev->id, 70000), 1);
        assert_int_equal(rec_unread(r, ev->id, ev->data.len), 0);
    }
}

static void unread_comes_again_once_output_has_drained(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    r->on_event = fill_and_keep;
    script_room(r->script, fd, 0);
    script_say_text(r->script, fd, "abc");
    assert_true(rec_idle(r));
    rec_forget(r);
    script_room(r->script, fd, SIZE_MAX);
    rec_settle(r);
    assert_int_equal(rec_of(r, id)->in_len, 3);
    assert_int_equal(rec_of(r, id)->data_events, 2);
    script_hear_pattern(r->script, fd, 0, 70000);
    rec_free(r);
}

/* ---- what is not a socket ---- */

static void a_pipe_is_read(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    int fd = script_fd(r->script, IOR_FD_PIPE | IOR_FD_NO_WRITE);
    rec_adopt(r, fd, NULL);
    script_say_text(r->script, fd, "through a pipe");
    rec_settle(r);
    script_eof(r->script, fd);
    rec_settle(r);
    rec_expect(r, "registered 1\nopen 1\ndata 1 through a pipe\neof 1\nend 1 eof 0 0 0\nhandover 1\n");
    assert_int_equal(script_count(r->script, SCRIPT_RECV), 0);
    assert_int_equal(script_count(r->script, SCRIPT_SHUTDOWN), 0);
    rec_free(r);
}

static void a_pipe_is_written(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    int fd = script_fd(r->script, IOR_FD_PIPE | IOR_FD_NO_READ);
    ior_id id = rec_adopt(r, fd, NULL);
    assert_int_equal(rec_send_text(r, id, "hello"), 0);
    assert_true(rec_idle(r));
    script_hear_text(r->script, fd, "hello");
    assert_int_equal(script_count(r->script, SCRIPT_SEND), 0);
    assert_int_equal(ior_finish(r->cx, id), -EOPNOTSUPP); /* half of a pipe cannot be shut */
    script_hangup(r->script, fd);                         /* nobody reads it any more: R18, no spin */
    rec_settle(r);
    rec_expect(r, "registered 1\nopen 1\nend 1 error EPIPE 5 0 0\nhandover 1\n");
    rec_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_costs_two_system_calls),
        cmocka_unit_test(inv11_reads_of_a_turn_are_bounded),
        cmocka_unit_test(r17_a_short_read_beside_a_hang_up_is_not_the_end),
        cmocka_unit_test(inv06_data_then_eof_then_end),
        cmocka_unit_test(inv06_data_then_the_error),
        cmocka_unit_test(other_read_errors_end_too),
        cmocka_unit_test(r35_interrupted_reads_are_repeated),
        cmocka_unit_test(a_false_alarm_is_no_end),
        cmocka_unit_test(a_spell_without_memory_is_told_once),
        cmocka_unit_test(r09_ended_in_its_data_event),
        cmocka_unit_test(unread_in_every_position),
        cmocka_unit_test(the_last_asking_counts),
        cmocka_unit_test(unread_has_its_bounds),
        cmocka_unit_test(a_message_larger_than_a_read),
        cmocka_unit_test(unread_comes_again_on_resume),
        cmocka_unit_test(unread_comes_before_what_arrived_meanwhile),
        cmocka_unit_test(unread_comes_again_once_output_has_drained),
        cmocka_unit_test(a_pipe_is_read),
        cmocka_unit_test(a_pipe_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
