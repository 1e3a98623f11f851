/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who acts next. At one time several could: each runtime that has something to do, the network, the plain peers. One of
 * them is chosen, and does one thing. Where nobody can do anything, the clock jumps to what is due next.
 *
 * Doing things takes no time, but for ever doing them does: after BUSY_STEPS at one time each step takes a microsecond,
 * so that a runtime that spins cannot keep the others' deadlines from coming.
 */
#include "world.h"

#include <stdio.h>

#define BUSY_STEPS 10000u
#define BUSY_NS 1000u
#define SETTLE_STEPS 100000000u
#define EXPECT_NS (60 * IOR_NS_PER_SEC)

/* ---- runtimes ---- */

static bool is_live(const struct node *node)
{
    return node->rt && !node->ended && !node->blocked && !node->turning;
}

static bool is_due(struct node *node)
{
    return node->woken || node->short_send || ior__node_has_ready(node) ||
           ior_runtime_deadline(node->rt) <= node->sim->now_ns;
}

static void note_end(struct node *node)
{
    char text[64];
    snprintf(text, sizeof(text), "%s/%u ended with %s", node->sim->hosts[node->host - 1]->name, node->number,
             ior_errname(node->answer));
    ior__trace_text(node->sim, text);
}

static void turn(struct node *node)
{
    struct ior_sim *sim = node->sim;
    node->turning = true;
    int r = ior_runtime_turn(node->rt, IOR_NEVER);
    node->turning = false;
    ior__done_flush(node); /* as in the wait that it goes into now */
    if (++node->turns_here == sim->config.spin_turns)
        ior__violate(sim, IOR_SIM_SPIN, "%u turns of %s/%u at one time", node->turns_here,
                     sim->hosts[node->host - 1]->name, node->number);
    if (r != 1) {
        node->ended = true;
        node->answer = r;
        note_end(node);
    }
}

int ior_sim_runtime_config(struct ior_sim *sim, int host, struct ior_config *config)
{
    if (!sim || !ior__host_at(sim, host) || !config)
        return -EINVAL;
    struct node *node = ior__mem_new(sizeof(*node));
    sim->nodes = ior__mem_room(sim->nodes, sim->nodes_n, &sim->nodes_room, sizeof(struct node *));
    sim->nodes[sim->nodes_n++] = node;
    node->sim = sim;
    node->host = (uint32_t)host;
    node->number = sim->nodes_n;
    node->random = sim->config.seed ^ (uint64_t)node->number << 32;
    ior__os_init(node);
    config->engine = NULL;
    config->engine_ops = sim->config.shape == IOR_SIM_SHAPE_DONE ? &ior__sim_engine_done : &ior__sim_engine_ready;
    config->engine_arg = node;
    config->os = &node->os;
    return 0;
}

static struct node *node_of(const struct ior_sim *sim, const struct ior_runtime *rt)
{
    for (uint32_t i = 0; rt && i < sim->nodes_n; i++) {
        if (sim->nodes[i]->rt == rt)
            return sim->nodes[i];
    }
    return NULL;
}

int ior_sim_attach(struct ior_sim *sim, struct ior_runtime *rt)
{
    if (!sim || !rt || node_of(sim, rt))
        return -EINVAL;
    const struct ior_os *os = ior_context_os(ior_runtime_context(rt));
    for (uint32_t i = 0; i < sim->nodes_n; i++) {
        if (&sim->nodes[i]->os == os && sim->nodes[i]->open) {
            sim->nodes[i]->rt = rt;
            return 0;
        }
    }
    return -EINVAL;
}

int ior_sim_runtime_new(struct ior_sim *sim, int host, const struct ior_config *config,
                        const struct ior_handler *handler, void *self, struct ior_runtime **ret)
{
    struct ior_config in = {.struct_size = sizeof(in)};
    if (config && config->struct_size != sizeof(in))
        return -EINVAL;
    if (config)
        in = *config;
    int err = ior_sim_runtime_config(sim, host, &in);
    if (err == 0)
        err = ior_runtime_new(&in, handler, self, ret);
    return err < 0 ? err : ior_sim_attach(sim, *ret);
}

bool ior_sim_asleep(const struct ior_sim *sim, const struct ior_runtime *rt)
{
    struct node *node = node_of(sim, rt);
    return !node || node->ended || !is_due(node);
}

bool ior_sim_ended(const struct ior_sim *sim, const struct ior_runtime *rt, int *ret)
{
    const struct node *node = node_of(sim, rt);
    if (!node || !node->ended)
        return false;
    if (ret)
        *ret = node->answer;
    return true;
}

/* ---- steps ---- */

enum { NETWORK, PEERS, NODES };

/* Who could act now: what was said above, then the places of runtimes. Answers how many. */
static uint32_t find_runnable(struct ior_sim *sim)
{
    uint32_t n = 0;
    if (sim->runnable_room < sim->nodes_n + NODES) {
        sim->runnable_room = sim->nodes_n * 2 + 16;
        sim->runnable = ior__mem_grow(sim->runnable, sim->runnable_room * sizeof(uint32_t));
    }
    if (ior__calendar_next(sim) <= sim->now_ns)
        sim->runnable[n++] = NETWORK;
    if (sim->first_pending)
        sim->runnable[n++] = PEERS;
    for (uint32_t i = 0; i < sim->nodes_n; i++) {
        if (is_live(sim->nodes[i]) && is_due(sim->nodes[i]))
            sim->runnable[n++] = NODES + i;
    }
    return n;
}

static uint64_t next_time(const struct ior_sim *sim)
{
    uint64_t next_ns = ior__calendar_next(sim);
    for (uint32_t i = 0; i < sim->nodes_n; i++) {
        uint64_t due_ns = is_live(sim->nodes[i]) ? ior_runtime_deadline(sim->nodes[i]->rt) : IOR_NEVER;
        next_ns = due_ns < next_ns ? due_ns : next_ns;
    }
    return next_ns;
}

static void jump(struct ior_sim *sim, uint64_t to_ns)
{
    if (to_ns > sim->now_ns)
        sim->now_ns = to_ns;
    sim->steps_here = 0;
    sim->woke_here = false;
    for (uint32_t i = 0; i < sim->nodes_n; i++)
        sim->nodes[i]->turns_here = 0;
}

/* A runtime that sleeps is turned without a reason. */
static bool wake_spuriously(struct ior_sim *sim)
{
    /* Once at one time: it must go on. */
    if (sim->nodes_n == 0 || sim->woke_here || !ior__chance(sim, sim->config.rates.spurious_wake))
        return false;
    sim->woke_here = true;
    struct node *node = sim->nodes[ior_sim_choose(sim, sim->nodes_n)];
    if (!is_live(node))
        return false;
    sim->faults++;
    turn(node);
    return true;
}

int ior__sim_step_until(struct ior_sim *sim, uint64_t until_ns)
{
    uint32_t n = find_runnable(sim);
    if (n == 0) {
        uint64_t next_ns = next_time(sim);
        if (next_ns == IOR_NEVER || next_ns > until_ns)
            return 0;
        if (!wake_spuriously(sim))
            jump(sim, next_ns);
        return 1;
    }
    /* Choices turn round, so that the plainest one, always 0, leaves nobody out. */
    uint32_t chosen = sim->runnable[(ior_sim_choose(sim, n) + sim->next_turn++) % n];
    if (++sim->steps_here > BUSY_STEPS)
        sim->now_ns += BUSY_NS;
    if (chosen == NETWORK)
        ior__calendar_do(sim);
    else if (chosen == PEERS)
        ior__peers_serve(sim);
    else
        turn(sim->nodes[chosen - NODES]);
    return 1;
}

int ior_sim_step(struct ior_sim *sim)
{
    return ior__sim_step_until(sim, IOR_NEVER - 1);
}

void ior_sim_run_for(struct ior_sim *sim, uint64_t ns)
{
    uint64_t until_ns = ior_time_add(sim->now_ns, ns);
    while (sim->now_ns <= until_ns && ior__sim_step_until(sim, until_ns)) {
    }
    if (sim->now_ns < until_ns && until_ns != IOR_NEVER)
        jump(sim, until_ns);
}

int ior_sim_run_until(struct ior_sim *sim, bool (*done)(void *arg), void *arg, uint64_t limit_ns)
{
    uint64_t until_ns = ior_time_add(sim->now_ns, limit_ns);
    while (!done(arg)) {
        if (sim->now_ns > until_ns)
            return -ETIMEDOUT;
        if (ior__sim_step_until(sim, until_ns))
            continue;
        if (done(arg))
            break;
        return next_time(sim) == IOR_NEVER ? -EDEADLK : -ETIMEDOUT;
    }
    return 0;
}

void ior_sim_settle(struct ior_sim *sim)
{
    for (uint32_t steps = 0; steps < SETTLE_STEPS; steps++) {
        if (ior__sim_step_until(sim, sim->now_ns))
            continue;
        if (sim->loud == 0 || !ior_sim_step(sim))
            return;
    }
    ior__violate(sim, IOR_SIM_SPIN, "the world does not settle");
}

int ior_sim_expect(struct ior_sim_peer *peer, const void *bytes, size_t len)
{
    struct ior_sim *sim = peer->sim;
    uint64_t until_ns = ior_time_add(sim->now_ns, EXPECT_NS);
    const unsigned char *wanted = bytes;
    unsigned char got[4096];

    while (len > 0) {
        ssize_t n = ior_sim_hear(peer, got, len < sizeof(got) ? len : sizeof(got));
        for (ssize_t i = 0; i < n; i++) {
            if (got[i] != wanted[i])
                return -EBADMSG;
        }
        if (n == 0)
            return -EPIPE;
        if (n > 0) {
            wanted += n;
            len -= (size_t)n;
        } else if (n != -EAGAIN) {
            return (int)n;
        } else if (sim->now_ns > until_ns || !ior__sim_step_until(sim, until_ns)) {
            return -ETIMEDOUT;
        }
    }
    return 0;
}

/* ---- a wait that is not the scheduler's ---- */

void ior__sim_block(struct node *node, uint64_t deadline_ns)
{
    struct ior_sim *sim = node->sim;
    while (!node->woken && !ior__node_has_ready(node) && sim->now_ns < deadline_ns) {
        node->blocked = true;
        int did = ior__sim_step_until(sim, deadline_ns);
        node->blocked = false;
        if (did)
            continue;
        if (deadline_ns == IOR_NEVER) {
            ior__violate(sim, IOR_SIM_HANG, "%s/%u waits, and nothing can happen", sim->hosts[node->host - 1]->name,
                         node->number);
            jump(sim, sim->now_ns + IOR_NS_PER_SEC);
            return;
        }
        jump(sim, deadline_ns);
    }
}

/* ---- what the test puts on the calendar, and its threads ---- */

void ior_sim_at(struct ior_sim *sim, uint64_t after_ns, void (*fn)(void *arg), void *arg)
{
    uint32_t place;
    if (sim->acts_free) {
        place = sim->acts_free - 1;
        sim->acts_free = sim->acts[place].next_free;
    } else {
        sim->acts = ior__mem_room(sim->acts, sim->acts_n, &sim->acts_room, sizeof(struct act));
        place = sim->acts_n++;
    }
    sim->acts[place] = (struct act){.fn = fn, .arg = arg};
    ior__calendar_add(sim, ior_time_add(sim->now_ns, after_ns), (struct due){.what = DUE_ACT, .n = place});
}

void ior__act_run(struct ior_sim *sim, uint32_t index)
{
    struct act act = sim->acts[index];
    sim->acts[index].next_free = sim->acts_free;
    sim->acts_free = index + 1;
    act.fn(act.arg);
}

void ior_sim_thread(struct ior_sim *sim, uint64_t (*act)(void *arg), void *arg)
{
    sim->threads = ior__mem_room(sim->threads, sim->threads_n, &sim->threads_room, sizeof(struct thread));
    uint32_t index = sim->threads_n++;
    sim->threads[index] = (struct thread){.act = act, .arg = arg, .alive = true};
    ior__calendar_add(sim, sim->now_ns, (struct due){.what = DUE_THREAD, .a.index = index});
}

void ior__thread_run(struct ior_sim *sim, uint32_t index)
{
    struct thread *thread = &sim->threads[index];
    if (!thread->alive || sim->in_thread)
        return;
    sim->in_thread = true;
    uint32_t now = ++thread->turn;
    uint64_t after_ns = thread->act(thread->arg);
    sim->in_thread = false;
    if (after_ns == IOR_NEVER)
        sim->threads[index].alive = false;
    else
        ior__calendar_add(sim, ior_time_add(sim->now_ns, after_ns),
                          (struct due){.what = DUE_THREAD, .a = {.index = index, .gen = now}});
}

void ior__thread_in_call(struct ior_sim *sim)
{
    if (sim->threads_n > 0)
        ior__thread_run(sim, (uint32_t)ior_sim_choose(sim, sim->threads_n));
}

void ior__engines_check(struct ior_sim *sim)
{
    for (uint32_t i = 0; i < sim->nodes_n; i++) {
        if (sim->nodes[i]->open)
            ior__violate(sim, IOR_SIM_ENGINE_LEFT, "the runtime %s/%u", sim->hosts[sim->nodes[i]->host - 1]->name,
                         sim->nodes[i]->number);
    }
}

void ior__scheduler_free(struct ior_sim *sim)
{
    for (uint32_t i = 0; i < sim->nodes_n; i++) {
        ior__engine_forget(sim->nodes[i]);
        ior__done_free(sim->nodes[i]);
        ior__mem_free(sim->nodes[i]->set);
        ior__mem_free(sim->nodes[i]);
    }
    ior__mem_free(sim->nodes);
    ior__mem_free(sim->runnable);
    ior__mem_free(sim->calendar);
    ior__mem_free(sim->held);
    ior__mem_free(sim->acts);
    ior__mem_free(sim->threads);
}
