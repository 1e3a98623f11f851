/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls on files through a ring of io_uring: reads, writes and syncs. It is the runtime's own, beside the engine, which
 * only watches the ring's fd; so it works with each engine, and with one that changes its own ring. It is made by the
 * first call on a file, where config.files asks for it, the kernel has what it takes, and the system calls are the
 * system's own, which a ring would go past. What it does not do goes to a worker thread: opens and stats, what is one
 * too many, and a call that was interrupted or refused for now.
 *
 * Tasks wait in a list until step 4 of the turn, which enters all of them with one system call, and completes what has
 * completed. The kernel does a call in the loop's thread at once, or hands it to threads of its own (IOSQE_ASYNC). At
 * once is cheaper, but it may wait: read-ahead is asked of the disk then, also where the bytes themselves are cached,
 * and takes its time where the disk is busy (30 ms were seen); and SIGXFSZ would be the loop's. So only the pieces of
 * streams are read at once, where cachestat(2) says that they and all that read-ahead may want is in the page cache;
 * and so many bytes a turn.
 *
 * Nothing is ever cancelled: a call that was begun on a disk cannot be. An abandoned task owns its bytes and a share
 * of the fd, and is dropped when it completes. Where the runtime goes first, the ring goes to a thread that waits for
 * the last one. What a ring cannot do is let the thread go that has entered it: its exit waits, in the kernel, for
 * calls that hang. That is why it has to be asked for.
 *
 * Invariants: `waiting` + `entered` <= TASKS_MOST, so that neither queue of the ring ever overflows; a task is in the
 * list, or entered and to be completed once; the ring has no single issuer, because a loop may move between threads.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "file_ring.h"

#include "file.h"

#if defined(IOR_URING)
#include "../engine/engine.h"
#include "../engine/uring_compat.h"
#include "../os_kinds.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TASKS_MOST 128u                      /* the rest goes to threads */
#define CALL_MOST ((size_t)1 << 30)          /* the kernel takes a little less than 2^31 */
#define AT_ONCE_MOST ((size_t)128 * 1024)    /* a longer read is copied by another core meanwhile */
#define AT_ONCE_A_TURN ((size_t)1024 * 1024) /* a third of a millisecond, or less */
#define LOOK_EVERY ((uint64_t)16 << 20)
#define READ_AHEAD ((uint64_t)16 << 20) /* from a read on: twice what read_ahead_kb of a disk is, or more */
#define LOOK_HOLDS_NS (100 * IOR_NS_PER_MS)

struct ior__file_ring {
    struct io_uring ring;
    struct ior__file_task *first, **end; /* not entered yet, through `ring_next` */
    uint32_t waiting, entered;
    bool watched; /* by the engine */
    bool broken;  /* nothing is entered any more */
    bool blind;   /* there is no cachestat(2) */
};

/* ---- making ---- */

static bool os_is_real(const struct ior_os *os)
{
    const struct ior_os_blocking *own = os->blocking, *real = &ior__os_blocking;
    return own && own->struct_size >= sizeof(*own) && own->file_read == real->file_read &&
           own->file_write == real->file_write && own->file_sync == real->file_sync;
}

static int open_ring(struct io_uring *ring)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE,
        .cq_entries = 2 * TASKS_MOST,
    };
    const unsigned needed = IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_RW_CUR_POS;

    int err = io_uring_queue_init_params(TASKS_MOST, ring, &params);
    if (err < 0)
        return err == -EINVAL ? -EOPNOTSUPP : err;
    bool enough = params.sq_entries >= TASKS_MOST && params.cq_entries >= TASKS_MOST;
    err = enough && (params.features & needed) == needed ? ior__uring_look_for_all(ring) : -EOPNOTSUPP;
    int fd = err < 0 ? err : ior__above_stdio(ring->ring_fd);
    if (err == 0)
        ring->ring_fd = ring->enter_ring_fd = fd < 0 ? -1 : fd; /* < 0: it is closed */
    if (fd < 0)
        io_uring_queue_exit(ring);
    return fd < 0 ? fd : 0;
}

static void close_ring(struct ior__file_ring *ring)
{
    io_uring_queue_exit(&ring->ring);
    ior__free(ring, sizeof(*ring));
}

static int watch(struct ior_runtime *rt, struct ior__file_ring *ring)
{
    int err = rt->engine_ops->watch(rt->engine, ring->ring.ring_fd, IOR__RING_ID, IOR_READ);
    ring->watched = err == 0;
    return err;
}

static int make(struct ior_runtime *rt, struct ior__file_ring **ret)
{
    if (!os_is_real(rt->os))
        return -ENOTSUP;
    struct ior__file_ring *ring = ior__calloc(sizeof(*ring));
    if (!ring)
        return -ENOMEM;
    ring->end = &ring->first;
    int err = open_ring(&ring->ring);
    if (err < 0) {
        ior__free(ring, sizeof(*ring));
        return err;
    }
    err = watch(rt, ring);
    if (err < 0) {
        close_ring(ring);
        return err;
    }
    *ret = ring;
    return 0;
}

/* The ring, made now where there is none and it is asked for; NULL: it cannot be, which is told once. */
static struct ior__file_ring *ring_of(struct ior_runtime *rt)
{
    if (!rt->files_on_ring)
        return NULL;
    if (!rt->jobs->ring) {
        int err = make(rt, &rt->jobs->ring);
        rt->files_on_ring = err == 0;
        if (err < 0)
            ior__log(IOR_LOG_WARN, "files are on worker threads: io_uring: %s", ior_strerror(err));
        else
            ior__log(IOR_LOG_INFO, "files are on io_uring");
    }
    return rt->jobs->ring;
}

/* ---- taking ---- */

static void append(struct ior__file_ring *ring, struct ior__file_task *task)
{
    task->ring = IOR__RING_WAITS;
    task->ring_next = NULL;
    *ring->end = task;
    ring->end = &task->ring_next;
    ring->waiting++;
}

static struct ior__file_task *take_first(struct ior__file_ring *ring)
{
    struct ior__file_task *task = ring->first;
    ring->first = task->ring_next;
    if (!ring->first)
        ring->end = &ring->first;
    task->ring_next = NULL;
    ring->waiting--;
    return task;
}

bool ior__file_ring_take(struct ior_runtime *rt, struct ior__file_task *task)
{
    if (task->fd->os != rt->os || task->kind == IOR__FILE_OPEN || task->kind == IOR_FILE_OP_STAT ||
        (task->len == 0 && !ior__file_task_syncs(task)))
        return false;
    struct ior__file_ring *ring = ring_of(rt);
    if (!ring || ring->broken || ring->waiting + ring->entered >= TASKS_MOST)
        return false;
    append(ring, task);
    rt->jobs->ring_calls++;
    rt->commands_left = true; /* the next turn does not wait before it has entered it */
    return true;
}

bool ior__file_ring_recall(struct ior__file_task *task)
{
    if (task->ring != IOR__RING_WAITS || task->moved > 0)
        return false;
    ior__file_ring_abandon(task);
    return true;
}

void ior__file_ring_abandon(struct ior__file_task *task)
{
    task->task.job.bits |= IOR__JOB_ABANDONED;
}

static bool abandoned(const struct ior__file_task *task)
{
    return (task->task.job.bits & IOR__JOB_ABANDONED) != 0;
}

/* ---- completing ---- */

/* What a completion means: the call is over, or goes on with the rest, or is for a thread to do. */
enum outcome { OVER, GOES_ON, FOR_A_THREAD };

static enum outcome note(struct ior__file_task *task, int res)
{
    if (res == -EINTR || res == -EAGAIN || res == -ECANCELED)
        return FOR_A_THREAD; /* EAGAIN is not for one of the calls: a file system without the non-blocking ways */
    if (res < 0)
        task->error = -res;
    if (res < 0 || ior__file_task_syncs(task))
        return OVER;
    if (res == 0) {
        task->error = ior__file_task_writes(task) ? EIO : 0; /* no file takes nothing for ever */
        return OVER;
    }
    task->moved += (size_t)res;
    return task->moved < task->len ? GOES_ON : OVER;
}

static void settle_result(struct ior__file_task *task)
{
    task->ring = IOR__RING_NOT;
    task->result = ior__file_task_syncs(task) ? -(int64_t)task->error : (int64_t)task->moved;
}

static void complete(struct ior_runtime *rt, struct ior__file_task *task)
{
    settle_result(task);
    if (abandoned(task)) {
        task->task.job.drop(&task->task.job);
        return;
    }
    ior__start_services(rt); /* its own may have been attached just now */
    task->task.done(&task->task);
}

static void to_thread(struct ior_runtime *rt, struct ior__file_task *task)
{
    int err = -ECANCELED;
    task->ring = IOR__RING_NOT;
    if (!abandoned(task))
        err = ior__task_submit(task->file->base.cx, IOR_LANE_FILES, &task->task, false);
    if (err == 0)
        return;         /* the thread may be at it already */
    task->error = -err; /* it is abandoned: the lane has had a thread since the file was registered */
    complete(rt, task);
}

static bool next_completion(struct ior__file_ring *ring, struct ior__file_task **ret_task, int *ret_res)
{
    struct io_uring_cqe *cqe;
    if (io_uring_cq_ready(&ring->ring) == 0 || io_uring_peek_cqe(&ring->ring, &cqe) != 0)
        return false;
    *ret_task = io_uring_cqe_get_data(cqe);
    *ret_res = cqe->res;
    io_uring_cqe_seen(&ring->ring, cqe);
    ring->entered--;
    return true;
}

static void reap(struct ior_runtime *rt, struct ior__file_ring *ring)
{
    struct ior__file_task *task;
    int res;
    for (uint32_t i = 0; i < rt->budget_commands && next_completion(ring, &task, &res); i++) {
        enum outcome outcome = note(task, res);
        if (outcome == GOES_ON && !ring->broken)
            append(ring, task);
        else if (outcome == OVER)
            complete(rt, task);
        else
            to_thread(rt, task);
    }
}

/* ---- what the page cache has ---- */

static uint64_t pages(uint64_t offset, uint64_t len)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    return len == 0 ? 0 : (offset + len - 1) / page - offset / page + 1;
}

/* How much of these bytes a file has, where it is a regular one and that is known without asking anybody else. */
static bool clip(int fd, uint64_t offset, uint64_t *len)
{
    struct statx st;
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_SIZE, &st) < 0 || !S_ISREG(st.stx_mode) ||
        st.stx_size == 0)
        return false;
    uint64_t left = offset < st.stx_size ? st.stx_size - offset : 0;
    if (left < *len)
        *len = left;
    return true;
}

/* Whether the page cache has all that the file has from `offset` on, as far as one looks. */
static bool is_cached(struct ior__file_ring *ring, int fd, uint64_t offset)
{
    struct ior__cachestat stat;
    struct ior__cachestat_range range = {.off = offset, .len = LOOK_EVERY + READ_AHEAD};
    if (ring->blind)
        return false;
    if (syscall(IOR__SYS_CACHESTAT, fd, &range, &stat, 0u) < 0) {
        ring->blind = errno == ENOSYS;
        return false;
    }
    if (stat.nr_cache >= pages(offset, range.len))
        return true;
    return clip(fd, offset, &range.len) && stat.nr_cache >= pages(offset, range.len);
}

/*
 * Whether the next piece of a stream can be read at once. One look is for many of them: it takes some 10 ns for each
 * page. It does not stay true for ever: whoever reads slowly is served by the kernel's threads.
 */
static bool at_once(struct ior_runtime *rt, struct ior__file_ring *ring, const struct ior__file_task *task)
{
    struct ior__file *file = task->file;
    if (task->kind != IOR__FILE_PIECE || task->len > AT_ONCE_MOST)
        return false;
    if (task->offset >= file->look_at) {
        file->look_at = task->offset + LOOK_EVERY;
        file->looked_ns = is_cached(ring, task->fd->fd, task->offset) ? rt->now_ns : 0;
    }
    return file->looked_ns > 0 && rt->now_ns - file->looked_ns < LOOK_HOLDS_NS;
}

/* ---- entering ---- */

/* How many bytes of it are to be read at once. */
static size_t prepare(struct ior_runtime *rt, struct ior__file_ring *ring, struct io_uring_sqe *sqe,
                      struct ior__file_task *task)
{
    size_t len = task->len - task->moved < CALL_MOST ? task->len - task->moved : CALL_MOST;
    uint64_t offset = task->offset + task->moved;
    size_t now = 0;
    if (ior__file_task_syncs(task)) {
        io_uring_prep_fsync(sqe, task->fd->fd, 0);
    } else if (ior__file_task_writes(task)) {
        const unsigned char *bytes = task->buf ? ior_buf_bytes(task->buf) : task->bytes;
        io_uring_prep_write(sqe, task->fd->fd, bytes + task->moved, (unsigned)len, task->append ? UINT64_MAX : offset);
    } else {
        io_uring_prep_read(sqe, task->fd->fd, task->bytes + task->moved, (unsigned)len, offset);
        now = at_once(rt, ring, task) ? len : 0;
    }
    if (now == 0)
        sqe->flags |= IOSQE_ASYNC;
    io_uring_sqe_set_data(sqe, task);
    return now;
}

/* The kernel did not take all: what is left is for threads. */
static void take_back(struct ior_runtime *rt, struct ior__file_ring *ring, int err)
{
    struct io_uring_sq *sq = &ring->ring.sq;
    unsigned from = __atomic_load_n(sq->khead, __ATOMIC_ACQUIRE), to = sq->sqe_tail;
    if (err != -EINTR && err != -EAGAIN && err != -EBUSY && err != -ENOMEM) {
        ring->broken = true;
        ior__log(IOR_LOG_WARN, "files are on worker threads: io_uring: %s", ior_strerror(err));
    }
    sq->sqe_head = sq->sqe_tail = from;
    __atomic_store_n(sq->ktail, from, __ATOMIC_RELEASE);
    for (; from != to; from++) {
        ring->entered--;
        to_thread(rt, (void *)(uintptr_t)sq->sqes[from & (sq->ring_entries - 1)].user_data);
    }
}

static void enter(struct ior_runtime *rt, struct ior__file_ring *ring)
{
    size_t bytes = 0;
    int n = 0;
    while (ring->first && bytes < AT_ONCE_A_TURN) {
        struct ior__file_task *task = take_first(ring);
        struct io_uring_sqe *sqe = abandoned(task) || ring->broken ? NULL : io_uring_get_sqe(&ring->ring);
        if (!sqe) {
            to_thread(rt, task);
            continue;
        }
        bytes += prepare(rt, ring, sqe, task);
        task->ring = IOR__RING_ENTERED;
        ring->entered++;
        n = 1;
    }
    while (n > 0 && io_uring_sq_ready(&ring->ring) > 0)
        n = io_uring_submit(&ring->ring);
    if (io_uring_sq_ready(&ring->ring) > 0)
        take_back(rt, ring, n < 0 ? n : -EAGAIN);
}

bool ior__file_ring_ready(const struct ior__file_ring *ring)
{
    return ring && (ring->first || io_uring_cq_ready(&ring->ring) > 0 || (ring->entered > 0 && !ring->watched));
}

void ior__file_ring_serve(struct ior_runtime *rt, struct ior__file_ring *ring)
{
    if (IOR_UNLIKELY(!ring->watched))
        (void)watch(rt, ring); /* until then the loop does not sleep while something is under way */
    if (ring->first)
        enter(rt, ring);
    reap(rt, ring);
}

void ior__file_ring_watch(struct ior_runtime *rt, struct ior__file_ring *ring)
{
    if (!ring)
        return;
    int err = watch(rt, ring);
    if (err < 0)
        ior__log(IOR_LOG_ERROR, "the ring of files is not watched: %s", ior_strerror(err));
}

/* ---- the end ---- */

/* Without a runtime: what is not whole stays so, and is counted. */
static void drop_completed(struct ior__file_ring *ring)
{
    struct ior__file_task *task;
    int res;
    while (next_completion(ring, &task, &res)) {
        (void)note(task, res);
        settle_result(task);
        task->task.job.drop(&task->task.job);
    }
}

/* The thread of a ring that was left behind. */
static void *orphan(void *arg)
{
    struct ior__file_ring *ring = arg;
    struct io_uring_cqe *cqe;
    int err = 0;
    while (ring->entered > 0 && (err == 0 || err == -EINTR || err == -EAGAIN)) {
        err = io_uring_wait_cqe(&ring->ring, &cqe);
        drop_completed(ring);
    }
    if (ring->entered == 0)
        close_ring(ring);
    return NULL;
}

void ior__file_ring_free(struct ior_runtime *rt, struct ior__file_ring *ring, bool in_child)
{
    if (in_child) {
        close_ring(ring); /* the fd and the memory; what the kernel does is the parent's */
        return;
    }
    if (ring->watched)
        (void)rt->engine_ops->unwatch(rt->engine, ring->ring.ring_fd, IOR__RING_ID);
    while (ring->first) {
        struct ior__file_task *task = take_first(ring);
        settle_result(task);
        task->task.job.drop(&task->task.job);
    }
    drop_completed(ring);
    if (ring->entered == 0) {
        close_ring(ring);
        return;
    }
    pthread_t thread;
    int err = rt->os->blocking->thread(rt->os->arg, &thread, orphan, ring);
    if (err == 0)
        pthread_detach(thread);
    else /* the kernel may still write into what the tasks own */
        ior__log(IOR_LOG_WARN, "%u calls on files hang, and no thread waits for them: %s: their memory is kept",
                 ring->entered, ior_strerror(err));
}

#else

bool ior__file_ring_take(struct ior_runtime *rt, struct ior__file_task *task)
{
    (void)task;
    if (rt->files_on_ring)
        ior__log(IOR_LOG_WARN, "files are on worker threads: this build has no io_uring");
    rt->files_on_ring = false;
    return false;
}

bool ior__file_ring_recall(struct ior__file_task *task)
{
    (void)task;
    return false;
}

void ior__file_ring_abandon(struct ior__file_task *task)
{
    (void)task;
}

bool ior__file_ring_ready(const struct ior__file_ring *ring)
{
    (void)ring;
    return false;
}

void ior__file_ring_serve(struct ior_runtime *rt, struct ior__file_ring *ring)
{
    (void)rt;
    (void)ring;
}

void ior__file_ring_watch(struct ior_runtime *rt, struct ior__file_ring *ring)
{
    (void)rt;
    (void)ring;
}

void ior__file_ring_free(struct ior_runtime *rt, struct ior__file_ring *ring, bool in_child)
{
    (void)rt;
    (void)ring;
    (void)in_child;
}
#endif
