/* SPDX-License-Identifier: Apache-2.0 */
/* The built-in kinds of resources, as the core sees them: src/resource/. */
#ifndef IOR_SRC_KINDS_H
#define IOR_SRC_KINDS_H

#include <stddef.h>

#include "core.h"

struct ior__dial;

/* Stream options as kept: shared by all streams of a listener, also across runtimes, hence the atomic count. */
struct ior__stream_opts {
    _Atomic uint32_t refs;
    uint32_t bits; /* IOR__FULL_READS, IOR__TIGHT, IOR__FDS: for the stream */
    bool half_open, nagle, keep_alive;
    const struct ior_os *os; /* what closes the fd when no runtime is left */
    void *user;
    size_t user_size;
    struct ior__marks marks;
    size_t unread_max;
    uint64_t connect_ns, idle_ns, drain_ns;
    struct ior__dial *dial; /* of the one stream that has these, while it is dialled; else NULL */
};

/* Bytes that an engine had received when the stream left it: they are read before all others. */
struct ior__held {
    size_t at, len; /* what is left: at .. len */
    unsigned char bytes[];
};

/* Bytes a service gave back, and those held behind them; there is none without one or the other. */
struct ior__unread {
    size_t len, capacity;
    struct ior__held *held;
    unsigned char bytes[];
};

struct ior__stream {
    struct ior_resource base;
    struct ior__stream_opts *opts;
    struct ior__unread *unread;
    uint64_t discarded; /* input read while closing */
};

/* Behind a stream lies the memory of its service (user_size), aligned for any type as malloc's is. */
#define IOR__STREAM_BYTES ((sizeof(struct ior__stream) + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1))

/* How large a stream is with that; without it, nothing is aligned. */
static inline size_t ior__stream_size(size_t user_size)
{
    return user_size > 0 ? IOR__STREAM_BYTES + user_size : sizeof(struct ior__stream);
}

/* Inside ACCEPTED: the connection on offer. */
struct ior__accepting {
    struct ior_resource *listener;
    const struct ior_event *ev;
    const struct ior_addr *peer;
    int fd; /* -1: it was taken */
};

/* Connections that an engine had accepted when the listener left it: they are offered before all others. */
struct ior__held_fds {
    uint32_t at, count, capacity; /* what is left: at .. count */
    int fds[];
};

struct ior__listener {
    struct ior_resource base;
    struct ior__stream_opts *opts;
    uint32_t path_len; /* of a Unix path to remove, 0: none */
    uint64_t dev, ino;
    char *path;
    struct ior__held_fds *held;
};

/*
 * What the runtime asks of the library's own kinds beyond the public table, which leads here by `reserved`. Users' kinds
 * have none of it. Each member may be NULL.
 */
struct ior__kind {
    bool no_fd;     /* it can be registered without an fd */
    bool by_thread; /* its I/O is done on a thread: no engine knows of it */
    bool told;      /* whenever something is to be read, the engine tells, but for what `holds` tells of */
    bool one_try;   /* what the engine refuses ends it, in place of a back-off */

    /* Registers it, in place of ior__attach_resource. */
    int (*enter)(struct ior_context *cx, struct ior_resource *res, ior_id *ret_id);
    /* END is decided on: what it waits for without an fd is not waited for any more. In a request. */
    void (*call_off)(struct ior_resource *res, enum ior_why why);
    /*
     * END is about to be told. Whether it has to wait, for a call on a thread that changes what lies outside; that over,
     * ior__end_goes_on. A kind that waits also has `leave` and `give_up`.
     */
    bool (*awaits)(struct ior_resource *res);
    /* END is decided on, and is not to wait any longer. False: there is nothing it would wait for. In a request. */
    bool (*give_up)(struct ior_resource *res);
    /* END is told now. */
    void (*leave)(struct ior_resource *res);
    /* In the place of END and handover, for what no service knows of. */
    void (*over)(struct ior_resource *res);
    /* Whether it has something to tell that no engine knows of. */
    bool (*holds)(const struct ior_resource *res);
    /* Input that is counted in END, but not kept. */
    uint64_t (*discarded)(const struct ior_resource *res);
    const struct ior__marks *(*marks)(const struct ior_resource *res);

    /* ior_close, or a shutdown, in place of ior__start_close; drain_at_ns 0: now. -ENOMEM: nothing has changed. */
    int (*close)(struct ior_resource *res, enum ior_why why, uint64_t drain_at_ns);
    /* Its drain deadline passed. */
    void (*overdue)(struct ior_resource *res);
    /* The service's time to stop is over. False: the resource is to end at once. */
    bool (*force)(struct ior_resource *res);
    /* It closes, and its output is written: whether END may come. */
    bool (*settled)(struct ior_resource *res);

    /*
     * What lies outside of this process's memory and fds (a path, a process, settings) stays as it is when it is
     * destroyed: its fd was released to the caller, or this is a forked child. Kinds without it cannot be released.
     */
    void (*let_go)(struct ior_resource *res);
};

static inline const struct ior__kind *ior__kind_of(const struct ior_resource *res)
{
    return res->ops->reserved;
}

static inline bool ior__holds(const struct ior_resource *res)
{
    const struct ior__kind *kind = ior__kind_of(res);
    return kind && kind->holds && kind->holds(res);
}

/* Whether it may have something to tell that no engine tells of. */
static inline bool ior__looks_itself(const struct ior_resource *res)
{
    const struct ior__kind *kind = ior__kind_of(res);
    return !kind || !kind->told || ior__holds(res);
}

extern const struct ior_resource_ops ior__stream_ops, ior__listener_ops, ior__watch_ops, ior__signals_ops,
    ior__child_ops, ior__changes_ops, ior__serial_ops, ior__file_ops, ior__attempt_ops, ior__resolve_ops;

int ior__stream_opts_new(const struct ior_runtime *rt, const struct ior_stream_options *opts,
                         struct ior__stream_opts **ret);
struct ior__stream_opts *ior__stream_opts_ref(struct ior__stream_opts *opts);
void ior__stream_opts_unref(struct ior__stream_opts *opts);

/* A stream around an fd; `bits` say what it is. It takes a reference of its own to opts. NULL: out of memory. */
struct ior_resource *ior__stream_new(int fd, struct ior__stream_opts *opts, uint32_t bits);
/* ior__attach_resource, with the stream's idle deadline. */
int ior__stream_attach(struct ior_context *cx, struct ior_resource *res, uint32_t tell_bits, ior_id *ret_id);
/* Lends the first bytes at read_at to the service for the length of its callback. */
static inline void ior__lend(struct ior_runtime *rt, struct ior_resource *res, size_t len)
{
    struct ior_context *cx = res->cx;
    struct ior_event *ev = &cx->data_event;
    cx->lent_to = res;
    ev->id = res->id;
    ev->user = res->user;
    ev->data.bytes = rt->read_at;
    ev->data.len = len;
    cx->handler.transport(cx->self, cx, ev);
    ev->data.len = 0;
    cx->lent_to = NULL;
}

/*
 * Whether the engine is to receive and send for this resource: a connected stream socket that still can be written, and
 * may throw away what fds come along.
 */
static inline bool ior__engine_receives(const struct ior_resource *res)
{
    const uint32_t looked = IOR__STREAM | IOR__SOCKET | IOR__CONNECTING | IOR__WRITE_DEAD | IOR__FDS;
    return (res->bits & looked) == (IOR__STREAM | IOR__SOCKET);
}

/*
 * The end of a resource: what the engine had received, or accepted, goes into the resource. -errno: the error behind
 * what was received, or -ENOMEM: not all could be kept.
 */
int ior__stream_take_held(struct ior_resource *res);
void ior__listener_take_held(struct ior_resource *res);

/* Forgets the unread bytes, and the block where nothing is held either. */
void ior__unread_free(struct ior__stream *stream);
/* Puts `n` bytes behind those that are held. False: out of memory. */
bool ior__hold(struct ior__stream *stream, const void *bytes, size_t n);
/* What was received before anybody could be told comes first. 0: there is nothing of it. */
size_t ior__read_held(struct ior__stream *stream, void *bytes, size_t len);
void ior__stream_read_more(struct ior_resource *res, ssize_t n);

/*
 * A record says that a stream of usual bits can be read: mostly one read that comes short, and its event. `by_engine`:
 * the engine has received already.
 */
static IOR_INLINE void ior__stream_read(struct ior_runtime *rt, struct ior_resource *res, bool by_engine)
{
    struct ior__stream *stream = (struct ior__stream *)res;
    if (IOR_UNLIKELY(stream->unread != NULL)) {
        ior__handle_io(res, IOR_READ);
        return;
    }
    ssize_t n = by_engine ? rt->engine_ops->recv(rt->engine, res->fd, res->id, rt->read_at, rt->read_bytes)
                          : rt->os->recv(rt->os->arg, res->fd, rt->read_at, rt->read_bytes);
    if (IOR_UNLIKELY((size_t)n - 1 >= rt->read_short_most)) {
        ior__stream_read_more(res, n);
        return;
    }
    ior__touch_idle_at(res, rt->now_ns);
    ior__lend(rt, res, (size_t)n);
}

unsigned ior__stream_interest(const struct ior_resource *res);

/*
 * fds.c. Reads with the fds that come along; tells those of a read. The resource may have ended, or be paused, then.
 */
ssize_t ior__fds_recv(struct ior_resource *res, void *bytes, size_t len, struct ior_os_fds *ret);
void ior__fds_tell(struct ior_resource *res, struct ior_os_fds *fds);

/* After a flush: half-closes, ends. */
void ior__stream_settle(struct ior_resource *res);
/* HUP or ERR while nothing is to be read. */
void ior__stream_hangup(struct ior_resource *res);
void ior__stream_connect_result(struct ior_resource *res);
/* The stream is connected: its deadlines change, and OPEN is told. */
void ior__stream_connected(struct ior_resource *res);
static inline struct ior__stream_opts *ior__stream_opts_of(const struct ior_resource *res)
{
    return ((const struct ior__stream *)(const void *)res)->opts;
}

/* A new socket that is connected, or about to be, to an address: its fd, or -errno. */
int ior__connect_socket(const struct ior_runtime *rt, const struct ior_addr *addr, const struct ior__stream_opts *opts,
                        bool *ret_connecting);
/* What came of a connect whose fd is ready: 0: connected; 1: nothing yet; or why not. */
int ior__connect_outcome(const struct ior_os *os, int fd);

/* ---- dials, and look-ups that are resources ---- */
void ior__dial_step(struct ior_resource *res);
void ior__dial_free(struct ior__dial *dial);
/* The stream ends: what it waits for is called off, and comes to `error` (0: nobody knows). */
void ior__dial_call_off(struct ior_resource *res, int error);

/* Binds; a stale Unix socket file (of a socket of that type) is removed first, if it is the one that was looked at. */
int ior__bind(const struct ior_os *os, int fd, const struct ior_addr *addr, const char *path, int type);
/* What bind made gets its mode (0: as it is), and is told by its numbers from what others put there. On failure gone. */
int ior__path_bound(const struct ior_os *os, const char *path, unsigned mode, uint64_t *ret_dev, uint64_t *ret_ino);
/* Removes a Unix socket file, if it is still that one. */
void ior__path_remove(const struct ior_os *os, const char *path, uint64_t dev, uint64_t ino);

/* All that a stream holds but its own memory. */
void ior__stream_deinit(struct ior__stream *stream);

/* serial.c. Before the settings that were found are put back, what the device has not sent yet may be dropped. */
void ior__serial_restore(struct ior_resource *res, bool drop_queued);
/* Whether the device has still to send what was written; if so, it will be asked again. */
bool ior__serial_sends(struct ior_resource *res);

/* Registers a stream that was handed back. */
int ior__stream_enter(struct ior_context *cx, struct ior_resource *res, ior_id *ret_id);
uint64_t ior__stream_discarded(const struct ior_resource *res);

#endif
