/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One long story in a scripted world that touches every part of the library, for tests in which something fails on the
 * way: an allocation, a system call. Requests may be refused; the promises (the recorder's checks) hold all the same.
 */
#ifndef TESTS_SUPPORT_SCENARIO_H
#define TESTS_SUPPORT_SCENARIO_H

#include "script.h"

/*
 * Plays the story from the making of the runtime to its end, and frees everything; fails the test on a broken promise,
 * a leaked fd, a loop that spins. `may_fail(err)` says whether a request may answer that; `begin` is called when the
 * world stands and nothing has been asked of the library. Answers whether the failure of script_fail_nth has happened.
 */
bool scenario_play(void (*begin)(struct script *s), bool (*may_fail)(int err));

#endif
