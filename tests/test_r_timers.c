/* SPDX-License-Identifier: Apache-2.0 */
/*
 * R39-R48 with the real clock and real engines. Only lower bounds of time are exact ("never early"); upper bounds are
 * wide apart from the defect they would show, and spinning is told by counting turns.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "support/check.h"
#include "support/probe.h"

#define MS IOR_NS_PER_MS
#define FAR_OFF (UINT64_C(3600) * IOR_NS_PER_SEC)

static ior_timer_id arm(struct probe *p, uint64_t after_ns, void *user)
{
    ior_timer_id id = 0;
    assert_int_equal(ior_timer_set(p->cx, after_ns, user, &id), 0);
    assert_true(id != 0);
    return id;
}

/* Keeps the loop's thread busy, as a slow handler does. */
static void work(uint64_t ns)
{
    uint64_t end = net_now() + ns;
    while (net_now() < end)
        ;
}

/* A timer that remembers when it was armed. */
struct stamp {
    uint64_t armed_at, after, fired_at;
    unsigned order;
};

static void start(struct probe *p, struct stamp *s, uint64_t after_ns)
{
    s->after = after_ns;
    s->fired_at = 0;
    s->armed_at = net_now();
    arm(p, after_ns, s);
}

static void note_fired(struct probe *p, ior_timer_id id, void *user)
{
    struct stamp *s = user;
    (void)id;
    s->fired_at = net_now();
    s->order = p->timers;
    if (s->fired_at < s->armed_at + s->after) {
        p->broken++;
        p->complaint = "a timer fired early";
    }
}

static void rearm_zero(struct probe *p, ior_timer_id id, void *user)
{
    (void)id;
    arm(p, 0, user);
}

/* A clock that moves in steps of 20 ms: timers armed in one step have one deadline. */
static uint64_t coarse_clock(void *arg)
{
    (void)arg;
    return net_now() / (20 * MS) * (20 * MS);
}

/* With a clock so coarse the new timer is due at once, in the very turn that armed it. */
static void r39_zero_timer_rearmed_under_a_coarse_clock(void **state)
{
    struct ior_config config = probe_config();
    struct ior_os os = *ior_os_default();
    struct probe *p;
    (void)state;
    os.clock = coarse_clock;
    config.os = &os;
    p = probe_new(&config);
    p->on_timer = rearm_zero;
    arm(p, 0, NULL);
    for (unsigned turn = 1; turn <= 50; turn++) {
        probe_turns(p, 1);
        assert_in_range(p->timers, turn - 1, turn);
    }
    probe_free(p);
}

static void r39_zero_timer_rearmed_waits_for_the_next_turn(void **state)
{
    struct probe *p = probe_new(NULL);
    (void)state;
    p->on_timer = rearm_zero;
    arm(p, 0, NULL);
    for (unsigned turn = 1; turn <= 50; turn++) {
        probe_turns(p, 1);
        assert_in_range(p->timers, turn - 1, turn);
    }
    assert_in_range(p->timers, 49, 50);
    probe_free(p);
}

static void slow_rearm(struct probe *p, ior_timer_id id, void *user)
{
    note_fired(p, id, user);
    work(8 * MS); /* longer than the timer */
    if (p->timers < 5)
        start(p, user, 5 * MS);
}

static void r40_rearming_counts_from_now(void **state)
{
    struct probe *p = probe_new(NULL);
    struct stamp s;
    uint64_t began = net_now();
    (void)state;
    p->on_timer = slow_rearm;
    start(p, &s, 5 * MS);
    probe_until(p, p->timers == 5);
    assert_true(net_now() - began >= 5 * (5 + 8) * MS);
    assert_int_equal(ior_timer_count(p->cx), 0);
    probe_free(p);
}

static void r41_fractions_of_a_millisecond_are_never_early_and_never_spin(void **state)
{
    static const uint64_t after[] = {1, 999, 100000, 300000, 999999, 1000001, 1500000, 2999999, 7300000};
    struct probe *p = probe_new(NULL);
    (void)state;
    p->on_timer = note_fired;
    for (unsigned i = 0; i < sizeof(after) / sizeof(after[0]); i++) {
        struct stamp s;
        uint64_t turns = probe_stats(p).turns;
        start(p, &s, after[i]);
        while (s.fired_at == 0) /* each turn would wait for an hour */
            assert_true(ior_runtime_turn(p->rt, FAR_OFF) >= 0);
        assert_int_equal(p->timers, i + 1);
        assert_in_range(probe_stats(p).turns - turns, 1, 4);
    }
    probe_free(p);
}

static void r42_far_timers_are_neither_now_nor_never(void **state)
{
    static const uint64_t far_ms[] = {UINT64_C(2147483647), UINT64_C(2147483648), UINT64_C(4294967295),
                                      UINT64_C(4294967296), UINT64_C(4294967297), UINT64_C(86400000) * 366 * 200};
    struct probe *p = probe_new(NULL);
    struct stamp s;
    uint64_t began = net_now();
    (void)state;
    p->on_timer = note_fired;
    for (unsigned i = 0; i < sizeof(far_ms) / sizeof(far_ms[0]); i++)
        arm(p, ior_time_from_ms(far_ms[i]), NULL);
    arm(p, IOR_NEVER - 1, NULL);
    arm(p, IOR_NEVER, NULL);
    assert_true(ior_timer_next(p->cx) >= began + far_ms[0] * MS);
    assert_true(ior_runtime_deadline(p->rt) == 0 || ior_runtime_deadline(p->rt) >= began + far_ms[0] * MS);
    probe_turns(p, 2);
    assert_int_equal(p->timers, 0);
    assert_true(probe_quiet(p, 50) <= 3); /* the waits are long ones */
    assert_int_equal(p->timers, 0);
    start(p, &s, 5 * MS); /* and a near one still fires in their midst */
    while (s.fired_at == 0)
        assert_true(ior_runtime_turn(p->rt, IOR_NEVER) >= 0);
    assert_int_equal(p->timers, 1);
    probe_free(p);
}

static uint64_t jumping_wall(void *arg)
{
    static uint64_t calls;
    (void)arg;
    return ++calls % 2 == 0 ? 0 : IOR_NEVER / 2;
}

static void note_order(struct probe *p, ior_timer_id id, void *user)
{
    struct stamp *s = user;
    (void)id;
    s->order = p->timers;
    s->fired_at = ior_unix_ns(p->cx);
}

static void r43_timers_of_equal_deadline_each_fire_in_order(void **state)
{
    enum { N = 100 };
    struct ior_config config = probe_config();
    struct ior_os os = *ior_os_default();
    struct stamp stamps[N];
    struct probe *p;
    (void)state;
    os.clock = coarse_clock;
    os.wall = jumping_wall; /* the time of day jumps to and fro, and nothing cares */
    config.os = &os;
    p = probe_new(&config);
    p->on_timer = note_order;
    for (int i = 0; i < N; i++)
        arm(p, 20 * MS, &stamps[i]);
    probe_until(p, p->timers == N);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(stamps[i].order, i + 1);
    assert_int_equal(ior_timer_count(p->cx), 0);
    probe_free(p);
}

static void r44_overdue_timer_means_no_wait(void **state)
{
    struct probe *p = probe_new(NULL);
    struct stamp s;
    (void)state;
    p->on_timer = note_fired;
    probe_turns(p, 2);
    start(p, &s, MS);
    work(5 * MS); /* due long before the loop looks */
    uint64_t began = net_now();
    assert_int_equal(ior_runtime_turn(p->rt, FAR_OFF), 1);
    assert_true(s.fired_at != 0 && s.fired_at - began < FAR_OFF); /* in that very turn, which did not wait */
    probe_free(p);
}

struct sender {
    struct ior_controller *ctl;
    struct ior_command command;
    int rc;
};

static void *send_later(void *arg)
{
    struct sender *s = arg;
    struct timespec pause = {.tv_nsec = 30 * (long)MS}; /* most likely the loop waits by then; right either way */
    nanosleep(&pause, NULL);
    s->rc = ior_controller_send(s->ctl, &s->command);
    return NULL;
}

static void arm_near(struct probe *p, struct ior_command *command)
{
    (void)command;
    start(p, p->arg, 5 * MS);
}

static void r45_nearer_timer_from_a_command_shortens_the_wait(void **state)
{
    struct probe *p = probe_new(NULL);
    struct sender sender = {.ctl = ior_controller_of(p->cx)};
    struct stamp s = {.fired_at = 0};
    pthread_t thread;
    uint64_t began = net_now();
    (void)state;
    p->arg = &s;
    p->on_timer = note_fired;
    p->on_command = arm_near;
    arm(p, FAR_OFF, NULL);
    assert_int_equal(pthread_create(&thread, NULL, send_later, &sender), 0);
    while (s.fired_at == 0)
        assert_true(ior_runtime_turn(p->rt, IOR_NEVER) >= 0);
    assert_true(net_now() - began < FAR_OFF / 2);
    pthread_join(thread, NULL);
    assert_int_equal(sender.rc, 0);
    ior_controller_unref(sender.ctl);
    probe_free(p);
}

/* Arms a nearer timer from an event, while a far one is armed. */
static void arm_near_at_data(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    (void)r;
    if (ev->type == IOR_EV_DATA)
        start(p, p->arg, 5 * MS);
}

static void r45_nearer_timer_from_an_event_shortens_the_wait(void **state)
{
    struct probe *p = probe_new(NULL);
    struct stamp s = {.fired_at = 0};
    int peer;
    (void)state;
    probe_unix(p, NULL, &peer);
    p->arg = &s;
    p->on_timer = note_fired;
    p->on_event = arm_near_at_data;
    arm(p, FAR_OFF, NULL);
    net_write(peer, "x", 1);
    while (s.fired_at == 0)
        assert_true(ior_runtime_turn(p->rt, IOR_NEVER) >= 0);
    close(peer);
    probe_free(p);
}

static void r46_a_timeout_does_not_hide_io(void **state)
{
    struct probe *p = probe_new(NULL);
    struct stamp s;
    int peer;
    ior_id id = probe_unix(p, NULL, &peer);
    (void)state;
    p->on_timer = note_fired;
    probe_turns(p, 3);
    for (unsigned i = 1; i <= 10; i++) {
        start(p, &s, MS);
        net_write(peer, "x", 1);
        work(2 * MS);
        probe_turns(p, 1); /* both are due: both come in this one turn */
        assert_int_equal(p->timers, i);
        assert_int_equal(probe_of(p, id)->bytes, i);
    }
    close(peer);
    probe_free(p);
}

struct rivals {
    ior_timer_id timers[3];
    ior_id stream;
};

/* Whichever of the due timers comes first removes the others and the resource with the due deadline. */
static void remove_rivals(struct probe *p, ior_timer_id id, void *user)
{
    struct rivals *r = p->arg;
    (void)user;
    assert_int_equal(ior_timer_cancel(p->cx, id), -ENOENT);
    assert_int_equal(ior_timer_cancel(p->cx, r->timers[1]), 0);
    assert_int_equal(ior_timer_move(p->cx, r->timers[2], FAR_OFF), 0);
    assert_int_equal(ior_unregister(p->cx, r->stream), 0);
}

static void r47_cancelled_due_timer_does_not_fire(void **state)
{
    struct rivals r;
    struct probe *p = probe_new(NULL);
    int peer;
    (void)state;
    r.stream = probe_unix(p, NULL, &peer);
    p->arg = &r;
    p->on_timer = remove_rivals;
    probe_turns(p, 3);
    r.timers[0] = arm(p, MS, NULL);
    r.timers[1] = arm(p, MS, NULL);
    r.timers[2] = arm(p, MS, NULL);
    assert_int_equal(ior_deadline(p->cx, r.stream, IOR_DEADLINE_USER, 2 * MS), 0);
    assert_int_equal(ior_deadline(p->cx, r.stream, IOR_DEADLINE_IDLE, 2 * MS), 0);
    work(5 * MS); /* all of them are due in one turn */
    probe_turns(p, 5);
    assert_int_equal(p->timers, 1);
    assert_int_equal(probe_of(p, r.stream)->deadline, 0);
    assert_int_equal(probe_of(p, r.stream)->end, 1);
    assert_int_equal(probe_of(p, r.stream)->why, IOR_ASKED);
    assert_int_equal(ior_timer_count(p->cx), 1);
    assert_int_equal(ior_timer_cancel(p->cx, r.timers[1]), -ENOENT);
    assert_int_equal(ior_timer_cancel(p->cx, r.timers[2]), 0);
    close(peer);
    probe_free(p);
}

static volatile sig_atomic_t signals;

static void count_signal(int number)
{
    (void)number;
    signals++;
}

static void storm(bool on)
{
    struct sigaction act = {.sa_handler = count_signal}; /* no SA_RESTART: waits are interrupted */
    struct itimerval every = {.it_interval = {.tv_usec = on ? 1000 : 0}, .it_value = {.tv_usec = on ? 1000 : 0}};
    sigemptyset(&act.sa_mask);
    assert_int_equal(sigaction(SIGALRM, &act, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &every, NULL), 0);
}

static void r48_signals_neither_delay_nor_advance_timers(void **state)
{
    struct probe *p = probe_new(NULL);
    struct stamp s;
    (void)state;
    p->on_timer = note_fired;
    signals = 0;
    storm(true);
    unsigned started = 0;
    do {                       /* on a busy machine many signals come as one: then more timers, until ten have come */
        start(p, &s, 50 * MS); /* fifty signals long: a wait that starts over at each would not end */
        started++;
        while (s.fired_at == 0 && net_now() < s.armed_at + PROBE_LIMIT_NS)
            assert_true(ior_runtime_turn(p->rt, FAR_OFF) >= 0);
    } while (s.fired_at != 0 && (started < 3 || signals < 10));
    storm(false);
    assert_int_equal(p->timers, started);
    assert_true(signals >= 10);
    probe_free(p);
}

static void r48_signals_do_not_cut_short_a_timed_wait_of_a_deadline(void **state)
{
    struct probe *p = probe_new(NULL);
    int peer;
    ior_id id = probe_unix(p, NULL, &peer);
    uint64_t began;
    (void)state;
    probe_turns(p, 3);
    storm(true);
    began = net_now();
    assert_int_equal(ior_deadline(p->cx, id, IOR_DEADLINE_IDLE, 50 * MS), 0);
    while (probe_of(p, id)->end == 0 && net_now() < began + PROBE_LIMIT_NS)
        assert_true(ior_runtime_turn(p->rt, FAR_OFF) >= 0);
    storm(false);
    assert_int_equal(probe_of(p, id)->end, 1);
    assert_int_equal(probe_of(p, id)->why, IOR_TIMEOUT);
    assert_int_equal(probe_of(p, id)->which, IOR_DEADLINE_IDLE);
    assert_int_equal(probe_of(p, id)->error, ETIMEDOUT);
    assert_true(net_now() - began >= 50 * MS);
    close(peer);
    probe_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(r39_zero_timer_rearmed_waits_for_the_next_turn),
        cmocka_unit_test(r39_zero_timer_rearmed_under_a_coarse_clock),
        cmocka_unit_test(r40_rearming_counts_from_now),
        cmocka_unit_test(r41_fractions_of_a_millisecond_are_never_early_and_never_spin),
        cmocka_unit_test(r42_far_timers_are_neither_now_nor_never),
        cmocka_unit_test(r43_timers_of_equal_deadline_each_fire_in_order),
        cmocka_unit_test(r44_overdue_timer_means_no_wait),
        cmocka_unit_test(r45_nearer_timer_from_a_command_shortens_the_wait),
        cmocka_unit_test(r45_nearer_timer_from_an_event_shortens_the_wait),
        cmocka_unit_test(r46_a_timeout_does_not_hide_io),
        cmocka_unit_test(r47_cancelled_due_timer_does_not_fire),
        cmocka_unit_test(r48_signals_neither_delay_nor_advance_timers),
        cmocka_unit_test(r48_signals_do_not_cut_short_a_timed_wait_of_a_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
