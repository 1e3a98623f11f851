/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The structs that the files of the core share: runtime, context, what the library keeps in a resource's base. Who
 * may touch what: everything here belongs to the loop's thread, but for the controllers (controller.h).
 */
#ifndef IOR_SRC_CORE_H
#define IOR_SRC_CORE_H

#include <ioreactor.h>
#include <stdatomic.h>

#include "slots.h"
#include "timers.h"
#include "util.h"

/* The state of a registered resource: ior_resource.bits. */
enum ior__bits {
    IOR__TELL_REGISTERED = 1u << 0, /* `registered` is still to be told */
    IOR__TELL_OPEN = 1u << 1,       /* OPEN is still to be told */
    IOR__CONNECTING = 1u << 2,
    IOR__PAUSED = 1u << 3,
    IOR__FULL = 1u << 4,        /* output is past the high mark, and has not fallen to the low one since */
    IOR__OWED = 1u << 5,        /* DRAINED is owed */
    IOR__BLOCKED = 1u << 6,     /* the kernel takes no output now: waiting for IOR_WRITE */
    IOR__EOF_SEEN = 1u << 7,    /* the input has ended */
    IOR__FINISHING = 1u << 8,   /* half-close once the queue is written; no more sends */
    IOR__FIN_SENT = 1u << 9,    /* the sending side is shut (stays set at handover) */
    IOR__CLOSING = 1u << 10,    /* flush, half-close, discard input, END */
    IOR__WRITE_DEAD = 1u << 11, /* a write failed: what is to be read is read, then END (stays set at handover) */
    IOR__ENDING = 1u << 12,     /* END is all that is to come */
    IOR__IN_WORK = 1u << 13,    /* on runtime.work or runtime.ended */
    IOR__IN_READY = 1u << 14,   /* on runtime.ready */
    IOR__IN_SET = 1u << 15,     /* the engine watches the fd */
    IOR__ALWAYS = 1u << 16,     /* the engine cannot watch the fd: it is always ready */
    IOR__SHRINK = 1u << 17,     /* an unwanted record came: bring the engine's interest down to what is wanted */
    IOR__BACKOFF = 1u << 18,    /* the kernel was out of something: no I/O until the back-off ends */
    IOR__TOLD_ERROR = 1u << 19, /* `error` was told for this spell */
    IOR__AGAIN = 1u << 20,      /* unread bytes are to be told again, also without new ones */
    IOR__NO_READ = 1u << 21,    /* the fd is write-only */
    IOR__NO_WRITE = 1u << 22,   /* the fd is read-only */
    IOR__SOCKET = 1u << 23,
    IOR__LOST = 1u << 24,       /* somebody else closed the fd: its number is not ours to close */
    IOR__TIGHT = 1u << 25,      /* a block of output can be past its marks; set for all kinds but streams */
    IOR__LISTENER = 1u << 26,   /* the family: events go to handler.listener */
    IOR__STREAM = 1u << 27,     /* of ior__stream_ops */
    IOR__DEAF = 1u << 28,       /* the engine does not watch for reading */
    IOR__FDS = 1u << 29,        /* receive_fds: fds that come along are told */
    IOR__FULL_READS = 1u << 30, /* read_when_full */
};

/*
 * The queue is one piece of copied bytes in its own block, and only its `bytes` is set: ior__output_open makes it a
 * queue like others. (An enumerator cannot be so large.)
 */
#define IOR__SMALL (UINT32_C(1) << 31)

/* What remains in a resource that is handed back. */
#define IOR__KEPT_BITS                                                                                                 \
    (IOR__CONNECTING | IOR__WRITE_DEAD | IOR__FINISHING | IOR__FIN_SENT | IOR__NO_READ | IOR__NO_WRITE | IOR__SOCKET | \
     IOR__LOST | IOR__LISTENER | IOR__STREAM | IOR__FULL_READS | IOR__TIGHT | IOR__FDS)

/* A stream whose record can be answered by one read and its event, and one for which a small write settles all. */
#define IOR__USUAL_BITS (IOR__STREAM | IOR__SOCKET | IOR__IN_SET)
#define IOR__READ_UNUSUAL_BITS                                                                                        \
    (IOR__ENDING | IOR__TELL_REGISTERED | IOR__TELL_OPEN | IOR__CONNECTING | IOR__PAUSED | IOR__FULL | IOR__BLOCKED | \
     IOR__EOF_SEEN | IOR__CLOSING | IOR__WRITE_DEAD | IOR__BACKOFF | IOR__AGAIN | IOR__TOLD_ERROR | IOR__IN_READY |   \
     IOR__FDS)
#define IOR__WRITE_UNUSUAL_BITS                                                                              \
    (IOR__ENDING | IOR__CONNECTING | IOR__BLOCKED | IOR__BACKOFF | IOR__WRITE_DEAD | IOR__FULL | IOR__OWED | \
     IOR__FINISHING | IOR__CLOSING | IOR__SHRINK | IOR__TOLD_ERROR | IOR__DEAF)

/* What makes a send something else than the first bytes of a small queue. */
#define IOR__SEND_UNUSUAL_BITS (IOR__NO_SEND_BITS | IOR__TIGHT | IOR__IN_WORK)

/* What makes a send something else than an append. */
#define IOR__NO_SEND_BITS                                                                                              \
    (IOR__CONNECTING | IOR__FINISHING | IOR__FIN_SENT | IOR__CLOSING | IOR__WRITE_DEAD | IOR__ENDING | IOR__NO_WRITE | \
     IOR__LISTENER)

/*
 * Internal deadlines, besides the four public ones. A resource without an fd has nothing to back off from: the deadline
 * puts it on the ready list then.
 */
enum { IOR__DEADLINE_BACKOFF = 4, IOR__DEADLINE_COUNT = 5 };

/* The deadlines of a resource; made when the first one is armed. In the heap under the earliest, at the latest. */
struct ior__deadlines {
    struct ior__timer_node node; /* first: timers.c knows no more of it */
    struct ior_resource *res;
    uint64_t idle_ns;   /* the period of IOR_DEADLINE_IDLE, IOR_NEVER: off */
    uint64_t active_ns; /* when bytes came or went last: the idle deadline is not before this and the period */
    uint64_t at_ns[IOR__DEADLINE_COUNT];
};

/* The queues whose first bytes the engine is writing; linked through next and previous. */
struct ior__sending {
    struct ior__output *first, *last;
    uint64_t begun_ns; /* all of them in one turn */
};

/* When a transport's output is full, when it has room again, and what it can hold at most; in bytes. */
struct ior__marks {
    uint64_t high, low, cap;
};

/* A ring of slots: resources that are served next turn, first-in first-out. It has room for all that are registered. */
struct ior__ready {
    uint32_t *slots;
    uint32_t at, count, capacity; /* a power of two */
};

/* A FIFO list of resources, linked through next_work. `end` is where the next one goes. */
struct ior__queue {
    struct ior_resource *first; /* NULL: empty; the last one's link is set when the list is taken */
    struct ior_resource **end;
};

static inline void ior__queue_clear(struct ior__queue *queue)
{
    queue->first = NULL;
    queue->end = &queue->first;
}

static inline void ior__queue_add(struct ior__queue *queue, struct ior_resource *res)
{
    *queue->end = res;
    queue->end = &res->next_work;
}

/* Takes the first one out; there must be one. */
static inline struct ior_resource *ior__queue_pop(struct ior__queue *queue)
{
    struct ior_resource *first = queue->first;
    if (queue->end == &first->next_work)
        ior__queue_clear(queue);
    else
        queue->first = first->next_work;
    return first;
}

/* Takes the whole list, which ends with NULL from then on. */
static inline struct ior_resource *ior__queue_take(struct ior__queue *queue)
{
    struct ior_resource *first = queue->first;
    *queue->end = NULL;
    ior__queue_clear(queue);
    return first;
}

enum ior__phase {
    IOR__PHASE_NEW = 0, /* start is still to be called */
    IOR__PHASE_RUNNING,
    IOR__PHASE_ASKED,   /* stop was asked for: no new resources; earlier commands are served */
    IOR__PHASE_SERVING, /* `stop` was called */
    IOR__PHASE_ENDING,  /* all resources were asked to close */
    IOR__PHASE_GONE,    /* the last one has ended */
};

struct ior_context {
    struct ior_runtime *rt;
    struct ior_handler
        handler; /* a copy: members the user's version lacks are NULL; listener and transport never are */
    void *self;
    struct ior_event data_event;  /* its type is set for good; its length is 0 but in a data event */
    struct ior_resource *lent_to; /* in a data event: whose it is */
    struct ior_controller *ctl;
    struct ior_context *next;
    uint32_t resources;
    uint32_t attempts; /* those of them that are attempts of dials, of which the service knows nothing */
    uint32_t timers;
    uint32_t jobs;     /* that are to be completed */
    uint32_t awaiting; /* resources whose END waits for a thread */
    enum ior__phase phase;
    bool started;
    bool stop_called;
    bool forced;      /* the time is over: all was ended */
    uint64_t stop_ns; /* when draining ends; counts from IOR__PHASE_ASKED */
};

/* What the engine knows the ring of files by (resource/file_ring.c): no resource has that id. */
#define IOR__RING_ID UINT64_MAX

struct ior_runtime {
    /* the hot part */
    const struct ior_os *os;
    const struct ior_engine_ops *engine_ops;
    void *engine;
    _Atomic uintptr_t *owner; /* the loop's thread; in a page that reads 0 in a forked child */
    uint64_t now_ns;          /* the clock after the last wait */
    struct ior__slots slots;
    struct ior__queue work;  /* to be flushed, ended, or have its interest changed at the end of the turn */
    struct ior__ready ready; /* to be served next turn without asking the engine */
    struct ior__queue ended; /* END is to be told */
    uint32_t *fd_owners;     /* by fd: 1 + the slot of the resource registered with it, 0: none */
    uint32_t fd_owner_count;
    struct ior__sending sending;
    bool does_io;             /* the engine does: IOR_ENGINE_DOES_IO */
    bool sends_awaited;       /* something waits for what a send comes to */
    unsigned char *read_buf;  /* reads go into it, and what they bring is lent from it */
    unsigned char *read_at;   /* the next one: behind what queues borrow (output.h) */
    unsigned char *read_last; /* the last place where borrowing leaves room for a read */
    size_t read_cap;
    void *read_block;       /* what read_buf lies in */
    size_t read_short_most; /* a read of 1 .. so many bytes needs no further look */
    bool read_full;         /* what queues borrow leaves no room for more: it is to be written before reading goes on */
    bool read_large;        /* a queue borrows much: the same, while it is in the cache */
    bool early; /* that is going on: no engine is left with a send, and file ranges wait for the end of the turn */
    uint32_t read_bytes;
    uint32_t budget_reads;
    /* what is on offer to the service in the callback that runs now */
    struct ior__accepting *accepting;
    struct ior_os_fds *offered; /* inside FDS: those that are not taken yet */
    /* output.c */
    struct ior__output *pool;
    uint32_t blocks;       /* of queues and of the pool */
    uint64_t output_bytes; /* memory of all queues and of the pool */
    uint32_t stops;        /* services that are asked to stop, or are gone */
    uint32_t tickers;      /* services with a tick */
    size_t output_cap_bytes;
    struct ior__marks default_marks; /* of the user's own kinds */
    uint64_t starved_level;          /* output_bytes when the starved were looked at last */
    bool starved;                    /* sends were refused because of the cap */
    /* timers */
    struct ior__timers timers;
    uint64_t timer_missed;        /* of the callback that runs now */
    struct ior__signals *signals; /* those that are registered */
    /* services */
    struct ior_context *contexts; /* the first one first */
    struct ior_command *drops;    /* commands that go to `drop` from the loop */
    struct ior__pool *jobs;       /* threads for blocking work; NULL: none yet */
    struct ior_record *records;
    uint32_t budget_records, budget_accepts, budget_commands, budget_timers;
    uint32_t job_threads, job_queue;
    uint32_t new_contexts; /* whose start is to be called */
    uint32_t starving;     /* listeners that wait for an fd or a slot */
    bool busy;             /* in a turn */
    bool freeing;
    bool stopping; /* the whole runtime is */
    bool need_rebuild;
    bool begun;         /* the services' start was called */
    bool commands_left; /* over the budget, for the next turn */
    bool files_on_ring; /* calls on files go to io_uring: asked for, and not found out to be impossible */
    int failed;         /* what a start answered */
    /* failing waits */
    int wait_error;
    uint64_t wait_backoff_ns;
    uint64_t unarmed_ns; /* when back-offs are over that there was no memory to arm; IOR_NEVER: none */
    uint64_t last_stale_turn;
    uint64_t turns, records_taken, stale_records, rebuilds, commands_served, timers_fired, wakes_before;
    struct ior__datagrams *datagrams; /* where datagram sockets receive; NULL: there was none yet */
};

/* ---- lists ---- */

static inline void ior__work_add(struct ior_runtime *rt, struct ior_resource *res)
{
    if (res->bits & IOR__IN_WORK)
        return;
    res->bits |= IOR__IN_WORK;
    ior__queue_add(&rt->work, res);
}

/* Makes room for one more resource: 0 or -ENOMEM. */
int ior__ready_reserve(struct ior_runtime *rt);
void ior__ready_add(struct ior_runtime *rt, struct ior_resource *res, unsigned io);
/* Takes the first one out; there must be one. */
struct ior_resource *ior__ready_take(struct ior_runtime *rt);

/* A number that no other living thread has; without a call where the compiler knows how. */
static inline uintptr_t ior__thread(void)
{
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__))
    return (uintptr_t)__builtin_thread_pointer();
#else
    return (uintptr_t)pthread_self();
#endif
}

/* ---- request checks: -EINVAL, -EPERM; then -ENOENT, -EACCES, -EALREADY ---- */

int ior__enter_slow(const struct ior_context *cx);

static inline bool ior__on_thread(const struct ior_runtime *rt)
{
    return atomic_load_explicit(rt->owner, memory_order_relaxed) == ior__thread();
}

static inline int ior__enter(const struct ior_context *cx)
{
    return IOR_LIKELY(cx && ior__on_thread(cx->rt)) ? 0 : ior__enter_slow(cx);
}

int ior__find_failed(const struct ior_context *cx, const struct ior_resource *res);

static inline int ior__find(const struct ior_context *cx, ior_id id, struct ior_resource **ret)
{
    *ret = NULL;
    int err = ior__enter(cx);
    if (IOR_UNLIKELY(err < 0))
        return err;
    struct ior_resource *res = ior__slots_find(&cx->rt->slots, id);
    if (IOR_UNLIKELY(!res || res->cx != cx || (res->bits & IOR__ENDING)))
        return ior__find_failed(cx, res);
    *ret = res;
    return 0;
}

/* ---- events ---- */

/* Tells the resource's service; id and user are filled in. The resource may be ENDING afterwards, but it exists. */
static inline void ior__tell(struct ior_resource *res, struct ior_event *ev)
{
    struct ior_context *cx = res->cx;
    ev->id = res->id;
    ev->user = res->user;
    void (*fn)(void *, struct ior_context *, const struct ior_event *) =
        (res->bits & IOR__LISTENER) ? cx->handler.listener : cx->handler.transport;
    fn(cx->self, cx, ev);
}

void ior__tell_error(struct ior_resource *res, int err);

/* ---- dispatch.c: records and the ready list become calls of resources ---- */

struct ior_emit {
    struct ior_resource *res;
};

void ior__dispatch(struct ior_runtime *rt, int count);
void ior__handle_io(struct ior_resource *res, unsigned io);
void ior__io_done(struct ior_resource *res, unsigned io, int r);
void ior__tell_pending(struct ior_resource *res);

/* ---- interest.c: what the engine waits for ---- */

/* What the resource itself waits for, and that with what the runtime waits for on its behalf. */
unsigned ior__own_interest(const struct ior_resource *res);
static inline unsigned ior__wanted(const struct ior_resource *res)
{
    unsigned blocked = (res->bits & (IOR__BLOCKED | IOR__WRITE_DEAD)) == IOR__BLOCKED ? (unsigned)IOR_WRITE : 0u;
    return ior__own_interest(res) | blocked;
}
/* Step 5: the engine is told what changed. */
void ior__apply_interest(struct ior_resource *res);
/* Puts a new resource's fd into the engine; what had the same number before lost it. */
int ior__first_watch(struct ior_runtime *rt, struct ior_resource *res);
/* Takes it out. */
void ior__leave_set(struct ior_resource *res);
/* The number of its fd is nobody's any more. */
void ior__fd_owner_clear(struct ior_runtime *rt, const struct ior_resource *res);
void ior__rebuild(struct ior_runtime *rt);

/* ---- life.c: registration, end ---- */

/* -ESHUTDOWN where the service takes no new resources. */
int ior__may_register(const struct ior_context *cx);
/* Gives an initialised resource its id and its place in the engine; all or nothing. */
int ior__attach_resource(struct ior_context *cx, struct ior_resource *res, uint32_t tell_bits, ior_id *ret_id);
/* Undoes that, where nothing was told yet: the resource is the caller's again. */
void ior__attach_undo(struct ior_resource *res);
/* A registered resource that had no fd gets one. On failure the fd stays the caller's. */
int ior__attach_fd(struct ior_resource *res, int fd);
void ior__latch_error(struct ior_resource *res, int error);
/* END is all that is to come. `deadline` is -1 but for IOR_TIMEOUT. Nothing happens where that is so already. */
void ior__end(struct ior_resource *res, enum ior_why why, int error, int deadline);
/* What its END has waited for, if it has, is over. */
void ior__end_goes_on(struct ior_resource *res);
/* Its END does not wait for a thread any longer. False: it would not have. */
bool ior__end_give_up(struct ior_resource *res);
/* Starts the orderly end: -ENOMEM, nothing has changed. */
int ior__start_close(struct ior_resource *res, enum ior_why why, uint64_t drain_at_ns);
void ior__close_after_eof(struct ior_resource *res, uint64_t drain_ns);
/* Steps 5 and 6 of the turn. */
void ior__settle_work(struct ior_runtime *rt);
/* Between two callbacks: step 5 now, for the sake of the read buffer. */
void ior__settle_early(struct ior_runtime *rt);
#define IOR__LARGE_BYTES 8192u /* of a read: what is sent on of it is written behind its event */
static inline void ior__read_as_usual(struct ior_runtime *rt)
{
    rt->read_full = rt->read_large = false;
    rt->read_short_most = (rt->read_bytes < IOR__LARGE_BYTES ? rt->read_bytes : IOR__LARGE_BYTES) - (size_t)1;
}
void ior__end_resources(struct ior_runtime *rt);
void ior__destroy(struct ior_resource *res, const struct ior_os *os);

/* ---- deadlines.c ---- */
int ior__deadline_set(struct ior_resource *res, int which, uint64_t at_ns);
void ior__deadline_clear(struct ior_resource *res, int which);
int ior__deadlines_reserve(struct ior_resource *res);
void ior__deadlines_drop(struct ior_resource *res);
int ior__idle_start(struct ior_resource *res, uint64_t idle_ns);
void ior__deadlines_due(struct ior__deadlines *deadlines);
void ior__backoff(struct ior_resource *res, int err);
void ior__fd_freed(struct ior_runtime *rt);
void ior__unarmed_over(struct ior_runtime *rt);
uint64_t ior__deadline_after(const struct ior_runtime *rt, uint64_t after_ns);

/* Bytes came or went at `ns`. What that means for the idle deadline is found out when its time comes. */
static inline void ior__touch_idle_at(struct ior_resource *res, uint64_t ns)
{
    struct ior__deadlines *deadlines = res->deadlines;
    if (deadlines)
        deadlines->active_ns = ns;
}

static inline void ior__touch_idle(struct ior_resource *res)
{
    ior__touch_idle_at(res, res->cx->rt->now_ns);
}

/* ---- service_timers.c ---- */
void ior__fire_timers(struct ior_runtime *rt);
void ior__drop_timers(struct ior_context *cx);

/* ---- service.c: contexts, start, stop ---- */
int ior__context_new(struct ior_runtime *rt, const struct ior_handler *handler, void *self, struct ior_context **ret);
void ior__context_free(struct ior_context *cx);
void ior__start_services(struct ior_runtime *rt);
void ior__tick_services(struct ior_runtime *rt);
void ior__serve_commands(struct ior_runtime *rt);
void ior__advance_stops(struct ior_runtime *rt);
void ior__stop_all(struct ior_runtime *rt, uint64_t drain_ns);
bool ior__over(const struct ior_runtime *rt);
uint64_t ior__stop_deadline(const struct ior_runtime *rt);

/* ---- runtime.c ---- */
int ior__runtime_start(struct ior_runtime *rt);
bool ior__read_buf_make(struct ior_runtime *rt, size_t len);

/* ---- guard.c: tells a forked child from its parent ---- */
_Atomic uintptr_t *ior__guard_new(void);
void ior__guard_free(_Atomic uintptr_t *guard);
static inline bool ior__in_child(const struct ior_runtime *rt)
{
    return atomic_load_explicit(rt->owner, memory_order_relaxed) == 0;
}

#endif
