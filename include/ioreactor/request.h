/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests: what a service may ask of its runtime. A request takes effect before it returns, answers 0 (or a count, or
 * 1 where said) or -errno, and never calls the service. Common errors, not repeated below:
 *   -EINVAL     a bad argument; nothing happened
 *   -EPERM      the caller is not on the loop's thread (or is a forked child)
 *   -ENOENT     the id is stale, or never was: no effect
 *   -EACCES     the id belongs to another service of the same runtime
 *   -EALREADY   the resource is ending already; only its END and its handover are to come
 *   -EOPNOTSUPP the kind of resource has no such operation
 *   -ENOMEM     out of memory; nothing has changed
 *   -ESHUTDOWN  the runtime, or the service, is being stopped and takes no new resources
 *   -ENOSPC     config.max_resources are registered
 */
#ifndef IOREACTOR_REQUEST_H
#define IOREACTOR_REQUEST_H

#include <sys/uio.h>
#include <ioreactor/addr.h>
#include <ioreactor/buf.h>
#include <ioreactor/event.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ior_context;
struct ior_resource;
struct ior_handler;

/* Defaults of the options below, in bytes. */
#define IOR_HIGH_BYTES_DEFAULT ((size_t)64 * 1024)
#define IOR_UNREAD_MAX_BYTES_DEFAULT ((size_t)64 * 1024)
#define IOR_DRAIN_NS_DEFAULT (UINT64_C(30) * 1000000000)

/*
 * How a stream behaves. Zero means the default for every member; NULL for the whole struct means all defaults.
 *
 * The output of a stream is bounded: sends are taken until the queue holds cap_bytes. Above high_bytes a send answers 1
 * (taken, and now full) and, unless read_when_full, reading stops until the queue has fallen to low_bytes. A cap
 * below high_bytes + config.read_bytes + unread_max_bytes is refused with -EINVAL, so that what one data event
 * answers in kind always fits.
 */
struct ior_stream_options {
    uint32_t struct_size;    /* sizeof(struct ior_stream_options) */
    bool half_open;          /* EOF from the peer ends nothing: the service finishes, closes or goes on sending */
    bool read_when_full;     /* keep reading while the own output is past its high-water mark */
    bool nagle;              /* leave Nagle's algorithm on (default: TCP_NODELAY) */
    bool keep_alive;         /* SO_KEEPALIVE with the system's intervals */
    void *user;              /* comes with each event; ignored where user_size is not 0 */
    size_t user_size;        /* > 0: the runtime allocates so many zeroed bytes with the stream; they are its `user` */
    size_t high_bytes;       /* default 64 KiB */
    size_t low_bytes;        /* default high_bytes / 4 */
    size_t cap_bytes;        /* default high_bytes + read_bytes + unread_max_bytes; at most 2^60 - 1 */
    size_t unread_max_bytes; /* what ior_unread can give back; default 64 KiB */
    uint64_t connect_ns;     /* ior_connect: give up after this time; 0: the system's own limit */
    uint64_t idle_ns;        /* end the stream when no byte was read or written for so long; 0: never */
    uint64_t drain_ns;       /* after EOF without half_open: how long the flush may take; default 30 s */
    bool receive_fds;        /* Unix streams: fds that come along are told, see ior_take_fd; default: thrown away */
};

struct ior_listen_options {
    uint32_t struct_size; /* sizeof(struct ior_listen_options) */
    int backlog;          /* listen(2); default 511, the system may cut it (net.core.somaxconn) */
    unsigned
        unix_mode;   /* Unix paths: permission bits (0777), set before anyone can connect; 0: what the umask leaves */
    bool reuse_port; /* SO_REUSEPORT: several listeners share the address */
    bool v6_only;    /* IPv6: do not take IPv4 peers on the wildcard address */
    void *user;      /* comes with the listener's own events */
    struct ior_stream_options stream; /* for the streams ior_accept makes; struct_size 0: all defaults */
};

/*
 * Listens on a TCP or Unix stream address. A stale Unix socket file is replaced if nobody listens on it; a Unix path
 * made here is removed when the listener is destroyed. TCP listeners set SO_REUSEADDR. ior_local tells the address
 * that port 0 became. Errors: those of socket(2), bind(2), listen(2): -EADDRINUSE, -EACCES, -EMFILE ...
 */
IOR_API int ior_listen(struct ior_context *cx, const struct ior_addr *addr, const struct ior_listen_options *opts,
                       ior_id *ret_id);

/*
 * Connects a stream. The outcome is OPEN, or END with the cause. What connect(2) refuses at once (a Unix path without
 * a listener or with a full backlog, no route) is the answer of this call, and nothing is registered.
 */
IOR_API int ior_connect(struct ior_context *cx, const struct ior_addr *addr, const struct ior_stream_options *opts,
                        ior_id *ret_id);

/*
 * Makes a stream of any byte-stream fd: a connected socket, a pipe end, a tty, a character device. On success the fd
 * belongs to the library (non-blocking from here on); on failure it stays the caller's, untouched.
 * Errors: -EBADF, -EEXIST (the fd is registered here already), -EPERM (a regular file or directory: they cannot be
 * waited for), -EPROTOTYPE (a socket that is no stream), -ENOTCONN.
 */
IOR_API int ior_adopt(struct ior_context *cx, int fd, const struct ior_stream_options *opts, ior_id *ret_id);

/*
 * Watches a foreign fd: IOR_EV_READY while any of `io` holds. The library never reads, writes or closes it, nor asks
 * for its SO_ERROR. Unregister before it is closed. Errors: as ior_adopt.
 */
IOR_API int ior_watch(struct ior_context *cx, int fd, unsigned io, void *user, ior_id *ret_id);

/* Changes what a watch waits for: any set of IOR_READ and IOR_WRITE, also none. */
IOR_API int ior_interest(struct ior_context *cx, ior_id id, unsigned io);

/*
 * Only inside IOR_EV_ACCEPTED: takes the connection as a stream with the listener's stream options (-EALREADY: it was
 * taken before). The stream may be sent to at once; its OPEN comes from the loop.
 */
IOR_API int ior_accept(struct ior_context *cx, const struct ior_event *ev, ior_id *ret_id);

/*
 * Only inside IOR_EV_ACCEPTED: takes the connection as a resource that is not registered, to be registered later,
 * here or in another runtime. NULL: taken before, not an ACCEPTED event, wrong thread, or out of memory.
 */
IOR_API struct ior_resource *ior_take(struct ior_context *cx, const struct ior_event *ev);

/*
 * Registers a resource: one of the user's own kind, or one that was handed back or taken. It belongs to the runtime
 * until its handover; on failure it stays the caller's. One that was handed back goes on where it was: its unread bytes
 * come first, its unsent bytes are written first. Errors: -EBUSY (it is registered already; a file: a thread still has
 * it), -EBADF, -EEXIST, -ENOBUFS (its output is over the cap).
 */
IOR_API int ior_register(struct ior_context *cx, struct ior_resource *res, ior_id *ret_id);

/*
 * Ends a resource now: the fd is out of the engine on return; END (IOR_ASKED) and the handover come from the loop. (A
 * file's END waits for a write that is under way: <ioreactor/file.h>.)
 */
IOR_API int ior_unregister(struct ior_context *cx, ior_id id);

/*
 * Ends a stream in order: no more data events; queued output is written, the sending side is shut, input is read and
 * discarded (counted) until the peer finishes, then END. What is not done after drain_ns ends with IOR_TIMEOUT.
 * Asked again it moves the deadline. For a listener, a watch, or a stream that is still connecting: as ior_unregister.
 */
IOR_API int ior_close(struct ior_context *cx, ior_id id, uint64_t drain_ns);

/*
 * Ends a stream with a reset: queued output is not written (it is handed over), the fd is closed on return. A file: as
 * ior_unregister, but END does not wait for a call that is under way (<ioreactor/file.h>).
 */
IOR_API int ior_abort(struct ior_context *cx, ior_id id);

/*
 * Shuts the sending side once the queue is written; reading goes on. Later sends answer -EPIPE. Idempotent. A half_open
 * stream that has seen EOF and is finished ends by itself (IOR_EOF).
 */
IOR_API int ior_finish(struct ior_context *cx, ior_id id);

/*
 * No data event (for a listener: no ACCEPTED, for a watch: no READY) until resume. A hang-up meanwhile is kept for
 * then; deadlines go on. Both are idempotent. Resuming tells unread bytes again, also when no new ones came.
 */
IOR_API int ior_pause(struct ior_context *cx, ior_id id);
IOR_API int ior_resume(struct ior_context *cx, ior_id id);

/*
 * Only inside IOR_EV_DATA of this stream: gives back the last `len` bytes of the event. They come again in front of
 * the next bytes, or alone after a resume or once a full output has drained. Asked again in the same event it replaces
 * the earlier asking. Errors: -EINVAL (not inside its data event, or more than were lent), -EMSGSIZE (more than
 * unread_max_bytes), -ENOMEM.
 */
IOR_API int ior_unread(struct ior_context *cx, ior_id id, size_t len);

/*
 * Sends: all the bytes are taken, in order, or none. What a turn sends to one transport leaves in one system call at
 * the end of the turn. Where what is sent on was lent, and is large (8 KiB in one event, or more in a turn than the read
 * buffer has room for: 16 times read_bytes, at most 1 MiB), what was sent so far leaves behind that callback. Answers 0;
 * 1: taken, and the queue is now past its high-water mark (DRAINED will be told). A length of 0 does nothing. Errors, all
 * without effect:
 * -ENOBUFS (over cap_bytes, or config.output_cap_bytes; DRAINED will be told once it would fit), -EMSGSIZE (could never
 * fit), -ENOTCONN (still connecting), -EPIPE (closing, finished, ended, or the peer is gone).
 */
IOR_API int ior_send(struct ior_context *cx, ior_id id, const void *bytes, size_t len);
IOR_API int ior_sendv(struct ior_context *cx, ior_id id, const struct iovec *iov, int n);

/*
 * Sends a shared buffer without copying it: on success the queue holds a reference of its own. Its bytes count fully
 * for each transport. (What thousands of tiny buffers cost in bookkeeping is bounded too, at four times cap_bytes.)
 * Once a buffer waits in 128 queues, each further send of it may write it to one of them at once.
 */
IOR_API int ior_send_buf(struct ior_context *cx, ior_id id, struct ior_buf *buf);

/*
 * Sends a range of a regular file by sendfile(2) (or by reading, where the transport cannot). The queue holds its own
 * dup of `fd`. The range does not count towards the marks; some 48 ranges fit a queue with the default cap. A file that
 * is shorter than promised when its turn comes ends the transport with EIO. The file's bytes are read as they are then;
 * a slow disk blocks the loop. Further errors: -EBADF, -EMFILE, -EOVERFLOW (offset + len over 2^63 - 1).
 */
IOR_API int ior_send_file(struct ior_context *cx, ior_id id, int fd, uint64_t offset, uint64_t len);

/* What waits in the queue of a transport, in bytes (file ranges included). 0 also for a stale id. */
IOR_API uint64_t ior_queued(struct ior_context *cx, ior_id id);

/* The deadlines each resource has, besides the service's timers. */
enum {
    IOR_DEADLINE_USER = 0,    /* told as IOR_EV_DEADLINE, once for each arming; nothing ends */
    IOR_DEADLINE_IDLE = 1,    /* ends the resource when nothing was read or written for so long */
    IOR_DEADLINE_CONNECT = 2, /* ends a stream that is not open by then; off once it is open */
    IOR_DEADLINE_DRAIN = 3,   /* ends a stream that is closing; only while it is */
};

/*
 * Arms, moves or (IOR_NEVER) turns off a deadline, counted from now. For IOR_DEADLINE_IDLE `after_ns` is the new
 * period, counted from now and then from the turn in which bytes come or go. An idle deadline passes only after a look
 * for bytes that already arrived. Errors: -EINVAL (no such deadline, or DRAIN or CONNECT of a stream that is not
 * closing, or not connecting).
 */
IOR_API int ior_deadline(struct ior_context *cx, ior_id id, int which, uint64_t after_ns);

/* The `user` of a resource; NULL for a stale id, or from another thread. */
IOR_API void *ior_user(struct ior_context *cx, ior_id id);

/* The local and the peer's address of a socket. Errors: those of getsockname(2) and getpeername(2). */
IOR_API int ior_local(struct ior_context *cx, ior_id id, struct ior_addr *addr);
IOR_API int ior_peer(struct ior_context *cx, ior_id id, struct ior_addr *addr);

/* The number of resources of this service that are registered (those whose END is still to come included). */
IOR_API size_t ior_count(struct ior_context *cx);

/*
 * Stops the runtime in order: `stop` is called, commands sent before are served, listeners end, output is flushed until
 * drain_ns from now has passed, everything ends and is handed over, and ior_runtime_run returns. Asked again it can
 * only shorten the time.
 */
IOR_API void ior_stop(struct ior_context *cx, uint64_t drain_ns);

/*
 * Adds another service to the runtime. Its start is called from the loop (from ior_runtime_run, where that has not
 * begun; its failure fails the run; later, a failing start is logged and detaches the service).
 */
IOR_API int ior_attach(struct ior_context *cx, const struct ior_handler *handler, void *self,
                       struct ior_context **ret_cx);

/*
 * Ends an attached service: `stop`, then its resources as at shutdown, its timers are dropped, and the context is gone
 * when the last of them has ended (cx must not be used after that). Errors: -EINVAL for the runtime's first service.
 */
IOR_API int ior_detach(struct ior_context *cx, uint64_t drain_ns);

#ifdef __cplusplus
}
#endif
#endif
