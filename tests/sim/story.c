/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One story: a world is made, anything happens for a while, then all obstacles are removed, and what was promised must
 * have come true. Nothing of a story outlives it.
 */
#include "story.h"

#include <stdlib.h>

/* ---- the library's memory ---- */

static struct {
    uint64_t live, blocks;
    struct story *s;
} memory;

static void *hook(void *arg, void *old, size_t old_len, size_t len)
{
    (void)arg;
    struct story *s = memory.s;
    if (len == 0) {
        if (old) {
            memory.live -= old_len;
            memory.blocks--;
        }
        free(old);
        return NULL;
    }
    if (s && s->plan.memory > 0 && !s->ending && once_in(s, s->plan.memory))
        return NULL;
    void *block = realloc(old, len);
    if (!block)
        abort();
    memory.blocks += old == NULL;
    memory.live += len - (old ? old_len : 0);
    return block;
}

void memory_init(void)
{
    (void)ior_set_alloc(hook, NULL);
}

/* ---- the world ---- */

static void violated(void *arg, enum ior_sim_violation what, const char *text)
{
    static const int oracles[IOR_SIM_VIOLATIONS] = {
        [IOR_SIM_BAD_FD] = 14,
        [IOR_SIM_USE_AFTER_CLOSE] = 14,
        [IOR_SIM_DOUBLE_CLOSE] = 14,
        [IOR_SIM_CLOSE_WATCHED] = 14,
        [IOR_SIM_SEND_AFTER_SHUT] = 4,
        [IOR_SIM_BLOCKING] = 12,
        [IOR_SIM_BAD_ARGUMENT] = 3,
        [IOR_SIM_LEAK] = 14,
        [IOR_SIM_ENGINE_LEFT] = 14,
        [IOR_SIM_SPIN] = 12,
        [IOR_SIM_HANG] = 8,
    };
    if (((struct story *)arg)->stolen && what <= IOR_SIM_BLOCKING)
        return; /* an fd was closed behind the library's back, and its number was used again */
    wrong(arg, oracles[what], "%s: %s", ior_sim_violation_name(what), text);
}

static void traced(void *arg, const char *line)
{
    (void)arg;
    puts(line);
}

static uint64_t chosen(void *arg, uint64_t n)
{
    return pick(arg, n);
}

static void make_world(struct story *s)
{
    struct ior_sim_config config = {
        .struct_size = sizeof(config),
        .shape = s->plan.shape,
        .seed = s->seed,
        .rates = s->plan.rates,
        .link = s->plan.link,
        .call_ns = s->plan.calls_take_time ? 300 : 0,
        .tells_bad = once_in(s, 2),
        .spin_turns = 20000,
        .violation = violated,
        .violation_arg = s,
        .choose = chosen,
        .choose_arg = s,
    };
    if (s->verbose)
        config.trace = traced;
    int err = ior_sim_new(&config, &s->sim);
    if (err == -ENOTSUP) {
        config.shape = s->plan.shape = IOR_SIM_SHAPE_READY;
        err = ior_sim_new(&config, &s->sim);
    }
    CHECK(s, 15, err == 0, "ior_sim_new answers %s", ior_errname(err));
    for (int i = 0; i < s->plan.hosts; i++) {
        s->hosts[i] = ior_sim_host(s->sim, NULL);
        if (s->plan.files)
            s->files[i] = ior_sim_file(s->sim, s->hosts[i], pattern_at(0), (size_t)2 * PERIOD);
    }
}

/* ---- what happens ---- */

static void look_over(struct story *s)
{
    for (int i = 0; i < RUNTIMES; i++) {
        struct runtime *rt = &s->runtimes[i];
        if (!rt->rt || rt->over || !rt->stopping || !ior_sim_ended(s->sim, rt->rt, NULL))
            continue;
        rt->over = true;
        NOTE(s, "the runtime on host %d is over", rt->host);
        for (unsigned k = 0; k < s->regs_n; k++)
            CHECK(s, 9, s->regs[k].service->rt != rt || s->regs[k].gone, "the runtime is over, and %#llx is not",
                  (unsigned long long)s->regs[k].id);
    }
}

static void all_over(struct story *s)
{
    for (int i = 0; i < RUNTIMES; i++)
        s->runtimes[i].stopping |= s->runtimes[i].first && s->runtimes[i].first->failed;
    look_over(s);
}

/* Time passes, and what is due by then is done. */
static void pass_time(struct story *s, uint64_t ns)
{
    deadlines_look(s);
    ior_sim_settle(s->sim);
    all_over(s);
    deadlines_look(s);
    oracle_quiet(s);
    ior_sim_run_for(s->sim, ns);
    if (s->plan.slows)
        ior_sim_settle(s->sim); /* what became due in the last callback */
    all_over(s);
    deadlines_look(s);
    times_quiet(s);
    commands_quiet(s);
}

/* An fd is closed behind the back of the library. */
static void steal(struct story *s)
{
    for (unsigned i = 0; i < s->conns_n; i++) {
        struct conn *conn = &s->conns[i];
        if (!conn->live || conn->fd < 0 || conn->lost || !once_in(s, 4))
            continue;
        if (!conn->reg || conn->reg->gone || (conn->kind != KIND_STREAM && conn->kind != KIND_WATCH))
            continue;
        NOTE(s, "fd of %#llx is closed by somebody else", (unsigned long long)conn->reg->id);
        conn->lost = true;
        s->stolen = true;
        s->harsh++;
        for (unsigned k = 0; k < s->flows_n; k++)
            s->flows[k].loose = true; /* who knows whose number is whose from now on */
        (void)ior_sim_close(s->sim, conn->fd);
        return;
    }
}

static void world_act(struct story *s)
{
    int a = s->hosts[pick(s, (uint64_t)s->plan.hosts)], b = s->hosts[pick(s, (uint64_t)s->plan.hosts)];
    struct runtime *rt = &s->runtimes[pick(s, (uint64_t)s->plan.runtimes)];
    switch (pick(s, 6)) {
    case 0:
        ior_sim_wall_jump(s->sim, a, (int64_t)pick(s, 7200) * 1000000000 - INT64_C(3600000000000));
        break;
    case 1:
        if (!s->plan.calm && ior_sim_cut(s->sim, a, b) == 0) {
            s->harsh++;
            s->was_cut = true;
        }
        break;
    case 2:
        (void)ior_sim_heal(s->sim, a, b);
        break;
    case 3:
        if (s->plan.steals)
            steal(s);
        break;
    case 4:
        if (s->plan.stops && once_in(s, 3))
            stop_act(s, rt);
        else if (s->plan.stops && once_in(s, 3))
            detach_act(s);
        break;
    default:
        if (s->plan.stops && once_in(s, 4))
            runtime_free(rt);
        break;
    }
}

static void one_step(struct story *s)
{
    static const uint64_t times[] = {1000, 1000000, 30000000, 1000000000};
    uint64_t what = pick(s, 16);
    s->breath = 10;
    if (what < 6)
        act_any(s, NULL);
    else if (what < 11)
        peers_act(s);
    else if (what == 11)
        command_send(s, 0);
    else if (what == 12)
        world_act(s);
    else if (what == 13 && once_in(s, 2))
        pass_time(s, pick(s, times[pick(s, 4)]));
    for (uint64_t n = pick(s, 6); n > 0 && ior_sim_step(s->sim) > 0; n--)
        ;
    all_over(s);
}

/* ---- the end ---- */

static void remove_obstacles(struct story *s)
{
    s->ending = true;
    ior_sim_set_rates(s->sim, NULL);
    for (int i = 0; i < s->plan.hosts; i++) {
        for (int k = i; k < s->plan.hosts; k++)
            (void)ior_sim_heal(s->sim, s->hosts[i], s->hosts[k]);
    }
    for (unsigned i = 0; i < s->conns_n; i++) {
        struct conn *conn = &s->conns[i];
        struct reg *reg = conn->reg;
        if (!conn->live)
            continue;
        if (conn->res && (!reg || reg->gone)) {
            struct service *to = NULL;
            for (unsigned k = 0; k < s->services_n && !to; k++) {
                struct service *service = &s->services[k];
                if (service_usable(service) && !service->line && !service->rt->stopping &&
                    service->rt->host == conn->host)
                    to = service;
            }
            if (!to || conn->res->fd < 0 || conn_register(to, conn) < 0)
                conn_free(s, conn);
        } else if (reg && !reg->told_end && service_usable(reg->service)) {
            if (conn->kind == KIND_WATCH && !conn->lost)
                (void)ior_sim_ready(s->sim, conn->fd, IOR_NONE);
            if (conn->held > 0 && reg->gave_back)
                (void)ior_pause(reg->service->cx, reg->id); /* so that what was given back comes again */
            (void)ior_resume(reg->service->cx, reg->id);
            reg->paused = false;
        }
    }
}

static void let_all_arrive(struct story *s)
{
    for (unsigned times = 0; times < 2; times++) {
        do {
            ior_sim_settle(s->sim);
            all_over(s);
        } while (peers_hear_all(s));
        deadlines_look(s);
        ior_sim_run_for(s->sim, 150 * IOR_NS_PER_MS); /* back-offs */
        all_over(s);
    }
    do {
        ior_sim_settle(s->sim);
        all_over(s);
    } while (peers_hear_all(s));
    deadlines_look(s);
    peers_check(s);
    oracle_quiet(s);
    times_quiet(s);
    oracle_arrived(s);
}

static void turn_off(struct story *s)
{
    for (unsigned i = 0; i < TIMERS; i++) {
        struct timer *timer = &s->timers[i];
        if (timer->state == TIMER_ARMED && service_usable(timer->service)) {
            (void)ior_timer_cancel(timer->service->cx, timer->id);
            timer->state = TIMER_CANCELLED;
        }
    }
    for (unsigned i = 0; i < s->regs_n; i++) {
        struct reg *reg = &s->regs[i];
        if (reg->told_end || !service_usable(reg->service))
            continue;
        for (int which = 0; which < 4; which++) {
            (void)ior_deadline(reg->service->cx, reg->id, which, IOR_NEVER);
            reg->at_ns[which] = IOR_NEVER;
        }
        reg->idle_ns = IOR_NEVER;
    }
}

/* Whether something is left that arms deadlines by itself. */
static bool unsettled(const struct story *s)
{
    for (unsigned i = 0; i < s->regs_n; i++) {
        const struct reg *reg = &s->regs[i];
        if (!reg->told_end && (reg->closing || reg->conn->connecting || !service_usable(reg->service)))
            return true;
    }
    for (int i = 0; i < s->plan.runtimes; i++) {
        if (s->runtimes[i].config.max_resources > 0 || s->runtimes[i].stopping)
            return true; /* a listener that waits for a slot has a back-off */
    }
    return false;
}

/* Without a timer and a deadline nothing is called any more. */
static void look_idle(struct story *s)
{
    turn_off(s);
    ior_sim_settle(s->sim);
    if (unsettled(s))
        return;
    for (int i = 0; i < s->plan.runtimes; i++) {
        struct ior_stats stats = {.struct_size = sizeof(stats)};
        if (!s->runtimes[i].rt)
            continue;
        ior_runtime_stats(s->runtimes[i].rt, &stats);
        CHECK(s, 12, stats.timers == 0, "%llu timers and deadlines are armed, and all were turned off",
              (unsigned long long)stats.timers);
    }
    if (s->harsh > 0)
        return;
    ior_sim_run_for(s->sim, 10 * IOR_NS_PER_MS); /* threads end */
    uint64_t calls = ior_sim_calls(s->sim);
    ior_sim_run_for(s->sim, 60 * IOR_NS_PER_SEC);
    CHECK(s, 12, ior_sim_calls(s->sim) == calls, "%llu system calls with nothing to do",
          (unsigned long long)(ior_sim_calls(s->sim) - calls));
}

static bool any_lives(struct story *s)
{
    all_over(s);
    for (int i = 0; i < RUNTIMES; i++) {
        if (s->runtimes[i].rt && !s->runtimes[i].over)
            return true;
    }
    return false;
}

static void stop_all(struct story *s)
{
    s->calm_end = s->harsh == 0 && !s->plan.faults && !s->plan.memory;
    for (int i = 0; i < s->plan.runtimes; i++) {
        if (pick(s, 5) == 4)
            runtime_free(&s->runtimes[i]);
        else
            stop_act(s, &s->runtimes[i]);
    }
    for (unsigned times = 0; times < 200 && any_lives(s); times++) {
        ior_sim_run_for(s->sim, (times < 100 ? 10 : 1000) * IOR_NS_PER_MS);
        (void)peers_hear_all(s);
    }
    CHECK(s, 9, !any_lives(s), "a shutdown does not end");
    for (int i = 0; i < RUNTIMES; i++)
        runtime_free(&s->runtimes[i]);
}

static void free_all(struct story *s)
{
    for (unsigned i = 0; i < s->conns_n; i++) {
        if (s->conns[i].live && s->conns[i].res)
            conn_free(s, &s->conns[i]);
    }
    for (unsigned i = 0; i < s->conns_n; i++) {
        const struct conn *conn = &s->conns[i];
        CHECK(s, 14,
              conn->addr[0] != 'u' || s->plan.faults || s->stolen || s->plan.memory > 0 ||
                  !ior_sim_path_exists(s->sim, conn->host, conn->addr + 5),
              "%s is left of a listener", conn->addr);
    }
    for (int i = 0; i < SHARED; i++)
        ior_buf_unref(s->shared[i].buf);
    for (unsigned i = 0; i < s->services_n; i++)
        ior_controller_unref(s->services[i].ctl);
    peers_leave(s);
    CHECK(s, 14, s->buffers == 0, "%u buffers were never released", s->buffers);
    mix(s, ior_sim_hash(s->sim));
    CHECK(s, 14, ior_sim_free(s->sim) == 0 || s->stolen, "the world counts violations");
    CHECK(s, 14, memory.live == 0 && memory.blocks == 0, "%llu bytes in %llu blocks of memory are left",
          (unsigned long long)memory.live, (unsigned long long)memory.blocks);
}

uint64_t story_play(struct story *s, const struct options *options, uint64_t seed, struct choices *choices)
{
    memset(s, 0, offsetof(struct story, conns));
    s->options = options;
    s->seed = seed;
    s->choices = choices;
    s->verbose = options->verbose;
    plan_draw(s, options->shape);
    make_world(s);
    memory.s = s;
    for (int i = 0; i < s->plan.runtimes; i++)
        (void)runtime_new(s, &s->runtimes[i]);
    threads_begin(s);
    for (unsigned i = 0; i < s->plan.steps && s->services_n > 0; i++)
        one_step(s);
    remove_obstacles(s);
    let_all_arrive(s);
    if (pick(s, 2) == 0)
        look_idle(s);
    stop_all(s);
    free_all(s);
    memory.s = NULL;
    return s->hash;
}
