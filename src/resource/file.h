/* SPDX-License-Identifier: Apache-2.0 */
/* Files, as their three sources share them: file.c (the resource), file_ops.c (operations), file_task.c (calls). */
#ifndef IOR_SRC_RESOURCE_FILE_H
#define IOR_SRC_RESOURCE_FILE_H

#include <ioreactor/file.h>

#include "../jobs.h"
#include "../kinds.h"
#include "../output.h"

/* The fd, shared by the resource and what is under way: whoever is last closes it. */
struct ior__file_fd {
    _Atomic uint32_t refs;
    _Atomic bool
        left;    /* a call that changes the file was left behind: until it returns, the next two are the thread's */
    int fd;      /* -1: not open yet */
    size_t late; /* what was sent and such a call has written */
    const struct ior_os *os;
};

/* What a task does; the operations have the numbers of enum ior_file_op. */
enum {
    IOR__FILE_OPEN = 16,
    IOR__FILE_PIECE = 17, /* a piece of the stream that is read */
    IOR__FILE_SENT = 18,  /* bytes that were sent */
    IOR__FILE_LAST = 19,  /* the sync before the end */
};

/* Where a task is that a ring of io_uring has: file_ring.c. */
enum { IOR__RING_NOT = 0, IOR__RING_WAITS = 1, IOR__RING_ENTERED = 2 };

/* One call that may block, with all it needs: it uses nothing of the resource, which may be gone when it returns. */
struct ior__file_task {
    struct ior__task task;
    struct ior__file *file; /* NULL: abandoned. The loop's */
    struct ior__file_task *next;
    struct ior__file_fd *fd;
    int kind;
    int ring; /* IOR__RING_...; the loop's, as its list */
    struct ior__file_task *ring_next;
    unsigned flags; /* IOR__FILE_OPEN: IOR_FILE_... */
    unsigned mode;
    bool append;
    bool left; /* abandoned, and noted as such in fd */
    uint64_t offset;
    size_t len;          /* of bytes, wanted */
    size_t moved;        /* of them, so far */
    int64_t result;      /* bytes that were moved, an fd, 0; < 0: none of it */
    int error;           /* a positive errno value, also behind some bytes */
    size_t size;         /* of the block behind the struct */
    struct ior_buf *buf; /* IOR_FILE_OP_WRITE: in the place of bytes */
    void *op_user;
    uint64_t after; /* an operation's turn comes when so many bytes are written */
    struct ior_file_stat stat;
    unsigned char bytes[]; /* a piece, what is to be written, or the path */
};

struct ior__file {
    struct ior_resource base; /* its fd is -1: no engine knows of it */
    struct ior__file_fd *fd;
    const struct ior_os *os;
    unsigned flags, mode;
    struct ior__marks marks;
    size_t piece;
    uint64_t read_at, read_end; /* of the stream: what is not asked for yet; IOR_NEVER: to the end of the file */
    uint64_t tell_at;           /* the first byte not told */
    uint64_t write_at;
    uint64_t look_at;   /* from here on it is looked anew ... */
    uint64_t looked_ns; /* ... and when it was last, and the page cache had it all; 0: it had not (file_ring.c) */
    struct ior__file_task *task;           /* under way: one at a time */
    struct ior__file_task *pieces[2];      /* read and not told, oldest first */
    struct ior__file_task *telling;        /* in its DATA event */
    struct ior__file_task *ops, **ops_end; /* that wait for their turn */
    size_t sent;                           /* what the last write came to, where `has_sent` ... */
    int end_error;
    int sent_error;              /* ... and why it was not more */
    uint32_t ops_count, ops_max; /* waiting or under way */
    size_t ops_bytes, ops_bytes_max;
    bool taken; /* the piece in pieces[0] is a buffer's now */
    bool has_sent;
    bool read_over; /* the last piece was asked for */
    bool at_end;    /* the last piece was told: EOF is to be, or END with end_error */
    bool synced;
    uint32_t path_size;
    char path[]; /* until it is open; empty: adopted */
};

static inline struct ior__file *ior__file_of(const struct ior_resource *res)
{
    return (struct ior__file *)(uintptr_t)res;
}

static inline bool ior__file_is_open(const struct ior__file *file)
{
    return file->fd->fd >= 0;
}

static inline bool ior__file_task_writes(const struct ior__file_task *task)
{
    return task->kind == IOR__FILE_SENT || task->kind == IOR_FILE_OP_WRITE;
}

static inline bool ior__file_task_syncs(const struct ior__file_task *task)
{
    return task->kind == IOR__FILE_LAST || task->kind == IOR_FILE_OP_SYNC;
}

/* ---- file_task.c ---- */

struct ior__file_fd *ior__file_fd_new(const struct ior_os *os, int fd);
void ior__file_fd_unref(struct ior__file_fd *fd);
/* A task with room for `size` bytes; NULL: out of memory. */
struct ior__file_task *ior__file_task_new(struct ior__file *file, int kind, size_t size);
/* Of one that is not under way. */
void ior__file_task_free(struct ior__file_task *task);
/* The result's bytes as a buffer, which frees the task; *ret_taken says that it did. NULL: out of memory. */
struct ior_buf *ior__file_task_wrap(struct ior__file_task *task, bool *ret_taken);
/* END comes. What is under way is forgotten where no thread has begun it, or it changes nothing. Whether any is left. */
bool ior__file_task_awaited(struct ior__file *file);
/* Leaves behind what is under way. Whether it is something that changes the file: END cannot tell what it comes to. */
bool ior__file_task_leave(struct ior__file *file);
/* Whether that is still so; and, once it is not, what was sent and written meanwhile is counted. */
bool ior__file_is_left(const struct ior__file *file);
void ior__file_count_late(struct ior__file *file);
/* Makes it the one that is under way. -errno: it is not, and still the caller's. */
int ior__file_task_start(struct ior__file *file, struct ior__file_task *task);

/* ---- file_ops.c ---- */

/* Starts the first operation that waits, where it is its turn once `written` bytes are in the file. Whether it did. */
bool ior__file_next_op(struct ior__file *file, uint64_t written);
void ior__file_op_done(struct ior__file *file, struct ior__file_task *task);
void ior__file_drop_ops(struct ior__file *file);

/* ---- file.c ---- */

/* A task came back. */
void ior__file_done(struct ior__file *file, struct ior__file_task *task);

#endif
