/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps SIGPIPE from the program around system calls that have no flag for it. */
#ifndef IOR_SRC_FENCE_H
#define IOR_SRC_FENCE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct ior__fence {
    sigset_t sigpipe;
    bool was_blocked;
    bool was_pending;
};

/* Blocks SIGPIPE in this thread. */
void ior__fence_up(struct ior__fence *fence);

/*
 * Takes back the SIGPIPE that the call raised, and unblocks it where it was not blocked before. `result` is the call's:
 * a count or -errno; `len` is what it was asked for.
 */
void ior__fence_down(const struct ior__fence *fence, ssize_t result, size_t len);

#endif
