/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files as resources. No engine knows of them: their fd is -1, and they are on the ready list while they have something
 * to do. What may block is one task at a time (file_task.c); when it comes back, the file is looked at again like a
 * socket that became ready. The output queue is the runtime's: `write` copies its front into a task and says that it
 * would block; once the task has written, `write` is asked again, and takes what is in the file by then.
 *
 * Turns, where several things wait: an operation whose time has come, then bytes that were sent, then the next piece of
 * the stream that is read.
 */
#include <errno.h>
#include <string.h>

#include "file.h"

#define SENT_MOST ((size_t)256 * 1024) /* in one task, copied */
#define PATH_MOST 4096u

/* ---- the stream that is read ---- */

static bool reads(const struct ior__file *file)
{
    return (file->flags & IOR_FILE_STREAM) && !(file->base.bits & (IOR__CLOSING | IOR__EOF_SEEN | IOR__ENDING));
}

static bool wants_piece(const struct ior__file *file)
{
    return reads(file) && !file->task && !file->read_over && !file->pieces[1] && ior__file_is_open(file);
}

/* Asks for the next piece: -errno, nothing has changed. */
static int read_ahead(struct ior__file *file)
{
    if (!wants_piece(file) || (file->pieces[0] && file->pieces[0]->error))
        return 0;
    uint64_t left = file->read_end - file->read_at;
    size_t len = left < file->piece ? (size_t)left : file->piece;
    struct ior__file_task *task = ior__file_task_new(file, IOR__FILE_PIECE, len);
    if (!task)
        return -ENOMEM;
    task->offset = file->read_at;
    task->len = len;
    int err = ior__file_task_start(file, task);
    if (err < 0) {
        ior__file_task_free(task);
        return -ENOMEM; /* no thread: as good as no memory, and tried again */
    }
    file->read_at += len;
    file->read_over = file->read_at == file->read_end;
    return 0;
}

static void on_piece(struct ior__file *file, struct ior__file_task *task)
{
    if (task->result < (int64_t)task->len)
        file->read_over = true;
    file->pieces[file->pieces[0] ? 1 : 0] = task;
}

/* The oldest piece was told. */
static void drop_piece(struct ior__file *file)
{
    if (file->pieces[0] && !file->taken)
        ior__file_task_free(file->pieces[0]);
    file->taken = false;
    file->pieces[0] = file->pieces[1];
    file->pieces[1] = NULL;
}

/* Tells the oldest piece. Whether it was told, and another one may be. */
static bool tell_piece(struct ior__file *file, struct ior_emit *emit)
{
    struct ior__file_task *task = file->pieces[0];
    bool cut = task->result < (int64_t)task->len;
    if (task->result > 0) {
        struct ior_event ev = {.type = IOR_EV_DATA};
        ev.data.bytes = task->bytes;
        ev.data.len = (size_t)task->result;
        file->telling = task;
        int err = ior_emit(emit, &ev);
        file->telling = NULL;
        if (err == -EAGAIN)
            return false;
        file->tell_at += (uint64_t)task->result;
    }
    if (cut && file->read_end != IOR_NEVER)
        file->end_error = EIO; /* it is shorter than was said */
    if (task->error)
        file->end_error = task->error;
    file->at_end = cut || file->tell_at == file->read_end;
    drop_piece(file);
    return !file->at_end && !(file->base.bits & IOR__ENDING);
}

/* All was told: EOF, or the error that ended it. A pause holds up both. */
static int tell_end(struct ior__file *file, struct ior_emit *emit)
{
    if (file->base.bits & IOR__PAUSED)
        return 0;
    if (file->end_error)
        return -file->end_error;
    struct ior_event ev = {.type = IOR_EV_EOF};
    (void)ior_emit(emit, &ev);
    return 0;
}

struct ior_buf *ior_file_take(struct ior_context *cx, const struct ior_event *ev)
{
    struct ior_resource *res;
    if (!ev || ev->type != IOR_EV_DATA || ior__enter(cx) < 0)
        return NULL;
    res = ior__slots_find(&cx->rt->slots, ev->id);
    if (!res || res->ops != &ior__file_ops || !ior__file_of(res)->telling || ior__file_of(res)->taken)
        return NULL;
    return ior__file_task_wrap(ior__file_of(res)->telling, &ior__file_of(res)->taken);
}

/* ---- opening ---- */

static int start_open(struct ior__file *file)
{
    struct ior__file_task *task = ior__file_task_new(file, IOR__FILE_OPEN, file->path_size);
    if (!task)
        return -ENOMEM;
    memcpy(task->bytes, file->path, file->path_size);
    task->flags = file->flags;
    task->mode = file->mode;
    if (ior__file_task_start(file, task) < 0) {
        ior__file_task_free(task);
        return -ENOMEM;
    }
    return 0;
}

/* ---- what was sent ---- */

/* Copies the bytes of the pieces from `skip` on, and lets them be written: -errno, nothing has changed. */
static int write_front(struct ior__file *file, const struct iovec *iov, int n, size_t skip)
{
    size_t len = 0;
    for (int i = 0; i < n && len < skip + SENT_MOST; i++)
        len += iov[i].iov_len;
    len -= skip < len ? skip : len;
    if (len == 0)
        return 0;
    if (len > SENT_MOST)
        len = SENT_MOST;
    struct ior__file_task *task = ior__file_task_new(file, IOR__FILE_SENT, len);
    if (!task)
        return -ENOMEM;
    for (size_t at = 0; at < len; iov++) {
        if (skip >= iov->iov_len) {
            skip -= iov->iov_len;
            continue;
        }
        size_t part = iov->iov_len - skip < len - at ? iov->iov_len - skip : len - at;
        memcpy(task->bytes + at, (const unsigned char *)iov->iov_base + skip, part);
        at += part;
        skip = 0;
    }
    task->offset = file->write_at;
    task->append = (file->flags & IOR_FILE_APPEND) != 0;
    task->len = len;
    if (ior__file_task_start(file, task) < 0) {
        ior__file_task_free(task);
        return -ENOMEM;
    }
    return 0;
}

static ssize_t write_sent(struct ior_resource *res, const struct iovec *iov, int n)
{
    struct ior__file *file = ior__file_of(res);
    size_t done = 0;
    if (file->has_sent) {
        file->has_sent = false;
        if (file->sent == 0)
            return file->sent_error == EAGAIN ? -EIO : -file->sent_error; /* no engine would tell when */
        done = file->sent; /* an error behind some bytes is met again, or is over */
        file->write_at += done;
    }
    if (!file->task && !ior__file_is_open(file)) { /* there was no memory: while it is full, only this asks again */
        int err = start_open(file);
        return err < 0 ? err : -EAGAIN;
    }
    if (!file->task && !ior__file_next_op(file, res->written + done)) {
        int err = write_front(file, iov, n, done);
        if (err < 0 && done == 0)
            return err;
        if (err < 0)
            ior__ready_add(res->cx->rt, res, IOR_READ); /* tried again in the next turn */
    }
    return done > 0 ? (ssize_t)done : -EAGAIN;
}

/* ---- the resource ---- */

static unsigned interests(struct ior_resource *res)
{
    const struct ior__file *file = ior__file_of(res);
    bool opens = !ior__file_is_open(file) && !file->task;
    return opens || (reads(file) && (file->pieces[0] || file->at_end)) || wants_piece(file) ? IOR_READ : 0u;
}

static int handle_io(struct ior_resource *res, unsigned io, struct ior_emit *emit)
{
    struct ior__file *file = ior__file_of(res);
    int err = 0;
    (void)io;
    if (!ior__file_is_open(file))
        err = file->task ? 0 : start_open(file);
    else
        err = read_ahead(file);
    bool more = true;
    for (uint32_t i = 0; more && file->pieces[0] && i < res->cx->rt->budget_reads; i++) {
        more = tell_piece(file, emit);
        if (more && err == 0)
            err = read_ahead(file);
    }
    if (res->bits & IOR__ENDING)
        return IOR_IO_DONE;
    if (err < 0)
        ior__backoff(res, -err);
    else
        res->bits &= ~(uint32_t)IOR__TOLD_ERROR;
    return file->at_end && reads(file) ? tell_end(file, emit)
                                       : IOR_IO_DONE; /* its interest says whether there is more */
}

static void on_open(struct ior__file *file, struct ior__file_task *task)
{
    struct ior_resource *res = &file->base;
    if (task->result < 0) {
        ior__latch_error(res, task->error); /* also where it ends for something else */
        ior__end(res, IOR_ERROR, task->error, -1);
        return;
    }
    file->fd->fd = (int)task->result;
    if (res->bits & IOR__ENDING)
        return;
    res->bits |= IOR__TELL_OPEN;
    ior__ready_add(res->cx->rt, res, 0);
}

void ior__file_done(struct ior__file *file, struct ior__file_task *task)
{
    struct ior_resource *res = &file->base;
    switch (task->kind) {
    case IOR__FILE_OPEN:
        on_open(file, task);
        break;
    case IOR__FILE_PIECE:
        on_piece(file, task);
        task = NULL;
        break;
    case IOR__FILE_SENT:
        file->sent = (size_t)task->result;
        file->sent_error = task->error;
        file->has_sent = true;
        break;
    case IOR__FILE_LAST:
        file->synced = true;
        if (task->error)
            ior__end(res, IOR_ERROR, task->error, -1);
        break;
    default:
        ior__file_op_done(file, task);
        break;
    }
    if (task)
        ior__file_task_free(task);
    if (res->bits & IOR__ENDING) {
        ior__end_goes_on(res);
        return;
    }
    (void)ior__file_next_op(file, res->written);
    res->bits &= ~(uint32_t)IOR__BLOCKED;
    ior__work_add(res->cx->rt, res);
}

static bool settled(struct ior_resource *res)
{
    struct ior__file *file = ior__file_of(res);
    if (!ior__file_is_open(file) || file->ops)
        return false;
    if (file->task && file->task->kind != IOR__FILE_PIECE)
        return false;
    if (!(file->flags & IOR_FILE_SYNC) || file->synced)
        return true;
    if (file->task || (res->bits & IOR__BACKOFF))
        return false;
    struct ior__file_task *task = ior__file_task_new(file, IOR__FILE_LAST, 0);
    if (!task || ior__file_task_start(file, task) < 0) {
        if (task)
            ior__file_task_free(task);
        ior__backoff(res, ENOMEM);
    }
    return false;
}

static bool awaits(struct ior_resource *res)
{
    return ior__file_task_awaited(ior__file_of(res));
}

static bool give_up(struct ior_resource *res)
{
    if (!ior__file_task_leave(ior__file_of(res)))
        return false;
    ior__latch_error(res, EINPROGRESS);
    return true;
}

static void leave(struct ior_resource *res)
{
    struct ior__file *file = ior__file_of(res);
    struct ior__output *out = res->output;
    while (file->pieces[0])
        drop_piece(file);
    file->read_at = file->tell_at; /* registered again it goes on there */
    file->read_over = file->at_end = file->synced = false;
    file->look_at = 0;
    file->end_error = 0;
    ior__file_drop_ops(file);
    if (file->has_sent && file->sent == 0) {
        ior__latch_error(res, file->sent_error);
    } else if (file->has_sent && out) {
        out->in_flight = file->sent; /* in the file, but still in the queue */
        file->write_at += file->sent;
    }
    file->has_sent = false;
}

static const struct ior__marks *marks(const struct ior_resource *res)
{
    return &ior__file_of(res)->marks;
}

static int enter(struct ior_context *cx, struct ior_resource *res, ior_id *ret_id)
{
    struct ior__file *file = ior__file_of(res);
    if (ior__file_is_left(file))
        return -EBUSY;
    uint32_t open = ior__file_is_open(file) ? IOR__TELL_OPEN : 0u;
    int err = ior__task_prepare(cx, IOR_LANE_FILES);
    if (err < 0)
        return err; /* it would wait for a thread that never comes */
    err = ior__attach_resource(cx, res, IOR__TELL_REGISTERED | open, ret_id);
    if (err == 0)
        ior__file_count_late(file);
    return err;
}

static void destroy(struct ior_resource *res)
{
    struct ior__file *file = ior__file_of(res);
    if (file->task) /* only in a forked child, which has no such thread */
        ior__file_task_free(file->task);
    while (file->pieces[0])
        drop_piece(file);
    ior__file_drop_ops(file);
    ior__file_fd_unref(file->fd);
    ior__free(file, sizeof(*file) + file->path_size);
}

static const struct ior__kind kind = {
    .no_fd = true,
    .by_thread = true,
    .enter = enter,
    .awaits = awaits,
    .give_up = give_up,
    .leave = leave,
    .marks = marks,
    .settled = settled,
};

const struct ior_resource_ops ior__file_ops = {
    .struct_size = sizeof(struct ior_resource_ops),
    .name = "file",
    .interests = interests,
    .handle_io = handle_io,
    .write = write_sent,
    .destroy = destroy,
    .reserved = &kind,
};

/* ---- making ---- */

static bool flags_valid(unsigned flags)
{
    const unsigned all = IOR_FILE_READ | IOR_FILE_WRITE | IOR_FILE_CREATE | IOR_FILE_EXCLUSIVE | IOR_FILE_TRUNCATE |
                         IOR_FILE_APPEND | IOR_FILE_STREAM | IOR_FILE_SYNC;
    const unsigned to_write = IOR_FILE_CREATE | IOR_FILE_TRUNCATE | IOR_FILE_APPEND | IOR_FILE_SYNC;
    return !(flags & ~all) && (flags & (IOR_FILE_READ | IOR_FILE_WRITE)) &&
           (!(flags & to_write) || (flags & IOR_FILE_WRITE)) &&
           (!(flags & IOR_FILE_STREAM) || (flags & IOR_FILE_READ)) &&
           (!(flags & IOR_FILE_EXCLUSIVE) || (flags & IOR_FILE_CREATE));
}

/* Fills in what the options say; false: they are not valid. */
static bool options_into(struct ior__file *file, const struct ior_file_options *in, const struct ior_runtime *rt)
{
    const uint64_t most = INT64_MAX;
    file->flags = in->flags ? in->flags : (unsigned)IOR_FILE_READ;
    file->mode = in->mode ? in->mode : IOR_FILE_MODE_DEFAULT;
    file->ops_max = in->ops ? in->ops : IOR_FILE_OPS_DEFAULT;
    file->ops_bytes_max = in->ops_bytes ? in->ops_bytes : IOR_FILE_OPS_BYTES_DEFAULT;
    file->piece = in->piece_bytes ? in->piece_bytes : rt->read_bytes;
    file->read_at = file->tell_at = file->write_at = in->offset;
    file->read_end = in->len ? in->offset + in->len : IOR_NEVER;
    file->base.user = in->user;
    struct ior__marks *marks = &file->marks;
    marks->high = in->high_bytes ? in->high_bytes : IOR_HIGH_BYTES_DEFAULT;
    marks->low = in->low_bytes ? in->low_bytes : marks->high / 4;
    bool sums = marks->high <= most / 16;
    marks->cap = in->cap_bytes ? in->cap_bytes : marks->high + rt->read_bytes + IOR_UNREAD_MAX_BYTES_DEFAULT;
    return flags_valid(file->flags) && file->mode <= 07777 && in->offset <= most && in->len <= most - in->offset &&
           file->piece <= INT32_MAX && file->ops_bytes_max <= SIZE_MAX / 4 && sums && marks->low <= marks->high &&
           marks->cap >= marks->high && marks->cap <= most / 8;
}

static bool has_files(const struct ior_os *os)
{
    const struct ior_os_blocking *blocking = os->blocking;
    return blocking && blocking->struct_size >= sizeof(*blocking) && blocking->file_open && blocking->file_read &&
           blocking->file_write && blocking->file_sync && blocking->file_stat;
}

static void release(struct ior__file *file, size_t path_size)
{
    if (file)
        ior__free(file, sizeof(*file) + path_size);
}

/* A file with its share of an fd (-1: to be opened) that is not registered yet. */
static int file_new(struct ior_context *cx, const char *path, int fd, const struct ior_file_options *opts,
                    struct ior__file **ret)
{
    struct ior_file_options in;
    size_t path_size = strlen(path) + 1;
    int err = ior__struct_in(&in, sizeof(in), opts, sizeof(in));
    if (err < 0)
        return err;
    if (path_size > PATH_MOST)
        return -ENAMETOOLONG;
    struct ior__file *file = ior__calloc(sizeof(*file) + path_size);
    if (!file)
        return -ENOMEM;
    ior_resource_init(&file->base, &ior__file_ops, -1, NULL);
    file->ops_end = &file->ops;
    file->os = cx->rt->os;
    file->path_size = (uint32_t)path_size;
    memcpy(file->path, path, path_size);
    err = options_into(file, &in, cx->rt) ? 0 : -EINVAL;
    if (err == 0)
        err = has_files(cx->rt->os) ? ior__task_prepare(cx, IOR_LANE_FILES) : -ENOSYS;
    if (err == 0) {
        file->fd = ior__file_fd_new(cx->rt->os, fd);
        err = file->fd ? 0 : -ENOMEM;
    }
    if (err < 0) {
        release(file, path_size);
        return err;
    }
    if (!(file->flags & IOR_FILE_WRITE))
        file->base.bits |= IOR__NO_WRITE;
    *ret = file;
    return 0;
}

static int checks(struct ior_context *cx, const void *given, const ior_id *ret_id)
{
    int err = ior__enter(cx);
    if (err < 0)
        return err;
    return given && ret_id ? ior__may_register(cx) : -EINVAL;
}

int ior_file_open(struct ior_context *cx, const char *path, const struct ior_file_options *opts, ior_id *ret_id)
{
    struct ior__file *file;
    int err = checks(cx, path, ret_id);
    if (err < 0)
        return err;
    if (path[0] == '\0')
        return -ENOENT;
    err = file_new(cx, path, -1, opts, &file);
    if (err < 0)
        return err;
    err = ior__attach_resource(cx, &file->base, IOR__TELL_REGISTERED, ret_id);
    if (err < 0)
        destroy(&file->base);
    else
        (void)start_open(file); /* else handle_io does */
    return err;
}

/* Whether the fd can do what the flags say. */
static int adoptable(const struct ior_os *os, int fd, unsigned flags)
{
    int what = fd < 0 ? -EBADF : os->fd_kind(os->arg, fd);
    if (what < 0)
        return what;
    int type = what & IOR_FD_KIND_MASK;
    if (type != IOR_FD_FILE && type != IOR_FD_OTHER)
        return -ESPIPE;
    bool can = !((flags & IOR_FILE_READ) && (what & IOR_FD_NO_READ)) &&
               !((flags & IOR_FILE_WRITE) && (what & IOR_FD_NO_WRITE));
    return can ? 0 : -EBADF;
}

int ior_file_adopt(struct ior_context *cx, int fd, const struct ior_file_options *opts, ior_id *ret_id)
{
    struct ior__file *file;
    int err = checks(cx, "", ret_id);
    if (err == 0)
        err = file_new(cx, "", fd, opts, &file);
    if (err < 0)
        return err;
    err = adoptable(cx->rt->os, fd, file->flags);
    if (err == 0)
        err = ior__attach_resource(cx, &file->base, IOR__TELL_REGISTERED | IOR__TELL_OPEN, ret_id);
    if (err < 0) {
        file->fd->fd = -1; /* it stays the caller's */
        destroy(&file->base);
    }
    return err;
}
