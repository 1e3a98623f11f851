/* SPDX-License-Identifier: Apache-2.0 */
/* The real signals and child processes: os_processes.c; how a child comes to run its program: spawn.c. */
#ifndef IOR_SRC_OS_PROCESSES_H
#define IOR_SRC_OS_PROCESSES_H

#include <errno.h>
#include <ioreactor/os.h>

extern const struct ior_os_processes ior__os_processes;

/* Old kernels lack a call, and the profiles of some containers refuse those they do not know. */
static inline bool ior__call_is_missing(int err)
{
    return err == -ENOSYS || err == -EPERM || err == -EACCES;
}

/* Blocking, close-on-exec, above stdio. */
int ior__pipe(int fds[2]);

/* A member of that table: with an fd of the process where the kernel has those, else with a thread that waits. */
int ior__spawn(void *arg, const struct ior_os_spawn *spawn, struct ior_os_process *ret);
/* The same, always with a thread. */
int ior__spawn_watched(void *arg, const struct ior_os_spawn *spawn, struct ior_os_process *ret);

#endif
