/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is done to files: on worker threads, or on a ring where that is asked for (file_ring.c). A task owns all it needs:
 * its bytes, and a share of the fd, which the last one closes. So the file can end while a slow disk still has the task:
 * it is abandoned, and frees itself later. One that changes the file is waited for; or it is left behind, which the share
 * of the fd remembers until it has returned.
 */
#include "file.h"
#include "file_ring.h"

#include <errno.h>
#include <string.h>

/* ---- the fd ---- */

struct ior__file_fd *ior__file_fd_new(const struct ior_os *os, int fd)
{
    struct ior__file_fd *made = ior__calloc(sizeof(*made));
    if (!made)
        return NULL;
    atomic_init(&made->refs, 1);
    made->fd = fd;
    made->os = os;
    return made;
}

void ior__file_fd_unref(struct ior__file_fd *fd)
{
    if (!fd || atomic_fetch_sub_explicit(&fd->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (fd->fd >= 0)
        fd->os->close(fd->os->arg, fd->fd);
    ior__free(fd, sizeof(*fd));
}

/* ---- on the thread ---- */

/* Reads until all is there or the file ends. An error behind some bytes is kept beside their count. */
static int64_t read_all(struct ior__file_task *task)
{
    const struct ior_os *os = task->fd->os;
    size_t done = task->moved;
    while (done < task->len) {
        ssize_t n =
            os->blocking->file_read(os->arg, task->fd->fd, task->bytes + done, task->len - done, task->offset + done);
        if (n == -EINTR)
            continue;
        if (n < 0)
            task->error = (int)-n;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    return (int64_t)done;
}

static int64_t write_all(struct ior__file_task *task)
{
    const struct ior_os *os = task->fd->os;
    const unsigned char *bytes = task->buf ? ior_buf_bytes(task->buf) : task->bytes;
    size_t done = task->moved;
    while (done < task->len) {
        uint64_t offset = task->append ? IOR_OS_APPEND : task->offset + done;
        ssize_t n = os->blocking->file_write(os->arg, task->fd->fd, bytes + done, task->len - done, offset);
        if (n == -EINTR)
            continue;
        if (n == 0)
            n = -EIO; /* no file takes nothing for ever */
        if (n < 0) {
            task->error = (int)-n;
            break;
        }
        done += (size_t)n;
    }
    return (int64_t)done;
}

static int64_t perform(struct ior__file_task *task)
{
    const struct ior_os *os = task->fd->os;
    const struct ior_os_blocking *blocking = os->blocking;
    switch (task->kind) {
    case IOR__FILE_OPEN:
        return blocking->file_open(os->arg, (const char *)task->bytes, task->flags, task->mode);
    case IOR__FILE_PIECE:
    case IOR_FILE_OP_READ:
        return read_all(task);
    case IOR__FILE_SENT:
    case IOR_FILE_OP_WRITE:
        return write_all(task);
    case IOR_FILE_OP_STAT:
        return blocking->file_stat(os->arg, task->fd->fd, &task->stat);
    default:
        return blocking->file_sync(os->arg, task->fd->fd);
    }
}

static struct ior__file_task *task_of(struct ior_job *job)
{
    return IOR_CONTAINER(job, struct ior__file_task, task.job);
}

static int work(struct ior_job *job)
{
    struct ior__file_task *task = task_of(job);
    do {
        task->result = perform(task);
    } while (task->result == -EINTR);
    if (task->result < 0)
        task->error = (int)-task->result;
    return 0;
}

/* ---- the task ---- */

static void drop(struct ior_job *job)
{
    struct ior__file_task *task = task_of(job);
    struct ior__file_fd *fd = task->fd;
    if (task->left) {
        if (task->kind == IOR__FILE_OPEN && task->result >= 0)
            fd->fd = (int)task->result;
        else if (task->kind == IOR__FILE_SENT)
            fd->late = (size_t)task->result;
        atomic_store_explicit(&fd->left, false, memory_order_release);
    } else if (task->kind == IOR__FILE_OPEN && task->result >= 0) {
        fd->os->close(fd->os->arg, (int)task->result); /* the file may be registered again by now, and opened anew */
    }
    ior__file_task_free(task);
}

/* Whether the file is not the same after it: the next owner must not meet it half done. */
static bool changes(const struct ior__file_task *task)
{
    return ior__file_task_writes(task) ||
           (task->kind == IOR__FILE_OPEN && (task->flags & (IOR_FILE_CREATE | IOR_FILE_TRUNCATE)));
}

static bool recall(struct ior__file_task *task)
{
    return task->ring ? ior__file_ring_recall(task) : ior__task_recall(&task->task);
}

static void abandon(struct ior__file_task *task)
{
    if (task->ring)
        ior__file_ring_abandon(task);
    else
        ior__task_abandon(&task->task);
}

bool ior__file_task_awaited(struct ior__file *file)
{
    struct ior__file_task *task = file->task;
    if (!task)
        return false;
    bool begun = changes(task) && !recall(task);
    if (begun)
        return true;
    if (!changes(task))
        abandon(task);
    task->file = NULL;
    file->task = NULL;
    return false;
}

bool ior__file_task_leave(struct ior__file *file)
{
    struct ior__file_task *task = file->task;
    if (!ior__file_task_awaited(file))
        return false;
    task->left = true;
    atomic_store_explicit(&file->fd->left, true, memory_order_relaxed);
    abandon(task);
    task->file = NULL;
    file->task = NULL;
    return true;
}

bool ior__file_is_left(const struct ior__file *file)
{
    return atomic_load_explicit(&file->fd->left, memory_order_acquire);
}

void ior__file_count_late(struct ior__file *file)
{
    struct ior__output *out = file->base.output;
    if (file->fd->late == 0)
        return;
    out->in_flight = file->fd->late; /* in the file, but still in the queue */
    file->write_at += file->fd->late;
    file->fd->late = 0;
}

static void done(struct ior__task *base)
{
    struct ior__file_task *task = IOR_CONTAINER(base, struct ior__file_task, task);
    struct ior__file *file = task->file;
    file->task = NULL;
    ior__file_done(file, task);
}

struct ior__file_task *ior__file_task_new(struct ior__file *file, int kind, size_t size)
{
    struct ior__file_task *task = ior__alloc(sizeof(*task) + size);
    if (!task)
        return NULL;
    memset(task, 0, sizeof(*task)); /* but not the bytes */
    task->task.job.work = work;
    task->task.job.drop = drop;
    task->task.done = done;
    task->file = file;
    task->fd = file->fd;
    atomic_fetch_add_explicit(&task->fd->refs, 1, memory_order_relaxed);
    task->kind = kind;
    task->result = -ECANCELED;
    task->size = size;
    return task;
}

void ior__file_task_free(struct ior__file_task *task)
{
    ior__file_fd_unref(task->fd);
    ior_buf_unref(task->buf);
    ior__free(task, sizeof(*task) + task->size);
}

static void release(void *arg)
{
    ior__file_task_free(arg);
}

struct ior_buf *ior__file_task_wrap(struct ior__file_task *task, bool *ret_taken)
{
    struct ior_buf *buf = ior_buf_wrap(task->bytes, (size_t)task->result, release, task);
    if (!buf)
        return NULL;
    ior__file_fd_unref(task->fd); /* the buffer may live longer than the file */
    task->fd = NULL;
    *ret_taken = true;
    return buf;
}

int ior__file_task_start(struct ior__file *file, struct ior__file_task *task)
{
    bool taken = ior__file_ring_take(file->base.cx->rt, task);
    int err = taken ? 0 : ior__task_submit(file->base.cx, IOR_LANE_FILES, &task->task, false);
    if (err < 0)
        return err;
    file->task = task;
    return 0;
}
