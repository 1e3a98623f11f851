/* SPDX-License-Identifier: Apache-2.0 */
/* The real signals and child processes: os_processes.c; how a child comes to run its program: spawn.c. */
#ifndef IOR_SRC_OS_PROCESSES_H
#define IOR_SRC_OS_PROCESSES_H

#include <ioreactor/os.h>

extern const struct ior_os_processes ior__os_processes;

#if defined(__linux__)
/* A member of that table. */
int ior__spawn(void *arg, const struct ior_os_spawn *spawn, int *ret_fd);
#endif

#endif
