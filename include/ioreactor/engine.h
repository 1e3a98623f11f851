/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine contract: how a runtime waits. An engine fills an array of records and never calls user code.
 *
 *  - Level-triggered: a condition that is watched and still holds is told again by the next wait.
 *  - One record for an fd in one wait, with all that is known of it (read and write merged). HUP and ERR are always
 *    told for a watched fd, whatever its interest.
 *  - The id is opaque: the engine gives it back as it was. An unwatched fd gives no record from a later wait; records
 *    of the same wait may still carry its id, the runtime drops them.
 *  - wake may come from any thread and from signal handlers, at any time between open and close; a wait that is under
 *    way, or else the next one, returns. Any number of wakes may be answered by one return; none is lost.
 *  - All other calls come from the loop's thread. Answers are 0 or a count, else -errno.
 */
#ifndef IOREACTOR_ENGINE_H
#define IOREACTOR_ENGINE_H

#include <sys/uio.h>
#include <ioreactor/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ior_os;

/* One thing that happened: what of IOR_READ, IOR_WRITE, IOR_HUP, IOR_ERR, IOR_BAD holds for `id`. */
struct ior_record {
    ior_id id;
    uint32_t what;
    uint32_t reserved; /* 0 */
};

/* What an engine can do. */
enum {
    IOR_ENGINE_HAS_FD = 1,  /* `fd` gives an fd a foreign loop can poll */
    IOR_ENGINE_DOES_IO = 2, /* it accepts, receives and sends: the calls at the end of the table are there */
};

/*
 * Parts of an interest, with IOR_ENGINE_DOES_IO only: what the engine does for this fd, where IOR_READ asks for it. At
 * most one of them. They may come with a rewatch (a connecting stream is watched for IOR_WRITE first).
 */
enum {
    IOR_RECEIVES = 64, /* a connected stream socket: IOR_READ is told when `recv` has bytes, the end or an error */
    IOR_ACCEPTS = 128, /* a listening socket: IOR_READ is told when `accept` has a connection or an error */
};

struct ior_engine_config {
    const struct ior_os *os; /* for its clock */
    uint32_t max_records;    /* the most one wait is asked for */
    void *arg;               /* config.engine_arg */
    bool unasked; /* nobody named it: where others do better it may answer -EOPNOTSUPP, and the next one is tried */
};

struct ior_engine_ops {
    uint32_t struct_size; /* sizeof(struct ior_engine_ops) */
    uint32_t features;    /* IOR_ENGINE_... */
    const char *name;
    /* Opens an engine with an empty set. */
    int (*open)(const struct ior_engine_config *config, void **ret_engine);
    /* Frees it. in_child: after fork, in the child: fds are closed, the shared kernel objects are not changed. */
    void (*close)(void *engine, bool in_child);
    /*
     * Adds an fd that is not in the set. -EEXIST: it is; -EBADF: not open; -EPERM: it can't be waited for (it is always
     * ready: the runtime serves it without the engine). interest: IOR_READ, IOR_WRITE, both, or 0 (only HUP and ERR).
     */
    int (*watch)(void *engine, int fd, ior_id id, unsigned interest);
    /* Changes the interest of an fd that is in the set. -ENOENT, -EBADF: somebody else closed it. */
    int (*rewatch)(void *engine, int fd, ior_id id, unsigned interest);
    /*
     * Takes an fd out of the set. -ENOENT, -EBADF: somebody else closed it; a duplicate may still report: see rebuild.
     */
    int (*unwatch)(void *engine, int fd, ior_id id);
    /*
     * Waits until something happens, a wake, or the deadline (absolute, on the clock of config.os; 0: do not wait;
     * IOR_NEVER: no deadline), never returning before the deadline for the deadline's sake. Fills at most `max` records
     * and answers their number; an interrupted wait (EINTR) answers 0. More than `max` ready: the rest must get their
     * turn in later waits.
     */
    int (*wait)(void *engine, struct ior_record *records, int max, uint64_t deadline_ns);
    /* Makes wait return. Thread-safe and async-signal-safe; errno is kept. */
    int (*wake)(void *engine);
    /* Empties the set: the runtime watches everything anew. Where somebody closed fds that a duplicate keeps alive. */
    int (*rebuild)(void *engine);
    /* With IOR_ENGINE_HAS_FD: readable when wait has something to tell. */
    int (*fd)(void *engine);

    /*
     * The rest is with IOR_ENGINE_DOES_IO only. Finished work is readiness with the work already done: the engine
     * receives and accepts on its own while an fd is watched with IOR_READ and IOR_RECEIVES or IOR_ACCEPTS, keeps what
     * came, and tells IOR_READ in each wait until it was taken. What it keeps belongs to the id: it stays over unwatch,
     * rebuild and a watch of the same id, and is dropped where another id is watched under the same number. Before
     * unwatch or a rebuild returns, the engine has stopped: nothing that comes later is taken from the fd.
     */

    /*
     * Takes what was received, in order: how many bytes; 0: the end; -EAGAIN: no more now; else -errno, once (after
     * that, receiving goes on where it is still asked for).
     */
    ssize_t (*recv)(void *engine, int fd, ior_id id, void *bytes, size_t len);
    /* Takes a connection: its fd (non-blocking, close-on-exec, not 0, 1 or 2); -EAGAIN: no more now; else -errno. */
    int (*accept)(void *engine, int fd, ior_id id);
    /*
     * Begins to write, without blocking and without SIGPIPE; one at a time for an id. The bytes must stay where they
     * are (`iov` need not) until `sent` is asked. It is done by the end of the next wait or flush; wait does not return
     * for its sake where all bytes were written, but does where they were not. 0; 1: it is done already, `sent` tells
     * now; or -errno: nothing was begun.
     */
    int (*send)(void *engine, int fd, ior_id id, const struct iovec *iov, int n);
    /* What the send came to: how many bytes, or -errno (-EAGAIN: none now). Asked once; does it now if need be. */
    ssize_t (*sent)(void *engine, int fd, ior_id id);
    /* Hands the kernel what waits to be handed over, without waiting: the loop goes back to a foreign one. */
    int (*flush)(void *engine);
    /* May be NULL. All calls but wake will come from this thread from now on (ior_runtime_run). */
    void (*stay)(void *engine);
};

/* The built-in engines, in the order of preference; NULL past the last. Static. Any thread. */
IOR_API const struct ior_engine_ops *ior_engine_at(unsigned index);

/* The built-in engine of that name; NULL: none in this build. Any thread. */
IOR_API const struct ior_engine_ops *ior_engine_named(const char *name);

/*
 * A helper for programs: the value of the environment variable IOR_ENGINE, or NULL where it is unset or empty. The
 * library itself never reads the environment.
 */
IOR_API const char *ior_engine_from_env(void);

#ifdef __cplusplus
}
#endif
#endif
