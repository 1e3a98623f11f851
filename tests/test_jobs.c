/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs: one completion for each that was accepted, whatever races: done, cancelled, refused, abandoned. Work that has to
 * last blocks on a gate that the test opens; nothing depends on how long anything takes.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "support/check.h"
#include "support/live.h"
#include "support/probe.h"

/* What work waits at. */
struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    unsigned inside; /* that came to the gate, ever */
    unsigned passed; /* that went on */
    bool open;
};

static void gate_init(struct gate *gate)
{
    memset(gate, 0, sizeof(*gate));
    pthread_mutex_init(&gate->mutex, NULL);
    pthread_cond_init(&gate->cond, NULL);
}

static void gate_deinit(struct gate *gate)
{
    pthread_cond_destroy(&gate->cond);
    pthread_mutex_destroy(&gate->mutex);
}

static void gate_pass(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    gate->inside++;
    pthread_cond_broadcast(&gate->cond);
    while (!gate->open)
        pthread_cond_wait(&gate->cond, &gate->mutex);
    gate->passed++;
    pthread_cond_broadcast(&gate->cond);
    pthread_mutex_unlock(&gate->mutex);
}

static void gate_open(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    gate->open = true;
    pthread_cond_broadcast(&gate->cond);
    pthread_mutex_unlock(&gate->mutex);
}

static void gate_await(struct gate *gate, unsigned inside)
{
    pthread_mutex_lock(&gate->mutex);
    while (gate->inside < inside)
        pthread_cond_wait(&gate->cond, &gate->mutex);
    pthread_mutex_unlock(&gate->mutex);
}

struct task {
    struct ior_job job;
    struct gate *gate; /* to pass; NULL: none */
    int answer;
    ior_job_id id;
    atomic_bool began;
    pthread_t thread;
    unsigned completions;
    int status;
    atomic_uint dropped;
    bool saw_cancel;
    int unblocked;
    char name[32];
};

static int work(struct ior_job *job)
{
    struct task *task = (struct task *)job;
    sigset_t mask;
    task->thread = pthread_self();
    atomic_store(&task->began, true);
    pthread_getname_np(pthread_self(), task->name, sizeof(task->name));
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    for (int number = 1; number < 32; number++)
        if (number != SIGKILL && number != SIGSTOP && sigismember(&mask, number) == 0)
            task->unblocked++;
    if (task->gate)
        gate_pass(task->gate);
    task->saw_cancel = ior_job_cancelled(job);
    return task->answer;
}

static void dropped(struct ior_job *job)
{
    atomic_fetch_add(&((struct task *)job)->dropped, 1);
}

static void on_job(struct probe *p, struct ior_job *job)
{
    struct task *task = job->user;
    (void)p;
    assert_ptr_equal(task, job);
    task->completions++;
    task->status = job->status;
}

static void task_init(struct task *task, struct gate *gate, int answer)
{
    memset(task, 0, sizeof(*task));
    task->job.work = work;
    task->job.user = task;
    task->gate = gate;
    task->answer = answer;
}

static struct probe *jobs_probe(uint32_t threads, uint32_t queue, const struct ior_os *os)
{
    struct ior_config config = probe_config();
    config.job_threads = threads;
    config.job_queue = queue;
    config.os = os;
    struct probe *p = probe_new(&config);
    p->on_job = on_job;
    return p;
}

static int submit(struct probe *p, unsigned lane, struct task *task)
{
    return ior_job_submit(p->cx, lane, &task->job, &task->id);
}

static void a_job_runs_on_a_thread_of_its_lane(void **state)
{
    struct probe *p = jobs_probe(0, 0, NULL);
    struct task files, names, user;
    (void)state;
    task_init(&files, NULL, 7);
    task_init(&names, NULL, -EIO);
    task_init(&user, NULL, 0);
    assert_int_equal(submit(p, IOR_LANE_FILES, &files), 0);
    assert_int_equal(submit(p, IOR_LANE_NAMES, &names), 0);
    assert_int_equal(submit(p, IOR_LANES - 1, &user), 0);
    assert_int_equal(p->jobs, 0); /* never from inside a request */
    assert_int_equal(probe_stats(p).jobs, 3);
    probe_until(p, p->jobs == 3);
    assert_int_equal(files.status, 7);
    assert_int_equal(names.status, -EIO);
    assert_int_equal(user.status, 0);
    assert_string_equal(files.name, "ior-files");
    assert_string_equal(names.name, "ior-names");
    assert_string_equal(user.name, "ior-job7");
    assert_false(pthread_equal(files.thread, pthread_self()));
    assert_int_equal(files.unblocked + names.unblocked + user.unblocked, 0);
    assert_int_equal(probe_stats(p).jobs, 0);
    assert_int_equal(probe_stats(p).job_threads, 3);
    probe_free(p);
}

static void bad_arguments_have_no_effect(void **state)
{
    struct probe *p = jobs_probe(0, 0, NULL);
    struct ior_config config = probe_config();
    struct task task;
    struct ior_runtime *rt;
    (void)state;
    task_init(&task, NULL, 0);
    assert_int_equal(ior_job_submit(NULL, 0, &task.job, &task.id), -EINVAL);
    assert_int_equal(ior_job_submit(p->cx, IOR_LANES, &task.job, &task.id), -EINVAL);
    assert_int_equal(ior_job_submit(p->cx, 0, NULL, &task.id), -EINVAL);
    assert_int_equal(ior_job_submit(p->cx, 0, &task.job, NULL), -EINVAL);
    task.job.work = NULL;
    assert_int_equal(submit(p, 0, &task), -EINVAL);
    assert_int_equal(ior_job_cancel(p->cx, 0), -ENOENT);
    assert_int_equal(ior_job_cancel(NULL, 0), -EINVAL);
    assert_int_equal(ior_job_lane(p->cx, IOR_LANES, 1, 1), -EINVAL);
    assert_int_equal(ior_job_lane(p->cx, 0, 1025, 1), -EINVAL);
    assert_int_equal(probe_stats(p).job_threads, 0);
    config.job_threads = 1025;
    assert_int_equal(ior_runtime_new(&config, &probe_handler, p, &rt), -EINVAL);
    probe_free(p);
}

/* One thread, one that runs, one that waits: the third is refused, and nothing happened to it. */
static void a_full_lane_refuses_and_others_do_not(void **state)
{
    struct probe *p = jobs_probe(1, 1, NULL);
    struct gate gate;
    struct task tasks[4];
    (void)state;
    gate_init(&gate);
    for (int i = 0; i < 4; i++)
        task_init(&tasks[i], i == 0 ? &gate : NULL, i);
    assert_int_equal(submit(p, IOR_LANE_USER, &tasks[0]), 0);
    assert_int_equal(submit(p, IOR_LANE_USER, &tasks[0]), -EBUSY);
    gate_await(&gate, 1);
    assert_int_equal(submit(p, IOR_LANE_USER, &tasks[1]), 0);
    ior_job_id before = tasks[2].id = 77;
    assert_int_equal(submit(p, IOR_LANE_USER, &tasks[2]), -EAGAIN);
    assert_int_equal(tasks[2].id, before);
    assert_int_equal(submit(p, IOR_LANE_NAMES, &tasks[3]), 0); /* another lane goes on */
    probe_until(p, tasks[3].completions == 1);
    assert_int_equal(tasks[1].completions, 0);
    assert_int_equal(ior_job_lane(p->cx, IOR_LANE_USER, 0, 2), 0);
    assert_int_equal(submit(p, IOR_LANE_USER, &tasks[2]), 0);
    gate_open(&gate);
    probe_until(p, p->jobs == 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(tasks[i].status, i);
    assert_int_equal(probe_stats(p).job_threads, 2);
    probe_free(p);
    gate_deinit(&gate);
}

static void threads_are_made_as_needed_and_no_more(void **state)
{
    struct probe *p = jobs_probe(3, 0, NULL);
    struct gate gate;
    struct task tasks[8];
    (void)state;
    gate_init(&gate);
    for (int i = 0; i < 8; i++) {
        task_init(&tasks[i], &gate, 0);
        assert_int_equal(submit(p, IOR_LANE_USER, &tasks[i]), 0);
        assert_int_equal(probe_stats(p).job_threads, i < 3 ? i + 1 : 3);
    }
    gate_await(&gate, 3);
    gate_open(&gate);
    probe_until(p, p->jobs == 8);
    probe_free(p);
    gate_deinit(&gate);
}

static void cancelled_before_it_begins_and_while_it_runs(void **state)
{
    struct probe *p = jobs_probe(1, 0, NULL);
    struct gate gate;
    struct task running, waiting, last;
    (void)state;
    gate_init(&gate);
    task_init(&running, &gate, 5);
    task_init(&waiting, NULL, 6);
    task_init(&last, NULL, 7);
    assert_int_equal(submit(p, IOR_LANE_USER, &running), 0);
    gate_await(&gate, 1);
    assert_int_equal(submit(p, IOR_LANE_USER, &waiting), 0);
    assert_int_equal(submit(p, IOR_LANE_USER, &last), 0);
    assert_int_equal(ior_job_cancel(p->cx, waiting.id), 0);
    assert_int_equal(ior_job_cancel(p->cx, waiting.id), -EALREADY);
    assert_int_equal(p->jobs, 0);
    probe_until(p, p->jobs == 1); /* at once, though the lane is busy */
    assert_int_equal(waiting.status, -ECANCELED);
    assert_false(atomic_load(&waiting.began));
    assert_int_equal(ior_job_cancel(p->cx, waiting.id), -ENOENT);
    assert_int_equal(ior_job_cancel(p->cx, running.id), 1);
    assert_int_equal(ior_job_cancel(p->cx, running.id), -EALREADY);
    gate_open(&gate);
    probe_until(p, p->jobs == 3);
    assert_true(running.saw_cancel);
    assert_int_equal(running.status, 5);
    assert_int_equal(last.status, 7);
    assert_false(last.saw_cancel);
    assert_int_equal(waiting.completions, 1);
    probe_free(p);
    gate_deinit(&gate);
}

/* A job may be submitted again from its own completion, any number of times; its ids never repeat. */
static void again_and_again(struct probe *p, struct ior_job *job)
{
    struct task *task = job->user;
    ior_job_id before = task->id;
    task->completions++;
    assert_int_equal(ior_job_cancel(p->cx, task->id), -ENOENT);
    if (task->completions < 200)
        assert_int_equal(submit(p, IOR_LANE_USER, task), 0);
    assert_true(task->completions == 200 || task->id != before);
}

static void a_job_can_be_submitted_again(void **state)
{
    struct probe *p = jobs_probe(2, 0, NULL);
    struct task tasks[5];
    (void)state;
    p->on_job = again_and_again;
    for (int i = 0; i < 5; i++) {
        task_init(&tasks[i], NULL, 0);
        assert_int_equal(submit(p, IOR_LANE_USER, &tasks[i]), 0);
    }
    probe_until(p, p->jobs == 1000);
    assert_true(probe_quiet(p, 20) <= 3);      /* the last wake may be late; then there is none */
    assert_true(probe_stats(p).wakes <= 1000); /* never more wakes than completions */
    probe_free(p);
}

/* ---- faults ---- */

static struct {
    unsigned fail_from; /* which thread cannot be made; 0: none */
    unsigned made;
} threads_refused;

static int refusing_thread(void *arg, pthread_t *ret, void *(*run)(void *), void *run_arg)
{
    threads_refused.made++;
    if (threads_refused.fail_from != 0 && threads_refused.made >= threads_refused.fail_from)
        return -EAGAIN;
    return ior_os_default()->blocking->thread(arg, ret, run, run_arg);
}

static void the_system_has_no_thread(void **state)
{
    struct ior_os_blocking blocking = *ior_os_default()->blocking;
    struct ior_os os = *ior_os_default();
    struct gate gate;
    struct task first, second;
    (void)state;
    gate_init(&gate);
    blocking.thread = refusing_thread;
    os.blocking = &blocking;
    threads_refused.made = 0;
    threads_refused.fail_from = 1;
    struct probe *p = jobs_probe(4, 0, &os);
    task_init(&first, &gate, 1);
    task_init(&second, NULL, 2);
    assert_int_equal(submit(p, IOR_LANE_USER, &first), -EAGAIN);
    assert_int_equal(probe_stats(p).jobs, 0);
    threads_refused.fail_from = 3;
    assert_int_equal(submit(p, IOR_LANE_USER, &first), 0);
    gate_await(&gate, 1);
    assert_int_equal(submit(p, IOR_LANE_USER, &second), 0); /* it waits for the one there is */
    assert_int_equal(threads_refused.made, 3);
    assert_int_equal(probe_stats(p).job_threads, 1);
    gate_open(&gate);
    probe_until(p, p->jobs == 2);
    assert_true(pthread_equal(first.thread, second.thread));
    probe_free(p);
    os.blocking = NULL;
    p = jobs_probe(4, 0, &os);
    assert_int_equal(submit(p, IOR_LANE_USER, &first), -ENOSYS);
    assert_int_equal(ior_job_lane(p->cx, 0, 1, 1), -ENOSYS);
    probe_free(p);
    gate_deinit(&gate);
}

static void each_allocation_fails(void **state)
{
    unsigned refused = 0;
    (void)state;
    live_alloc_start();
    for (uint64_t nth = 1;; nth++) {
        struct probe *p = jobs_probe(2, 0, NULL);
        struct task tasks[70]; /* more than the first table of ids holds */
        unsigned accepted = 0;
        live_alloc_fail(nth, false);
        for (int i = 0; i < 70; i++) {
            task_init(&tasks[i], NULL, i);
            int err = submit(p, IOR_LANE_USER, &tasks[i]);
            assert_true(err == 0 || err == -ENOMEM);
            if (err == 0)
                accepted++;
        }
        uint64_t failed = live_alloc_refused();
        live_alloc_fail(0, false);
        refused += failed > 0;
        probe_until(p, p->jobs == accepted);
        assert_true(accepted == 70 || failed > 0);
        probe_free(p);
        if (failed == 0)
            break;
    }
    live_alloc_stop();
    assert_true(refused >= 4); /* the pool, its queue, a thread, the ids */
}

/* ---- the end ---- */

/* What has not begun is cancelled, what runs is awaited, nothing new is taken. */
static void a_stop_waits_for_what_runs(void **state)
{
    struct probe *p = jobs_probe(1, 0, NULL);
    struct gate gate;
    struct task running, waiting, late;
    (void)state;
    gate_init(&gate);
    task_init(&running, &gate, 5);
    task_init(&waiting, NULL, 6);
    task_init(&late, NULL, 7);
    running.job.drop = dropped;
    assert_int_equal(submit(p, IOR_LANE_USER, &running), 0);
    gate_await(&gate, 1);
    assert_int_equal(submit(p, IOR_LANE_USER, &waiting), 0);
    ior_stop(p->cx, IOR_NEVER);
    assert_int_equal(submit(p, IOR_LANE_USER, &late), -ESHUTDOWN);
    probe_until(p, waiting.completions == 1);
    assert_int_equal(waiting.status, -ECANCELED);
    assert_int_equal(ior_runtime_turn(p->rt, 0), 1);
    gate_open(&gate);
    assert_int_equal(ior_runtime_run(p->rt), 0);
    assert_int_equal(running.completions, 1);
    assert_int_equal(running.status, 5);
    assert_int_equal(atomic_load(&running.dropped), 0);
    probe_free(p);
    gate_deinit(&gate);
}

/* Work that is stuck is left behind: the runtime is freed at once, and the job is dropped by its thread. */
static void a_stuck_job_outlives_the_runtime(void **state)
{
    struct gate gate;
    struct task *stuck = malloc(2 * sizeof(*stuck));
    size_t threads = net_threads_at_rest();
    (void)state;
    gate_init(&gate);
    for (int forced = 0; forced < 2; forced++) {
        struct probe *p = jobs_probe(2, 0, NULL);
        task_init(&stuck[forced], &gate, 5);
        stuck[forced].job.drop = dropped;
        assert_int_equal(submit(p, IOR_LANE_USER, &stuck[forced]), 0);
        gate_await(&gate, (unsigned)forced + 1);
        if (forced) {
            ior_stop(p->cx, IOR_NS_PER_MS);
            assert_int_equal(ior_runtime_run(p->rt), 0);
        }
        probe_free(p);
        assert_int_equal(stuck[forced].completions, 0);
        assert_int_equal(atomic_load(&stuck[forced].dropped), 0);
    }
    gate_open(&gate);
    net_await_threads(threads);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(atomic_load(&stuck[i].dropped), 1);
        assert_int_equal(stuck[i].completions, 0);
        assert_true(stuck[i].saw_cancel);
    }
    free(stuck);
    gate_deinit(&gate);
}

/* An abandoned job of a service that left, in a runtime that lives on: it is dropped from the loop. */
static void a_stuck_job_outlives_its_service(void **state)
{
    struct probe *p = jobs_probe(1, 0, NULL), *guest = probe_bare();
    struct gate gate;
    struct task stuck, next;
    (void)state;
    gate_init(&gate);
    task_init(&stuck, &gate, 5);
    task_init(&next, NULL, 6);
    stuck.job.drop = dropped;
    guest->on_job = on_job;
    assert_int_equal(ior_attach(p->cx, &probe_handler, guest, &guest->cx), 0);
    assert_int_equal(submit(guest, IOR_LANE_USER, &stuck), 0);
    gate_await(&gate, 1);
    assert_int_equal(ior_job_cancel(p->cx, stuck.id), -EACCES);
    probe_turns(p, 2);
    assert_int_equal(ior_detach(guest->cx, 0), 0);
    probe_until(p, guest->stops == 1);
    probe_turns(p, 3);
    assert_int_equal(submit(p, IOR_LANE_USER, &next), 0);
    assert_int_equal(next.completions, 0); /* the thread is still taken */
    gate_open(&gate);
    probe_until(p, next.completions == 1);
    assert_int_equal(atomic_load(&stuck.dropped), 1);
    assert_int_equal(stuck.completions, 0);
    guest->cx = NULL;
    probe_free(guest);
    probe_free(p);
    gate_deinit(&gate);
}

/* Not before the end waits for it. */
static void *open_later(void *arg)
{
    struct task *task = arg;
    while (!ior_job_cancelled(&task->job)) /* the time is over */
        sched_yield();
    gate_open(task->gate);
    return NULL;
}

/* Without `drop` the end waits for the work, from ior_runtime_free too. */
static void a_job_that_cannot_be_abandoned_is_awaited(void **state)
{
    (void)state;
    for (int stop = 0; stop < 2; stop++) {
        struct probe *p = jobs_probe(1, 0, NULL);
        struct gate gate;
        struct task task, waiting;
        pthread_t opener;
        gate_init(&gate);
        task_init(&task, &gate, 5);
        task_init(&waiting, NULL, 6);
        assert_int_equal(submit(p, IOR_LANE_USER, &task), 0);
        gate_await(&gate, 1);
        assert_int_equal(submit(p, IOR_LANE_USER, &waiting), 0);
        if (stop) {
            ior_stop(p->cx, 0);
            probe_turns(p, 20);
            assert_int_equal(waiting.completions, 1);
            assert_int_equal(task.completions, 0);
            assert_true(probe_quiet(p, 20) <= 3); /* it sleeps meanwhile */
        }
        assert_int_equal(pthread_create(&opener, NULL, open_later, &task), 0);
        if (stop)
            assert_int_equal(ior_runtime_run(p->rt), 0);
        probe_free(p);
        assert_int_equal(task.completions, 1);
        assert_int_equal(task.status, 5);
        assert_true(task.saw_cancel);
        assert_int_equal(waiting.status, -ECANCELED);
        assert_int_equal(waiting.completions, 1);
        pthread_join(opener, NULL);
        gate_deinit(&gate);
    }
}

struct family {
    struct probe *p;
    struct task *running, *waiting;
};

static int be_the_child(void *arg)
{
    struct family *f = arg;
    struct task task;
    task_init(&task, NULL, 0);
    if (submit(f->p, IOR_LANE_USER, &task) != -EPERM || ior_job_cancel(f->p->cx, f->waiting->id) != -EPERM)
        return 1;
    ior_runtime_free(f->p->rt);
    return f->running->completions + f->waiting->completions == 0 ? 0 : 2;
}

static void a_forked_child_may_only_free(void **state)
{
    struct probe *p = jobs_probe(1, 0, NULL);
    struct gate gate;
    struct task running, waiting;
    (void)state;
    gate_init(&gate);
    task_init(&running, &gate, 5);
    task_init(&waiting, NULL, 6);
    assert_int_equal(submit(p, IOR_LANE_USER, &running), 0);
    gate_await(&gate, 1);
    assert_int_equal(submit(p, IOR_LANE_USER, &waiting), 0);
    assert_int_equal(net_in_child(be_the_child, &(struct family){p, &running, &waiting}), 0);
    gate_open(&gate);
    probe_until(p, p->jobs == 2);
    probe_free(p);
    gate_deinit(&gate);
}

/* Many jobs, cancelled at random moments, in lanes of several threads: each is completed once. */
static void each_is_completed_once_whatever_races(void **state)
{
    enum { COUNT = 3000 };
    struct probe *p = jobs_probe(3, COUNT, NULL);
    struct task *tasks = calloc(COUNT, sizeof(*tasks));
    unsigned seed = 1;
    (void)state;
    for (int i = 0; i < COUNT; i++) {
        task_init(&tasks[i], NULL, i);
        assert_int_equal(submit(p, (unsigned)i % 3, &tasks[i]), 0);
        seed = seed * 1103515245u + 12345u;
        if (seed >> 16 & 1)
            (void)ior_job_cancel(p->cx, tasks[seed % (unsigned)(i + 1)].id);
        if ((seed >> 17 & 63) == 0)
            probe_turns(p, 1);
    }
    probe_until(p, p->jobs == COUNT);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(tasks[i].completions, 1);
        assert_int_equal(tasks[i].status, atomic_load(&tasks[i].began) ? i : -ECANCELED);
    }
    probe_free(p);
    free(tasks);
}

/* ---- a service that is attached by a completion ---- */

struct late {
    struct ior_context *cx;
    struct gate *gate;
    struct task *behind;
    int fd;
    bool started;
    unsigned early, told;
};

static int late_start(void *self, struct ior_context *cx)
{
    (void)cx;
    ((struct late *)self)->started = true;
    return 0;
}

static void late_registered(void *self, struct ior_context *cx, ior_id id, void *user)
{
    struct late *late = self;
    (void)cx;
    (void)id;
    (void)user;
    late->early += !late->started;
}

static void late_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct late *late = self;
    (void)cx;
    late->early += !late->started;
    late->told += ev->type == IOR_EV_FILE;
}

static const struct ior_handler late_handler = {
    .struct_size = sizeof(late_handler),
    .start = late_start,
    .registered = late_registered,
    .transport = late_transport,
};

/* Attaches a service, and comes back only when a file of that service was looked at. */
static void attach_and_ask(struct probe *p, struct ior_job *job)
{
    struct late *late = p->arg;
    const struct ior_file_options opts = {.struct_size = sizeof(opts), .flags = IOR_FILE_READ};
    ior_id id;
    on_job(p, job);
    if (late->cx)
        return;
    assert_int_equal(ior_attach(p->cx, &late_handler, late, &late->cx), 0);
    assert_int_equal(ior_file_adopt(late->cx, late->fd, &opts, &id), 0);
    assert_int_equal(ior_file_stat(late->cx, id, NULL), 0);
    assert_int_equal(submit(p, IOR_LANE_FILES, late->behind), 0);
    gate_await(late->gate, 1); /* the lane's one thread is done with the file */
}

static void start_comes_before_what_a_job_tells(void **state)
{
    struct probe *p = jobs_probe(1, 0, NULL);
    struct gate gate;
    struct task first, behind;
    struct late late = {.gate = &gate, .behind = &behind, .fd = open("/dev/null", O_RDONLY | O_CLOEXEC)};
    (void)state;
    assert_true(late.fd >= 0);
    gate_init(&gate);
    task_init(&first, NULL, 0);
    task_init(&behind, &gate, 0);
    p->arg = &late;
    p->on_job = attach_and_ask;
    assert_int_equal(submit(p, IOR_LANE_USER, &first), 0);
    probe_until(p, late.told == 1);
    gate_open(&gate);
    probe_until(p, p->jobs == 2);
    assert_true(late.started);
    assert_int_equal(late.early, 0);
    probe_free(p);
    gate_deinit(&gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_runs_on_a_thread_of_its_lane),
        cmocka_unit_test(bad_arguments_have_no_effect),
        cmocka_unit_test(a_full_lane_refuses_and_others_do_not),
        cmocka_unit_test(threads_are_made_as_needed_and_no_more),
        cmocka_unit_test(cancelled_before_it_begins_and_while_it_runs),
        cmocka_unit_test(a_job_can_be_submitted_again),
        cmocka_unit_test(the_system_has_no_thread),
        cmocka_unit_test(each_allocation_fails),
        cmocka_unit_test(a_stop_waits_for_what_runs),
        cmocka_unit_test(a_stuck_job_outlives_the_runtime),
        cmocka_unit_test(a_stuck_job_outlives_its_service),
        cmocka_unit_test(a_job_that_cannot_be_abandoned_is_awaited),
        cmocka_unit_test(a_forked_child_may_only_free),
        cmocka_unit_test(each_is_completed_once_whatever_races),
        cmocka_unit_test(start_comes_before_what_a_job_tells),
    };
    (void)net_threads_at_rest(); /* before there are others */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
