/* SPDX-License-Identifier: Apache-2.0 */
/* The members of the real struct ior_os that may block: regular files, and the threads that are made for them. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#ifndef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64
#endif
#include <ioreactor/file.h>
#include <ioreactor/time.h>

#include "engine/engine.h"
#include "os_kinds.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- regular files ---- */

static int open_flags(unsigned flags)
{
    /* Non-blocking, so that opening a FIFO does not wait for its other end before it is refused. */
    int mode = O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    bool both = (flags & IOR_FILE_READ) && (flags & IOR_FILE_WRITE);

    mode |= both ? O_RDWR : (flags & IOR_FILE_WRITE) ? O_WRONLY : O_RDONLY;
    mode |= (flags & IOR_FILE_CREATE) ? O_CREAT : 0;
    mode |= (flags & IOR_FILE_EXCLUSIVE) ? O_EXCL : 0;
    mode |= (flags & IOR_FILE_TRUNCATE) ? O_TRUNC : 0;
    mode |= (flags & IOR_FILE_APPEND) ? O_APPEND : 0;
    return mode;
}

static int os_file_open(void *arg, const char *path, unsigned flags, unsigned mode)
{
    struct stat st;

    (void)arg;
    int fd = ior__above_stdio(open(path, open_flags(flags), (mode_t)mode));
    if (fd < 0)
        return fd;
    int err = fstat(fd, &st) < 0 ? -errno : 0;
    if (err == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)))
        err = -ESPIPE;
    if (err == 0)
        return fd;
    close(fd);
    return err;
}

static ssize_t os_file_write(void *arg, int fd, const void *bytes, size_t len, uint64_t offset)
{
    (void)arg;
    if (offset > INT64_MAX && offset != IOR_OS_APPEND)
        return -EINVAL;
    ssize_t n = offset == IOR_OS_APPEND ? write(fd, bytes, len) : pwrite(fd, bytes, len, (off_t)offset);
    return n < 0 ? -errno : n;
}

static int os_file_sync(void *arg, int fd)
{
    (void)arg;
    return fsync(fd) < 0 ? -errno : 0;
}

static int os_file_stat(void *arg, int fd, struct ior_file_stat *ret)
{
    struct stat st;

    (void)arg;
    if (fstat(fd, &st) < 0)
        return -errno;
#if defined(__APPLE__)
    struct timespec modified = st.st_mtimespec;
#else
    struct timespec modified = st.st_mtim;
#endif
    *ret = (struct ior_file_stat){
        .size = (uint64_t)st.st_size,
        .dev = (uint64_t)st.st_dev,
        .ino = (uint64_t)st.st_ino,
        .links = (uint64_t)st.st_nlink,
        .modified_ns = (int64_t)modified.tv_sec * (int64_t)IOR_NS_PER_SEC + modified.tv_nsec,
        .mode = (uint32_t)st.st_mode,
        .uid = (uint32_t)st.st_uid,
        .gid = (uint32_t)st.st_gid,
    };
    return 0;
}

/* ---- threads ---- */

static int os_thread(void *arg, pthread_t *ret, void *(*run)(void *), void *run_arg)
{
    sigset_t all, before;

    (void)arg;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(ret, NULL, run, run_arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -err;
}

const struct ior_os_blocking ior__os_blocking = {
    .struct_size = sizeof(struct ior_os_blocking),
    .thread = os_thread,
    .file_open = os_file_open,
    .file_read = ior__os_pread,
    .file_write = os_file_write,
    .file_sync = os_file_sync,
    .file_stat = os_file_stat,
};
