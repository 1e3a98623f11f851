/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resources: anything with an fd. The built-in kinds come from requests; a user's own kind embeds struct ior_resource
 * as (the first part of) its own struct, sets `ops`, `fd` and `user` with ior_resource_init, and is registered with
 * ior_register. The base is frozen: its size and layout do not change within a major version.
 */
#ifndef IOREACTOR_RESOURCE_H
#define IOREACTOR_RESOURCE_H

#include <sys/uio.h>
#include <ioreactor/event.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ior_resource;
struct ior_context;
struct ior_emit;

enum {
    IOR_IO_DONE = 0, /* all that was ready is consumed, or the engine will tell again */
    IOR_IO_MORE = 1, /* there is more: call again in the next turn, without waiting for the engine */
};

/* A kind of resource. Const and shared by all of its resources. The calls come from the loop. */
struct ior_resource_ops {
    uint32_t struct_size; /* sizeof(struct ior_resource_ops) */
    bool listener;        /* its events go to handler.listener, else to handler.transport */
    const char *name;     /* for logs */
    /*
     * What to wait for: IOR_READ, IOR_WRITE, both or none. Asked again only after the resource was touched (registered,
     * handle_io, write, resume, ior_touch). Waiting to write queued output is the runtime's own affair.
     */
    unsigned (*interests)(struct ior_resource *res);
    /*
     * The fd is ready: do the I/O and emit any number of events. Answers IOR_IO_DONE or IOR_IO_MORE, or -errno: the
     * resource ends with that error. HUP and ERR come along when the engine saw them; once the end of input is
     * found (emit IOR_EV_EOF, or answer -errno), say so, or the resource is asked again and again.
     */
    int (*handle_io)(struct ior_resource *res, unsigned io, struct ior_emit *emit);
    /*
     * Writes without blocking: how many bytes were taken, or -errno (-EAGAIN: the runtime waits for IOR_WRITE). Called
     * at the end of a turn with what was sent. NULL: read-only.
     */
    ssize_t (*write)(struct ior_resource *res, const struct iovec *iov, int n);
    /*
     * Closes the fd and frees the resource. Called by the runtime where nobody takes the handover, or by
     * ior_resource_free.
     */
    void (*destroy)(struct ior_resource *res);
    const void *reserved; /* NULL: it is for the library's own kinds */
};

struct ior_resource {
    ior_id id; /* 0 while it is not registered */
    const struct ior_resource_ops *ops;
    void *user;
    int fd; /* -1 once it is closed */
    /* The rest belongs to the library. */
    uint32_t bits;
    struct ior_context *cx;
    struct ior_resource *next_work;
    void *output;
    void *deadlines;
    uint64_t written;
    int16_t error;
    uint8_t why;
    uint8_t finishes;
    uint8_t applied;
    uint8_t pending;
    uint16_t share;
};

/* Prepares the base of a user's own resource. Any thread. */
IOR_API void ior_resource_init(struct ior_resource *res, const struct ior_resource_ops *ops, int fd, void *user);

/*
 * From handle_io: tells the service an event; its id and user are filled in. A user's kind may emit OPEN, DATA, EOF,
 * READY and CUSTOM. Answers 0; -ECANCELED: the service ended the resource, return now; -EAGAIN: it is paused and the
 * event was not told: keep it, return, and emit it after the next handle_io; -EINVAL: not an event a kind may emit.
 * After EOF the resource ends as a stream without half_open does, once its queue is written.
 */
IOR_API int ior_emit(struct ior_emit *emit, const struct ior_event *ev);

/* The context and the system calls a user's own kind should use, so that it can be simulated. */
IOR_API struct ior_context *ior_resource_context(const struct ior_resource *res); /* NULL: not registered */

/* Asks for the resource's interests again at the end of the turn, where they changed outside handle_io and write. */
IOR_API int ior_touch(struct ior_context *cx, ior_id id);

/*
 * What a resource that was handed back still holds: the bytes accepted but not written, and the bytes read but given
 * back. Fills up to n pieces (a file range, whose bytes are not in memory, has iov_base NULL) and answers the whole
 * length in bytes; iov may be NULL with n 0. *ret_n (may be NULL) is the number of pieces that would be needed.
 */
IOR_API size_t ior_resource_unsent(const struct ior_resource *res, struct iovec *iov, int n, int *ret_n);
IOR_API size_t ior_resource_unread(const struct ior_resource *res, struct iovec *iov, int n, int *ret_n);

/*
 * Destroys a resource that is the caller's (handed back, taken, or never registered), with its fd and all it holds.
 * NULL does nothing; a registered one is left alone (it is the runtime's). Any thread.
 */
IOR_API void ior_resource_free(struct ior_resource *res);

/*
 * Takes the fd out of a built-in stream or listener that is the caller's, for use without the library, and frees the
 * rest; unsent and unread bytes are lost, so look for them first. Answers the fd, or -EBADF where it is closed already
 * (the rest is freed all the same), -EBUSY where it is registered, -EOPNOTSUPP for other kinds.
 */
IOR_API int ior_resource_release(struct ior_resource *res);

#ifdef __cplusplus
}
#endif
#endif
