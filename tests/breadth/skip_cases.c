/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linked into the unit tests of foreign platforms: leaves out the cases that IOR_SKIP_CASE names, patterns with spaces
 * between them. Which, and why, is written in skipped.txt beside this file. cmocka's own filter takes one pattern only,
 * so the linker puts this before the function that runs the cases (--wrap).
 */
#include <fnmatch.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/check.h"

#define CASES_MOST 256u

int __real__cmocka_run_group_tests(const char *group, const struct CMUnitTest *tests, size_t n, CMFixtureFunction setup,
                                   CMFixtureFunction teardown);
int __wrap__cmocka_run_group_tests(const char *group, const struct CMUnitTest *tests, size_t n, CMFixtureFunction setup,
                                   CMFixtureFunction teardown);

static bool is_left_out(const char *name, const char *patterns)
{
    char pattern[128];
    for (int used = 0; sscanf(patterns, " %127s%n", pattern, &used) == 1; patterns += used)
        if (fnmatch(pattern, name, 0) == 0)
            return true;
    return false;
}

int __wrap__cmocka_run_group_tests(const char *group, const struct CMUnitTest *tests, size_t n, CMFixtureFunction setup,
                                   CMFixtureFunction teardown)
{
    static struct CMUnitTest left[CASES_MOST];
    const char *patterns = getenv("IOR_SKIP_CASE");
    size_t left_n = 0;
    if (patterns == NULL || *patterns == 0)
        return __real__cmocka_run_group_tests(group, tests, n, setup, teardown);
    if (n > CASES_MOST)
        abort();
    for (size_t i = 0; i < n; i++) {
        if (is_left_out(tests[i].name, patterns))
            printf("skipped: %s (skipped.txt tells why)\n", tests[i].name);
        else
            left[left_n++] = tests[i];
    }
    if (left_n == n) {
        printf("skipped.txt: no case is named like any of: %s\n", patterns);
        return 1;
    }
    return __real__cmocka_run_group_tests(group, left, left_n, setup, teardown);
}
