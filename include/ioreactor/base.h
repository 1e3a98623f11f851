/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scalars, flags, errors, and the two process-wide hooks (log and allocator), which are the library's only global
 * state; but where signals need handlers, these have some (signal.h).
 */
#ifndef IOREACTOR_BASE_H
#define IOREACTOR_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <ioreactor/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The identity of a resource or a timer: unique in the life of one runtime, never reused, never 0. The upper 24 bits
 * are a slot, the next 36 its generation; the 4 low bits are always zero (engines use them to mark kinds of operation).
 */
typedef uint64_t ior_id;
typedef uint64_t ior_timer_id;

/*
 * What happened to an fd, and what is wanted of it: a set. HUP and ERR are always told and need not be asked for. The
 * values are those that poll(2) has for the same on every known system, so that engines need not translate.
 */
enum {
    IOR_NONE = 0,
    IOR_READ = 1,  /* readable, or a connection can be accepted */
    IOR_WRITE = 4, /* writable, or a connect has a result */
    IOR_ERR = 8,   /* the fd has an error pending */
    IOR_HUP = 16,  /* both directions are shut */
    IOR_BAD = 32,  /* the fd is not open (somebody else closed it) */
};

/*
 * Names a set of the flags above, for logs: "read|write", "none". The string is static. Unknown bits are left out.
 * Any thread.
 */
IOR_API const char *ior_io_name(unsigned io);

/* The set with read and write exchanged for their complements: what of {read, write} is not in `io`. */
static inline unsigned ior_io_negate(unsigned io)
{
    return ~io & (IOR_READ | IOR_WRITE);
}

static inline bool ior_io_is_none(unsigned io)
{
    return (io & (IOR_READ | IOR_WRITE)) == 0;
}

static inline bool ior_io_is_read_only(unsigned io)
{
    return (io & (IOR_READ | IOR_WRITE)) == IOR_READ;
}

static inline bool ior_io_is_write_only(unsigned io)
{
    return (io & (IOR_READ | IOR_WRITE)) == IOR_WRITE;
}

static inline bool ior_io_is_read_write(unsigned io)
{
    return (io & (IOR_READ | IOR_WRITE)) == (IOR_READ | IOR_WRITE);
}

/*
 * Describes an errno value of either sign in English, as the library means it. The string is static; an unknown value
 * gives "unknown error". Any thread.
 */
IOR_API const char *ior_strerror(int err);

/* The symbolic name of an errno value of either sign: "ECONNRESET"; "0" for 0; "E?" for an unknown one. Any thread. */
IOR_API const char *ior_errname(int err);

enum ior_log_level {
    IOR_LOG_NONE = 0,
    IOR_LOG_ERROR = 1, /* the library had to give something up */
    IOR_LOG_WARN = 2,  /* something is off and was worked around */
    IOR_LOG_INFO = 3,  /* once in a life: which engine was chosen, start, stop */
    IOR_LOG_DEBUG = 4, /* each resource that comes and goes */
    IOR_LOG_TRACE = 5, /* each turn */
};

/*
 * Sets the process's log hook: `fn(arg, level, line)` is called with each line (no newline at its end) whose level is
 * at most `level`; NULL or IOR_LOG_NONE turns logging off (the default). The hook may be called from any thread that
 * uses the library, in the midst of its work: it must not call the library. Set it before runtimes exist: it is not
 * synchronised with running ones.
 */
IOR_API void ior_set_log(void (*fn)(void *arg, int level, const char *line), void *arg, int level);

/*
 * Replaces the process's allocator. `fn(arg, old, old_len, len)` acts as realloc: `old` is NULL for a new block, `len`
 * is 0 to free (its result is ignored then); else it returns a block aligned for any type, or NULL (the request
 * answers -ENOMEM and nothing has changed). NULL as fn brings back malloc. The hook is called from every thread that
 * uses the library, also concurrently. Answers 0, or -EBUSY while any block of the old allocator is still in use.
 */
IOR_API int ior_set_alloc(void *(*fn)(void *arg, void *old, size_t old_len, size_t len), void *arg);

#ifdef __cplusplus
}
#endif
#endif
