/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded under valgrind: leaves out the cases that IOR_SKIP_CASE names. Which, and why, is written in
 * tests/valgrind/left_out.
 */
#include <stdio.h>
#include <stdlib.h>

#include "support/check.h"

static __attribute__((constructor)) void leave_out(void)
{
    const char *name = getenv("IOR_SKIP_CASE");
    if (name == NULL || *name == 0)
        return;
    printf("skipped: %s (left_out tells why)\n", name);
    cmocka_set_skip_filter(name);
}
