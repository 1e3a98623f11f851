/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs as the loop sees them: submitted, cancelled, completed; and what a shutdown does to them.
 *
 * A job is at one place at a time: in its lane's queue, with a thread, or on its way back. Whoever takes it out of the
 * queue (a thread that begins, or the loop that cancels) does so under the mutex and sends it back exactly once; the
 * loop completes what comes back. So there is one completion for each submission, whatever raced.
 *
 * Abandoned jobs come back like others, and are dropped. Only those that run while the runtime is freed do not: their
 * threads drop them (job_threads.c).
 */
#include "jobs.h"

#include <errno.h>

#include "controller.h"
#include "resource/file_ring.h"

#define THREADS_MOST 1024u

static bool has_threads(const struct ior_os *os)
{
    return os->blocking && os->blocking->struct_size >= sizeof(*os->blocking) && os->blocking->thread;
}

/* The pool, made now where there is none. */
static int pool_of(struct ior_runtime *rt, struct ior__pool **ret)
{
    if (!has_threads(rt->os))
        return -ENOSYS;
    if (!rt->jobs)
        rt->jobs = ior__pool_new(rt);
    *ret = rt->jobs;
    return *ret ? 0 : -ENOMEM;
}

/* ---- submitting ---- */

static bool has_room(struct ior__pool *pool, const struct ior__lane *lane)
{
    pthread_mutex_lock(&pool->mutex);
    bool room = lane->queued < lane->queue_max;
    pthread_mutex_unlock(&pool->mutex);
    return room;
}

/* All that can fail, but for the id. */
static int prepare(struct ior_context *cx, unsigned lane, bool bounded, struct ior__pool **ret)
{
    int err = pool_of(cx->rt, ret);
    if (err < 0)
        return err;
    if (bounded && !has_room(*ret, &(*ret)->lanes[lane]))
        return -EAGAIN;
    return ior__pool_thread(*ret, &(*ret)->lanes[lane]);
}

static void enqueue(struct ior__pool *pool, struct ior_context *cx, unsigned lane, struct ior_job *job, uint32_t bits)
{
    job->status = 0;
    job->bits = bits;
    job->cx = cx;
    job->lane = lane;
    job->cancelled = 0;
    pthread_mutex_lock(&pool->mutex);
    ior__lane_add(&pool->lanes[lane], job);
    pthread_mutex_unlock(&pool->mutex);
}

int ior_job_submit(struct ior_context *cx, unsigned lane, struct ior_job *job, ior_job_id *ret_id)
{
    int err = ior__enter(cx);
    if (err < 0)
        return err;
    if (!job || !job->work || !ret_id || lane >= IOR_LANES)
        return -EINVAL;
    if (job->bits & IOR__JOB_BUSY)
        return -EBUSY;
    err = ior__may_register(cx);
    if (err < 0)
        return err;
    struct ior__pool *pool;
    err = prepare(cx, lane, true, &pool);
    if (err < 0)
        return err;
    err = ior__slots_add(&pool->slots, job);
    if (err < 0)
        return err;
    cx->jobs++;
    *ret_id = job->id;
    enqueue(pool, cx, lane, job, IOR__JOB_BUSY);
    return 0;
}

int ior__task_prepare(struct ior_context *cx, unsigned lane)
{
    struct ior__pool *pool;
    return prepare(cx, lane, false, &pool);
}

int ior__task_submit(struct ior_context *cx, unsigned lane, struct ior__task *task, bool bounded)
{
    struct ior__pool *pool;
    int err = prepare(cx, lane, bounded, &pool);
    if (err == 0)
        enqueue(pool, cx, lane, &task->job, IOR__JOB_BUSY | IOR__JOB_TASK);
    return err;
}

int ior_job_lane(struct ior_context *cx, unsigned lane, uint32_t threads, uint32_t queue)
{
    int err = ior__enter(cx);
    if (err < 0)
        return err;
    if (lane >= IOR_LANES || threads > THREADS_MOST)
        return -EINVAL;
    struct ior__pool *pool;
    err = pool_of(cx->rt, &pool);
    if (err < 0)
        return err;
    if (threads > 0)
        pool->lanes[lane].threads_max = threads;
    if (queue > 0)
        pool->lanes[lane].queue_max = queue;
    return 0;
}

/* ---- cancelling ---- */

bool ior_job_cancelled(const struct ior_job *job)
{
    return __atomic_load_n(&job->cancelled, __ATOMIC_RELAXED) != 0;
}

/* Takes a job that has not begun out of its lane, and sends it back. The state it was in before. */
static uint32_t withdraw(struct ior__pool *pool, struct ior_job *job)
{
    pthread_mutex_lock(&pool->mutex);
    uint32_t state = job->state;
    if (state == IOR__JOB_QUEUED) {
        ior__lane_remove(&pool->lanes[job->lane], job);
        job->state = IOR__JOB_DONE;
        job->status = -ECANCELED;
    }
    pthread_mutex_unlock(&pool->mutex);
    if (state == IOR__JOB_QUEUED)
        ior__pool_return(pool, job);
    return state;
}

int ior_job_cancel(struct ior_context *cx, ior_job_id id)
{
    int err = ior__enter(cx);
    if (err < 0)
        return err;
    struct ior__pool *pool = cx->rt->jobs;
    struct ior_job *job = pool ? ior__slots_find(&pool->slots, id) : NULL;
    if (!job)
        return -ENOENT;
    if (job->cx != cx)
        return -EACCES;
    if (__atomic_exchange_n(&job->cancelled, 1, __ATOMIC_RELAXED) != 0)
        return -EALREADY;
    switch (withdraw(pool, job)) {
    case IOR__JOB_QUEUED:
        return 0;
    case IOR__JOB_RUNNING:
        return 1;
    default:
        return -EALREADY;
    }
}

bool ior__task_recall(struct ior__task *task)
{
    if (withdraw(task->job.cx->rt->jobs, &task->job) != IOR__JOB_QUEUED)
        return false;
    task->job.bits |= IOR__JOB_ABANDONED; /* the loop completes it, and this is the loop */
    return true;
}

void ior__task_abandon(struct ior__task *task)
{
    task->job.bits |= IOR__JOB_ABANDONED;
    __atomic_store_n(&task->job.cancelled, 1, __ATOMIC_RELAXED);
    (void)withdraw(task->job.cx->rt->jobs, &task->job);
}

/* ---- completing ---- */

bool ior__jobs_ready(const struct ior_runtime *rt)
{
    return rt->jobs && (!ior__controller_idle(rt->jobs->ctl) || ior__file_ring_ready(rt->jobs->ring));
}

void ior__jobs_stats(const struct ior_runtime *rt, uint64_t *wakes, uint64_t *jobs, uint64_t *threads,
                     uint64_t *ring_calls)
{
    if (!rt->jobs)
        return;
    *wakes += atomic_load_explicit(&rt->jobs->ctl->wakes, memory_order_relaxed);
    *jobs = rt->jobs->slots.live;
    *ring_calls = rt->jobs->ring_calls;
    for (unsigned i = 0; i < IOR_LANES; i++)
        *threads += rt->jobs->lanes[i].threads;
}

/* A job leaves its service's account. */
static void forget(struct ior__pool *pool, struct ior_job *job)
{
    ior__slots_remove(&pool->slots, job->id);
    job->cx->jobs--;
}

static void complete(struct ior_runtime *rt, struct ior_job *job)
{
    uint32_t bits = job->bits;
    job->bits = 0;
    if (bits & IOR__JOB_ABANDONED) {
        job->drop(job);
    } else if (bits & IOR__JOB_TASK) {
        struct ior__task *task = IOR_CONTAINER(job, struct ior__task, job);
        task->done(task);
    } else {
        struct ior_context *cx = job->cx;
        forget(rt->jobs, job);
        struct ior_event ev = {.type = IOR_EV_JOB, .user = job->user};
        ev.job = job;
        cx->handler.transport(cx->self, cx, &ev);
    }
}

void ior__jobs_serve(struct ior_runtime *rt)
{
    struct ior__pool *pool = rt->jobs;
    for (uint32_t i = 0; i < rt->budget_commands; i++) {
        struct ior_command *command = ior__controller_take(pool->ctl);
        if (!command)
            break;
        ior__start_services(rt); /* its own may have been attached just now; before: start may end what waits for it */
        complete(rt, IOR_CONTAINER(command, struct ior_job, command));
    }
    if (pool->ring)
        ior__file_ring_serve(rt, pool->ring);
}

void ior__jobs_rewatch(struct ior_runtime *rt)
{
    if (rt->jobs)
        ior__file_ring_watch(rt, rt->jobs->ring);
}

/* ---- the end ---- */

void ior__jobs_stop(struct ior_context *cx)
{
    struct ior__pool *pool = cx->rt->jobs;
    for (uint32_t i = 0; cx->jobs > 0 && i < pool->slots.made; i++) {
        struct ior_job *job = ior__slots_at(&pool->slots, i);
        if (job && job->cx == cx)
            (void)withdraw(pool, job);
    }
}

void ior__jobs_abandon(struct ior_context *cx)
{
    struct ior__pool *pool = cx->rt->jobs;
    for (uint32_t i = 0; cx->jobs > 0 && i < pool->slots.made; i++) {
        struct ior_job *job = ior__slots_at(&pool->slots, i);
        if (!job || job->cx != cx)
            continue;
        pthread_mutex_lock(&pool->mutex);
        bool running = job->state == IOR__JOB_RUNNING;
        pthread_mutex_unlock(&pool->mutex);
        __atomic_store_n(&job->cancelled, 1, __ATOMIC_RELAXED);
        if (!running || !job->drop)
            continue; /* it is coming back, or is waited for */
        forget(pool, job);
        job->bits |= IOR__JOB_ABANDONED;
    }
}

void ior__jobs_free(struct ior_runtime *rt, bool in_child)
{
    if (!rt->jobs)
        return;
    if (rt->jobs->ring)
        ior__file_ring_free(rt, rt->jobs->ring, in_child);
    rt->jobs->ring = NULL;
    ior__pool_free(rt->jobs, in_child);
    rt->jobs = NULL;
}
