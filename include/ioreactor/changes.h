/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of files and directories (inotify(7)). One resource carries any number of watches; what happens is told as
 * IOR_EV_CHANGED. Requests: their common errors are those of <ioreactor/request.h>.
 *
 * The kernel tells names, not contents, and tells them late: by the time of the event the file may have changed again or
 * be gone. What happens on other machines (network file systems), through mmap(2), or in /proc is not told.
 */
#ifndef IOREACTOR_CHANGES_H
#define IOREACTOR_CHANGES_H

#include <ioreactor/request.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What is asked for, and told: a set. Of a watched directory the first six, of its entries too. */
enum {
    IOR_CHANGE_READ = 1 << 0,       /* it was read */
    IOR_CHANGE_MODIFIED = 1 << 1,   /* it was written to, or cut */
    IOR_CHANGE_ATTRIBUTES = 1 << 2, /* mode, owner, times, number of links */
    IOR_CHANGE_OPENED = 1 << 3,
    IOR_CHANGE_CLOSED = 1 << 4,         /* what was open read-only was closed */
    IOR_CHANGE_CLOSED_WRITTEN = 1 << 5, /* what was open for writing was closed */
    /* Entries of a watched directory. */
    IOR_CHANGE_CREATED = 1 << 6,
    IOR_CHANGE_DELETED = 1 << 7,
    IOR_CHANGE_MOVED_FROM = 1 << 8, /* away; the other half of the move has the same cookie */
    IOR_CHANGE_MOVED_TO = 1 << 9,   /* into it, or its new name within it */
    /* The watched file or directory itself. */
    IOR_CHANGE_SELF_DELETED = 1 << 10, /* once the last link and the last open fd are gone */
    IOR_CHANGE_SELF_MOVED = 1 << 11,
};

/* Asked for along with these. */
enum {
    IOR_CHANGE_ONLY_DIRECTORY = 1 << 16, /* -ENOTDIR where the path is something else */
    IOR_CHANGE_NO_FOLLOW = 1 << 17,      /* watch a symbolic link itself */
};

/* Told without being asked for. */
enum {
    IOR_CHANGE_IS_DIRECTORY = 1 << 24, /* along with others: it happened to a directory */
    IOR_CHANGE_UNMOUNTED = 1 << 25,    /* the file system is gone; GONE follows */
    IOR_CHANGE_GONE = 1 << 26,     /* the watch has ended, because what it watched has; not after ior_changes_remove */
    IOR_CHANGE_OVERFLOW = 1 << 27, /* the kernel dropped events of any watches: look at everything anew */
};

/* What comes with IOR_EV_CHANGED. */
struct ior_change {
    uint32_t mask;   /* IOR_CHANGE_... */
    uint32_t cookie; /* the same for both halves of a move, else 0 */
    int watch;       /* -1 with OVERFLOW */
    uint32_t name_len;
    const char
        *name; /* the entry of the directory that it happened to, whole, with a NUL; NULL: what is watched itself */
};

/*
 * Makes a resource that carries watches, none at first. Sends are refused, ior_close ends it at once. Paused, it leaves
 * events with the kernel, which keeps fs.inotify.max_queued_events of them. Errors: -EOPNOTSUPP (not Linux, or
 * simulated), -EMFILE (fs.inotify.max_user_instances too), -ENOMEM.
 */
IOR_API int ior_changes_open(struct ior_context *cx, void *user, ior_id *ret_id);

/*
 * Watches what `path` names now; the watch stays with that file when it is renamed. `mask` is a set of what is asked for.
 * *ret_watch is its number in this resource, positive; numbers come again only after two thousand million of them. A
 * file has one watch in a resource, whatever names it has. Looking up the path may touch the disk.
 * Errors: -EEXIST (it is watched already), -EINVAL (nothing, or something unknown, is asked for), -ENOENT, -EACCES,
 * -ENOTDIR, -ELOOP, -ENAMETOOLONG, -ENOSPC (fs.inotify.max_user_watches), -EOPNOTSUPP (not such a resource).
 */
IOR_API int ior_changes_add(struct ior_context *cx, ior_id id, const char *path, unsigned mask, int *ret_watch);

/* Ends a watch: no event of it follows, GONE included. Errors: -ENOENT (no such watch, or GONE was told). */
IOR_API int ior_changes_remove(struct ior_context *cx, ior_id id, int watch);

#ifdef __cplusplus
}
#endif
#endif
