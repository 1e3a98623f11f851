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

#include <ioreactor/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ior_os;

/* One thing that happened: what of IOR_READ, IOR_WRITE, IOR_HUP, IOR_ERR, IOR_BAD holds for `id`. */
struct ior_record {
    ior_id id;
    uint32_t what;
    int32_t result;    /* of finished work only */
    const void *bytes; /* of finished work only */
};

/* What an engine can do. */
enum {
    IOR_ENGINE_HAS_FD = 1,  /* `fd` gives an fd a foreign loop can poll */
    IOR_ENGINE_DOES_IO = 2, /* reserved: records of finished work */
};

struct ior_engine_config {
    const struct ior_os *os; /* for its clock */
    uint32_t max_records;    /* the most one wait is asked for */
    void *arg;               /* config.engine_arg */
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
