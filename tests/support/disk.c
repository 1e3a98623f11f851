/* SPDX-License-Identifier: Apache-2.0 */
#include "disk.h"

#include <errno.h>
#include <string.h>

/* Counts a call and waits where it is held. 0, or the error it shall answer. */
static int begin(struct disk *disk, enum disk_call call)
{
    int err = 0;
    pthread_mutex_lock(&disk->mutex);
    unsigned nth = ++disk->calls[call];
    unsigned of_all = call == DISK_THREAD ? 0 : ++disk->all;
    disk->waiting++;
    pthread_cond_broadcast(&disk->cond);
    while (disk->holds && disk->held == call)
        pthread_cond_wait(&disk->cond, &disk->mutex);
    disk->waiting--;
    if ((of_all > 0 && of_all == disk->fail_nth) || (disk->fail[call] > 0 && nth >= disk->fail[call])) {
        disk->failed++;
        err = -disk->error;
    } else if (disk->interrupt && call != DISK_THREAD && nth % 2 == 1) {
        err = -EINTR;
    }
    pthread_mutex_unlock(&disk->mutex);
    return err;
}

static size_t cut(const struct disk *disk, size_t len)
{
    return disk->most > 0 && len > disk->most ? disk->most : len;
}

static const struct ior_os_blocking *real(void)
{
    return ior_os_default()->blocking;
}

static int disk_thread(void *arg, pthread_t *ret, void *(*run)(void *), void *run_arg)
{
    int err = begin(arg, DISK_THREAD);
    return err < 0 ? err : real()->thread(NULL, ret, run, run_arg);
}

static int disk_open(void *arg, const char *path, unsigned flags, unsigned mode)
{
    int err = begin(arg, DISK_OPEN);
    return err < 0 ? err : real()->file_open(NULL, path, flags, mode);
}

static ssize_t disk_read(void *arg, int fd, void *bytes, size_t len, uint64_t offset)
{
    int err = begin(arg, DISK_READ);
    return err < 0 ? err : real()->file_read(NULL, fd, bytes, cut(arg, len), offset);
}

static ssize_t disk_write(void *arg, int fd, const void *bytes, size_t len, uint64_t offset)
{
    int err = begin(arg, DISK_WRITE);
    return err < 0 ? err : real()->file_write(NULL, fd, bytes, cut(arg, len), offset);
}

static int disk_sync(void *arg, int fd)
{
    int err = begin(arg, DISK_SYNC);
    return err < 0 ? err : real()->file_sync(NULL, fd);
}

static int disk_stat(void *arg, int fd, struct ior_file_stat *ret)
{
    int err = begin(arg, DISK_STAT);
    return err < 0 ? err : real()->file_stat(NULL, fd, ret);
}

void disk_init(struct disk *disk)
{
    memset(disk, 0, sizeof(*disk));
    pthread_mutex_init(&disk->mutex, NULL);
    pthread_cond_init(&disk->cond, NULL);
    disk->blocking = (struct ior_os_blocking){
        .struct_size = sizeof(struct ior_os_blocking),
        .thread = disk_thread,
        .file_open = disk_open,
        .file_read = disk_read,
        .file_write = disk_write,
        .file_sync = disk_sync,
        .file_stat = disk_stat,
    };
    disk->os = *ior_os_default(); /* which looks at no arg */
    disk->os.arg = disk;
    disk->os.blocking = &disk->blocking;
}

void disk_deinit(struct disk *disk)
{
    pthread_cond_destroy(&disk->cond);
    pthread_mutex_destroy(&disk->mutex);
}

void disk_hold(struct disk *disk, enum disk_call call)
{
    pthread_mutex_lock(&disk->mutex);
    disk->held = call;
    disk->holds = true;
    pthread_mutex_unlock(&disk->mutex);
}

void disk_await(struct disk *disk, unsigned n)
{
    pthread_mutex_lock(&disk->mutex);
    while (disk->waiting < n)
        pthread_cond_wait(&disk->cond, &disk->mutex);
    pthread_mutex_unlock(&disk->mutex);
}

void disk_release(struct disk *disk)
{
    pthread_mutex_lock(&disk->mutex);
    disk->holds = false;
    pthread_cond_broadcast(&disk->cond);
    pthread_mutex_unlock(&disk->mutex);
}

unsigned disk_calls(struct disk *disk, enum disk_call call)
{
    pthread_mutex_lock(&disk->mutex);
    unsigned calls = disk->calls[call];
    pthread_mutex_unlock(&disk->mutex);
    return calls;
}
