/* SPDX-License-Identifier: Apache-2.0 */
/* A child process as a resource: made by spawn_request.c, lives in child.c. */
#ifndef IOR_SRC_RESOURCE_CHILD_H
#define IOR_SRC_RESOURCE_CHILD_H

#include "kinds.h"

struct ior__child {
    struct ior_resource base;
    const struct ior_os *os;
    struct ior_os_process process;
    bool group;  /* signals go to its whole group */
    bool killed; /* SIGKILL was sent, and the last wait runs */
    bool gone;   /* reaped, or the caller's: neither killed nor waited for any more */
};

#endif
