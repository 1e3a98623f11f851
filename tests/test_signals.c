/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals as events on real engines: what is told and how often, which thread blocks them and until when, who gets them
 * where several ask. Signals are sent while they are blocked, so each test knows that they wait. Run once more on a
 * plain system, where they come by handlers: what only those can get wrong is in test_signal_pipe.c.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "signal_pipe.h"
#include "support/check.h"
#include "support/family.h"
#include "support/live.h"
#include "support/probe.h"

#define OPTIONS(...) (&(const struct ior_signal_options){.struct_size = sizeof(struct ior_signal_options), __VA_ARGS__})

static ior_id signals_of(struct probe *p, const int *numbers, size_t count, const struct ior_signal_options *opts)
{
    ior_id id = 0;
    assert_int_equal(ior_signals(p->cx, numbers, count, opts, &id), 0);
    assert_true(id != 0);
    probe_of(p, id);
    return id;
}

static ior_id signal_of(struct probe *p, int number)
{
    return signals_of(p, &number, 1, NULL);
}

static bool blocked(int number)
{
    sigset_t set;
    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &set), 0);
    return sigismember(&set, number) == 1;
}

static volatile sig_atomic_t handled;

static void count_signal(int number)
{
    (void)number;
    handled++;
}

static bool has_librarys_handler(int number)
{
    struct sigaction now;
    assert_int_equal(sigaction(number, NULL, &now), 0);
    return (now.sa_flags & SA_SIGINFO) != 0;
}

/* Taken for a resource: blocked, or let in and handled. */
static bool taken(int number)
{
    return probe_os_is_plain() ? has_librarys_handler(number) && !blocked(number) : blocked(number);
}

static bool as_before(int number)
{
    return !blocked(number) && !has_librarys_handler(number);
}

static void queue(int number, int value)
{
    union sigval sigval = {.sival_int = value};
    assert_int_equal(sigqueue(getpid(), number, sigval), 0);
    probe_signal_sent();
}

/* qemu-user loses the values of signals on big-endian machines. Asked without the library. */
static bool values_are_told(void)
{
    struct signalfd_siginfo info = {0};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 2);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
    int fd = signalfd(-1, &set, SFD_CLOEXEC);
    queue(SIGRTMIN + 2, 4711);
    assert_int_equal(read(fd, &info, sizeof(info)), sizeof(info));
    close(fd);
    assert_int_equal(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
    return info.ssi_int == 4711;
}

/* The program's own handler, and what was there before. */
static struct sigaction with_handler(int number)
{
    struct sigaction action = {.sa_handler = count_signal}, was;
    assert_int_equal(sigaction(number, &action, &was), 0);
    handled = 0;
    return was;
}

/* ---- what is told ---- */

static void who_sent_what(void **state)
{
    static const int numbers[] = {SIGTERM, SIGUSR1};
    struct probe *p = probe_new(NULL);
    int user = 0;
    (void)state;
    ior_id id = signals_of(p, numbers, 2, OPTIONS(.user = &user));
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    probe_until(p, probe_of(p, id)->signals == 1);
    struct probe_res *r = probe_of(p, id);
    assert_int_equal(r->registered, 1);
    assert_ptr_equal(r->user, &user);
    assert_int_equal(r->signal.number, SIGTERM);
    assert_int_equal(r->signal.code, SI_USER);
    assert_int_equal(r->signal.pid, getpid());
    assert_int_equal(r->signal.uid, getuid());
    queue(SIGUSR1, -42);
    probe_until(p, probe_of(p, id)->signals == 2);
    r = probe_of(p, id);
    assert_int_equal(r->signal.number, SIGUSR1);
    assert_int_equal(r->signal.code, SI_QUEUE);
    if (values_are_told())
        assert_int_equal(r->signal.value, -42);
    assert_true(probe_quiet(p, 10) < 20); /* and the loop sleeps */
    probe_free(p);
}

static int seen[64];
static unsigned seen_count;

static void note_value(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    (void)p;
    (void)r;
    if (ev->type == IOR_EV_SIGNAL && seen_count < 64)
        seen[seen_count++] = ev->signal->value;
}

static void standard_ones_are_merged_real_time_ones_counted(void **state)
{
    const int numbers[] = {SIGUSR2, SIGRTMIN};
    struct probe *p = probe_new(NULL);
    (void)state;
    ior_id id = signals_of(p, numbers, 2, NULL);
    p->on_event = note_value;
    seen_count = 0;
    for (int i = 0; i < 5; i++)
        assert_int_equal(kill(getpid(), SIGUSR2), 0);
    for (int i = 0; i < 20; i++)
        queue(SIGRTMIN, i + 1);
    probe_until(p, probe_of(p, id)->signals == 21);
    probe_turns(p, 5);
    assert_int_equal(probe_of(p, id)->signals, 21);
    for (int i = 0; i < 20 && values_are_told(); i++)
        assert_int_equal(seen[i + 1], i + 1);
    probe_free(p);
}

static void a_turn_takes_its_budget(void **state)
{
    struct ior_config config = probe_config();
    config.reads = 3;
    struct probe *p = probe_new(&config);
    (void)state;
    ior_id id = signal_of(p, SIGRTMIN);
    probe_turns(p, 2);
    for (int i = 0; i < 10; i++)
        queue(SIGRTMIN, i);
    unsigned turns = 0, before = 0;
    for (; probe_of(p, id)->signals < 10; turns++) {
        probe_step(p);
        assert_true(probe_of(p, id)->signals - before <= 3);
        before = probe_of(p, id)->signals;
    }
    assert_true(turns >= 4);
    probe_free(p);
}

static void paused_they_wait(void **state)
{
    struct probe *p = probe_new(NULL);
    (void)state;
    ior_id id = signal_of(p, SIGRTMIN);
    probe_turns(p, 2);
    assert_int_equal(ior_pause(p->cx, id), 0);
    queue(SIGRTMIN, 1);
    queue(SIGRTMIN, 2);
    probe_turns(p, 3);
    assert_true(probe_quiet(p, 10) < 20);
    assert_int_equal(probe_of(p, id)->signals, 0);
    assert_int_equal(ior_resume(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->signals == 2);
    probe_free(p);
}

static void pause_here(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_SIGNAL && r->signals == 1)
        assert_int_equal(ior_pause(p->cx, ev->id), 0);
    if (ev->type == IOR_EV_SIGNAL && r->signals == 2)
        assert_int_equal(ior_unregister(p->cx, ev->id), 0);
}

static void paused_and_ended_in_their_event(void **state)
{
    struct sigaction was = with_handler(SIGRTMIN);
    struct probe *p = probe_new(NULL);
    (void)state;
    ior_id id = signal_of(p, SIGRTMIN);
    p->on_event = pause_here;
    for (int i = 0; i < 3; i++)
        queue(SIGRTMIN, i);
    probe_until(p, probe_of(p, id)->signals == 1);
    probe_turns(p, 3);
    assert_int_equal(probe_of(p, id)->signals, 1);
    assert_int_equal(ior_resume(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->signals, 2);
    assert_int_equal(probe_of(p, id)->why, IOR_ASKED);
    probe_await_count(&handled, 1); /* the third was never taken: it has its former effect */
    probe_free(p);
    assert_int_equal(sigaction(SIGRTMIN, &was, NULL), 0);
}

/* ---- the mask ---- */

static void end(struct probe *p, ior_id id)
{
    assert_int_equal(ior_close(p->cx, id, 0), 0);
    probe_until(p, probe_of(p, id)->end == 1);
}

static void blocked_until_the_end(void **state)
{
    const int numbers[] = {SIGUSR1, SIGUSR2};
    sigset_t own;
    struct probe *p = probe_new(NULL);
    (void)state;
    sigemptyset(&own);
    sigaddset(&own, SIGUSR2);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &own, NULL), 0); /* the program's own block stays */
    assert_true(as_before(SIGUSR1));
    ior_id id = signals_of(p, numbers, 2, NULL);
    assert_true(taken(SIGUSR1) && taken(SIGUSR2));
    assert_true(as_before(SIGTERM));
    end(p, id);
    assert_true(as_before(SIGUSR1));
    assert_true(blocked(SIGUSR2));
    assert_false(has_librarys_handler(SIGUSR2));
    assert_int_equal(pthread_sigmask(SIG_UNBLOCK, &own, NULL), 0);

    id = signals_of(p, numbers, 1, OPTIONS(.keep_blocked = true));
    end(p, id);
    assert_true(blocked(SIGUSR1));
    sigaddset(&own, SIGUSR1);
    assert_int_equal(pthread_sigmask(SIG_UNBLOCK, &own, NULL), 0);
    probe_free(p);
}

/* Who blocked it first ends first: the other one still needs it. */
static void blocked_until_the_last_end(void **state)
{
    const int both[] = {SIGUSR1, SIGUSR2};
    struct probe *p = probe_new(NULL);
    (void)state;
    for (int first = 0; first < 2; first++) {
        ior_id ids[2] = {signals_of(p, both, 2, NULL), signal_of(p, SIGUSR1)};
        end(p, ids[first]);
        assert_true(taken(SIGUSR1));
        assert_int_equal(taken(SIGUSR2), first == 1);
        assert_int_equal(kill(getpid(), SIGUSR1), 0);
        probe_until(p, probe_of(p, ids[1 - first])->signals == 1);
        end(p, ids[1 - first]);
        assert_true(as_before(SIGUSR1) && as_before(SIGUSR2));
    }
    probe_free(p);
}

static void shutdown_and_free_give_it_back(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct probe *p = probe_new(NULL);
        ior_id id = signal_of(p, SIGUSR1);
        if (i == 0) {
            ior_stop(p->cx, IOR_NEVER);
            assert_int_equal(ior_runtime_run(p->rt), 0);
            assert_int_equal(probe_of(p, id)->why, IOR_SHUTDOWN);
        }
        probe_free(p);
        assert_true(as_before(SIGUSR1));
    }
}

static void *run_it(void *arg)
{
    struct probe *p = arg;
    assert_int_equal(ior_runtime_run(p->rt), 0);
    return blocked(SIGUSR1) ? p : NULL; /* inherited, and not this thread's to give back */
}

static void a_loop_that_moved_leaves_the_mask_alone(void **state)
{
    struct probe *p = probe_new(NULL);
    pthread_t thread;
    void *still;
    sigset_t own;
    bool plain = probe_os_is_plain();
    (void)state;
    sigemptyset(&own);
    sigaddset(&own, SIGUSR1);
    if (plain) /* where it is unblocked */
        assert_int_equal(pthread_sigmask(SIG_BLOCK, &own, NULL), 0);
    signal_of(p, SIGUSR1);
    ior_stop(p->cx, 0);
    assert_int_equal(pthread_create(&thread, NULL, run_it, p), 0);
    assert_int_equal(pthread_join(thread, &still), 0);
    assert_ptr_equal(still, plain ? NULL : p);
    assert_int_equal(blocked(SIGUSR1), !plain);
    assert_false(has_librarys_handler(SIGUSR1));
    probe_free(p);
    assert_int_equal(pthread_sigmask(SIG_UNBLOCK, &own, NULL), 0);
}

static void handed_over_and_registered_again(void **state)
{
    struct sigaction was = with_handler(SIGUSR1);
    struct probe *p = probe_new(NULL), *other = probe_new(NULL);
    (void)state;
    ior_id id = signal_of(p, SIGUSR1), there = 0;
    p->keep = true;
    assert_int_equal(ior_unregister(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->handover == 1);
    struct ior_resource *res = probe_of(p, id)->handed;
    probe_of(p, id)->handed = NULL;
    assert_true(as_before(SIGUSR1));
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    probe_await_count(&handled, 1);
    assert_int_equal(ior_resource_release(res), -EOPNOTSUPP);
    assert_int_equal(ior_register(other->cx, res, &there), 0);
    assert_true(taken(SIGUSR1));
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    probe_until(other, probe_of(other, there)->signals == 1);
    probe_await_count(&handled, 1);
    probe_free(other);
    assert_true(as_before(SIGUSR1));
    probe_free(p);
    assert_int_equal(sigaction(SIGUSR1, &was, NULL), 0);
}

/* ---- several that ask ---- */

static void exactly_one_of_them_gets_each(void **state)
{
    enum { SENT = 60 };
    struct probe *p = probe_new(NULL), *other = probe_new(NULL);
    (void)state;
    ior_id ids[3] = {signal_of(p, SIGRTMIN), signal_of(p, SIGRTMIN), signal_of(other, SIGRTMIN)};
    for (int i = 0; i < SENT; i++)
        queue(SIGRTMIN, i);
    uint64_t until = net_now() + PROBE_LIMIT_NS;
    unsigned told = 0;
    while (told < SENT && net_now() < until) {
        probe_turns(p, 1);
        probe_turns(other, 1);
        told = probe_of(p, ids[0])->signals + probe_of(p, ids[1])->signals + probe_of(other, ids[2])->signals;
    }
    probe_turns(p, 3);
    probe_turns(other, 3);
    told = probe_of(p, ids[0])->signals + probe_of(p, ids[1])->signals + probe_of(other, ids[2])->signals;
    assert_int_equal(told, SENT);
    probe_free(other);
    probe_free(p);
}

static void beside_children(void **state)
{
    struct probe *p = probe_new(NULL);
    struct family_sh sh;
    pid_t pid = 0;
    (void)state;
    ior_id id = signal_of(p, SIGCHLD);
    family_sh(&sh, "exit 6");
    ior_id child = 0;
    if (ior_spawn(p->cx, &sh.opts, &child) == -ENOSYS) {
        probe_free(p);
        skip();
    }
    probe_of(p, child);
    assert_int_equal(ior_child_pid(p->cx, child, &pid), 0);
    probe_until(p, probe_of(p, child)->end == 1 && probe_of(p, id)->signals == 1);
    assert_int_equal(probe_of(p, child)->exit.status, 6);
    assert_int_equal(probe_of(p, id)->signal.number, SIGCHLD);
    assert_int_equal(probe_of(p, id)->signal.code, CLD_EXITED);
    assert_int_equal(probe_of(p, id)->signal.pid, pid);
    assert_int_equal(probe_of(p, id)->signal.status, 6);
    probe_free(p);
}

/* ---- threads ---- */

static atomic_uint told_in_thread, value_sum;

static void count_in_thread(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    (void)p;
    (void)r;
    if (ev->type != IOR_EV_SIGNAL)
        return;
    atomic_fetch_add(&value_sum, (unsigned)ev->signal->value);
    atomic_fetch_add(&told_in_thread, 1);
}

static int ask_in_thread(struct probe *p)
{
    const int number = SIGRTMIN + 1;
    ior_id id;
    return ior_signals(p->cx, &number, 1, NULL, &id);
}

/* R61: no handler's write that could be interrupted; each of thousands of signals is told, to a loop elsewhere. */
static void r61_no_signal_is_lost(void **state)
{
    enum { SENT = 2000 };
    struct probe *p = probe_bare();
    struct ior_config config = probe_config();
    struct ior_reactor *reactor;
    sigset_t own;
    (void)state;
    if (probe_os_is_plain() &&
        PROBE_SIGNALS_HELD_BACK) { /* also while the loop waits in a call that it does not know */
        free(p);
        skip();
    }
    p->on_start = ask_in_thread;
    p->on_event = count_in_thread;
    told_in_thread = 0;
    value_sum = 0;
    sigemptyset(&own);
    sigaddset(&own, SIGRTMIN + 1);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &own, NULL), 0);
    assert_int_equal(ior_reactor_new(&config, &probe_handler, p, &reactor), 0);
    unsigned expected = 0;
    for (int i = 0; i < SENT; i++) {
        union sigval value = {.sival_int = i};
        uint64_t room_until = net_now() + PROBE_LIMIT_NS;
        while (probe_os_is_plain() && (unsigned)i - told_in_thread >= IOR__SIGNALS_WAITING && net_now() < room_until)
            usleep(100);
        while (sigqueue(getpid(), SIGRTMIN + 1, value) < 0)
            assert_int_equal(errno, EAGAIN); /* the kernel's queue is full */
        expected += (unsigned)i;
    }
    uint64_t until = net_now() + PROBE_LIMIT_NS;
    while (told_in_thread < SENT && net_now() < until)
        usleep(100);
    assert_int_equal(told_in_thread, SENT);
    if (values_are_told())
        assert_int_equal(value_sum, expected);
    ior_reactor_free(reactor);
    assert_int_equal(pthread_sigmask(SIG_UNBLOCK, &own, NULL), 0);
    probe_free(p);
}

/* ---- refusals ---- */

static void what_cannot_be_asked_for(void **state)
{
    static const int bad[] = {0, -1, SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, 65, 1000};
    struct probe *p = probe_new(NULL);
    ior_id id = 4711;
    int number = SIGUSR1;
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const int numbers[] = {SIGUSR1, bad[i]};
        assert_int_equal(ior_signals(p->cx, numbers, 2, NULL, &id), -EINVAL);
    }
    assert_int_equal(ior_signals(p->cx, &number, 0, NULL, &id), -EINVAL);
    assert_int_equal(ior_signals(p->cx, NULL, 1, NULL, &id), -EINVAL);
    assert_int_equal(ior_signals(p->cx, &number, 1, NULL, NULL), -EINVAL);
    assert_int_equal(ior_signals(p->cx, &number, 1, &(struct ior_signal_options){.struct_size = 2}, &id), -EINVAL);
    assert_int_equal(id, 4711);
    assert_int_equal(ior_count(p->cx), 0);
    assert_false(blocked(SIGUSR1));
    id = signal_of(p, SIGUSR1);
    assert_int_equal(ior_send(p->cx, id, "x", 1), -EOPNOTSUPP);
    assert_int_equal(ior_kill(p->cx, id, 0), -EOPNOTSUPP);
    ior_stop(p->cx, 0);
    assert_int_equal(ior_signals(p->cx, &number, 1, NULL, &id), -ESHUTDOWN);
    probe_free(p);
}

static int fail_with;

static int failing_open(void *arg, const int *numbers, size_t count, struct ior_os_signals *ret)
{
    (void)ret;
    (void)arg;
    (void)numbers;
    (void)count;
    return -fail_with;
}

static int failing_read(void *arg, struct ior_os_signals *signals, struct ior_signal *ret)
{
    return fail_with ? fail_with = 0, -EINTR : probe_os()->processes->signal_read(arg, signals, ret);
}

static int broken_read(void *arg, struct ior_os_signals *signals, struct ior_signal *ret)
{
    (void)arg;
    (void)signals;
    (void)ret;
    return -EIO;
}

static void system_calls_that_fail(void **state)
{
    static const int errors[] = {EMFILE, ENFILE, ENOMEM, ENODEV};
    struct ior_os os = *probe_os();
    struct ior_os_processes processes = *os.processes;
    struct ior_config config = probe_config();
    int number = SIGRTMIN;
    ior_id id = 4711;
    (void)state;
    config.os = &os;
    os.processes = &processes;
    struct probe *p = probe_new(&config);
    struct sigaction was = with_handler(SIGRTMIN); /* for the signal that cannot be read */
    processes.signal_open = failing_open;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        fail_with = errors[i];
        assert_int_equal(ior_signals(p->cx, &number, 1, NULL, &id), -errors[i]);
    }
    processes.signal_open = NULL;
    assert_int_equal(ior_signals(p->cx, &number, 1, NULL, &id), -ENOSYS);
    os.processes = NULL; /* as in a simulation */
    assert_int_equal(ior_signals(p->cx, &number, 1, NULL, &id), -ENOSYS);
    assert_int_equal(id, 4711);
    assert_false(blocked(SIGRTMIN));

    os.processes = &processes;
    processes.signal_open = probe_os()->processes->signal_open;
    processes.signal_read = failing_read;
    id = signal_of(p, SIGRTMIN);
    queue(SIGRTMIN, 1);
    probe_until(p, probe_of(p, id)->signals == 1); /* an interruption is no end */
    processes.signal_read = broken_read;
    queue(SIGRTMIN, 2);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->why, IOR_ERROR);
    assert_int_equal(probe_of(p, id)->error, EIO);
    probe_await_count(&handled, 1);
    assert_int_equal(sigaction(SIGRTMIN, &was, NULL), 0);
    probe_free(p);
}

static void no_memory_at_any_step(void **state)
{
    (void)state;
    for (uint64_t nth = 1;; nth++) {
        live_alloc_start();
        struct probe *p = probe_new(NULL);
        size_t fds = net_fd_count();
        ior_id id = 4711;
        int number = SIGUSR1;
        live_alloc_fail(nth, true);
        int err = ior_signals(p->cx, &number, 1, NULL, &id);
        live_alloc_fail(0, false);
        if (err == 0)
            probe_of(p, id);
        assert_true(err == 0 || (err == -ENOMEM && id == 4711 && as_before(SIGUSR1) && net_fd_count() == fds));
        probe_free(p);
        live_alloc_stop();
        assert_true(as_before(SIGUSR1));
        if (err == 0)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_sent_what),
        cmocka_unit_test(standard_ones_are_merged_real_time_ones_counted),
        cmocka_unit_test(a_turn_takes_its_budget),
        cmocka_unit_test(paused_they_wait),
        cmocka_unit_test(paused_and_ended_in_their_event),
        cmocka_unit_test(blocked_until_the_end),
        cmocka_unit_test(blocked_until_the_last_end),
        cmocka_unit_test(shutdown_and_free_give_it_back),
        cmocka_unit_test(a_loop_that_moved_leaves_the_mask_alone),
        cmocka_unit_test(handed_over_and_registered_again),
        cmocka_unit_test(exactly_one_of_them_gets_each),
        cmocka_unit_test(beside_children),
        cmocka_unit_test(r61_no_signal_is_lost),
        cmocka_unit_test(what_cannot_be_asked_for),
        cmocka_unit_test(system_calls_that_fail),
        cmocka_unit_test(no_memory_at_any_step),
    };
    return cmocka_run_group_tests_name("signals", tests, NULL, NULL);
}
