/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Binding sockets of either kind. A Unix socket leaves its file behind, and a process that is gone left it for good: it
 * is removed before binding, where nobody has it, and by whoever made it in the end.
 */
#include <errno.h>
#include <sys/socket.h>

#include "kinds.h"

/* Whether a Unix socket file is left over from a process that is gone: nobody listens on it. */
static int is_stale(const struct ior_os *os, const struct ior_addr *addr, const char *path, int type,
                    struct ior_os_path *was)
{
    int err = os->path_stat(os->arg, path, was);
    if (err < 0)
        return err;
    if (!was->is_socket)
        return -EADDRINUSE;
    int fd = os->socket(os->arg, AF_UNIX, type, 0);
    if (fd < 0)
        return fd;
    err = os->connect(os->arg, fd, addr);
    os->close(os->arg, fd);
    return err == -ECONNREFUSED ? 0 : -EADDRINUSE; /* -EAGAIN: somebody listens, and is busy */
}

int ior__bind(const struct ior_os *os, int fd, const struct ior_addr *addr, const char *path, int type)
{
    int err = os->bind(os->arg, fd, addr);
    if (err != -EADDRINUSE || !path)
        return err;
    struct ior_os_path was, now;
    err = is_stale(os, addr, path, type, &was);
    if (err < 0)
        return err == -ENOENT ? os->bind(os->arg, fd, addr) : err;
    err = os->path_stat(os->arg, path, &now);
    if (err == 0 && (now.dev != was.dev || now.ino != was.ino))
        return -EADDRINUSE;
    if (err == 0) {
        err = os->path_unlink(os->arg, path);
        if (err < 0 && err != -ENOENT)
            return err;
    }
    return os->bind(os->arg, fd, addr);
}

int ior__path_bound(const struct ior_os *os, const char *path, unsigned mode, uint64_t *ret_dev, uint64_t *ret_ino)
{
    struct ior_os_path made;
    int err = os->path_stat(os->arg, path, &made);
    if (err < 0) {
        if (err != -ENOENT)
            (void)os->path_unlink(os->arg, path); /* it cannot be told from another's; it was ours a moment ago */
        return err;
    }
    err = mode ? os->path_chmod(os->arg, path, mode) : 0;
    if (err < 0) {
        ior__path_remove(os, path, made.dev, made.ino);
        return err;
    }
    *ret_dev = made.dev;
    *ret_ino = made.ino;
    return 0;
}

void ior__path_remove(const struct ior_os *os, const char *path, uint64_t dev, uint64_t ino)
{
    struct ior_os_path now;
    if (os->path_stat(os->arg, path, &now) == 0 && now.dev == dev && now.ino == ino)
        (void)os->path_unlink(os->arg, path);
}
