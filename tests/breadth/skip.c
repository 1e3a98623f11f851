/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linked into the unit tests of foreign platforms: leaves out the one case that IOR_SKIP_CASE names. Which, and why, is
 * written in skipped.txt beside this file.
 */
#include <stdio.h>
#include <stdlib.h>

#include "support/check.h"

static __attribute__((constructor)) void leave_out(void)
{
    const char *name = getenv("IOR_SKIP_CASE");
    if (name == NULL)
        return;
    printf("skipped: %s (tests/breadth/skipped.txt tells why)\n", name);
    cmocka_set_skip_filter(name);
}
