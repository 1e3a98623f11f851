/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads that do jobs. One mutex guards all lanes, and is held for a few instructions at a time: to put a job into
 * a queue, to take one out, to note that it returned. Jobs come back through a queue of commands (controller.c): without
 * a lock, with one wake for a batch, and with its rule for when the engine may be closed.
 *
 * Threads are made one at a time, when a job comes that no waiting thread will take, and stay until the runtime is
 * freed. They are joined then; but for one that is stuck in its work: it is left behind as an orphan, which finds out
 * when the work returns, drops the job, and frees itself. The last orphan frees the pool. So the end of a runtime never
 * waits for work that can be abandoned, and nothing is used after it was freed.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "jobs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "controller.h"

/* ---- queues ---- */

void ior__lane_add(struct ior__lane *lane, struct ior_job *job)
{
    job->state = IOR__JOB_QUEUED;
    job->next = NULL;
    job->previous = lane->last;
    if (lane->last)
        lane->last->next = job;
    else
        lane->first = job;
    lane->last = job;
    lane->queued++;
    if (lane->idle > 0)
        pthread_cond_signal(&lane->work);
}

void ior__lane_remove(struct ior__lane *lane, struct ior_job *job)
{
    if (job->previous)
        job->previous->next = job->next;
    else
        lane->first = job->next;
    if (job->next)
        job->next->previous = job->previous;
    else
        lane->last = job->previous;
    job->next = job->previous = NULL;
    lane->queued--;
}

void ior__pool_return(struct ior__pool *pool, struct ior_job *job)
{
    (void)ior_controller_send(pool->ctl, &job->command); /* it is closed when all threads are gone */
}

void ior__pool_wait(struct ior__pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pool->awaited = true;
    while (ior__controller_idle(pool->ctl))
        pthread_cond_wait(&pool->returned, &pool->mutex);
    pool->awaited = false;
    pthread_mutex_unlock(&pool->mutex);
}

/* ---- threads ---- */

static void pool_unref(struct ior__pool *pool)
{
    if (atomic_fetch_sub_explicit(&pool->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (unsigned i = 0; i < IOR_LANES; i++)
        pthread_cond_destroy(&pool->lanes[i].work);
    pthread_cond_destroy(&pool->returned);
    pthread_mutex_destroy(&pool->mutex);
    ior__free(pool, sizeof(*pool));
}

/* The thread's name: "ior-files", "ior-names", "ior-job2" ... */
static void set_name(unsigned lane)
{
    char name[16] = "ior-files";
    if (lane == IOR_LANE_NAMES)
        memcpy(name, "ior-names", sizeof("ior-names"));
    else if (lane != IOR_LANE_FILES)
        (void)snprintf(name, sizeof(name), "ior-job%u", lane % 1000u);
#if defined(__APPLE__)
    pthread_setname_np(name);
#elif defined(__linux__)
    pthread_setname_np(pthread_self(), name);
#endif
}

/* Does one job, outside the mutex. Answers whether the thread was orphaned meanwhile. */
static bool do_job(struct ior__worker *worker, struct ior_job *job)
{
    struct ior__pool *pool = worker->pool;
    ior__lane_remove(worker->lane, job);
    job->state = IOR__JOB_RUNNING;
    worker->job = job;
    pthread_mutex_unlock(&pool->mutex);
    int status = job->work(job);
    pthread_mutex_lock(&pool->mutex);
    bool orphan = worker->orphan;
    worker->job = NULL;
    job->status = status;
    job->state = IOR__JOB_DONE;
    pthread_mutex_unlock(&pool->mutex);
    if (orphan)
        job->drop(job);
    else
        ior__pool_return(pool, job);
    pthread_mutex_lock(&pool->mutex);
    if (pool->awaited)
        pthread_cond_signal(&pool->returned);
    return orphan;
}

static void *worker_main(void *arg)
{
    struct ior__worker *worker = arg;
    struct ior__pool *pool = worker->pool;
    struct ior__lane *lane = worker->lane;
    bool orphan = false;
    set_name((unsigned)(lane - pool->lanes));
    pthread_mutex_lock(&pool->mutex);
    while (!orphan) {
        if (lane->first) {
            orphan = do_job(worker, lane->first);
        } else if (pool->closing) {
            break;
        } else {
            lane->idle++;
            pthread_cond_wait(&lane->work, &pool->mutex);
            lane->idle--;
        }
    }
    pthread_mutex_unlock(&pool->mutex);
    if (orphan) {
        ior__free(worker, sizeof(*worker));
        pool_unref(pool);
    }
    return NULL;
}

static int start_worker(struct ior__pool *pool, struct ior__lane *lane)
{
    struct ior__worker *worker = ior__calloc(sizeof(*worker));
    if (!worker)
        return -ENOMEM;
    worker->pool = pool;
    worker->lane = lane;
    int err = pool->os->blocking->thread(pool->os->arg, &worker->thread, worker_main, worker);
    if (err < 0) {
        ior__log(IOR_LOG_WARN, "no thread for jobs: %s", ior_strerror(err));
        ior__free(worker, sizeof(*worker));
        return err;
    }
    worker->next = lane->workers;
    lane->workers = worker;
    lane->threads++;
    return 0;
}

int ior__pool_thread(struct ior__pool *pool, struct ior__lane *lane)
{
    pthread_mutex_lock(&pool->mutex);
    bool enough = lane->idle > lane->queued;
    pthread_mutex_unlock(&pool->mutex);
    if (enough || lane->threads >= lane->threads_max)
        return 0;
    int err = start_worker(pool, lane);
    return lane->threads > 0 ? 0 : err; /* those that are there will do */
}

/* ---- the pool ---- */

static void wake_runtime(void *arg)
{
    struct ior_runtime *rt = arg;
    (void)rt->engine_ops->wake(rt->engine); /* the job is queued either way */
}

struct ior__pool *ior__pool_new(struct ior_runtime *rt)
{
    struct ior__pool *pool = ior__calloc(sizeof(*pool));
    if (!pool)
        return NULL;
    pool->ctl = ior__controller_new(wake_runtime, rt);
    if (!pool->ctl) {
        ior__free(pool, sizeof(*pool));
        return NULL;
    }
    atomic_init(&pool->refs, 1);
    pool->os = rt->os;
    ior__slots_init(&pool->slots, IOR__SLOT_MAX);
    /* Neither allocates, nor can it fail, on the systems this runs on. */
    (void)pthread_mutex_init(&pool->mutex, NULL);
    (void)pthread_cond_init(&pool->returned, NULL);
    for (unsigned i = 0; i < IOR_LANES; i++) {
        (void)pthread_cond_init(&pool->lanes[i].work, NULL);
        pool->lanes[i].threads_max = rt->job_threads;
        pool->lanes[i].queue_max = rt->job_queue;
    }
    return pool;
}

/* Joins the lane's threads, or leaves them behind. */
static void lane_close(struct ior__pool *pool, struct ior__lane *lane)
{
    while (lane->workers) {
        struct ior__worker *worker = lane->workers;
        pthread_t thread = worker->thread;
        lane->workers = worker->next;
        pthread_mutex_lock(&pool->mutex);
        bool orphan = worker->job != NULL;
        worker->orphan = orphan;
        if (orphan)
            atomic_fetch_add_explicit(&pool->refs, 1, memory_order_relaxed);
        pthread_mutex_unlock(&pool->mutex);
        if (orphan) {
            pthread_detach(thread);
        } else {
            pthread_join(thread, NULL);
            ior__free(worker, sizeof(*worker));
        }
    }
}

/* In a forked child there are no other threads; what state they left the mutex and the queues in is unknown. */
static void free_in_child(struct ior__pool *pool)
{
    for (unsigned i = 0; i < IOR_LANES; i++) {
        while (pool->lanes[i].workers) {
            struct ior__worker *worker = pool->lanes[i].workers;
            pool->lanes[i].workers = worker->next;
            ior__free(worker, sizeof(*worker));
        }
    }
    ior__slots_deinit(&pool->slots);
    ior_controller_unref(pool->ctl);
    ior__free(pool, sizeof(*pool));
}

void ior__pool_free(struct ior__pool *pool, bool in_child)
{
    if (in_child) {
        free_in_child(pool);
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    pool->closing = true;
    for (unsigned i = 0; i < IOR_LANES; i++)
        pthread_cond_broadcast(&pool->lanes[i].work);
    pthread_mutex_unlock(&pool->mutex);
    for (unsigned i = 0; i < IOR_LANES; i++)
        lane_close(pool, &pool->lanes[i]);
    ior__slots_deinit(&pool->slots);
    struct ior_command *command;
    ior__controller_close(pool->ctl);
    while ((command = ior__controller_take(pool->ctl)) != NULL) {
        struct ior_job *job = IOR_CONTAINER(command, struct ior_job, command);
        job->drop(job); /* all that came back so late was abandoned */
    }
    ior__controller_gone(pool->ctl);
    ior_controller_unref(pool->ctl);
    pool_unref(pool);
}
