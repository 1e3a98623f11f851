/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ways a resource ends at once: unregister, abort, others who close the fd, many at a time. What is told then and what
 * not, and that ids are stale afterwards. Orderly ends are in test_close.c.
 */
#include <errno.h>
#include <string.h>

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

/* ---- unregister ---- */

static void unregister_takes_effect_at_once(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    r->keep = true;
    assert_int_equal(rec_send_text(r, id, "queued"), 0);
    assert_int_equal(rec_unregister(r, id), 0);
    assert_int_equal(script_interest(r->script, fd), -1); /* out of the engine on return */
    rec_expect(r, "");
    assert_int_equal(ior_count(r->cx), 1);
    rec_settle(r);
    rec_expect(r, "end 1 asked 0 6 0\nhandover 1\n");
    assert_int_equal(ior_count(r->cx), 0);
    assert_true(script_is_open(r->script, fd)); /* handed over, not closed */
    assert_false(script_got_fin(r->script, fd));
    rec_free(r);
    (void)fd;
}

static void unregister_the_other(struct recorder *r, const struct ior_event *ev)
{
    unsigned other = rec_number(r, ev->id) == 1 ? 2 : 1;
    if (ev->type == IOR_EV_DATA && !rec_of(r, rec_id(r, other))->asked)
        assert_int_equal(rec_unregister(r, rec_id(r, other)), 0);
}

static void inv02_no_event_but_end_in_the_same_batch(void **state)
{
    (void)state;
    for (int reverse = 0; reverse < 2; reverse++) {
        ior_id id;
        int fd, other;
        struct recorder *r = one_stream(NULL, &id, &fd);
        rec_stream(r, NULL, &other);
        rec_settle(r);
        rec_forget(r);
        r->on_event = unregister_the_other;
        script_reverse(r->script, reverse != 0);
        script_say_text(r->script, fd, "one");
        script_say_text(r->script, other, "two");
        rec_settle(r);
        rec_expect(r, reverse ? "data 2 two\nend 1 asked 0 0 0\nhandover 1\n"
                              : "data 1 one\nend 2 asked 0 0 0\nhandover 2\n");
        rec_free(r);
    }
}

static void inv01_ended_before_the_loop_came_to_it(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    ior_id id = rec_stream(r, NULL, &fd);
    assert_int_equal(rec_unregister(r, id), 0);
    rec_settle(r);
    rec_expect(r, "end 1 asked 0 0 0\nhandover 1\n");
    rec_free(r);
}

static void end_in_registered(struct recorder *r, ior_id id)
{
    assert_int_equal(rec_abort(r, id), 0);
}

static void ended_in_registered(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    r->on_registered = end_in_registered;
    rec_stream(r, NULL, &fd);
    script_say_text(r->script, fd, "x");
    rec_settle(r);
    rec_expect(r, "registered 1\nend 1 asked 0 0 0\nhandover 1\n");
    rec_free(r);
}

static void end_in_open(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_OPEN)
        assert_int_equal(rec_unregister(r, ev->id), 0);
}

static void ended_in_open(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    r->on_event = end_in_open;
    rec_stream(r, NULL, &fd);
    script_say_text(r->script, fd, "x");
    rec_settle(r);
    rec_expect(r, "registered 1\nopen 1\nend 1 asked 0 0 0\nhandover 1\n");
    rec_free(r);
}

static void every_request(struct recorder *r, ior_id id, int expected, int send_expected)
{
    struct ior_addr addr;
    assert_int_equal(ior_unregister(r->cx, id), expected);
    assert_int_equal(ior_close(r->cx, id, SEC), expected);
    assert_int_equal(ior_abort(r->cx, id), expected);
    assert_int_equal(ior_finish(r->cx, id), expected);
    assert_int_equal(ior_pause(r->cx, id), expected);
    assert_int_equal(ior_resume(r->cx, id), expected);
    assert_int_equal(ior_unread(r->cx, id, 0), expected);
    assert_int_equal(ior_interest(r->cx, id, IOR_READ), expected);
    assert_int_equal(ior_touch(r->cx, id), expected);
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_USER, 5), expected);
    assert_int_equal(ior_local(r->cx, id, &addr), expected);
    assert_int_equal(ior_peer(r->cx, id, &addr), expected);
    assert_int_equal(ior_send(r->cx, id, "x", 1), send_expected);
    assert_int_equal(ior_queued(r->cx, id), 0);
}

static void inv03_a_stale_id_has_no_effect(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    assert_int_equal(rec_unregister(r, id), 0);
    every_request(r, id, -EALREADY, -EPIPE);
    rec_settle(r);
    rec_expect(r, "end 1 asked 0 0 0\nhandover 1\n");
    every_request(r, id, -ENOENT, -ENOENT);
    assert_null(ior_user(r->cx, id));
    every_request(r, 0, -ENOENT, -ENOENT);
    every_request(r, UINT64_MAX, -ENOENT, -ENOENT);
    /* The slot in use again. */
    for (int i = 0; i < 300; i++) {
        ior_id other = rec_stream(r, NULL, &fd);
        assert_true(other != id);
        every_request(r, id, -ENOENT, -ENOENT);
        assert_int_equal(rec_abort(r, other), 0);
        rec_settle(r);
    }
    rec_free(r);
}

static void ask_in_end(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type != IOR_EV_END)
        return;
    assert_true(ior_unregister(r->cx, ev->id) < 0);
    assert_true(ior_send(r->cx, ev->id, "x", 1) < 0);
    assert_true(ior_deadline(r->cx, ev->id, IOR_DEADLINE_USER, 0) < 0);
    assert_true(ior_resume(r->cx, ev->id) < 0);
}

static void nothing_can_be_asked_in_end(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    r->on_event = ask_in_end;
    script_eof(r->script, fd);
    rec_settle(r);
    rec_expect(r, "eof 1\nend 1 eof 0 0 0\nhandover 1\n");
    assert_true(rec_idle(r));
    rec_free(r);
}

/* ---- abort ---- */

static void abort_resets_at_once(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_room(r->script, fd, 3);
    assert_int_equal(rec_send_text(r, id, "never sent"), 0);
    rec_settle(r);
    assert_int_equal(rec_abort(r, id), 0);
    assert_false(script_is_open(r->script, fd));
    assert_true(script_got_reset(r->script, fd));
    rec_settle(r);
    rec_expect(r, "end 1 asked 3 7 0\nhandover 1\n");
    rec_free(r);
}

static void r08_the_number_of_an_aborted_fd_belongs_to_the_next(void **state)
{
    ior_id id;
    int fd, again;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    assert_int_equal(rec_abort(r, id), 0);
    ior_id next = rec_stream(r, NULL, &again);
    assert_int_equal(again, fd);
    rec_settle(r);
    rec_expect(r, "registered 2\nopen 2\nend 1 asked 0 0 0\nhandover 1\n");
    assert_true(script_is_open(r->script, again));
    script_say_text(r->script, again, "hello");
    rec_settle(r);
    rec_expect(r, "data 2 hello\n");
    (void)next;
    rec_free(r);
}

static void r01_the_number_is_reused_within_one_batch(void **state)
{
    ior_id id;
    int fd, again;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_record(r->script, id, IOR_READ | IOR_HUP | IOR_ERR); /* told, but not yet looked at */
    assert_int_equal(rec_abort(r, id), 0);
    rec_stream(r, NULL, &again);
    assert_int_equal(again, fd);
    rec_settle(r);
    script_record(r->script, id, IOR_READ | IOR_HUP | IOR_ERR); /* and once more when it is gone */
    rec_settle(r);
    rec_expect(r, "registered 2\nopen 2\nend 1 asked 0 0 0\nhandover 1\n");
    assert_true(rec_stats(r).stale_records >= 1);
    rec_free(r);
}

static void abort_of_what_cannot_be_reset(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    ior_id a = rec_listen(r, "192.0.2.1:80", NULL, &fd);
    ior_id b = rec_watch(r, script_fd(r->script, IOR_FD_OTHER), IOR_READ);
    assert_int_equal(ior_abort(r->cx, a), -EOPNOTSUPP);
    assert_int_equal(ior_abort(r->cx, b), -EOPNOTSUPP);
    rec_settle(r);
    rec_expect(r, "registered 1\nregistered 2\n");
    rec_free(r);
}

/* ---- finish and half-close ---- */

static void an_error_on_a_bare_hang_up_without_data(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_error(r->script, fd, ETIMEDOUT);
    rec_settle(r);
    rec_expect(r, "end 1 error ETIMEDOUT 0 0 0\nhandover 1\n"); /* an errno of the kernel, not a deadline of ours */
    rec_free(r);
}

/* ---- somebody else closes the fd ---- */

static void r13_closed_by_somebody_else(void **state)
{
    (void)state;
    for (int how = SCRIPT_STEAL_BAD; how <= SCRIPT_STEAL_DUP; how++) {
        ior_id id;
        int fd, other;
        struct recorder *r = one_stream(NULL, &id, &fd);
        rec_stream(r, NULL, &other);
        rec_settle(r);
        rec_forget(r);
        script_steal(r->script, fd, (enum script_steal)how);
        rec_settle(r);
        if (how == SCRIPT_STEAL_GONE) { /* nobody can know before it is touched */
            rec_expect(r, "");
            assert_int_equal(rec_unregister(r, id), 0);
            rec_settle(r);
            rec_expect(r, "end 1 asked 0 0 0\nhandover 1\n");
        } else {
            rec_expect(r, "end 1 error EBADF 0 0 0\nhandover 1\n");
        }
        script_say_text(r->script, other, "fine");
        assert_true(rec_idle(r)); /* no ghost keeps the loop spinning */
        rec_expect(r, "data 2 fine\n");
        rec_free(r);
    }
}

/* Two ghosts that take turns are found as well as one. */
static void r13_two_ghosts(void **state)
{
    struct recorder *r = rec_new();
    int fds[3];
    (void)state;
    for (int i = 0; i < 3; i++)
        rec_stream(r, NULL, &fds[i]);
    rec_settle(r);
    rec_forget(r);
    script_steal(r->script, fds[0], SCRIPT_STEAL_DUP);
    script_steal(r->script, fds[1], SCRIPT_STEAL_DUP);
    rec_settle(r);
    script_say_text(r->script, fds[2], "fine");
    assert_true(rec_idle(r));
    rec_expect(r, "end 1 error EBADF 0 0 0\nhandover 1\nend 2 error EBADF 0 0 0\nhandover 2\ndata 3 fine\n");
    rec_free(r);
}

/* A dead id that keeps coming: something in the set is not ours any more, so the set is made anew. Once is no reason. */
static void r13_a_dead_id_that_keeps_coming(void **state)
{
    ior_id id;
    int fd, other;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    rec_stream(r, NULL, &other);
    rec_settle(r);
    rec_forget(r);
    assert_int_equal(rec_abort(r, id), 0);
    rec_settle(r);
    script_record(r->script, id, IOR_READ);
    rec_turn(r);
    rec_turn(r);
    rec_turn(r);
    assert_int_equal(rec_stats(r).rebuilds, 0);
    for (int i = 0; i < 3; i++) {
        script_record(r->script, id, IOR_READ);
        rec_turn(r);
    }
    assert_true(rec_stats(r).rebuilds >= 1);
    assert_int_equal(rec_stats(r).stale_records, 4);
    assert_int_equal(script_interest(r->script, other), IOR_READ);
    script_say_text(r->script, other, "fine");
    rec_settle(r);
    rec_expect(r, "end 1 asked 0 0 0\nhandover 1\ndata 2 fine\n");
    rec_free(r);
}

static void r13_the_number_is_not_closed_when_it_is_somebody_elses(void **state)
{
    (void)state;
    for (int how = SCRIPT_STEAL_BAD; how <= SCRIPT_STEAL_DUP; how++) {
        ior_id id;
        int fd;
        struct recorder *r = one_stream(NULL, &id, &fd);
        script_steal(r->script, fd, (enum script_steal)how);
        if (how == SCRIPT_STEAL_BAD)
            rec_turn(r); /* poll knows fds by their numbers: it can tell only before the number is used again */
        int theirs = script_stream(r->script); /* the number is in use again, by somebody else */
        assert_int_equal(theirs, fd);
        if (how != SCRIPT_STEAL_BAD)
            assert_int_equal(rec_unregister(r, id), 0);
        rec_settle(r);
        assert_true(rec_of(r, id)->handed_over);
        assert_true(script_is_open(r->script, theirs));
        rec_free(r);
    }
}

/* ---- many ---- */

static void r80_ten_thousand_resets_in_one_batch(void **state)
{
    enum { MANY = 10000 };
    struct ior_config config = {.records = 16384};
    struct recorder *r = rec_new_with(&config);
    static int fds[MANY];
    (void)state;
    r->quiet = true;
    for (int i = 0; i < MANY; i++)
        rec_stream(r, NULL, &fds[i]);
    rec_turn(r);
    for (int i = 0; i < 60; i++)
        rec_turn(r); /* registered and OPEN are told in bounded turns */
    script_forget(r->script);
    for (int i = 0; i < MANY; i++)
        script_reset(r->script, fds[i]);
    for (int i = 0; i < 4; i++)
        rec_turn(r);
    assert_int_equal(rec_stats(r).resources, 0);
    assert_int_equal(script_open_fds(r->script), 0);
    assert_true(script_count_all(r->script) <= 4 * MANY + 10); /* a read or two, an unwatch, a close each */
    rec_free(r);
}

static void user_memory_lives_until_the_handover(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    ior_id id = rec_stream(r, REC_STREAM(.user_size = 100, .user = r), &fd);
    char *user = ior_user(r->cx, id);
    assert_non_null(user);
    assert_ptr_not_equal(user, r);
    for (int i = 0; i < 100; i++)
        assert_int_equal(user[i], 0);
    assert_int_equal((uintptr_t)user % _Alignof(max_align_t), 0);
    memset(user, 'u', 100);
    rec_settle(r);
    r->keep = true;
    assert_int_equal(rec_abort(r, id), 0);
    rec_settle(r);
    assert_int_equal(user[99], 'u');
    assert_ptr_equal(rec_of(r, id)->handed->user, user);
    rec_free(r);
}

static void without_handover_the_runtime_destroys(void **state)
{
    struct recorder *r = rec_bare(NULL);
    int fd;
    (void)state;
    r->handler.handover_transport = NULL;
    rec_open(r, NULL);
    rec_begin(r);
    ior_id id = rec_stream(r, NULL, &fd);
    rec_settle(r);
    assert_int_equal(rec_unregister(r, id), 0);
    rec_settle(r);
    rec_expect(r, "registered 1\nopen 1\nend 1 asked 0 0 0\n");
    assert_false(script_is_open(r->script, fd));
    rec_free(r);
}

static void nobody_listens_to_anything(void **state)
{
    struct script *s = script_new();
    struct ior_config config = script_config(s);
    struct ior_handler handler = {.struct_size = sizeof(handler)};
    struct ior_runtime *rt;
    struct ior_addr addr;
    ior_id id;
    (void)state;
    assert_int_equal(ior_runtime_new(&config, &handler, NULL, &rt), 0);
    struct ior_context *cx = ior_runtime_context(rt);
    assert_int_equal(ior_addr_parse(&addr, "192.0.2.1:80"), 0);
    assert_int_equal(ior_listen(cx, &addr, NULL, &id), 0);
    int listener = script_last_fd(s), fd = script_stream(s);
    assert_int_equal(ior_adopt(cx, fd, NULL, &id), 0);
    script_give_away(s, fd, true);
    int refused = script_accept_from(s, listener, "192.0.2.2:4000");
    script_say_text(s, fd, "hello?");
    script_settle(s, rt);
    assert_false(script_is_open(s, refused));
    assert_int_equal(script_unread(s, fd), 0);
    script_eof(s, fd);
    script_settle(s, rt);
    assert_false(script_is_open(s, fd));
    script_free_runtime(s, rt);
    script_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unregister_takes_effect_at_once),
        cmocka_unit_test(inv02_no_event_but_end_in_the_same_batch),
        cmocka_unit_test(inv01_ended_before_the_loop_came_to_it),
        cmocka_unit_test(ended_in_registered),
        cmocka_unit_test(ended_in_open),
        cmocka_unit_test(inv03_a_stale_id_has_no_effect),
        cmocka_unit_test(nothing_can_be_asked_in_end),
        cmocka_unit_test(abort_resets_at_once),
        cmocka_unit_test(r08_the_number_of_an_aborted_fd_belongs_to_the_next),
        cmocka_unit_test(r01_the_number_is_reused_within_one_batch),
        cmocka_unit_test(abort_of_what_cannot_be_reset),
        cmocka_unit_test(an_error_on_a_bare_hang_up_without_data),
        cmocka_unit_test(r13_closed_by_somebody_else),
        cmocka_unit_test(r13_two_ghosts),
        cmocka_unit_test(r13_a_dead_id_that_keeps_coming),
        cmocka_unit_test(r13_the_number_is_not_closed_when_it_is_somebody_elses),
        cmocka_unit_test(r80_ten_thousand_resets_in_one_batch),
        cmocka_unit_test(user_memory_lives_until_the_handover),
        cmocka_unit_test(without_handover_the_runtime_destroys),
        cmocka_unit_test(nobody_listens_to_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
