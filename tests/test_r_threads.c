/* SPDX-License-Identifier: Apache-2.0 */
/*
 * R49-R54, R57, R58, R61: other threads and signal handlers against the loop. What is sent is counted: everything that
 * was accepted is delivered or dropped, once. Threads note failures for the main thread, which does all the asserting.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "support/check.h"
#include "support/probe.h"

#define LIMIT_NS (UINT64_C(60) * IOR_NS_PER_SEC)

/* A command that counts where it came out. */
struct counts {
    atomic_ulong accepted, delivered, dropped;
};

struct parcel {
    struct ior_command command;
    struct counts *counts;
};

static void drop_parcel(struct ior_command *command)
{
    struct parcel *parcel = (struct parcel *)command;
    atomic_fetch_add(&parcel->counts->dropped, 1);
    free(parcel);
}

static void deliver_parcel(struct probe *p, struct ior_command *command)
{
    struct parcel *parcel = (struct parcel *)command;
    (void)p;
    atomic_fetch_add(&parcel->counts->delivered, 1);
    free(parcel);
}

/* Sends one: 0, or -EPIPE and it is gone. */
static int send_parcel(struct ior_controller *ctl, struct counts *counts)
{
    struct parcel *parcel = calloc(1, sizeof(*parcel));
    int rc;
    if (parcel == NULL)
        abort();
    parcel->command.drop = drop_parcel;
    parcel->counts = counts;
    rc = ior_controller_send(ctl, &parcel->command);
    if (rc == 0)
        atomic_fetch_add(&counts->accepted, 1);
    else
        free(parcel);
    return rc;
}

struct producer {
    pthread_t thread;
    struct ior_controller *ctl; /* a reference of its own */
    struct counts *counts;
    unsigned long limit;
    int rc;
};

static void *produce(void *arg)
{
    struct producer *me = arg;
    for (unsigned long i = 0; i < me->limit && me->rc == 0; i++)
        me->rc = send_parcel(me->ctl, me->counts);
    ior_controller_unref(me->ctl);
    return NULL;
}

static void start_producer(struct producer *me, struct ior_controller *ctl, struct counts *counts, unsigned long limit)
{
    *me = (struct producer){.ctl = ior_controller_ref(ctl), .counts = counts, .limit = limit};
    assert_int_equal(pthread_create(&me->thread, NULL, produce, me), 0);
}

static void r49_send_races_the_end_of_the_loop(void **state)
{
    (void)state;
    for (int round = 0; round < 30; round++) {
        struct counts counts = {.accepted = 0};
        struct probe *p = probe_new(NULL);
        struct ior_controller *ctl = ior_controller_of(p->cx);
        struct producer producers[2];
        p->on_command = deliver_parcel;
        for (int i = 0; i < 2; i++)
            start_producer(&producers[i], ctl, &counts, ULONG_MAX);
        probe_until(p, atomic_load(&counts.delivered) > 10);
        if (round % 3 == 0)
            ior_stop(p->cx, 0);
        else if (round % 3 == 1)
            ior_controller_shutdown(ctl, 0);
        if (round % 3 != 2)
            assert_int_equal(ior_runtime_run(p->rt), 0);
        probe_free(p); /* while they go on sending */
        for (int i = 0; i < 2; i++) {
            pthread_join(producers[i].thread, NULL);
            assert_int_equal(producers[i].rc, -EPIPE);
        }
        assert_int_equal(send_parcel(ctl, &counts), -EPIPE);
        ior_controller_unref(ctl);
        assert_int_equal(atomic_load(&counts.accepted), atomic_load(&counts.delivered) + atomic_load(&counts.dropped));
    }
}

static void answer(void *self, struct ior_context *cx, struct ior_command *command)
{
    (void)self;
    ior_reply(cx, command, command->kind + 1);
}

static const struct ior_handler answering = {.struct_size = sizeof(struct ior_handler), .command = answer};

/* Each round trip puts the loop to sleep and wakes it again: one lost wake-up would end it. */
static void r50_no_wake_is_lost(void **state)
{
    struct ior_config config = probe_config();
    struct ior_reactor *reactor;
    (void)state;
    assert_int_equal(ior_reactor_new(&config, &answering, NULL, &reactor), 0);
    for (int i = 0; i < 5000; i++) {
        struct ior_command command = {.kind = i};
        assert_int_equal(ior_controller_call(ior_reactor_controller(reactor), &command, LIMIT_NS), 0);
        assert_int_equal(command.status, i + 1);
        assert_true(command.is_reply);
    }
    ior_reactor_free(reactor);
}

static atomic_int signals; /* handlers run in any thread */

static void count_signal(int number)
{
    (void)number;
    atomic_fetch_add(&signals, 1);
}

static void storm(long every_us)
{
    struct sigaction act = {.sa_handler = count_signal};
    struct itimerval every = {.it_interval = {.tv_usec = every_us}, .it_value = {.tv_usec = every_us}};
    sigemptyset(&act.sa_mask);
    assert_int_equal(sigaction(SIGALRM, &act, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &every, NULL), 0);
}

static void r51_signals_around_the_waker_lose_nothing(void **state)
{
    enum { N = 50000 };
    struct counts counts = {.accepted = 0};
    struct probe *p = probe_new(NULL);
    struct ior_controller *ctl = ior_controller_of(p->cx);
    struct producer producer;
    (void)state;
    p->on_command = deliver_parcel;
    storm(300);
    start_producer(&producer, ctl, &counts, N);
    probe_until(p, atomic_load(&counts.delivered) == N);
    storm(0);
    pthread_join(producer.thread, NULL);
    assert_int_equal(producer.rc, 0);
    assert_int_equal(atomic_load(&counts.dropped), 0);
    ior_controller_unref(ctl);
    probe_free(p);
}

static void send_and_take_a_turn(struct probe *p, struct ior_controller *ctl, struct counts *counts)
{
    unsigned long before = atomic_load(&counts->delivered);
    assert_int_equal(send_parcel(ctl, counts), 0);
    probe_until(p, atomic_load(&counts->delivered) == before + 1);
    assert_true(probe_quiet(p, 20) <= 3); /* a wake left over would keep the loop turning */
}

static void wake_at_tick(struct probe *p)
{
    struct producer *once = p->arg;
    p->on_tick = NULL;
    send_parcel(once->ctl, once->counts);
}

static void r52_a_wake_is_always_consumed(void **state)
{
    struct counts counts = {.accepted = 0};
    struct probe *p = probe_new(NULL);
    struct ior_controller *ctl = ior_controller_of(p->cx);
    struct producer once = {.ctl = ctl, .counts = &counts};
    (void)state;
    p->on_command = deliver_parcel;
    send_and_take_a_turn(p, ctl, &counts); /* before the first turn */
    send_and_take_a_turn(p, ctl, &counts);
    p->arg = &once;
    p->on_tick = wake_at_tick; /* between the wait and the look at the queue */
    probe_turns(p, 1);
    assert_int_equal(atomic_load(&counts.delivered), 3);
    assert_true(probe_quiet(p, 20) <= 3);
    for (int i = 0; i < 100; i++)
        assert_int_equal(send_parcel(ctl, &counts), 0);
    probe_until(p, atomic_load(&counts.delivered) == 103);
    assert_true(probe_quiet(p, 20) <= 3);
    assert_true(probe_stats(p).wakes <= 103);
    assert_int_equal(probe_stats(p).commands, 103);
    ior_controller_unref(ctl);
    probe_free(p);
}

/* A runtime in a thread of the test's own, run in one of the ways there are. */
enum hosting { BY_RUN, BY_TURN, BY_FOREIGN_LOOP, HOSTINGS };

struct host {
    struct ior_runtime *rt;
    enum hosting way;
    int rc;
};

static void foreign_loop(struct host *host)
{
    struct pollfd pfd = {.fd = ior_runtime_fd(host->rt), .events = POLLIN};
    while ((host->rc = ior_runtime_turn(host->rt, 0)) == 1) {
        uint64_t deadline = ior_runtime_deadline(host->rt), now = net_now();
        int wait_ms = -1;
        if (deadline != IOR_NEVER)
            wait_ms = deadline <= now ? 0 : (int)((deadline - now) / IOR_NS_PER_MS % 1000000) + 1;
        poll(&pfd, 1, wait_ms);
    }
}

static void *host_runtime(void *arg)
{
    struct host *host = arg;
    if (host->way == BY_RUN)
        host->rc = ior_runtime_run(host->rt);
    else if (host->way == BY_TURN)
        while ((host->rc = ior_runtime_turn(host->rt, IOR_NEVER)) == 1)
            ;
    else
        foreign_loop(host);
    return NULL;
}

static void call_twice(struct ior_controller *ctl)
{
    for (int i = 0; i < 2; i++) {
        struct ior_command command = {.kind = i};
        assert_int_equal(ior_controller_call(ctl, &command, LIMIT_NS), 0);
        assert_int_equal(command.status, i + 1);
    }
}

static void r53_commands_are_prompt_however_the_loop_is_made(void **state)
{
    struct ior_config config = probe_config();
    (void)state;
    for (int way = 0; way < HOSTINGS; way++) {
        struct host host = {.way = (enum hosting)way};
        struct ior_controller *first, *second;
        struct ior_context *attached;
        pthread_t thread;
        assert_int_equal(ior_runtime_new(&config, &answering, NULL, &host.rt), 0);
        if (way == BY_FOREIGN_LOOP && ior_runtime_fd(host.rt) == -ENOTSUP) {
            ior_runtime_free(host.rt);
            continue;
        }
        assert_int_equal(ior_attach(ior_runtime_context(host.rt), &answering, NULL, &attached), 0);
        first = ior_controller_of(ior_runtime_context(host.rt));
        second = ior_controller_of(attached);
        assert_int_equal(pthread_create(&thread, NULL, host_runtime, &host), 0);
        call_twice(first);
        call_twice(second);
        assert_int_equal(ior_controller_shutdown(second, 0), 0);
        pthread_join(thread, NULL);
        assert_int_equal(host.rc, 0);
        ior_runtime_free(host.rt);
        ior_controller_unref(first);
        ior_controller_unref(second);
    }
}

static int broken_wake(void *engine)
{
    (void)engine;
    return -EIO;
}

static void r54_queued_means_success_though_the_wake_failed(void **state)
{
    struct ior_config config = {.struct_size = sizeof(config)};
    struct ior_engine_ops ops;
    struct counts counts = {.accepted = 0};
    const char *name = ior_engine_from_env();
    struct ior_controller *ctl;
    struct probe *p;
    (void)state;
    ops = name != NULL ? *ior_engine_named(name) : *ior_engine_at(0);
    ops.wake = broken_wake;
    config.engine_ops = &ops;
    p = probe_new(&config);
    p->on_command = deliver_parcel;
    ctl = ior_controller_of(p->cx);
    for (int i = 0; i < 10; i++)
        assert_int_equal(send_parcel(ctl, &counts), 0);
    probe_turns(p, 2);
    assert_int_equal(atomic_load(&counts.delivered), 10);
    assert_int_equal(atomic_load(&counts.dropped), 0);
    ior_controller_unref(ctl);
    probe_free(p);
}

/* The last reference, the last command and the end of the runtime, all at the same moment. */
struct last {
    pthread_t thread;
    pthread_barrier_t *gate;
    struct ior_controller *ctl;
    struct counts *counts;
};

static void *send_the_last(void *arg)
{
    struct last *me = arg;
    pthread_barrier_wait(me->gate);
    send_parcel(me->ctl, me->counts);
    ior_controller_unref(me->ctl);
    return NULL;
}

static void r57_last_sender_and_end_free_everything_once(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        struct counts counts = {.accepted = 0};
        struct probe *p = probe_new(NULL);
        struct last last[2];
        pthread_barrier_t gate;
        pthread_barrier_init(&gate, NULL, 3);
        p->on_command = deliver_parcel;
        for (int i = 0; i < 2; i++) {
            last[i] = (struct last){.gate = &gate, .ctl = ior_controller_of(p->cx), .counts = &counts};
            assert_int_equal(pthread_create(&last[i].thread, NULL, send_the_last, &last[i]), 0);
        }
        pthread_barrier_wait(&gate);
        if (round % 2 == 0)
            probe_turns(p, 1);
        probe_free(p);
        for (int i = 0; i < 2; i++)
            pthread_join(last[i].thread, NULL);
        pthread_barrier_destroy(&gate);
        assert_int_equal(atomic_load(&counts.accepted), atomic_load(&counts.delivered) + atomic_load(&counts.dropped));
    }
}

/* Two reactors throw one command to and fro from inside their callbacks, while the main thread sends to both. */
struct court {
    struct ior_reactor *reactor;
    struct ior_controller *other;
    sem_t *done;
    atomic_int extra;
};

enum { KIND_BALL = 1, KIND_EXTRA, BOUNCES = 3000 };

struct ball {
    struct ior_command command;
    int bounces;
};

static void play(void *self, struct ior_context *cx, struct ior_command *command)
{
    struct court *court = self;
    struct ior_controller *mine = ior_controller_of(cx); /* requests about controllers work inside callbacks */
    if (command->kind == KIND_EXTRA) {
        atomic_fetch_add(&court->extra, 1);
        free(command);
    } else if (++((struct ball *)command)->bounces >= BOUNCES || ior_controller_send(court->other, command) != 0) {
        sem_post(court->done);
    }
    ior_controller_unref(mine);
}

static void shut_both(void *self, struct ior_context *cx)
{
    struct court *court = self;
    (void)cx;
    ior_controller_shutdown(court->other, 0); /* each stops the other from inside its own stop */
}

static const struct ior_handler player = {
    .struct_size = sizeof(struct ior_handler), .command = play, .stop = shut_both};

static void r58_no_lock_is_held_over_a_callback(void **state)
{
    struct ior_config config = probe_config();
    struct court courts[2] = {{.extra = 0}, {.extra = 0}};
    struct ball ball = {.command.kind = KIND_BALL};
    struct timespec limit;
    sem_t done;
    (void)state;
    sem_init(&done, 0, 0);
    for (int i = 0; i < 2; i++) {
        courts[i].done = &done;
        assert_int_equal(ior_reactor_new(&config, &player, &courts[i], &courts[i].reactor), 0);
    }
    for (int i = 0; i < 2; i++)
        courts[i].other = ior_controller_ref(ior_reactor_controller(courts[1 - i].reactor));
    assert_int_equal(ior_controller_send(courts[0].other, &ball.command), 0);
    for (int i = 0; i < 1000; i++) {
        struct ior_command *extra = calloc(1, sizeof(*extra));
        assert_non_null(extra);
        extra->kind = KIND_EXTRA;
        assert_int_equal(ior_controller_send(courts[i % 2].other, extra), 0);
    }
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 60;
    while (sem_timedwait(&done, &limit) != 0)
        assert_int_equal(errno, EINTR);
    assert_int_equal(ball.bounces, BOUNCES);
    for (int i = 0; i < 2; i++)
        ior_reactor_free(courts[i].reactor);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(atomic_load(&courts[i].extra), 500);
        ior_controller_unref(courts[i].other);
    }
    sem_destroy(&done);
}

static struct ior_controller *volatile stop_target;

static void stop_from_signal(int number)
{
    int saved = errno;
    (void)number;
    errno = ENOTTY;
    ior_controller_shutdown(stop_target, 0);
    if (errno != ENOTTY)
        _exit(99); /* the interrupted program would see it */
    errno = saved;
}

static void r61_shutdown_from_a_signal_handler_is_not_lost(void **state)
{
    struct sigaction act = {.sa_handler = stop_from_signal}, old;
    (void)state;
    sigemptyset(&act.sa_mask);
    assert_int_equal(sigaction(SIGALRM, &act, &old), 0);
    for (int round = 0; round < 200; round++) {
        struct probe *p = probe_new(NULL);
        struct itimerval soon = {.it_value = {.tv_usec = 1 + round * 7 % 300}};
        stop_target = ior_controller_of(p->cx);
        assert_int_equal(setitimer(ITIMER_REAL, &soon, NULL), 0);
        assert_int_equal(ior_runtime_run(p->rt), 0); /* comes back only through the signal */
        assert_int_equal(p->stops, 1);
        probe_free(p);
        ior_controller_unref(stop_target);
    }
    assert_int_equal(sigaction(SIGALRM, &old, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(r49_send_races_the_end_of_the_loop),
        cmocka_unit_test(r50_no_wake_is_lost),
        cmocka_unit_test(r51_signals_around_the_waker_lose_nothing),
        cmocka_unit_test(r52_a_wake_is_always_consumed),
        cmocka_unit_test(r53_commands_are_prompt_however_the_loop_is_made),
        cmocka_unit_test(r54_queued_means_success_though_the_wake_failed),
        cmocka_unit_test(r57_last_sender_and_end_free_everything_once),
        cmocka_unit_test(r58_no_lock_is_held_over_a_callback),
        cmocka_unit_test(r61_shutdown_from_a_signal_handler_is_not_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
