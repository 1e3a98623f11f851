/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs: work that blocks (a library without callbacks, a slow disk, a long computation), done on threads of the
 * runtime's own and told as an event. The threads are made when the first job comes, block all signals, and sleep
 * without a wake while there is nothing to do. Each lane has its own threads and its own bounded queue, so that slow
 * work of one sort never starves another.
 */
#ifndef IOREACTOR_JOB_H
#define IOREACTOR_JOB_H

#include <ioreactor/base.h>
#include <ioreactor/controller.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ior_context;

/* The identity of a job: unique among the jobs of one runtime, never 0. */
typedef uint64_t ior_job_id;

/* Lanes are numbered from 0. Jobs of one lane begin in the order in which they were submitted. */
enum ior_lane {
    IOR_LANE_FILES = 0, /* where regular files are read and written */
    IOR_LANE_NAMES = 1, /* where names are looked up */
    IOR_LANE_USER = 2,  /* from here on: the program's own */
    IOR_LANES = 8,      /* how many there are */
};

#define IOR_JOB_THREADS_DEFAULT 4u
#define IOR_JOB_QUEUE_DEFAULT 1024u

/*
 * Embed it in your own job; zero it, then set what you use. From ior_job_submit until its one completion it belongs to
 * the runtime and must stay where it is. The completion of a job is IOR_EV_JOB; or, where its service was stopped and
 * the time of the shutdown was over before `work` returned, a call of `drop`.
 */
struct ior_job {
    ior_job_id id; /* set by ior_job_submit; the library's */
    /*
     * The work. Called on a thread of the lane, where it may block; it must not call requests. What it answers becomes
     * the status: 0 or a count, or -errno.
     */
    int (*work)(struct ior_job *job);
    /*
     * Frees a job that outlived its service: called when `work` has returned, from the loop, or on the job's thread
     * where the runtime is gone by then; so with `drop`, `work` must use only what the job itself owns. NULL: the
     * shutdown waits until `work` returns, for as long as that takes. It must not call requests.
     */
    void (*drop)(struct ior_job *job);
    void *user; /* comes with the event */
    int status; /* what work answered; -ECANCELED: it was cancelled before it began */
    /* The rest belongs to the library. */
    uint32_t bits;
    struct ior_context *cx;
    struct ior_job *next, *previous;
    struct ior_command command;
    uint32_t state;
    uint32_t cancelled;
    uint32_t lane;
    uint32_t reserved;
};

/*
 * Queues a job. Exactly one completion follows, from the loop, never inside a request. Errors: -EAGAIN (the lane's
 * queue is full, or the system has no thread for a lane without one: nothing happened, the job is the caller's),
 * -EBUSY (it is submitted already), -ESHUTDOWN, -ENOMEM, -ENOSPC (2^24 jobs), -ENOSYS (the runtime's struct ior_os has
 * no threads: a simulation), -EINVAL (no such lane, no work).
 */
IOR_API int ior_job_submit(struct ior_context *cx, unsigned lane, struct ior_job *job, ior_job_id *ret_id);

/*
 * Cancels a job. 0: it had not begun, and will not; its completion, with -ECANCELED, comes from the loop. 1: it is
 * running: ior_job_cancelled says so to `work`, whose return completes it as ever. -EALREADY: it was cancelled before,
 * or it has returned, and only its completion is to come. -ENOENT: it was completed. -EACCES: another service's.
 */
IOR_API int ior_job_cancel(struct ior_context *cx, ior_job_id id);

/* Whether the job should stop early: ior_job_cancel was asked, or a shutdown's time is over. For `work`; any thread. */
IOR_API bool ior_job_cancelled(const struct ior_job *job);

/*
 * Changes the limits of one lane (defaults: config.job_threads, config.job_queue). 0 leaves a limit as it is; threads
 * that exist stay. Errors: -EINVAL (no such lane, more than 1024 threads), -ENOMEM, -ENOSYS.
 */
IOR_API int ior_job_lane(struct ior_context *cx, unsigned lane, uint32_t threads, uint32_t queue);

#ifdef __cplusplus
}
#endif
#endif
