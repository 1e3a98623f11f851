/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each system call of a long story fails in turn, with each of a few errors: whatever it ends, the promises hold,
 * nothing is leaked, the loop neither spins nor hangs, and the runtime comes to its end.
 */
#include <errno.h>

#include "support/check.h"
#include "support/scenario.h"

static uint64_t nth;
static int error;
static bool reached;
static struct script *world;

static void begin(struct script *s)
{
    world = s;
    script_fail_nth(s, nth, error);
}

static bool anything(int err)
{
    (void)err;
    reached = reached || script_failed_nth(world);
    return script_failed_nth(world);
}

static void each_call_fails_with(int err)
{
    unsigned refused = 0;
    error = err;
    bool failed = true;
    for (nth = 1; failed; nth++) {
        reached = false;
        failed = scenario_play(begin, anything);
        refused += reached;
    }
    assert_true(nth > 100);   /* the story is long enough to be worth it */
    assert_true(refused > 5); /* and some of it was told as the answer of a request */
}

static void each_call_fails_with_eio(void **state)
{
    (void)state;
    each_call_fails_with(EIO);
}

static void each_call_fails_with_enomem(void **state)
{
    (void)state;
    each_call_fails_with(ENOMEM);
}

static void each_call_fails_with_eacces(void **state)
{
    (void)state;
    each_call_fails_with(EACCES);
}

static void each_call_is_interrupted(void **state)
{
    (void)state;
    each_call_fails_with(EINTR);
}

static void each_call_would_block(void **state)
{
    (void)state;
    each_call_fails_with(EAGAIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_fails_with_eio),    cmocka_unit_test(each_call_fails_with_enomem),
        cmocka_unit_test(each_call_fails_with_eacces), cmocka_unit_test(each_call_is_interrupted),
        cmocka_unit_test(each_call_would_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
