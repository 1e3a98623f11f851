/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Out of memory: each allocation of a long story fails in turn, alone and with all that follow. Requests answer -ENOMEM
 * and change nothing; nothing is lost, leaked or told twice, and the runtime comes to its end.
 */
#include <errno.h>

#include "support/check.h"
#include "support/live.h"
#include "support/recorder.h"
#include "support/scenario.h"

static uint64_t nth;
static bool all;

static void begin(struct script *s)
{
    (void)s;
    live_alloc_fail(nth, all);
}

static bool enomem_only(int err)
{
    return err == -ENOMEM && live_alloc_refused() > 0;
}

static bool never(int err)
{
    (void)err;
    return false;
}

static void inv14_nothing_remains(void **state)
{
    (void)state;
    live_alloc_start();
    nth = 0;
    scenario_play(begin, never);
    assert_true(live_alloc_calls() > 40); /* the story is long enough to be worth it */
    live_alloc_stop();
}

static void each_allocation_fails(void)
{
    for (nth = 1;; nth++) {
        live_alloc_start();
        scenario_play(begin, enomem_only);
        bool failed = live_alloc_refused() > 0;
        live_alloc_stop();
        if (!failed)
            break;
    }
    assert_true(nth > 40);
}

static void inv01_each_allocation_fails_once(void **state)
{
    (void)state;
    all = false;
    each_allocation_fails();
}

static void inv01_memory_is_gone_for_good(void **state)
{
    (void)state;
    all = true;
    each_allocation_fails();
}

/* Memory is back when it is asked for the next time: a refused send is refused whole, and works then. */
static void inv05_a_refused_send_changes_nothing(void **state)
{
    struct recorder *r;
    int fd;
    (void)state;
    live_alloc_start();
    r = rec_new();
    ior_id id = rec_stream(r, NULL, &fd);
    rec_settle(r);
    script_room(r->script, fd, 0);
    for (uint64_t i = 1; i <= 3; i++) {
        live_alloc_fail(1, true);
        assert_int_equal(rec_send_pattern(r, id, 10000), -ENOMEM);
        live_alloc_fail(0, false);
        assert_int_equal(rec_send_pattern(r, id, 10000), 0);
        assert_int_equal(ior_queued(r->cx, id), 10000 * i);
    }
    script_room(r->script, fd, SIZE_MAX);
    rec_settle(r);
    script_hear_pattern(r->script, fd, 0, 30000);
    rec_free(r);
    live_alloc_stop();
}

/* What needs memory to be delivered waits for it: bytes are not lost. */
static void keep_all(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type != IOR_EV_DATA || rec_of(r, ev->id)->data_events > 3)
        return;
    live_alloc_fail(1, true);
    assert_int_equal(ior_unread(r->cx, ev->id, ev->data.len), -ENOMEM);
    live_alloc_fail(0, false);
    assert_int_equal(rec_unread(r, ev->id, ev->data.len), 0);
}

static void unread_without_memory(void **state)
{
    struct recorder *r;
    int fd;
    (void)state;
    live_alloc_start();
    r = rec_new();
    ior_id id = rec_stream(r, NULL, &fd);
    r->on_event = keep_all;
    for (int i = 0; i < 5; i++) {
        script_say_pattern(r->script, fd, 1000);
        rec_settle(r);
    }
    assert_int_equal(rec_of(r, id)->in_len, 5000);
    assert_true(script_is_pattern(rec_of(r, id)->in, 0, 5000));
    rec_free(r);
    live_alloc_stop();
}

/* Out of fds, and of memory for the back-off: the listener waits all the same, the loop sleeps, and both come back. */
static void back_off_without_memory(void **state)
{
    struct recorder *r;
    int fd;
    (void)state;
    live_alloc_start();
    r = rec_new();
    ior_id id = rec_listen(r, "192.0.2.1:80", NULL, &fd);
    rec_settle(r);
    script_fd_limit(r->script, script_open_fds(r->script));
    script_accept_from(r->script, fd, "192.0.2.9:4000");
    live_alloc_fail(1, true);
    unsigned turns = rec_pass(r, IOR_NS_PER_SEC);
    assert_in_range(turns, 1, 40);
    assert_int_equal(rec_of(r, id)->accept_events, 0);
    assert_int_equal(rec_of(r, id)->errors, 1);
    script_fd_limit(r->script, 0);
    live_alloc_fail(0, false);
    rec_pass(r, IOR_NS_PER_SEC);
    assert_int_equal(rec_of(r, id)->accept_events, 1);
    rec_free(r);
    live_alloc_stop();
}

/* A deadline that was asked for is kept, or the stream ends for the lack of it; it is not forgotten. */
static void idle_after_a_connect_without_memory(void **state)
{
    struct recorder *r;
    ior_timer_id timer;
    int fd;
    (void)state;
    live_alloc_start();
    r = rec_new();
    ior_id id = rec_connect(r, "192.0.2.7:80", REC_STREAM(.idle_ns = IOR_NS_PER_SEC), &fd);
    rec_settle(r);
    rec_timer(r, IOR_NEVER, 1);
    do { /* there is a table of timers by now: where memory is needed, the queue is full */
        live_alloc_fail(1, true);
    } while (ior_timer_set(r->cx, IOR_NEVER, NULL, &timer) == 0);
    live_alloc_fail(1, true);
    script_connected(r->script, fd);
    rec_settle(r);
    live_alloc_fail(0, false);
    rec_pass(r, IOR_NS_PER_SEC);
    assert_true(rec_of(r, id)->handed_over);
    assert_true(rec_of(r, id)->why == IOR_TIMEOUT || rec_of(r, id)->error == ENOMEM);
    rec_free(r);
    live_alloc_stop();
}

static void inv14_a_thousand_connections_leave_nothing(void **state)
{
    struct recorder *r;
    int fds[1000];
    (void)state;
    live_alloc_start();
    r = rec_new();
    r->quiet = true;
    size_t empty = live_alloc_bytes(), first = 0;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 1000; i++) {
            ior_id id = rec_stream(r, REC_STREAM(.idle_ns = IOR_NS_PER_SEC), &fds[i]);
            assert_int_equal(rec_send_pattern(r, id, 3000), 0);
        }
        rec_settle(r);
        rec_pass(r, 2 * IOR_NS_PER_SEC);
        assert_int_equal(rec_stats(r).resources, 0);
        assert_int_equal(rec_stats(r).output_bytes, 0);
        if (round == 0)
            first = live_alloc_bytes();
        assert_true(live_alloc_bytes() <= first); /* pools are bounded, and not grown by the next round */
    }
    assert_true(first < empty + (2u << 20));
    rec_free(r);
    live_alloc_stop();
}

static void inv14_an_idle_connection_is_small(void **state)
{
    enum { MANY = 10000 };
    struct recorder *r;
    int fd;
    (void)state;
    live_alloc_start();
    r = rec_new();
    r->quiet = true;
    for (int i = 0; i < 10; i++)
        rec_stream(r, NULL, &fd);
    rec_settle(r);
    size_t before = live_alloc_bytes();
    for (int i = 0; i < MANY; i++) {
        rec_stream(r, NULL, &fd);
        script_say_text(r->script, fd, "hello");
    }
    rec_settle(r);
    size_t each = (live_alloc_bytes() - before) / MANY;
    if (each > 320) /* adopted one by one: the options are not shared, as those of a listener are */
        fail_msg("an idle connection takes %zu bytes", each);
    rec_free(r);
    live_alloc_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inv14_nothing_remains),
        cmocka_unit_test(inv01_each_allocation_fails_once),
        cmocka_unit_test(inv01_memory_is_gone_for_good),
        cmocka_unit_test(inv05_a_refused_send_changes_nothing),
        cmocka_unit_test(unread_without_memory),
        cmocka_unit_test(back_off_without_memory),
        cmocka_unit_test(idle_after_a_connect_without_memory),
        cmocka_unit_test(inv14_a_thousand_connections_leave_nothing),
        cmocka_unit_test(inv14_an_idle_connection_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
