/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals by handlers, where the system has no signalfd(2).
 *
 * This is the one exception to what the library promises: to install no handlers, and to have no global state. A
 * handler has no argument, so what it must know can only be global. It is all in this file.
 *
 * The handler puts what it is told into the queue of the number and wakes all who take that number; each of their
 * loops looks into the queue, and the first one gets it: as with several signalfds. A queue has room for one standard
 * signal, so that more of them are merged as the kernel merges them. It is installed while somebody takes the number,
 * and afterwards what was there before is put back, if nobody else has replaced it. What was not read by then is sent
 * again, and has the effect that it would have had.
 *
 * The handler takes no lock, calls only what signal-safety(7) allows, and keeps errno. Those who change what it looks
 * at unlink first, and then wait until no handler runs: one that begins later does not find it any more.
 *
 * A forked child inherits the handlers, and shares the wakers with its parent. A handler that finds itself in another
 * process gives way to what was there before; so does one that the kernel had begun when the last one left.
 *
 * Invariants: `lock` is held for all changes but those of the handler; a number's handler is installed only while its
 * `takers` is not 0; a taker's waker is readable while one of its queues has something.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "signal_pipe.h"

#include "engine/engine.h"
#include "util.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include <ioreactor/signal.h>

struct cell {
    _Atomic bool ready;
    struct ior_signal signal;
};

/* Handlers of several threads write, one reader at a time reads. Both ends count on, over the size. */
struct queue {
    uint32_t size; /* a power of two */
    _Atomic uint32_t head, tail;
    _Atomic uint32_t lost;
    struct cell cells[];
};

struct subscriber {
    struct subscriber *_Atomic next; /* of those who take */
    struct ior__waker waker;
    sigset_t set;
    pid_t owner;
    bool takes;
};

static struct slot {
    struct queue *_Atomic queue;
    unsigned subscribers, takers; /* how many have asked for the number, and how many of them take it */
    struct sigaction before;
} slots[NSIG];

static struct subscriber *_Atomic takers;
static _Atomic int in_handler; /* how many run */
static _Atomic pid_t owner;    /* the process whose state this is */
static _Atomic pid_t lock;     /* who holds it; a process that is not this one does not */

/* ---- queues ---- */

static bool is_real_time(int number)
{
#if defined(SIGRTMIN)
    return number >= SIGRTMIN;
#else
    (void)number;
    return false;
#endif
}

static size_t queue_bytes(uint32_t size)
{
    return sizeof(struct queue) + size * sizeof(struct cell);
}

static struct queue *queue_new(int number)
{
    uint32_t size = is_real_time(number) ? IOR__SIGNALS_WAITING : 1;
    struct queue *queue = ior__calloc(queue_bytes(size));

    if (queue)
        queue->size = size;
    return queue;
}

static struct cell *cell_at(struct queue *queue, uint32_t at)
{
    return &queue->cells[at % queue->size];
}

/* The next cell, which is this handler's alone, or NULL: the queue is full. */
static struct cell *claim(struct queue *queue)
{
    uint32_t at = atomic_load(&queue->tail);

    for (;;) {
        uint32_t used = at - atomic_load(&queue->head); /* more than the size where others have moved both meanwhile */
        uint32_t seen = at;
        if (used < queue->size && atomic_compare_exchange_strong(&queue->tail, &at, at + 1))
            return cell_at(queue, seen);
        at = atomic_load(&queue->tail);
        if (used >= queue->size && at == seen)
            return NULL;
    }
}

static void put(struct queue *queue, const struct ior_signal *signal)
{
    struct cell *cell = claim(queue);

    if (!cell) {
        if (queue->size > 1) /* else it is merged with the one that waits */
            atomic_fetch_add(&queue->lost, 1);
        return;
    }
    cell->signal = *signal;
    atomic_store(&cell->ready, true);
}

/* What a handler is still writing does not count: it wakes the reader when it has. */
static bool is_empty(struct queue *queue)
{
    return !atomic_load(&cell_at(queue, atomic_load(&queue->head))->ready);
}

static bool get(struct queue *queue, struct ior_signal *ret)
{
    uint32_t at = atomic_load(&queue->head);
    struct cell *cell = cell_at(queue, at);

    if (!atomic_load(&cell->ready))
        return false;
    *ret = cell->signal;
    atomic_store(&cell->ready, false);
    atomic_store(&queue->head, at + 1);
    return true;
}

/* ---- the handler ---- */

static void on_signal(int number, siginfo_t *info, void *context);

static bool is_ours(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == on_signal;
}

static void put_back(int number)
{
    struct sigaction now;

    if (sigaction(number, NULL, &now) == 0 && is_ours(&now))
        (void)sigaction(number, &slots[number].before, NULL);
}

static void send_again(int number, int value)
{
#if defined(SIGRTMIN)
    union sigval sigval = {.sival_int = value};
    if (is_real_time(number)) {
        (void)sigqueue(getpid(), number, sigval);
        return;
    }
#endif
    (void)value;
    (void)kill(getpid(), number);
}

static void fill(struct ior_signal *ret, int number, const siginfo_t *info)
{
    int code = info->si_code;
    bool of_child = number == SIGCHLD && code > 0;
    bool queued = code == SI_QUEUE || code == SI_MESGQ;
    bool by_process = code == SI_USER || queued;

#if defined(SI_TKILL)
    by_process = by_process || code == SI_TKILL;
#endif
    *ret = (struct ior_signal){.number = number, .code = code};
    if (of_child || by_process) {
        ret->pid = info->si_pid;
        ret->uid = info->si_uid;
    }
    if (of_child)
        ret->status = info->si_status;
    if (queued || code == SI_TIMER || code == SI_ASYNCIO)
        ret->value = info->si_value.sival_int;
}

/* Whether anybody takes it. */
static bool deliver(int number, const siginfo_t *info)
{
    bool taken = false;

    for (struct subscriber *at = atomic_load(&takers); at; at = atomic_load(&at->next)) {
        if (sigismember(&at->set, number) != 1)
            continue;
        if (!taken) {
            struct ior_signal signal;
            fill(&signal, number, info);
            put(atomic_load(&slots[number].queue), &signal);
        }
        taken = true;
        (void)ior__waker_wake(&at->waker);
    }
    return taken;
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    int saved_errno = errno;

    (void)context;
    bool taken = false;
    if (getpid() == atomic_load(&owner)) {
        atomic_fetch_add(&in_handler, 1);
        taken = deliver(number, info);
        atomic_fetch_sub(&in_handler, 1);
    }
    if (!taken) {
        put_back(number);
        send_again(number, info->si_value.sival_int);
    }
    errno = saved_errno;
}

/* ---- the lock ---- */

/* In a forked child: nobody takes anything here. */
static void adopt(pid_t self)
{
    atomic_store(&takers, NULL);
    for (int number = 1; number < NSIG; number++) {
        if (slots[number].takers > 0)
            put_back(number);
        slots[number].takers = 0;
    }
    atomic_store(&in_handler, 0);
    atomic_store(&owner, self);
}

/* Held for some system calls at most. No mutex: a forked child could inherit one that nobody there will ever unlock. */
static void lock_state(void)
{
    pid_t self = getpid();
    pid_t holder = 0;

    while (!atomic_compare_exchange_weak(&lock, &holder, self)) {
        if (holder == self) {
            holder = 0;
            sched_yield();
        }
    }
    if (atomic_load(&owner) != self)
        adopt(self);
}

static void unlock_state(void)
{
    atomic_store(&lock, 0);
}

/* ---- taking ---- */

static void install(int number)
{
    struct slot *slot = &slots[number];
    struct sigaction ours, before;

    (void)sigaction(number, NULL, &before);
    if (!is_ours(&before)) /* somebody else has put ours back */
        slot->before = before;
    ours = (struct sigaction){.sa_sigaction = on_signal};
    /* On the stack for signals, where a thread has one: some runtimes of languages give their threads small ones. */
    ours.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK | (slot->before.sa_flags & (SA_NOCLDSTOP | SA_NOCLDWAIT));
    if (number == SIGCHLD && !(slot->before.sa_flags & SA_SIGINFO) && slot->before.sa_handler == SIG_IGN)
        ours.sa_flags |= SA_NOCLDWAIT; /* nobody else reaps them */
    sigfillset(&ours.sa_mask);
    (void)sigaction(number, &ours, NULL);
}

static void begin(struct subscriber *subscriber)
{
    bool waiting = false;

    atomic_store(&subscriber->next, atomic_load(&takers));
    atomic_store(&takers, subscriber);
    subscriber->takes = true;
    for (int number = 1; number < NSIG; number++) {
        if (sigismember(&subscriber->set, number) != 1)
            continue;
        if (slots[number].takers++ == 0)
            install(number);
        waiting = waiting || !is_empty(atomic_load(&slots[number].queue));
    }
    if (waiting)
        (void)ior__waker_wake(&subscriber->waker);
}

static void end(struct subscriber *subscriber)
{
    struct subscriber *_Atomic *link = &takers;

    while (atomic_load(link) != subscriber)
        link = &atomic_load(link)->next;
    atomic_store(link, atomic_load(&subscriber->next));
    subscriber->takes = false;
    for (int number = 1; number < NSIG; number++) {
        if (sigismember(&subscriber->set, number) == 1 && --slots[number].takers == 0)
            put_back(number);
    }
    while (atomic_load(&in_handler) > 0)
        sched_yield();
}

/* What nobody takes any more. */
static bool get_left_over(const struct subscriber *subscriber, struct ior_signal *ret)
{
    bool found = false;

    lock_state();
    for (int number = 1; number < NSIG && !found; number++) {
        if (sigismember(&subscriber->set, number) == 1 && slots[number].takers == 0)
            found = get(atomic_load(&slots[number].queue), ret);
    }
    unlock_state();
    return found;
}

void ior__signal_pipe_take(void *arg, struct ior_os_signals *signals, bool on)
{
    struct subscriber *subscriber = signals->own;
    struct ior_signal left;

    (void)arg;
    lock_state();
    bool takes = subscriber->takes && subscriber->owner == getpid();
    if (on && !takes) {
        subscriber->owner = getpid();
        begin(subscriber);
    } else if (!on && takes) {
        end(subscriber);
    }
    unlock_state();
    while (!on && takes && get_left_over(subscriber, &left))
        send_again(left.number, left.value); /* without the lock: what it does is the program's */
}

/* ---- opening, reading, closing ---- */

/* Gives back the numbers below `end`. */
static void leave_slots(const sigset_t *set, int end_number)
{
    for (int number = 1; number < end_number; number++) {
        struct slot *slot = &slots[number];
        if (sigismember(set, number) != 1 || --slot->subscribers > 0)
            continue;
        struct queue *queue = atomic_load(&slot->queue);
        atomic_store(&slot->queue, NULL);
        ior__free(queue, queue_bytes(queue->size));
    }
}

static int enter_slots(const sigset_t *set)
{
    for (int number = 1; number < NSIG; number++) {
        struct slot *slot = &slots[number];
        if (sigismember(set, number) != 1)
            continue;
        struct queue *queue = atomic_load(&slot->queue);
        if (!queue)
            queue = queue_new(number);
        if (!queue) {
            leave_slots(set, number);
            return -ENOMEM;
        }
        atomic_store(&slot->queue, queue);
        slot->subscribers++;
    }
    return 0;
}

static int fill_set(sigset_t *set, const int *numbers, size_t count)
{
    struct sigaction now;

    sigemptyset(set);
    for (size_t i = 0; i < count; i++) {
        if (numbers[i] <= 0 || numbers[i] >= NSIG || sigaddset(set, numbers[i]) < 0 ||
            sigaction(numbers[i], NULL, &now) < 0)
            return -EINVAL;
    }
    return 0;
}

int ior__signal_pipe_open(void *arg, const int *numbers, size_t count, struct ior_os_signals *ret)
{
    sigset_t set;

    (void)arg;
    int err = fill_set(&set, numbers, count);
    if (err < 0)
        return err;
    struct subscriber *subscriber = ior__calloc(sizeof(*subscriber));
    if (!subscriber)
        return -ENOMEM;
    err = ior__waker_open(&subscriber->waker, false);
    if (err < 0)
        goto free_subscriber;
    lock_state();
    err = enter_slots(&set);
    unlock_state();
    if (err < 0)
        goto close_waker;
    subscriber->set = set;
    *ret = (struct ior_os_signals){.fd = subscriber->waker.read_fd, .handled = true, .own = subscriber};
    return 0;

close_waker:
    ior__waker_close(&subscriber->waker);
free_subscriber:
    ior__free(subscriber, sizeof(*subscriber));
    return err;
}

/* The lowest number first. */
static bool get_first(const struct subscriber *subscriber, struct ior_signal *ret, uint32_t *lost)
{
    for (int number = 1; number < NSIG; number++) {
        if (sigismember(&subscriber->set, number) != 1)
            continue;
        struct queue *queue = atomic_load(&slots[number].queue);
        if (get(queue, ret)) {
            *lost = atomic_exchange(&queue->lost, 0);
            return true;
        }
    }
    return false;
}

int ior__signal_pipe_read(void *arg, struct ior_os_signals *signals, struct ior_signal *ret)
{
    struct subscriber *subscriber = signals->own;
    uint32_t lost = 0;

    (void)arg;
    lock_state();
    bool found = subscriber->takes && get_first(subscriber, ret, &lost);
    if (subscriber->takes && !found) {
        ior__waker_drain(&subscriber->waker);
        found = get_first(subscriber, ret, &lost);
        if (found) /* and there may be more */
            (void)ior__waker_wake(&subscriber->waker);
    }
    unlock_state();
    if (lost > 0)
        ior__log(IOR_LOG_WARN, "%u signals %d were lost: more than %u waited", (unsigned)lost, ret->number,
                 IOR__SIGNALS_WAITING);
    return found ? 0 : -EAGAIN;
}

void ior__signal_pipe_close(void *arg, struct ior_os_signals *signals)
{
    struct subscriber *subscriber = signals->own;

    ior__signal_pipe_take(arg, signals, false);
    lock_state();
    leave_slots(&subscriber->set, NSIG);
    unlock_state();
    if (signals->fd >= 0)
        close(signals->fd);
    close(subscriber->waker.write_fd); /* a pair of sockets: a number that somebody else closed is not written to */
    ior__free(subscriber, sizeof(*subscriber));
}
