/* SPDX-License-Identifier: Apache-2.0 */
/* Timers and deadlines. */
#include <errno.h>

#include "torture.h"

static void rearm(struct service *s)
{
    if (s->step++ < 12)
        (void)t_timer(s, (uint64_t)s->step * 10 * MS);
}

static void timers(struct run *run)
{
    struct service *s = t_service(run, NULL);
    ior_timer_id ids[40];
    if (s == NULL)
        return;
    s->on_timer = rearm;
    for (int i = 0; i < 40; i++)
        ids[i] = t_timer(s, (uint64_t)(i * 7 % 40) * 50 * MS);
    for (int i = 0; i < 40; i += 3)
        (void)t_timer_cancel(s, ids[i]);
    for (int i = 1; i < 40; i += 3)
        (void)t_timer_move(s, ids[i], (uint64_t)i * 100 * MS);
    ior_sim_wall_jump(run->sim, run->here, -3600 * (int64_t)SEC);
    t_pass(run, SEC);
    (void)t_timer_cancel(s, ids[20]);
    for (int i = 0; i < 10; i++)
        t_pass(run, SEC);
    for (size_t i = 0; i < s->timers_n; i++)
        t_want(run, s->timers[i].fired != s->timers[i].cancelled);
    t_want(run, ior_timer_count(s->cx) == 0);
}

/* Moved and cancelled in between, and left to the end. */
static void periodic(struct run *run)
{
    enum { N = 12 };
    struct service *s = t_service(run, NULL);
    ior_timer_id ids[N];
    if (s == NULL)
        return;
    for (int i = 0; i < N; i++)
        ids[i] = t_timer_every(s, (uint64_t)i * 30 * MS, (uint64_t)(i + 1) * 100 * MS);
    t_pass(run, 2 * SEC);
    for (int i = 0; i < N; i += 3)
        (void)t_timer_cancel(s, ids[i]);
    for (int i = 1; i < N; i += 3)
        (void)t_timer_move(s, ids[i], (uint64_t)i * 70 * MS);
    for (size_t i = 0; i < s->timers_n; i++)
        s->timers[i].times = 0;
    t_pass(run, 10 * SEC);
    for (size_t i = 0; i < s->timers_n; i++) {
        const struct timer *timer = &s->timers[i];
        uint64_t most = 10 * SEC / timer->period_ns + 1;
        t_want(run, timer->cancelled ? timer->times == 0 : timer->times + 2 >= most && timer->times <= most);
    }
}

/* Deadlines of the user's: told, nothing ends; they are armed again from the event. */
static void rearm_deadline(struct service *s, struct res *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DEADLINE && r->deadlines < 6)
        (void)t_ok(s->run, t_deadline(s, r->id, IOR_DEADLINE_USER, 100 * MS));
}

static void deadlines(struct run *run)
{
    struct service *s = t_service(run, NULL);
    struct peer *peers[6];
    ior_id ids[6];
    if (s == NULL)
        return;
    s->on_event = rearm_deadline;
    for (int i = 0; i < 6; i++) {
        ids[i] = t_adopt(s, i % 2 == 0 ? IOR_FD_TCP : IOR_FD_UNIX, NULL, &peers[i]);
        if (ids[i] == 0)
            continue;
        (void)t_ok(run, t_deadline(s, ids[i], IOR_DEADLINE_USER, (uint64_t)i * 100 * MS));
        t_want(run, t_deadline(s, ids[i], IOR_DEADLINE_DRAIN, SEC) == -EINVAL);
    }
    if (t_alive(s, ids[3]))
        (void)t_ok(run, t_deadline(s, ids[3], IOR_DEADLINE_USER, IOR_NEVER));
    ior_id last = t_adopt(s, IOR_FD_TCP, NULL, &peers[0]);
    if (last != 0) { /* close together, and not at once */
        (void)t_ok(run, t_deadline(s, last, IOR_DEADLINE_USER, 50 * MS));
        (void)t_ok(run, t_deadline(s, last, IOR_DEADLINE_IDLE, 50 * MS + 1));
    }
    t_until(run, t_ended(s, last, IOR_TIMEOUT, ETIMEDOUT));
    t_pass(run, 5 * SEC);
    for (int i = 0; i < 6; i++)
        t_want(run, ids[i] != 0 && t_res(s, ids[i])->deadlines == (i == 3 ? 0u : 6u) && t_alive(s, ids[i]));
}

/* Idle streams end, busy ones do not; one is paused, and looked at before it ends. */
static void idle(struct run *run)
{
    enum { N = 6 };
    struct service *s = t_service(run, NULL);
    struct peer *peers[N];
    ior_id ids[N];
    if (s == NULL)
        return;
    for (int i = 0; i < N; i++)
        ids[i] = t_adopt(s, i % 2 == 0 ? IOR_FD_TCP : IOR_FD_UNIX, T_STREAM(.idle_ns = 2 * SEC), &peers[i]);
    t_pass(run, MS);
    if (t_alive(s, ids[5]))
        (void)t_ok(run, t_deadline(s, ids[5], IOR_DEADLINE_IDLE, IOR_NEVER));
    for (int tick = 0; tick < 20; tick++) {
        t_pass(run, 400 * MS);
        t_say(peers[0], 10);
        if (t_alive(s, ids[1]))
            (void)t_ok(run, t_send(s, ids[1], 10));
        if (tick == 2)
            t_say(peers[2], 10);
    }
    t_want(run, t_alive(s, ids[0]) && t_alive(s, ids[1]) && t_alive(s, ids[5]));
    for (int i = 2; i < 5; i++)
        t_want(run, t_ended(s, ids[i], IOR_TIMEOUT, ETIMEDOUT));
    t_pass(run, 5 * SEC);
    for (int i = 0; i < 2; i++)
        t_want(run, t_ended(s, ids[i], IOR_TIMEOUT, ETIMEDOUT));
}

const struct scenario torture_time[] = {
    {"timers", timers}, {"periodic", periodic}, {"deadlines", deadlines}, {"idle", idle}, {NULL, NULL}};
