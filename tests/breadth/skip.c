/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linked into the unit tests of foreign platforms, and preloaded under valgrind: leaves out the cases that IOR_SKIP_CASE
 * names. Which, and why, is written in skipped.txt beside this file, and in tests/valgrind/left_out.
 */
#include <stdio.h>
#include <stdlib.h>

#include "support/check.h"

static __attribute__((constructor)) void leave_out(void)
{
    const char *name = getenv("IOR_SKIP_CASE");
    if (name == NULL || *name == 0)
        return;
    printf("skipped: %s (skipped.txt or left_out tells why)\n", name);
    cmocka_set_skip_filter(name);
}
