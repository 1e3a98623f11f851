/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random programs. What may lie unread in a kernel is kept small, so that it fits in every world: buffers differ between
 * them, and a send that is cut short by one would be another program.
 */
#include <stdio.h>
#include <string.h>

#include "differ.h"

/* Most bytes on the way in one direction while nobody reads. */
enum { BUDGET = 12000 };

struct maker {
    struct program *p;
    uint64_t state;
    bool born[MAX_CONNS], paused[MAX_CONNS], deaf[MAX_CONNS];
    uint32_t in[MAX_CONNS], out[MAX_CONNS];
};

static uint64_t below(struct maker *m, uint64_t n)
{
    uint64_t z = (m->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % n;
}

static uint32_t some_len(struct maker *m)
{
    static const uint32_t most[] = {4, 30, 300, 3000, 6000};
    return (uint32_t)below(m, most[below(m, 5)]) + 1;
}

/* Whether the way has room for so many bytes more; they are on it then. */
static bool takes(uint32_t *on_the_way, bool nobody_reads, uint32_t n)
{
    if (!nobody_reads)
        *on_the_way = 0;
    if (*on_the_way + n > BUDGET)
        return false;
    *on_the_way += n;
    return true;
}

static void add(struct maker *m, enum what what, int conn, uint32_t n)
{
    struct program *p = m->p;
    if (p->ops_n < MAX_OPS)
        p->ops[p->ops_n++] = (struct op){.what = what, .conn = conn, .n = n};
}

static void service_acts(struct maker *m, int c)
{
    static const enum what sends[] = {SEND, SENDV, SEND_BUF, SEND_FILE};
    static const enum what ends[] = {CLOSE, ABORT, UNREGISTER, FINISH};
    uint32_t n = some_len(m);
    switch (below(m, 7)) {
    case 0:
        m->paused[c] = true;
        add(m, PAUSE, c, 0);
        break;
    case 1:
        m->paused[c] = false;
        add(m, RESUME, c, 0);
        break;
    case 2:
        if (below(m, 3) == 0)
            add(m, ends[below(m, 4)], c, 0);
        break;
    default:
        if (takes(&m->out[c], m->deaf[c], n))
            add(m, sends[below(m, 4)], c, n);
    }
}

static void peer_acts(struct maker *m, int c)
{
    uint32_t n = some_len(m);
    bool echoes = m->p->conns[c].on_data == ECHOES;
    switch (below(m, 8)) {
    case 0:
        m->deaf[c] = true;
        add(m, STOP_READING, c, 0);
        break;
    case 1:
        m->deaf[c] = false;
        add(m, GO_READING, c, 0);
        break;
    case 2:
        if (below(m, 2) == 0)
            add(m, PEER_FINISH, c, 0);
        break;
    default:
        if ((!echoes || takes(&m->out[c], m->deaf[c], n)) && takes(&m->in[c], m->paused[c] || echoes, n))
            add(m, SAY, c, n);
    }
}

/* A round: each of some connections is acted on, by one side. */
static void add_round(struct maker *m)
{
    struct program *p = m->p;
    int from = p->ops_n;
    for (int c = 0; c < p->conns_n; c++) {
        if (!m->born[c] || below(m, 3) == 0)
            continue;
        bool peers = below(m, 2) == 0;
        if (peers && below(m, 12) == 0) {
            add(m, below(m, 2) == 0 ? PEER_HANG_UP : PEER_RESET, c, 0); /* alone: else it races what it said before */
            continue;
        }
        if (!peers && below(m, 10) == 0) {
            add(m, DEADLINE, c, 0); /* alone: it may be told before or behind what comes in the same turn */
            continue;
        }
        for (uint64_t acts = 1 + below(m, 2); acts > 0; acts--) {
            if (peers)
                peer_acts(m, c);
            else
                service_acts(m, c);
        }
    }
    if (below(m, 6) == 0)
        add(m, TIMER, -1, 0);
    if (below(m, 6) == 0)
        add(m, COMMAND, -1, 0);
    if (p->ops_n > from)
        p->ops[p->ops_n - 1].last = true;
}

void program_make(struct program *p, uint64_t seed)
{
    struct maker m = {.p = p, .state = seed * UINT64_C(0x2545f4914f6cdd1d) + 1};
    memset(p, 0, sizeof(*p));
    p->seed = seed;
    p->conns_n = 1 + (int)below(&m, MAX_CONNS);
    for (int c = 0; c < p->conns_n; c++) {
        struct plan *plan = &p->conns[c];
        plan->how = (enum how)below(&m, HOWS);
        plan->on_data = (enum on_data)below(&m, ON_DATA);
        plan->on_eof = (enum on_eof)below(&m, ON_EOF);
        plan->half_open = below(&m, 2) == 0;
        if (plan->how == ACCEPT_TCP || plan->how == ACCEPT_UNIX)
            plan->half_open = seed % 2 == 0; /* the listener's option */
        plan->again = below(&m, 3) == 0;
    }
    for (int c = 0; p->ops_n < MAX_OPS - 16;) {
        if (c < p->conns_n) {
            add(&m, BIRTH, c, 0);
            p->ops[p->ops_n - 1].last = true;
            m.born[c++] = true;
        }
        for (uint64_t rounds = below(&m, 4); rounds > 0; rounds--)
            add_round(&m);
    }
    p->ops[p->ops_n - 1].last = true;
}

const char *how_name(enum how how)
{
    static const char *const names[] = {"accepted tcp", "accepted unix", "connected tcp", "connected unix",
                                        "adopted tcp",  "adopted unix",  "pipe in",       "pipe out",
                                        "refused tcp",  "refused unix"};
    return names[how];
}

void program_print(const struct program *p)
{
    static const char *const datas[] = {"sink", "echo", "tens"};
    static const char *const eofs[] = {"waits", "finishes", "answers and finishes", "closes"};
    static const char *const whats[] = {
        "is born",   "send",          "sendv",         "send_buf",    "send_file",          "pause",     "resume",
        "close",     "abort",         "unregister",    "finish",      "deadline",           "timer",     "command",
        "peer says", "peer finishes", "peer hangs up", "peer resets", "peer stops reading", "peer reads"};
    printf("program %llu\n", (unsigned long long)p->seed);
    for (int c = 0; c < p->conns_n; c++)
        printf("  %d: %s, %s%s%s, at EOF %s\n", c, how_name(p->conns[c].how), datas[p->conns[c].on_data],
               p->conns[c].half_open ? ", half-open" : "", p->conns[c].again ? ", registered again" : "",
               eofs[p->conns[c].on_eof]);
    for (int i = 0; i < p->ops_n; i++) {
        const struct op *op = &p->ops[i];
        if (op->conn >= 0)
            printf("  %d %s", op->conn, whats[op->what]);
        else
            printf("  %s", whats[op->what]);
        if (op->n > 0)
            printf(" %u", (unsigned)op->n);
        puts(op->last ? "\n  --" : "");
    }
}
