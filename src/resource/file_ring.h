/* SPDX-License-Identifier: Apache-2.0 */
/* Calls on files through io_uring in the place of worker threads, see file_ring.c. All of it is the loop's. */
#ifndef IOR_SRC_RESOURCE_FILE_RING_H
#define IOR_SRC_RESOURCE_FILE_RING_H

#include "../core.h"

struct ior__file_ring;
struct ior__file_task;

/* Takes a task, to be entered in step 4 of the turn. False: the ring does not do it, or there is none. */
bool ior__file_ring_take(struct ior_runtime *rt, struct ior__file_task *task);
/* As ior__task_recall and ior__task_abandon, for a task that the ring has. */
bool ior__file_ring_recall(struct ior__file_task *task);
void ior__file_ring_abandon(struct ior__file_task *task);

/* Whether step 4 has something to do. NULL: no. */
bool ior__file_ring_ready(const struct ior__file_ring *ring);
/* Step 4: enters what was asked for, and completes what is done, a bounded batch of each. */
void ior__file_ring_serve(struct ior_runtime *rt, struct ior__file_ring *ring);
/* The engine's set was emptied. NULL: nothing happens. */
void ior__file_ring_watch(struct ior_runtime *rt, struct ior__file_ring *ring);
/* All that it still has was abandoned. Does not wait: what hangs is left to a thread, and freed when it returns. */
void ior__file_ring_free(struct ior_runtime *rt, struct ior__file_ring *ring, bool in_child);

#endif
