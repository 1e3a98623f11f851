/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations on a file: read, write, sync, stat, each told as IOR_EV_FILE. They wait in a bounded queue of the file and
 * are done one at a time; each knows how many bytes had been sent before it, and waits until those are written.
 */
#include <errno.h>
#include <string.h>

#include "file.h"

/* ---- asking ---- */

/* The file, for an operation of `len` bytes at `offset` that needs it open for `needs`. */
static int find(struct ior_context *cx, ior_id id, unsigned needs, uint64_t offset, size_t len, struct ior__file **ret)
{
    struct ior_resource *res;
    int err = ior__find(cx, id, &res);
    if (err < 0)
        return err;
    if (res->ops != &ior__file_ops)
        return -EOPNOTSUPP;
    struct ior__file *file = ior__file_of(res);
    if ((file->flags & needs) != needs)
        return -EBADF;
    if ((needs & IOR_FILE_WRITE) && (file->flags & IOR_FILE_APPEND))
        return -EOPNOTSUPP;
    if (offset > INT64_MAX || len > INT64_MAX - offset)
        return -EOVERFLOW;
    if (res->bits & (IOR__CLOSING | IOR__WRITE_DEAD))
        return -EPIPE;
    if (len > file->ops_bytes_max)
        return -EMSGSIZE;
    if (file->ops_count >= file->ops_max || file->ops_bytes + len > file->ops_bytes_max)
        return -EAGAIN;
    *ret = file;
    return 0;
}

/* Its turn is now, or it waits; -errno: it could not be begun, and is freed. */
static int ask(struct ior__file *file, struct ior__file_task *task, uint64_t offset, size_t len, void *op_user)
{
    bool now = !file->task && !file->ops && ior__file_is_open(file) && ior__output_left(&file->base) == 0;
    task->offset = offset;
    task->len = len;
    task->op_user = op_user;
    task->after = file->base.written + ior__output_left(&file->base);
    int err = now ? ior__file_task_start(file, task) : 0;
    if (err < 0) {
        ior__file_task_free(task); /* a buffer is still held by its owner: nothing is released */
        return err;
    }
    file->ops_count++;
    file->ops_bytes += len;
    if (!now) {
        *file->ops_end = task;
        file->ops_end = &task->next;
    }
    return 0;
}

int ior_file_read(struct ior_context *cx, ior_id id, uint64_t offset, size_t len, void *op_user)
{
    struct ior__file *file;
    int err = find(cx, id, IOR_FILE_READ, offset, len, &file);
    if (err < 0)
        return err;
    struct ior__file_task *task = ior__file_task_new(file, IOR_FILE_OP_READ, len);
    if (!task)
        return -ENOMEM;
    return ask(file, task, offset, len, op_user);
}

int ior_file_write(struct ior_context *cx, ior_id id, uint64_t offset, const void *bytes, size_t len, void *op_user)
{
    struct ior__file *file;
    if (!bytes && len > 0)
        return -EINVAL;
    int err = find(cx, id, IOR_FILE_WRITE, offset, len, &file);
    if (err < 0)
        return err;
    struct ior__file_task *task = ior__file_task_new(file, IOR_FILE_OP_WRITE, len);
    if (!task)
        return -ENOMEM;
    if (len > 0)
        memcpy(task->bytes, bytes, len);
    return ask(file, task, offset, len, op_user);
}

int ior_file_write_buf(struct ior_context *cx, ior_id id, uint64_t offset, struct ior_buf *buf, void *op_user)
{
    struct ior__file *file;
    if (!buf)
        return -EINVAL;
    int err = find(cx, id, IOR_FILE_WRITE, offset, ior_buf_len(buf), &file);
    if (err < 0)
        return err;
    struct ior__file_task *task = ior__file_task_new(file, IOR_FILE_OP_WRITE, 0);
    if (!task)
        return -ENOMEM;
    task->buf = ior_buf_ref(buf);
    return ask(file, task, offset, ior_buf_len(buf), op_user);
}

static int without_bytes(struct ior_context *cx, ior_id id, int kind, void *op_user)
{
    struct ior__file *file;
    int err = find(cx, id, 0, 0, 0, &file);
    if (err < 0)
        return err;
    struct ior__file_task *task = ior__file_task_new(file, kind, 0);
    if (!task)
        return -ENOMEM;
    return ask(file, task, 0, 0, op_user);
}

int ior_file_sync(struct ior_context *cx, ior_id id, void *op_user)
{
    return without_bytes(cx, id, IOR_FILE_OP_SYNC, op_user);
}

int ior_file_stat(struct ior_context *cx, ior_id id, void *op_user)
{
    return without_bytes(cx, id, IOR_FILE_OP_STAT, op_user);
}

/* ---- doing ---- */

static struct ior__file_task *take_op(struct ior__file *file)
{
    struct ior__file_task *task = file->ops;
    file->ops = task->next;
    if (!file->ops)
        file->ops_end = &file->ops;
    task->next = NULL;
    return task;
}

bool ior__file_next_op(struct ior__file *file, uint64_t written)
{
    struct ior__file_task *task = file->ops;
    if (!task || file->task || !ior__file_is_open(file) || task->after > written)
        return false;
    if (ior__file_task_start(file, task) < 0)
        return false; /* it does not: the lane has had a thread since the file was registered */
    (void)take_op(file);
    return true;
}

void ior__file_op_done(struct ior__file *file, struct ior__file_task *task)
{
    struct ior_file_result result = {
        .op = (enum ior_file_op)task->kind,
        .error = task->error,
        .user = task->op_user,
        .offset = task->offset,
        .len = task->result > 0 ? (size_t)task->result : 0,
        .bytes = task->kind == IOR_FILE_OP_READ ? task->bytes : NULL,
        .stat = task->kind == IOR_FILE_OP_STAT && task->error == 0 ? &task->stat : NULL,
    };
    struct ior_event ev = {.type = IOR_EV_FILE};
    ev.file = &result;
    file->ops_count--;
    file->ops_bytes -= task->len;
    ior__touch_idle(&file->base);
    ior__tell_pending(&file->base);
    if (!(file->base.bits & IOR__ENDING))
        ior__tell(&file->base, &ev);
}

void ior__file_drop_ops(struct ior__file *file)
{
    while (file->ops)
        ior__file_task_free(take_op(file));
    file->ops_count = 0;
    file->ops_bytes = 0;
}
