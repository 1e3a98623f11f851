/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of files: the calls of inotify(7). What is read from its fd is taken apart in resource/changes.c. */
#include <errno.h>

#include "engine/engine.h"
#include "os_kinds.h"

#if defined(__linux__)
#include <sys/inotify.h>

int ior__os_changes_open(void *arg)
{
    (void)arg;
    return ior__above_stdio(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
}

int ior__os_changes_add(void *arg, int fd, const char *path, uint32_t mask)
{
    int watch = inotify_add_watch(fd, path, mask);

    (void)arg;
    return watch < 0 ? -errno : watch;
}

int ior__os_changes_remove(void *arg, int fd, int watch)
{
    (void)arg;
    return inotify_rm_watch(fd, watch) < 0 ? -errno : 0;
}
#endif
