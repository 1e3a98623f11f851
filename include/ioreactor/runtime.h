/* SPDX-License-Identifier: Apache-2.0 */
/* A runtime: the loop, in the caller's thread. */
#ifndef IOREACTOR_RUNTIME_H
#define IOREACTOR_RUNTIME_H

#include <pthread.h>
#include <ioreactor/handler.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ior_runtime;
struct ior_engine_ops;
struct ior_os;

/* Zero means the default for every member; NULL for the whole struct means all defaults. */
struct ior_config {
    uint32_t struct_size; /* sizeof(struct ior_config) */
    uint32_t reserved;
    const char *engine; /* "uring", "epoll", "poll"; NULL: the first that works (docs/engines.md) */
    const struct ior_engine_ops *engine_ops; /* an engine of your own; `engine` must be NULL then */
    void *engine_arg;                        /* for it; "uring": NULL or a struct ior_uring_options */
    const struct ior_os *os; /* system calls of your own, outliving what is made with them; NULL: the real ones */
    uint32_t max_resources;  /* registered at once; default and most: 2^24 - 2 */
    uint32_t max_timers;     /* armed at once; default and most: 2^24 - 2 */
    uint32_t read_bytes;     /* the buffer data events are read into; default 65536, 512 to 2^31 - 1 */
    /* Budgets: what one turn does at most. The rest is served in the next turn, without waiting. */
    uint32_t records;  /* events taken from the engine; default 256, at most 65536 */
    uint32_t accepts;  /* connections from each listener; default 64 */
    uint32_t reads;    /* reads from each resource; default 4 */
    uint32_t commands; /* from each controller's queue; default 1024 */
    uint32_t timers;   /* timers and deadlines; default 1024 */
    uint32_t reserved2;
    size_t output_cap_bytes; /* memory of all queued output of the runtime; default 256 MiB, at least 64 KiB */
    const char *thread_name; /* reactors only: pthread_setname_np, at most 15 bytes, else -EINVAL */
    const pthread_attr_t *thread_attr; /* reactors only: for pthread_create; joinable */
    uint32_t job_threads;              /* of each lane of jobs, made when they are needed; default 4, at most 1024 */
    uint32_t job_queue;                /* jobs that wait in each lane; default 1024 */
    /*
     * What does reads, writes and syncs of files: "threads", the default, or "uring", a ring of io_uring beside the
     * engine (Linux 6.1; where that cannot be had, or with system calls of your own for files, threads as well, said
     * in the log). It is faster for what the page cache has. But the exit of a thread that has turned the runtime then
     * waits, in the kernel, for calls on files that hang, also when the runtime is freed: docs/resources.md.
     */
    const char *files;
};

/*
 * Makes a runtime with its first service. Requests can be made through ior_runtime_context before it runs. It
 * belongs to the thread that last called this, ior_runtime_run or ior_runtime_turn.
 * Errors: -EINVAL (a bad config; nothing was made), -ENOMEM, -EMFILE, -ENOSYS (no such engine in this build),
 * or why the named engine could not be opened.
 */
IOR_API int ior_runtime_new(const struct ior_config *config, const struct ior_handler *handler, void *self,
                            struct ior_runtime **ret);

/* The first service's place, and the name of the engine ("uring"). */
IOR_API struct ior_context *ior_runtime_context(struct ior_runtime *rt);
IOR_API const char *ior_runtime_engine(struct ior_runtime *rt);

/* Turns until the shutdown is over. Answers 0, or what a start answered. -EBUSY from inside a callback. */
IOR_API int ior_runtime_run(struct ior_runtime *rt);

/*
 * One turn: waits at most wait_ns (0: not at all) for something to do, and does a bounded amount of it. Answers 1 while
 * the runtime lives, 0 once its shutdown is over, -errno as ior_runtime_run.
 */
IOR_API int ior_runtime_turn(struct ior_runtime *rt, uint64_t wait_ns);

/*
 * For a foreign loop: an fd that is readable when ior_runtime_turn(rt, 0) has something to do, and the monotonic time
 * at which it should be called at the latest (0: now, IOR_NEVER: only when the fd is readable). Ask for the deadline
 * after each turn and after requests. -ENOTSUP where the engine has no such fd (poll).
 */
IOR_API int ior_runtime_fd(struct ior_runtime *rt);
IOR_API uint64_t ior_runtime_deadline(struct ior_runtime *rt);

/*
 * Frees the runtime. What has not ended yet ends now, as in a shutdown without time: `stop`, END and handover are
 * called from here. (A write to a file that is under way is waited for, at most a second: <ioreactor/file.h>.) Not from
 * inside a callback (does nothing but log then). After fork the child may call this alone: it frees memory (releasing
 * wrapped buffers) and closes fds, calls no callback of a service, and leaves the parent's epoll set and waker alone.
 * NULL is ignored.
 */
IOR_API void ior_runtime_free(struct ior_runtime *rt);

/* What a runtime has done and holds; for tests, logs and meters. Filled up to struct_size. */
struct ior_stats {
    uint32_t struct_size; /* sizeof(struct ior_stats) */
    uint32_t resources;   /* registered now */
    uint64_t turns;
    uint64_t records;       /* taken from the engine */
    uint64_t stale_records; /* dropped: their resource had ended */
    uint64_t rebuilds;      /* of the engine's set, because of fds closed by others */
    uint64_t wakes;         /* sent to the engine by controllers */
    uint64_t commands;      /* delivered */
    uint64_t timers_fired;
    uint64_t output_bytes; /* memory of all queued output now */
    uint64_t timers;       /* armed now, deadlines of resources included */
    uint64_t jobs;         /* submitted, and not completed yet */
    uint64_t job_threads;  /* that exist now */
    uint64_t ring_calls;   /* on files, that were given to io_uring: config.files */
};
IOR_API int ior_runtime_stats(struct ior_runtime *rt, struct ior_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
