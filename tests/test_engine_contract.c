/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine contract on the engine named by IOR_ENGINE, and the table of engines. The contract starts threads with
 * pthread_create, so this is worth a run under ThreadSanitizer.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ioreactor.h>

#include "support/contract.h"

static void engines_are_found_by_name_and_in_order(void **state)
{
    unsigned count = 0;

    (void)state;
    for (const struct ior_engine_ops *ops; (ops = ior_engine_at(count)) != NULL; count++)
        assert_ptr_equal(ior_engine_named(ops->name), ops);
    assert_true(count > 0);
    assert_null(ior_engine_at(count + 1));
    assert_null(ior_engine_at(UINT32_MAX));
    assert_null(ior_engine_named("no such engine"));
    assert_null(ior_engine_named(""));
    assert_null(ior_engine_named(NULL));
    assert_non_null(ior_engine_named("poll"));
#if defined(__linux__)
    assert_string_equal(ior_engine_at(0)->name, "epoll");
    assert_string_equal(ior_engine_at(1)->name, "poll");
#endif
}

static void the_environment_names_an_engine(void **state)
{
    const char *before = ior_engine_from_env();
    char *kept = before ? strdup(before) : NULL;

    (void)state;
    assert_int_equal(setenv("IOR_ENGINE", "poll", 1), 0);
    assert_string_equal(ior_engine_from_env(), "poll");
    assert_int_equal(setenv("IOR_ENGINE", "", 1), 0);
    assert_null(ior_engine_from_env());
    assert_int_equal(unsetenv("IOR_ENGINE"), 0);
    assert_null(ior_engine_from_env());
    if (kept)
        setenv("IOR_ENGINE", kept, 1);
    free(kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(engines_are_found_by_name_and_in_order),
        cmocka_unit_test(the_environment_names_an_engine),
    };
    const char *name = ior_engine_from_env();
    const struct ior_engine_ops *ops = name ? ior_engine_named(name) : ior_engine_at(0);

    if (!ops) {
        printf("skipped: no engine \"%s\" in this build\n", name);
        return 77;
    }
    int failed = cmocka_run_group_tests_name("engine table", tests, NULL, NULL);
    return contract_run(ops->name, ops, NULL) + failed;
}
