/* SPDX-License-Identifier: Apache-2.0 */
/* Engines that refuse: to change an interest, to forget an fd, to be built anew; and counts no engine takes. */
#include <errno.h>

#include "support/check.h"
#include "support/recorder.h"

#include "engine/engine.h"

/* A paused stream that is told bytes: its interest is brought down, which the engine refuses once. */
static struct recorder *refused_change(int err, int *ret_fd, ior_id *ret_id)
{
    struct recorder *r = rec_new();
    *ret_id = rec_stream(r, NULL, ret_fd);
    rec_settle(r);
    rec_forget(r);
    assert_int_equal(rec_pause(r, *ret_id), 0);
    script_fail_next(r->script, SCRIPT_REWATCH, err);
    script_say_text(r->script, *ret_fd, "hello");
    return r;
}

static void a_change_that_is_refused_for_want_of_memory_is_tried_again(void **state)
{
    int fd;
    ior_id id;
    struct recorder *r = refused_change(ENOMEM, &fd, &id);
    (void)state;
    rec_pass(r, 10 * IOR_NS_PER_SEC);
    rec_expect(r, "error 1 ENOMEM\n");
    assert_int_equal(rec_resume(r, id), 0);
    rec_pass(r, 10 * IOR_NS_PER_SEC);
    rec_expect(r, "data 1 hello\n");
    rec_free(r);
}

/* The set may hold what it should not: it is built anew, and where that is refused too, the loop goes on. */
static void a_set_that_cannot_be_built_anew_is_kept(void **state)
{
    struct recorder *r = rec_new();
    int stolen, other;
    (void)state;
    rec_stream(r, NULL, &stolen);
    rec_stream(r, NULL, &other);
    rec_settle(r);
    rec_forget(r);
    script_fail_next(r->script, SCRIPT_REBUILD, ENOMEM);
    script_steal(r->script, stolen, SCRIPT_STEAL_GONE);
    assert_int_equal(rec_unregister(r, rec_id(r, 1)), 0);
    rec_settle(r);
    rec_expect(r, "end 1 asked 0 0 0\nhandover 1\n");
    script_say_text(r->script, other, "still here");
    rec_settle(r);
    rec_expect(r, "data 2 still here\n");
    rec_free(r);
}

/* Built anew, but one fd is not taken back: it is gone too (EBADF), or the memory for it is (tried again). */
static void what_a_new_set_does_not_take_ends_or_waits(void **state)
{
    static const int errors[] = {EBADF, ENOMEM};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct recorder *r = rec_new();
        int stolen, other;
        rec_stream(r, NULL, &stolen);
        rec_stream(r, NULL, &other);
        rec_settle(r);
        rec_forget(r);
        script_fail_next(r->script, SCRIPT_WATCH, errors[i]);
        script_fail_next(r->script, SCRIPT_WATCH, errors[i]); /* at the end of the next turn */
        script_steal(r->script, stolen, SCRIPT_STEAL_GONE);
        assert_int_equal(rec_unregister(r, rec_id(r, 1)), 0);
        rec_settle(r);
        if (errors[i] == EBADF) {
            rec_expect(r, "end 1 asked 0 0 0\nhandover 1\nend 2 error EBADF 0 0 0\nhandover 2\n");
            script_give_away(r->script, other, false); /* nobody closes a number that may be another's */
        } else {
            script_say_text(r->script, other, "late");
            rec_pass(r, 10 * IOR_NS_PER_SEC);
            rec_expect(r, "end 1 asked 0 0 0\nhandover 1\nerror 2 ENOMEM\ndata 2 late\n");
        }
        rec_free(r);
    }
}

static void counts_are_checked(void **state)
{
    static const char *const names[] = {"epoll", "poll"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        const struct ior_engine_ops *ops = ior_engine_named(names[i]);
        struct ior_engine_config config = {.os = ior_os_default(), .max_records = 0};
        struct ior_record records[8];
        void *engine = NULL;
        if (ops == NULL)
            continue;
        if (i == 0) { /* poll has no array of its own */
            assert_int_equal(ops->open(&config, &engine), -EINVAL);
            assert_null(engine);
        }
        config.max_records = 4;
        assert_int_equal(ops->open(&config, &engine), 0);
        assert_int_equal(ops->wait(engine, records, 0, 0), -EINVAL);
        assert_int_equal(ops->wait(engine, records, -1, 0), -EINVAL);
        assert_int_equal(ops->wait(engine, records, 8, 0), 0);
        ops->close(engine, false);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_that_is_refused_for_want_of_memory_is_tried_again),
        cmocka_unit_test(a_set_that_cannot_be_built_anew_is_kept),
        cmocka_unit_test(what_a_new_set_does_not_take_ends_or_waits),
        cmocka_unit_test(counts_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
