/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals by handlers, where there is no signalfd: what test_signals.c cannot ask, since only handlers can get it wrong.
 * Handlers of the program's own before, meanwhile and afterwards, forked children, queues that are full, handlers in
 * several threads at once.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "signal_pipe.h"
#include "support/check.h"
#include "support/probe.h"

static volatile sig_atomic_t handled, handled_value;

static void own_handler(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    handled++;
    handled_value = info->si_value.sival_int;
}

static void other_handler(int number)
{
    (void)number;
    handled += 100;
}

static struct sigaction action_of(int number)
{
    struct sigaction now;
    assert_int_equal(sigaction(number, NULL, &now), 0);
    return now;
}

static void with_own_handler(int number)
{
    struct sigaction action = {.sa_sigaction = own_handler, .sa_flags = SA_SIGINFO};
    handled = 0;
    handled_value = 0;
    assert_int_equal(sigaction(number, &action, NULL), 0);
}

static void with_default(int number)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    assert_int_equal(sigaction(number, &action, NULL), 0);
}

static bool has_own_handler(int number)
{
    return action_of(number).sa_sigaction == own_handler;
}

static void mask(int how, int number)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    assert_int_equal(pthread_sigmask(how, &set, NULL), 0);
}

static void send_it(int number)
{
    assert_int_equal(kill(getpid(), number), 0);
    probe_signal_sent();
}

static void queue(int number, int value)
{
    union sigval sigval = {.sival_int = value};
    assert_int_equal(sigqueue(getpid(), number, sigval), 0);
    probe_signal_sent();
}

static ior_id signal_of(struct probe *p, int number)
{
    ior_id id = 0;
    assert_int_equal(ior_signals(p->cx, &number, 1, NULL, &id), 0);
    probe_of(p, id);
    return id;
}

static void end(struct probe *p, ior_id id)
{
    assert_int_equal(ior_close(p->cx, id, 0), 0);
    probe_until(p, probe_of(p, id)->end == 1);
}

/* ---- handlers of the program's own ---- */

static void what_was_there_is_put_back(void **state)
{
    struct probe *p = probe_new(NULL), *other = probe_new(NULL);
    (void)state;
    with_own_handler(SIGUSR1);
    ior_id id = signal_of(p, SIGUSR1), there = signal_of(other, SIGUSR1);
    assert_false(has_own_handler(SIGUSR1));
    end(p, id);
    assert_false(has_own_handler(SIGUSR1)); /* the other runtime's still */
    send_it(SIGUSR1);
    probe_until(other, probe_of(other, there)->signals == 1);
    assert_int_equal(handled, 0);
    end(other, there);
    assert_true(has_own_handler(SIGUSR1));
    send_it(SIGUSR1);
    probe_await_count(&handled, 1);
    probe_free(other);
    probe_free(p);
    with_default(SIGUSR1);
}

static void what_replaced_it_stays(void **state)
{
    struct sigaction replace = {.sa_handler = other_handler};
    struct probe *p = probe_new(NULL);
    (void)state;
    with_own_handler(SIGUSR1);
    ior_id id = signal_of(p, SIGUSR1);
    assert_int_equal(sigaction(SIGUSR1, &replace, NULL), 0);
    end(p, id);
    assert_ptr_equal(action_of(SIGUSR1).sa_handler, other_handler);
    send_it(SIGUSR1);
    probe_await_count(&handled, 100);
    id = signal_of(p, SIGUSR1); /* over that one now */
    send_it(SIGUSR1);
    probe_until(p, probe_of(p, id)->signals == 1);
    end(p, id);
    assert_ptr_equal(action_of(SIGUSR1).sa_handler, other_handler);
    probe_free(p);
    with_default(SIGUSR1);
}

/* A program that "restores" the library's handler when nobody takes the signal any more. */
static void one_that_comes_too_late_gives_way(void **state)
{
    struct probe *p = probe_new(NULL);
    (void)state;
    with_own_handler(SIGRTMIN);
    ior_id id = signal_of(p, SIGRTMIN);
    struct sigaction librarys = action_of(SIGRTMIN);
    end(p, id);
    assert_int_equal(sigaction(SIGRTMIN, &librarys, NULL), 0);
    queue(SIGRTMIN, 17);
    probe_await_count(&handled, 1);
    assert_int_equal(handled_value, 17);
    assert_true(has_own_handler(SIGRTMIN));

    assert_int_equal(sigaction(SIGRTMIN, &librarys, NULL), 0);
    id = signal_of(p, SIGRTMIN);
    end(p, id);
    assert_true(has_own_handler(SIGRTMIN)); /* and it is not taken for the program's */
    probe_free(p);
    with_default(SIGRTMIN);
}

static void what_nobody_read_is_sent_again(void **state)
{
    struct probe *p = probe_new(NULL);
    (void)state;
    with_own_handler(SIGRTMIN);
    ior_id id = signal_of(p, SIGRTMIN);
    assert_int_equal(ior_pause(p->cx, id), 0);
    for (int i = 1; i <= 5; i++)
        queue(SIGRTMIN, i);
    assert_int_equal(handled, 0);
    end(p, id);
    probe_await_count(&handled, 5);
    assert_int_equal(handled_value, 5);
    assert_int_equal(probe_of(p, id)->signals, 0);
    probe_free(p);
    with_default(SIGRTMIN);
}

/* With the default effect it would end this process. */
static void one_that_waits_behind_a_block_is_told(void **state)
{
    struct probe *p = probe_new(NULL);
    (void)state;
    mask(SIG_BLOCK, SIGTERM);
    send_it(SIGTERM);
    ior_id id = signal_of(p, SIGTERM);
    probe_until(p, probe_of(p, id)->signals == 1);
    assert_int_equal(ior_pause(p->cx, id), 0);
    send_it(SIGTERM);
    end(p, id);
    sigset_t pending; /* again behind the block */
    assert_int_equal(sigpending(&pending), 0);
    assert_int_equal(sigismember(&pending, SIGTERM), 1);
    id = signal_of(p, SIGTERM);
    probe_until(p, probe_of(p, id)->signals == 1);
    end(p, id);
    mask(SIG_UNBLOCK, SIGTERM);
    probe_free(p);
}

static void ignored_children_are_not_left_as_zombies(void **state)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct probe *p = probe_new(NULL);
    (void)state;
    assert_int_equal(sigaction(SIGCHLD, &ignore, NULL), 0);
    ior_id id = signal_of(p, SIGCHLD);
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, NULL, 0), -1);
    assert_int_equal(errno, ECHILD);
    end(p, id);
    assert_ptr_equal(action_of(SIGCHLD).sa_handler, SIG_IGN);
    with_default(SIGCHLD);
    probe_free(p);
}

static void errno_is_kept(void **state)
{
    struct probe *p = probe_new(NULL);
    (void)state;
    ior_id id = signal_of(p, SIGRTMIN);
    for (unsigned i = 0; i < IOR__SIGNALS_WAITING; i++) { /* more than the socket takes */
        errno = EDOM;
        queue(SIGRTMIN, 1);
        assert_int_equal(errno, EDOM);
    }
    probe_until(p, probe_of(p, id)->signals == IOR__SIGNALS_WAITING);
    end(p, id);
    probe_free(p);
}

/* ---- several who ask ---- */

/* One that is paused leaves what comes to the other, also what came before that asked. */
static void a_paused_one_is_in_nobodys_way(void **state)
{
    struct probe *p = probe_new(NULL), *other = probe_new(NULL);
    (void)state;
    ior_id id = signal_of(p, SIGRTMIN);
    assert_int_equal(ior_pause(p->cx, id), 0);
    queue(SIGRTMIN, 1);
    queue(SIGRTMIN, 2);
    ior_id there = signal_of(other, SIGRTMIN);
    probe_until(other, probe_of(other, there)->signals == 2);
    queue(SIGRTMIN, 3);
    probe_until(other, probe_of(other, there)->signals == 3);
    assert_int_equal(ior_resume(p->cx, id), 0);
    probe_turns(p, 3);
    assert_int_equal(probe_of(p, id)->signals, 0);
    assert_true(probe_quiet(p, 10) < 20);
    probe_free(other);
    probe_free(p);
}

static unsigned warnings;
static char warning[200];

static void note_warning(void *arg, int level, const char *line)
{
    (void)arg;
    warnings += level == IOR_LOG_WARN;
    snprintf(warning, sizeof(warning), "%s", line);
}

static void lost_ones_are_logged_and_others_are_not_lost(void **state)
{
    const int numbers[] = {SIGRTMIN, SIGTERM};
    struct probe *p = probe_new(NULL);
    ior_id id = 0;
    (void)state;
    assert_int_equal(ior_signals(p->cx, numbers, 2, NULL, &id), 0);
    ior_set_log(note_warning, NULL, IOR_LOG_WARN);
    for (unsigned i = 0; i < IOR__SIGNALS_WAITING + 7; i++)
        queue(SIGRTMIN, (int)i);
    send_it(SIGTERM);
    probe_until(p, probe_of(p, id)->signals == IOR__SIGNALS_WAITING + 1);
    probe_turns(p, 3);
    assert_int_equal(probe_of(p, id)->signals, IOR__SIGNALS_WAITING + 1);
    assert_int_equal(warnings, 1);
    assert_non_null(strstr(warning, "7 signals"));
    ior_set_log(NULL, NULL, IOR_LOG_NONE);
    queue(SIGRTMIN, 1); /* and there is room again */
    probe_until(p, probe_of(p, id)->signals == IOR__SIGNALS_WAITING + 2);
    probe_free(p);
}

/* ---- threads ---- */

enum { SENDERS = 3, EACH = PROBE_SIGNALS_HELD_BACK ? 500 : 2000 };

static atomic_uint sent, told;

static void count(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    (void)p;
    (void)r;
    if (ev->type == IOR_EV_SIGNAL)
        atomic_fetch_add(&told, 1);
}

static int ask(struct probe *p)
{
    const int number = SIGRTMIN + 1;
    ior_id id;
    return ior_signals(p->cx, &number, 1, NULL, &id);
}

/* Each in its own handler, all at once; never more on their way than one queue holds. */
static void *send_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < EACH; i++) {
        while (atomic_load(&sent) - atomic_load(&told) > IOR__SIGNALS_WAITING / 2)
            usleep(50);
        atomic_fetch_add(&sent, 1);
        while (pthread_kill(pthread_self(), SIGRTMIN + 1) != 0) {
        }
        probe_signal_sent();
    }
    return NULL;
}

/* Handlers in three threads and two loops that read, while a third comes and goes. */
static void handlers_in_many_threads(void **state)
{
    struct probe *p = probe_bare(), *here = probe_new(NULL);
    struct ior_config config = probe_config();
    struct ior_reactor *reactor;
    pthread_t threads[SENDERS];
    (void)state;
    config.reads = 1; /* so that what is left depends on the fd alone */
    p->on_start = ask;
    p->on_event = here->on_event = count;
    atomic_store(&told, 0);
    atomic_store(&sent, 0);
    signal_of(here, SIGRTMIN + 1); /* before there are senders */
    assert_int_equal(ior_reactor_new(&config, &probe_handler, p, &reactor), 0);
    for (int i = 0; i < SENDERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, send_many, NULL), 0);
    uint64_t until = net_now() + PROBE_LIMIT_NS;
    while (atomic_load(&told) < SENDERS * EACH && net_now() < until) {
        ior_id id = 0;
        const int numbers[] = {SIGRTMIN + 1, SIGRTMIN + 2};
        assert_int_equal(ior_signals(here->cx, numbers, 2, NULL, &id), 0);
        probe_of(here, id);
        probe_turns(here, 2);
        end(here, id);
    }
    for (int i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(told, SENDERS * EACH);
    ior_reactor_free(reactor);
    probe_free(here);
    probe_free(p);
    assert_ptr_equal(action_of(SIGRTMIN + 1).sa_handler, SIG_DFL);
}

/* ---- forked children ---- */

static int signal_in_child(void *arg)
{
    (void)arg;
    handled = 0;
    queue(SIGRTMIN, 5);
    probe_await_count(&handled, 1);
    queue(SIGRTMIN, 6);
    probe_await_count(&handled, 2);
    return handled_value == 6 && has_own_handler(SIGRTMIN) ? 0 : 1;
}

static int free_in_child(void *arg)
{
    struct probe *p = arg;
    ior_runtime_free(p->rt);
    handled = 0;
    queue(SIGRTMIN, 5);
    probe_await_count(&handled, 1);
    return has_own_handler(SIGRTMIN) ? 0 : 1;
}

/* A runtime of its own, in place of the one that it inherited. */
static int ask_in_child(void *arg)
{
    struct probe *p = arg, *own = probe_new(NULL);
    ior_id id = signal_of(own, SIGRTMIN);
    queue(SIGRTMIN, 5);
    for (int i = 0; i < 100 && probe_of(own, id)->signals == 0; i++)
        probe_step(own);
    unsigned signals = probe_of(own, id)->signals;
    int value = probe_of(own, id)->signal.value;
    ior_runtime_free(p->rt);
    queue(SIGRTMIN, 6);
    for (int i = 0; i < 100 && probe_of(own, id)->signals == 1; i++)
        probe_step(own);
    bool both = signals == 1 && value == 5 && probe_of(own, id)->signals == 2;
    probe_free(own);
    return both && has_own_handler(SIGRTMIN) ? 0 : 1;
}

static void a_forked_child_has_its_own(void **state)
{
    static int (*const stories[])(void *) = {signal_in_child, free_in_child, ask_in_child};
    struct probe *p = probe_new(NULL);
    (void)state;
    with_own_handler(SIGRTMIN);
    ior_id id = signal_of(p, SIGRTMIN);
    probe_turns(p, 2);
    for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]); i++) {
        assert_int_equal(net_in_child(stories[i], p), 0);
        probe_turns(p, 2);
        assert_int_equal(probe_of(p, id)->signals, i);
        assert_false(has_own_handler(SIGRTMIN)); /* nothing has changed here */
        queue(SIGRTMIN, 1);
        probe_until(p, probe_of(p, id)->signals == i + 1);
    }
    assert_int_equal(handled, 0);
    probe_free(p);
    with_default(SIGRTMIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_there_is_put_back),
        cmocka_unit_test(what_replaced_it_stays),
        cmocka_unit_test(one_that_comes_too_late_gives_way),
        cmocka_unit_test(what_nobody_read_is_sent_again),
        cmocka_unit_test(one_that_waits_behind_a_block_is_told),
        cmocka_unit_test(ignored_children_are_not_left_as_zombies),
        cmocka_unit_test(errno_is_kept),
        cmocka_unit_test(a_paused_one_is_in_nobodys_way),
        cmocka_unit_test(lost_ones_are_logged_and_others_are_not_lost),
        cmocka_unit_test(handlers_in_many_threads),
        cmocka_unit_test(a_forked_child_has_its_own),
    };
    setenv("IOR_PROCESSES", "plain", 1);
    return cmocka_run_group_tests_name("signals by handlers", tests, NULL, NULL);
}
