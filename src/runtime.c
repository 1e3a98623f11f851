/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop. ior_runtime_turn is a list of named steps and nothing else; each has its file:
 *
 *   1 wait_for_records    here, engine/                     4 ior__serve_commands   service.c, controller.c
 *   2 ior__dispatch       dispatch.c, resource/             5 ior__settle_work      life.c, output.c
 *   3 ior__fire_timers    service_timers.c, deadlines.c     6 ior__end_resources    life.c
 *
 * What a step's callbacks ask for takes effect at once where it can, and else goes on a list that a later step, or the
 * next turn, takes whole. So no callback can keep the turn from ending, and while anything is on a list the next turn
 * does not wait.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "controller.h"
#include "core.h"
#include "jobs.h"
#include "kinds.h"
#include "output.h"

#define READ_BYTES_DEFAULT 65536u
#define READ_BYTES_MIN 512u
#define RECORDS_DEFAULT 256u
#define RECORDS_MAX 65536u
#define ACCEPTS_DEFAULT 64u
#define READS_DEFAULT 4u
#define COMMANDS_DEFAULT 1024u
#define TIMERS_DEFAULT 1024u
#define JOB_THREADS_MOST 1024u
#define OUTPUT_CAP_DEFAULT ((size_t)256 << 20)
#define OUTPUT_CAP_MIN ((size_t)64 << 10)
#define BORROW_READS 16u              /* the read buffer is so many times as large as one read needs, */
#define BORROW_MOST ((size_t)1 << 20) /* but at most so many bytes larger */
#define PAGE_BYTES ((size_t)4096)     /* a guess, which costs only time */
#define WAIT_BACKOFF_FIRST_NS IOR_NS_PER_MS
#define WAIT_BACKOFF_MOST_NS (100 * IOR_NS_PER_MS)

/* ---- making ---- */

static bool os_complete(const struct ior_os *os)
{
    return os->struct_size >= sizeof(*os) && os->clock && os->wall && os->random && os->sleep && os->socket &&
           os->bind && os->listen && os->accept && os->connect && os->getsockname && os->getpeername &&
           os->getsockopt && os->setsockopt && os->shutdown && os->close && os->recv && os->send && os->read &&
           os->write && os->sendfile && os->pread && os->dup && os->fd_kind && os->set_nonblock && os->path_stat &&
           os->path_chmod && os->path_unlink &&
           (!os->processes || os->processes->struct_size >= sizeof(*os->processes));
}

static bool engine_complete(const struct ior_engine_ops *ops)
{
    return ops->struct_size >= sizeof(*ops) && ops->name && ops->open && ops->close && ops->watch && ops->rewatch &&
           ops->unwatch && ops->wait && ops->wake && ops->rebuild &&
           (ops->fd || !(ops->features & IOR_ENGINE_HAS_FD)) &&
           ((ops->recv && ops->accept && ops->send && ops->sent && ops->flush) ||
            !(ops->features & IOR_ENGINE_DOES_IO));
}

static bool files_valid(const char *files)
{
    return !files || strcmp(files, "threads") == 0 || strcmp(files, "uring") == 0;
}

static bool config_valid(const struct ior_config *config)
{
    return (!config->engine || !config->engine_ops) && (!config->engine_ops || engine_complete(config->engine_ops)) &&
           (!config->os || os_complete(config->os)) && config->max_resources <= IOR__SLOT_MAX &&
           config->max_timers <= IOR__SLOT_MAX && (!config->read_bytes || config->read_bytes >= READ_BYTES_MIN) &&
           config->read_bytes <= INT32_MAX && config->records <= RECORDS_MAX &&
           config->job_threads <= JOB_THREADS_MOST && files_valid(config->files) &&
           (!config->output_cap_bytes || config->output_cap_bytes >= OUTPUT_CAP_MIN);
}

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value ? value : otherwise;
}

static void set_limits(struct ior_runtime *rt, const struct ior_config *config)
{
    ior__slots_init(&rt->slots, or_default(config->max_resources, IOR__SLOT_MAX));
    ior__timers_init(&rt->timers, or_default(config->max_timers, IOR__SLOT_MAX), &rt->slots);
    rt->read_bytes = or_default(config->read_bytes, READ_BYTES_DEFAULT);
    ior__read_as_usual(rt);
    rt->budget_records = or_default(config->records, RECORDS_DEFAULT);
    rt->budget_accepts = or_default(config->accepts, ACCEPTS_DEFAULT);
    rt->budget_reads = or_default(config->reads, READS_DEFAULT);
    rt->budget_commands = or_default(config->commands, COMMANDS_DEFAULT);
    rt->budget_timers = or_default(config->timers, TIMERS_DEFAULT);
    rt->job_threads = or_default(config->job_threads, IOR_JOB_THREADS_DEFAULT);
    rt->job_queue = or_default(config->job_queue, IOR_JOB_QUEUE_DEFAULT);
    rt->files_on_ring = config->files && strcmp(config->files, "uring") == 0;
    rt->output_cap_bytes = config->output_cap_bytes ? config->output_cap_bytes : OUTPUT_CAP_DEFAULT;
    rt->default_marks = (struct ior__marks){
        .high = IOR_HIGH_BYTES_DEFAULT,
        .low = IOR_HIGH_BYTES_DEFAULT / 4,
        .cap = IOR_HIGH_BYTES_DEFAULT + IOR_UNREAD_MAX_BYTES_DEFAULT + rt->read_bytes,
    };
}

static int try_engine(struct ior_runtime *rt, const struct ior_engine_ops *ops, void *arg, bool unasked)
{
    struct ior_engine_config config = {.os = rt->os, .max_records = rt->budget_records, .arg = arg, .unasked = unasked};
    int err = ops->open(&config, &rt->engine);
    if (err < 0) {
        ior__log(unasked ? IOR_LOG_INFO : IOR_LOG_WARN, "engine %s: %s", ops->name, ior_strerror(err));
        return err;
    }
    rt->engine_ops = ops;
    rt->does_io = (ops->features & IOR_ENGINE_DOES_IO) != 0;
    ior__log(IOR_LOG_INFO, "engine %s", ops->name);
    return 0;
}

/*
 * The user's own engine, or the named one, or the first that works. An engine that does the I/O itself goes past system
 * calls of the user's own: it has to be named then.
 */
static int open_engine(struct ior_runtime *rt, const struct ior_config *config)
{
    if (config->engine_ops)
        return try_engine(rt, config->engine_ops, config->engine_arg, false);
    if (config->engine) {
        const struct ior_engine_ops *ops = ior_engine_named(config->engine);
        return ops ? try_engine(rt, ops, config->engine_arg, false) : -ENOSYS;
    }
    int err = -ENOSYS;
    const struct ior_engine_ops *ops;
    for (unsigned i = 0; err < 0 && (ops = ior_engine_at(i)) != NULL; i++) {
        if (config->os && (ops->features & IOR_ENGINE_DOES_IO))
            continue;
        err = try_engine(rt, ops, config->engine_arg, true);
        if (err == -EINVAL && config->engine_arg)
            break;
    }
    return err;
}

/* What it holds is not kept. It begins a page: 16 bytes behind that, as malloc has it, the kernel copies slower. */
bool ior__read_buf_make(struct ior_runtime *rt, size_t len)
{
    unsigned char *block = ior__alloc(len + PAGE_BYTES);
    if (!block)
        return false;
    ior__free(rt->read_block, rt->read_cap + PAGE_BYTES);
    rt->read_block = block;
    rt->read_buf = rt->read_at = block + (-(uintptr_t)block & (PAGE_BYTES - 1));
    rt->read_cap = len;
    rt->read_last = rt->read_buf + len - rt->read_bytes;
    return true;
}

static bool make_read_buf(struct ior_runtime *rt)
{
    size_t borrowed = rt->read_bytes < BORROW_MOST / BORROW_READS ? BORROW_READS * rt->read_bytes : BORROW_MOST;
    return ior__read_buf_make(rt, rt->read_bytes + borrowed);
}

static void runtime_release(struct ior_runtime *rt, bool in_child)
{
    ior__jobs_free(rt, in_child);
    if (rt->engine)
        rt->engine_ops->close(rt->engine, in_child);
    ior__output_pool_free(rt);
    ior__free(rt->ready.slots, rt->ready.capacity * sizeof(*rt->ready.slots));
    ior__timers_deinit(&rt->timers);
    ior__slots_deinit(&rt->slots);
    ior__free(rt->fd_owners, rt->fd_owner_count * sizeof(*rt->fd_owners));
    ior__free(rt->read_block, rt->read_cap + PAGE_BYTES);
    ior__datagrams_free(rt);
    ior__free(rt->records, rt->budget_records * sizeof(*rt->records));
    ior__guard_free(rt->owner);
    ior__free(rt, sizeof(*rt));
}

int ior_runtime_new(const struct ior_config *config, const struct ior_handler *handler, void *self,
                    struct ior_runtime **ret)
{
    struct ior_config in;
    int err = ior__struct_in(&in, sizeof(in), config, sizeof(in));
    if (err < 0)
        return err;
    if (!handler || !ret || !config_valid(&in))
        return -EINVAL;
    struct ior_runtime *rt = ior__calloc(sizeof(*rt));
    if (!rt)
        return -ENOMEM;
    rt->os = in.os ? in.os : ior_os_default();
    rt->unarmed_ns = IOR_NEVER;
    ior__queue_clear(&rt->work);
    ior__queue_clear(&rt->ended);
    set_limits(rt, &in);
    rt->owner = ior__guard_new();
    rt->records = ior__alloc(rt->budget_records * sizeof(*rt->records));
    err = rt->owner && rt->records ? open_engine(rt, &in) : -ENOMEM;
    if (err == 0 && !make_read_buf(rt))
        err = -ENOMEM;
    struct ior_context *cx;
    if (err == 0) {
        rt->now_ns = rt->os->clock(rt->os->arg);
        err = ior__context_new(rt, handler, self, &cx);
    }
    if (err < 0) {
        runtime_release(rt, false);
        return err;
    }
    *ret = rt;
    return 0;
}

/* ---- looking ---- */

struct ior_context *ior_runtime_context(struct ior_runtime *rt)
{
    return rt->contexts;
}

const char *ior_runtime_engine(struct ior_runtime *rt)
{
    return rt->engine_ops->name;
}

uint64_t ior_now(struct ior_context *cx)
{
    return cx->rt->os->clock(cx->rt->os->arg);
}

uint64_t ior_turn_ns(struct ior_context *cx)
{
    return cx->rt->now_ns;
}

uint64_t ior_unix_ns(struct ior_context *cx)
{
    return cx->rt->os->wall(cx->rt->os->arg);
}

uint64_t ior_random(struct ior_context *cx)
{
    return cx->rt->os->random(cx->rt->os->arg);
}

const struct ior_os *ior_context_os(struct ior_context *cx)
{
    return cx->rt->os;
}

int ior_runtime_stats(struct ior_runtime *rt, struct ior_stats *stats)
{
    if (!rt || !stats || stats->struct_size < sizeof(*stats))
        return -EINVAL;
    uint64_t wakes = rt->wakes_before, jobs = 0, job_threads = 0, ring_calls = 0;
    for (const struct ior_context *cx = rt->contexts; cx; cx = cx->next)
        wakes += atomic_load_explicit(&cx->ctl->wakes, memory_order_relaxed);
    ior__jobs_stats(rt, &wakes, &jobs, &job_threads, &ring_calls);
    *stats = (struct ior_stats){
        .struct_size = sizeof(*stats),
        .resources = rt->slots.live,
        .turns = rt->turns,
        .records = rt->records_taken,
        .stale_records = rt->stale_records,
        .rebuilds = rt->rebuilds,
        .wakes = wakes,
        .commands = rt->commands_served,
        .timers_fired = rt->timers_fired,
        .output_bytes = ior__output_held(rt),
        .timers = ior__timers_queued(&rt->timers),
        .jobs = jobs,
        .job_threads = job_threads,
        .ring_calls = ring_calls,
    };
    return 0;
}

/* ---- turning ---- */

/* Whether something can be done without the engine. */
static bool has_work(const struct ior_runtime *rt)
{
    return rt->work.first || rt->ready.count > 0 || rt->ended.first || rt->drops || rt->new_contexts > 0 ||
           rt->sends_awaited;
}

/* When the next turn is due, work left over included. */
static uint64_t next_deadline(const struct ior_runtime *rt)
{
    if (has_work(rt))
        return 0;
    uint64_t timer_ns = ior__timers_next(&rt->timers);
    if (IOR_UNLIKELY(rt->unarmed_ns < timer_ns))
        timer_ns = rt->unarmed_ns;
    if (IOR_LIKELY(rt->stops == 0 && !rt->commands_left))
        return timer_ns;
    uint64_t stop_ns = ior__stop_deadline(rt);
    return timer_ns < stop_ns ? timer_ns : stop_ns;
}

/* The wait itself failed: told once for each cause, and not tried again at once. */
static void wait_failed(struct ior_runtime *rt, int err, uint64_t deadline_ns)
{
    uint64_t now_ns = rt->os->clock(rt->os->arg);
    uint64_t most_ns = ior_time_sub(deadline_ns, now_ns);
    uint64_t backoff_ns = rt->wait_backoff_ns ? rt->wait_backoff_ns : WAIT_BACKOFF_FIRST_NS;
    rt->wait_backoff_ns = backoff_ns * 2 < WAIT_BACKOFF_MOST_NS ? backoff_ns * 2 : WAIT_BACKOFF_MOST_NS;
    if (rt->wait_error != err) {
        rt->wait_error = err;
        ior__log(IOR_LOG_ERROR, "engine %s: wait: %s", rt->engine_ops->name, ior_strerror(err));
        for (struct ior_context *cx = rt->contexts; cx; cx = cx->next) {
            if (cx->handler.error)
                cx->handler.error(cx->self, cx, 0, -err);
        }
    }
    if (most_ns > 0)
        rt->os->sleep(rt->os->arg, most_ns < backoff_ns ? most_ns : backoff_ns);
}

/* Step 1. How many records there are. */
static int wait_for_records(struct ior_runtime *rt, uint64_t wait_ns)
{
    uint64_t deadline_ns = wait_ns == 0 ? 0 : next_deadline(rt);
    if (deadline_ns > 0 && wait_ns != IOR_NEVER) {
        uint64_t until_ns = ior__deadline_after(rt, wait_ns);
        deadline_ns = until_ns < deadline_ns ? until_ns : deadline_ns;
    }
    int count = rt->engine_ops->wait(rt->engine, rt->records, (int)rt->budget_records, deadline_ns);
    if (IOR_UNLIKELY(count < 0)) {
        wait_failed(rt, count, deadline_ns);
        count = 0;
    } else if (IOR_UNLIKELY(rt->wait_error != 0)) {
        rt->wait_error = 0;
        rt->wait_backoff_ns = 0;
    }
    rt->now_ns = rt->os->clock(rt->os->arg);
    rt->turns++;
    ior__log(IOR_LOG_TRACE, "turn %llu: %d records", (unsigned long long)rt->turns, count);
    return count;
}

/* Whether step 4 has anything to do: one load for each service. */
static bool commands_wait(const struct ior_runtime *rt)
{
    for (const struct ior_context *cx = rt->contexts; cx; cx = cx->next) {
        if (!ior__controller_idle(cx->ctl))
            return true;
    }
    return rt->drops || rt->stops > 0 || (rt->jobs && ior__jobs_ready(rt));
}

static void turn(struct ior_runtime *rt, uint64_t wait_ns)
{
    if (rt->new_contexts > 0)
        ior__start_services(rt);
    int count = wait_for_records(rt, wait_ns);
    if (rt->sending.first)
        ior__sends_done(rt);
    if (rt->tickers > 0)
        ior__tick_services(rt);
    ior__dispatch(rt, count);
    if (ior__timers_next(&rt->timers) <= rt->now_ns)
        ior__fire_timers(rt);
    if (IOR_UNLIKELY(rt->unarmed_ns <= rt->now_ns))
        ior__unarmed_over(rt);
    if (commands_wait(rt))
        ior__serve_commands(rt);
    if (rt->stops > 0)
        ior__advance_stops(rt);
    ior__settle_work(rt);
    if (rt->ended.first || rt->need_rebuild)
        ior__end_resources(rt);
}

/* The runtime belongs to the thread that turns it. */
static int own(struct ior_runtime *rt)
{
    if (ior__in_child(rt))
        return -EPERM;
    if (rt->busy)
        return -EBUSY;
    uintptr_t self = ior__thread();
    if (IOR_UNLIKELY(atomic_load_explicit(rt->owner, memory_order_relaxed) != self || !rt->begun)) {
        atomic_store_explicit(rt->owner, self, memory_order_relaxed);
        for (struct ior_context *cx = rt->contexts; cx; cx = cx->next)
            atomic_store_explicit(&cx->ctl->loop_thread, self, memory_order_relaxed);
    }
    return 0;
}

static int outcome(const struct ior_runtime *rt)
{
    return rt->stops > 0 && ior__over(rt) ? rt->failed : 1;
}

static int turn_once(struct ior_runtime *rt, uint64_t wait_ns)
{
    int err = own(rt);
    if (err < 0 || outcome(rt) != 1)
        return err < 0 ? err : rt->failed;
    rt->busy = true;
    turn(rt, wait_ns);
    rt->busy = false;
    return outcome(rt);
}

int ior_runtime_turn(struct ior_runtime *rt, uint64_t wait_ns)
{
    if (!rt)
        return -EINVAL;
    int r = turn_once(rt, wait_ns);
    if (rt->does_io && r >= 0)
        (void)rt->engine_ops->flush(rt->engine); /* what fails is told by `sent` */
    return r;
}

int ior_runtime_run(struct ior_runtime *rt)
{
    if (!rt)
        return -EINVAL;
    if (rt->does_io && rt->engine_ops->stay && own(rt) == 0)
        rt->engine_ops->stay(rt->engine);
    int r;
    do {
        r = turn_once(rt, IOR_NEVER);
    } while (r > 0);
    return r;
}

int ior__runtime_start(struct ior_runtime *rt)
{
    int err = own(rt);
    if (err < 0)
        return err;
    rt->busy = true;
    ior__start_services(rt);
    rt->busy = false;
    return rt->failed;
}

int ior_runtime_fd(struct ior_runtime *rt)
{
    if (!rt)
        return -EINVAL;
    return (rt->engine_ops->features & IOR_ENGINE_HAS_FD) ? rt->engine_ops->fd(rt->engine) : -ENOTSUP;
}

uint64_t ior_runtime_deadline(struct ior_runtime *rt)
{
    return rt ? next_deadline(rt) : IOR_NEVER;
}

/* ---- freeing ---- */

/* In a forked child: memory and fds only. No callback, and nothing that reaches the parent. */
static void free_in_child(struct ior_runtime *rt)
{
    for (uint32_t i = 0; i < rt->slots.made; i++) {
        struct ior_resource *res = ior__slots_at(&rt->slots, i);
        if (!res)
            continue;
        const struct ior__kind *kind = ior__kind_of(res);
        if (kind && kind->let_go)
            kind->let_go(res);
        ior__free(res->deadlines, sizeof(struct ior__deadlines));
        res->deadlines = NULL;
        ior__destroy(res, rt->os);
    }
    while (rt->contexts) {
        struct ior_context *cx = rt->contexts;
        rt->contexts = cx->next;
        ior_controller_unref(cx->ctl);
        ior__free(cx, sizeof(*cx));
    }
    runtime_release(rt, true);
}

/* Whether the end of the runtime waits for nothing but threads: jobs that cannot be abandoned, calls on files. */
static bool only_threads_left(const struct ior_runtime *rt)
{
    uint32_t jobs = 0;
    for (const struct ior_context *cx = rt->contexts; cx; cx = cx->next) {
        if (cx->phase != IOR__PHASE_GONE &&
            !(cx->phase == IOR__PHASE_ENDING && cx->forced && cx->resources == cx->awaiting))
            return false;
        jobs += cx->jobs + cx->awaiting;
    }
    return jobs > 0 && !rt->drops;
}

/* Waits until something comes back from a thread, or the time is over for which that is waited for. */
static void await_threads(struct ior_runtime *rt)
{
    uint64_t until_ns = ior__stop_deadline(rt);
    if (until_ns == IOR_NEVER)
        ior__pool_wait(rt->jobs);
    else if (until_ns > rt->now_ns &&
             rt->engine_ops->wait(rt->engine, rt->records, (int)rt->budget_records, until_ns) < 0)
        rt->os->sleep(rt->os->arg, IOR_NS_PER_MS);
}

void ior_runtime_free(struct ior_runtime *rt)
{
    if (!rt)
        return;
    if (ior__in_child(rt)) {
        free_in_child(rt);
        return;
    }
    if (own(rt) < 0) {
        ior__log(IOR_LOG_ERROR, "ior_runtime_free from inside a callback does nothing");
        return;
    }
    rt->busy = true;
    rt->freeing = true;
    rt->new_contexts = 0; /* what did not start will not */
    ior__stop_all(rt, 0);
    for (struct ior_context *cx = rt->contexts; cx; cx = cx->next)
        cx->forced = false; /* what was ended by force, and waited for in the loop, is not waited for there any more */
    while (!ior__over(rt)) {
        rt->now_ns = rt->os->clock(rt->os->arg);
        ior__serve_commands(rt);
        ior__advance_stops(rt);
        ior__settle_work(rt);
        ior__end_resources(rt);
        if (only_threads_left(rt))
            await_threads(rt);
    }
    while (rt->contexts) {
        struct ior_context *cx = rt->contexts;
        rt->contexts = cx->next;
        ior__context_free(cx);
    }
    runtime_release(rt, false);
}
