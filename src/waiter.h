/* SPDX-License-Identifier: Apache-2.0 */
/* A thread that waits for one child, where the system has no fd of a process: waiter.c. */
#ifndef IOR_SRC_WAITER_H
#define IOR_SRC_WAITER_H

#include <ioreactor/os.h>

/*
 * Fills in *ret: `fd` is readable once the process has exited, and `own` is the waiter. The process is a child of this
 * one, not reaped yet. All signals are blocked in the calling thread. -errno: nothing was made.
 */
int ior__waiter_new(pid_t pid, struct ior_os_process *ret);

/* Returns when the thread has ended, which it does with the process, whether that was reaped by others or not. */
void ior__waiter_join(struct ior_os_process *process);

/* Frees it; the thread goes on alone where the process runs on. The fd stays the caller's. */
void ior__waiter_free(struct ior_os_process *process);

#endif
