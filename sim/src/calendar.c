/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is due when: a binary heap by time, then by the order in which things were added, so that equal times have no
 * chance in them. And what a cut link holds back, which is added anew when the link is healed.
 */
#include "world.h"

static bool before(const struct due *a, const struct due *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->seq < b->seq;
}

static void put(struct ior_sim *sim, struct due due)
{
    sim->calendar = ior__mem_room(sim->calendar, sim->calendar_n, &sim->calendar_room, sizeof(*sim->calendar));
    uint32_t at = sim->calendar_n++;
    sim->loud += due.what < DUE_TIMEOUT;
    while (at > 0 && before(&due, &sim->calendar[(at - 1) / 2])) {
        sim->calendar[at] = sim->calendar[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sim->calendar[at] = due;
}

void ior__calendar_add(struct ior_sim *sim, uint64_t at_ns, struct due due)
{
    due.at_ns = at_ns;
    due.seq = sim->seq++;
    put(sim, due);
}

static struct due take_first(struct ior_sim *sim)
{
    struct due first = sim->calendar[0];
    struct due last = sim->calendar[--sim->calendar_n];
    uint32_t n = sim->calendar_n, at = 0;

    for (uint32_t child = 1; child < n; child = at * 2 + 1) {
        if (child + 1 < n && before(&sim->calendar[child + 1], &sim->calendar[child]))
            child++;
        if (!before(&sim->calendar[child], &last))
            break;
        sim->calendar[at] = sim->calendar[child];
        at = child;
    }
    if (n > 0)
        sim->calendar[at] = last;
    sim->loud -= first.what < DUE_TIMEOUT;
    return first;
}

uint64_t ior__calendar_next(const struct ior_sim *sim)
{
    return sim->calendar_n > 0 ? sim->calendar[0].at_ns : IOR_NEVER;
}

void ior__calendar_do(struct ior_sim *sim)
{
    struct due due = take_first(sim);

    switch ((enum due_what)due.what) {
    case DUE_SYN:
        ior__listener_syn(sim, &due);
        break;
    case DUE_SYN_ACK:
        ior__listener_syn_ack(sim, &due);
        break;
    case DUE_REFUSED:
    case DUE_DATA:
    case DUE_FIN:
    case DUE_RESET:
        ior__end_segment(sim, &due);
        break;
    case DUE_DRAIN:
        ior__peer_drain_due(sim, &due);
        break;
    case DUE_PACKET:
        ior__box_arrives(sim, &due);
        break;
    case DUE_TIMEOUT:
        ior__end_timeout(sim, &due);
        break;
    case DUE_ACT:
        ior__act_run(sim, due.n);
        break;
    case DUE_THREAD:
        if (sim->threads[due.a.index].turn == due.a.gen)
            ior__thread_run(sim, due.a.index);
        break;
    case DUE_HEAL:
        ior_sim_heal(sim, (int)due.a.index, (int)due.b.index);
        break;
    }
}

void ior__calendar_hold(struct ior_sim *sim, const struct due *due)
{
    sim->held = ior__mem_room(sim->held, sim->held_n, &sim->held_room, sizeof(*sim->held));
    sim->held[sim->held_n++] = *due;
}

void ior__calendar_release(struct ior_sim *sim)
{
    uint32_t n = sim->held_n;

    /*
     * They keep their times, which are past, and so come before what was sent later. What is still cut off is held
     * again, in the same order.
     */
    sim->held_n = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct due due = sim->held[i];
        struct end *from = ior__end_at(sim, due.b);
        if (from && from->held > 0)
            from->held--;
        put(sim, due);
    }
}
