/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Regular files: opened, read, written, synced and looked at on the threads of IOR_LANE_FILES, so that a slow disk never
 * blocks the loop; or, where config.files asks for it, on io_uring (docs/resources.md). A file is a resource with an id.
 * It can be used in three ways, also mixed:
 *
 *  - operations (ior_file_read, ior_file_write, ior_file_sync, ior_file_stat): each is told as IOR_EV_FILE. Those of one
 *    file are done one at a time, in the order in which they were asked for; files do not wait for each other.
 *  - as a stream that is read (IOR_FILE_STREAM): the bytes come as IOR_EV_DATA, then IOR_EV_EOF and END. One piece is
 *    read ahead. ior_pause and ior_resume are the back-pressure.
 *  - as a stream that is written: ior_send, ior_sendv, ior_send_buf, with the same marks, answers and IOR_EV_DRAINED as
 *    those of a connection. END says how many bytes are in the file; the others are still in the queue.
 *
 * IOR_EV_OPEN is told when the file is open; operations and sends may come before. Where it cannot be opened END has
 * the cause. ior_close ends a file in order: what was asked for and sent is done first. ior_unregister and deadlines end
 * it now: nothing more is begun or told, and a read, sync or stat under way is left to its thread. One thing END waits
 * for, without holding up the loop: a call under way that changes the file (a write, an open that creates or truncates).
 * So END's counts are exact, and the file is still from then on.
 *
 * A disk that hangs is not waited for for ever: ior_abort ends a file as ior_unregister does and waits for nothing, also
 * where END has been waited for already; and a stop waits at most a second longer than its time, ior_runtime_free too.
 * Then end.error is EINPROGRESS where there was no other: of the unsent bytes up to 256 KiB may be, or come to be, in the
 * file. ior_register answers -EBUSY for such a file until the call has returned; what it came to is counted then.
 *
 * A file that is registered again goes on behind what was told and written, and needs a thread there, too (-EAGAIN,
 * -ENOSYS).
 */
#ifndef IOREACTOR_FILE_H
#define IOREACTOR_FILE_H

#include <ioreactor/base.h>
#include <ioreactor/buf.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ior_context;
struct ior_event;

/* What a file is opened for: a set. */
enum {
    IOR_FILE_READ = 1,
    IOR_FILE_WRITE = 2,
    IOR_FILE_CREATE = 4,    /* O_CREAT */
    IOR_FILE_EXCLUSIVE = 8, /* O_EXCL: it must not be there */
    IOR_FILE_TRUNCATE = 16, /* O_TRUNC */
    IOR_FILE_APPEND = 32,   /* O_APPEND: what is sent goes to the end; no ior_file_write */
    IOR_FILE_STREAM = 64,   /* read from options.offset on, told as DATA */
    IOR_FILE_SYNC = 128,    /* fsync(2) before an END in order: without an error there, all bytes are on the disk */
};

#define IOR_FILE_OPS_DEFAULT 64u
#define IOR_FILE_OPS_BYTES_DEFAULT ((size_t)1024 * 1024)
#define IOR_FILE_MODE_DEFAULT 0666u

/* How a file behaves. Zero means the default for every member. */
struct ior_file_options {
    uint32_t struct_size; /* sizeof(struct ior_file_options) */
    unsigned flags;       /* IOR_FILE_...; default: IOR_FILE_READ */
    unsigned mode;        /* permission bits of a new file, less the umask; default 0666 */
    uint32_t ops;         /* operations that are not told yet; default 64 */
    void *user;           /* comes with each event */
    uint64_t offset;      /* where the stream is read from, and sent bytes are written to */
    uint64_t len;         /* STREAM: so many bytes; a shorter file ends with EIO. 0: to the end */
    size_t piece_bytes;   /* STREAM: the largest DATA event; default config.read_bytes */
    size_t ops_bytes;     /* memory of the operations; default 1 MiB */
    size_t high_bytes;    /* of what was sent and is not written; default 64 KiB */
    size_t low_bytes;     /* default high_bytes / 4 */
    size_t cap_bytes;     /* default high_bytes + config.read_bytes + 64 KiB */
};

/* What ior_file_stat finds. */
struct ior_file_stat {
    uint64_t size; /* bytes */
    uint64_t dev, ino, links;
    int64_t modified_ns; /* since 1970 */
    uint32_t mode;       /* type and permission bits, as st_mode */
    uint32_t uid, gid;
    uint32_t reserved;
};

enum ior_file_op {
    IOR_FILE_OP_READ = 1,
    IOR_FILE_OP_WRITE = 2,
    IOR_FILE_OP_SYNC = 3,
    IOR_FILE_OP_STAT = 4,
};

/* What comes with IOR_EV_FILE: lent until the callback returns. The event's own `user` is the file's. */
struct ior_file_result {
    enum ior_file_op op;
    int error;         /* a positive errno value, or 0; the file stays open either way */
    void *user;        /* the operation's */
    uint64_t offset;   /* READ, WRITE: as asked */
    size_t len;        /* READ: bytes read, less than asked for only at the end of the file; WRITE: bytes written */
    const void *bytes; /* READ */
    const struct ior_file_stat *stat; /* STAT */
};

/*
 * Opens a file. opts NULL: for reading, without STREAM. -ESPIPE in END: it is a pipe or a socket (ior_adopt takes
 * those). Errors: -ENAMETOOLONG, -ENOSYS (a simulation), -EAGAIN (the system has no thread).
 */
IOR_API int ior_file_open(struct ior_context *cx, const char *path, const struct ior_file_options *opts,
                          ior_id *ret_id);

/*
 * The same with an open fd, which on success belongs to the library, and on failure stays the caller's. flags say what
 * of it is used (CREATE, EXCLUSIVE, TRUNCATE and mode mean nothing; APPEND must be said where it was opened so).
 * Errors: -EBADF (also where the fd cannot do what flags say), -ESPIPE (a pipe or a socket), and those of ior_file_open.
 */
IOR_API int ior_file_adopt(struct ior_context *cx, int fd, const struct ior_file_options *opts, ior_id *ret_id);

/*
 * Operations; op_user comes with the result. Written bytes are copied, or (ior_file_write_buf) held as a reference. A
 * sync comes behind all that was sent before, and so do the others. Errors: -EAGAIN (options.ops or ops_bytes are under
 * way: nothing happened), -EMSGSIZE (more than ops_bytes), -EBADF (not opened for that), -EOPNOTSUPP (not a file, or
 * ior_file_write with APPEND), -EPIPE (closing), -EOVERFLOW (offset + len over 2^63 - 1).
 */
IOR_API int ior_file_read(struct ior_context *cx, ior_id id, uint64_t offset, size_t len, void *op_user);
IOR_API int ior_file_write(struct ior_context *cx, ior_id id, uint64_t offset, const void *bytes, size_t len,
                           void *op_user);
IOR_API int ior_file_write_buf(struct ior_context *cx, ior_id id, uint64_t offset, struct ior_buf *buf, void *op_user);
IOR_API int ior_file_sync(struct ior_context *cx, ior_id id, void *op_user);
IOR_API int ior_file_stat(struct ior_context *cx, ior_id id, void *op_user);

/*
 * Only inside IOR_EV_DATA of a file: the event's bytes as a buffer, without copying them; the caller holds its only
 * reference. To send a file with ior_send_buf. NULL: not inside such an event, taken before, or out of memory.
 */
IOR_API struct ior_buf *ior_file_take(struct ior_context *cx, const struct ior_event *ev);

#ifdef __cplusplus
}
#endif
#endif
