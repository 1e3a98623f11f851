/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs inside the library, see jobs.c and job_threads.c. */
#ifndef IOR_SRC_JOBS_H
#define IOR_SRC_JOBS_H

#include "core.h"

struct ior__file_ring;

/* ior_job.bits: the loop's. */
enum {
    IOR__JOB_BUSY = 1,      /* submitted, not completed */
    IOR__JOB_TASK = 2,      /* a struct ior__task: no id, no event */
    IOR__JOB_ABANDONED = 4, /* nobody waits for it: `drop` when it comes back */
};

/* ior_job.state: under the pool's mutex. */
enum {
    IOR__JOB_QUEUED = 1,
    IOR__JOB_RUNNING = 2,
    IOR__JOB_DONE = 3, /* on its way back to the loop */
};

/*
 * The library's own jobs. `done` is called from the loop in the place of an event; `job.drop` must be set and frees the
 * task: it is called, from the loop or (the runtime is gone) on a worker's thread, after ior__task_abandon. A task is
 * not cancelled by a shutdown: it is its owner, a resource, that must have done with it, or abandon it, when it ends.
 */
struct ior__task {
    struct ior_job job;
    void (*done)(struct ior__task *task);
};

/*
 * As ior_job_submit, but for id and event; also in a shutdown. Without `bounded` it is taken whatever the queue holds:
 * for owners that have one task at a time, and are bounded themselves.
 */
int ior__task_submit(struct ior_context *cx, unsigned lane, struct ior__task *task, bool bounded);

/* Sees to it that the lane has a thread: then tasks can be submitted without `bounded`, and do not fail. */
int ior__task_prepare(struct ior_context *cx, unsigned lane);

/* Takes back and forgets a task that no thread has begun. False: one has, and it is done, or will be. Loop's thread. */
bool ior__task_recall(struct ior__task *task);

/* The owner forgets a task that was submitted and is not done. Never calls back. Loop's thread. */
void ior__task_abandon(struct ior__task *task);

/* ---- the pool: job_threads.c ---- */

struct ior__worker {
    struct ior__worker *next;
    struct ior__pool *pool;
    struct ior__lane *lane;
    struct ior_job *job; /* that runs; under the mutex */
    pthread_t thread;
    bool orphan; /* the runtime is gone: nobody joins it; under the mutex */
};

struct ior__lane {
    pthread_cond_t work;
    struct ior_job *first, *last;
    uint32_t queued, idle; /* jobs that wait, threads that wait */
    /* the loop's */
    struct ior__worker *workers;
    uint32_t queue_max, threads, threads_max;
};

struct ior__pool {
    pthread_mutex_t mutex;
    pthread_cond_t returned; /* somebody sent a job back while `awaited` */
    bool awaited, closing;
    _Atomic uint32_t refs;      /* the runtime's, and one for each orphan */
    struct ior_controller *ctl; /* jobs that come back */
    const struct ior_os *os;
    struct ior__slots slots;     /* the loop's: id -> job */
    struct ior__file_ring *ring; /* the loop's: does what else the lane of files would do; NULL: none yet */
    uint64_t ring_calls;         /* that it was given */
    struct ior__lane lanes[IOR_LANES];
};

struct ior__pool *ior__pool_new(struct ior_runtime *rt);
/* A thread for one job more, where one is needed and allowed. -errno: the lane has none. */
int ior__pool_thread(struct ior__pool *pool, struct ior__lane *lane);
/* Under the mutex: puts a job into its lane, or takes out one that has not begun. */
void ior__lane_add(struct ior__lane *lane, struct ior_job *job);
void ior__lane_remove(struct ior__lane *lane, struct ior_job *job);
/* Sends a job back to the loop. Any thread. */
void ior__pool_return(struct ior__pool *pool, struct ior_job *job);
/* Waits until a job has come back. */
void ior__pool_wait(struct ior__pool *pool);
/* Joins all threads but those that are in the midst of work: they free themselves, and the last one the pool. */
void ior__pool_free(struct ior__pool *pool, bool in_child);

/* ---- the loop: jobs.c ---- */

/* Whether jobs have come back. */
bool ior__jobs_ready(const struct ior_runtime *rt);
/* For ior_runtime_stats; adds to `wakes`. */
void ior__jobs_stats(const struct ior_runtime *rt, uint64_t *wakes, uint64_t *jobs, uint64_t *threads,
                     uint64_t *ring_calls);
/* The engine's set was emptied. */
void ior__jobs_rewatch(struct ior_runtime *rt);
/* Step 4: completions, a bounded batch. */
void ior__jobs_serve(struct ior_runtime *rt);
/* A service stops: what has not begun is cancelled. */
void ior__jobs_stop(struct ior_context *cx);
/* Its time is over: what runs is abandoned, where it can be. */
void ior__jobs_abandon(struct ior_context *cx);
void ior__jobs_free(struct ior_runtime *rt, bool in_child);

#endif
