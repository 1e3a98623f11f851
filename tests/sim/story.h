/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random stories in the simulated world: runtimes, services and peers do anything at any time, inside callbacks too,
 * while oracles watch the promises of the library (docs/promises.md; an oracle has the number of its promise).
 *
 * A story is its seed: all that happens comes from one sequence of choices, the world's included. 0 is always the
 * plainest choice, so that a story is shrunk by putting zeros into its sequence.
 *
 *   main.c      options, jobs, replays            service.c   the callbacks of the random service
 *   shrink.c    makes a failing story smaller     requests.c  what it asks for
 *   story.c     one story from begin to end       own.c       a kind of resource of its own
 *   plan.c      what a seed draws                 peers.c     the other ends, without a library
 *   oracle.c    the life of a resource            bytes.c     bytes that are checked by their position
 *   times.c     timers and deadlines              commands.c  commands, other threads, stops
 *   sends.c     sends                             registers.c what becomes a resource
 */
#ifndef IOR_TESTS_SIM_STORY_H
#define IOR_TESTS_SIM_STORY_H

#include <errno.h>
#include <ioreactor/sim.h>
#include <stdio.h>
#include <string.h>

enum {
    HOSTS = 3,
    RUNTIMES = 3,
    SERVICES = 8,
    CONNS = 160,
    REGS = 320,
    PEERS = 64,
    FLOWS = 2 * CONNS + PEERS,
    TIMERS = 28,
    COMMANDS = 64,
    SENDERS = 3, /* two threads, and the story itself */
    OWNS = 16,
    SLOTS = 256,
    SHARED = 4,
};

struct story;

/* ---- bytes.c ---- */

#define PERIOD 4093u
#define HEAD 4u /* the first bytes of a flow are its number */

/* One direction of a connection. What is at which position is known from its number. */
struct flow {
    uint16_t number;
    bool loose;     /* something happened that may lose its end */
    uint64_t total; /* accepted by the sender's side, and not taken back */
    uint64_t heard; /* told to the receiver, and not given back */
    const void *receiver;
};

/* Where one arrives. */
struct inlet {
    struct flow *flow; /* NULL: its number has not come yet */
    bool blind;        /* bytes were discarded, so that positions are unknown */
    unsigned char head[HEAD];
};

void bytes_init(void);
struct flow *flow_new(struct story *s);
/* The bytes of a flow from a position on: at most PERIOD, none of the head. */
const unsigned char *flow_bytes(const struct flow *flow, uint64_t pos);
const unsigned char *pattern_at(uint32_t offset);
uint32_t flow_offset(const struct flow *flow, uint64_t pos);
void flow_fill(const struct flow *flow, uint64_t pos, unsigned char *to, size_t len);
/* Arrived bytes are looked at; the positions are those from `pos` on. */
void inlet_check(struct story *s, struct inlet *inlet, uint64_t pos, const void *bytes, size_t len);
void inlet_loose(struct inlet *inlet);

/* ---- what lives in a story ---- */

enum kind { KIND_STREAM = 1, KIND_LISTENER, KIND_WATCH, KIND_OWN };

/* Something with an fd that is ours, over all its registrations. */
struct conn {
    enum kind kind;
    bool live; /* not freed */
    int host;
    int fd; /* adopted, watched, own; else -1 */
    struct flow *out;
    struct inlet in;
    uint64_t consumed; /* of the flow that arrives: told, and not given back */
    uint64_t held;     /* given back, comes again */
    bool connecting, half_open, full_reads, files, pipe_in, pipe_out, socket, shared, was_finished;
    int failed; /* why it ended before, where that was an error; of an own kind: the first error it answered */
    bool aborted, tcp;
    bool lost; /* its fd was closed behind its back */
    size_t high, low, cap, unread_max, user_size;
    uint64_t idle_ns, connect_ns, drain_ns; /* of its options; 0: none, none, the default */
    unsigned spells;
    struct reg *reg;          /* the last registration */
    struct ior_resource *res; /* handed back, ours */
    struct peer *peer;        /* at the other end, where that is known */
    struct own *own;
    char addr[40]; /* of a listener */
    unsigned interest;
    void *user;
};

/* A registration. */
struct reg {
    uint64_t need; /* the largest send that the cap of the transport refused, until DRAINED */
    struct conn *conn;
    struct service *service;
    ior_id id;
    bool told_registered, told_open, told_eof, told_end, gone;
    bool asked; /* nothing but END is to come */
    bool closing, paused, full, owed;
    uint64_t open_turn, data_turn, unread_told, unsent_told;
    unsigned datas;
    uint64_t at_ns[4];  /* deadlines: not before */
    uint64_t idle_ns;   /* the period; IOR_NEVER: off */
    uint64_t active_ns; /* when input was told last */
    uint64_t sent_ns;   /* when something was sent last */
    uint64_t quiet_ns;  /* since when nothing was read or written, as far as was seen */
    bool finish, wrote, idle_vague;
    bool gave_back; /* in this spell: what is given back comes again with the next bytes only */
    enum ior_why why;
    struct reg *same_slot;
};

struct timer {
    ior_timer_id id;
    struct service *service;
    uint64_t at_ns, seq, turn;
    uint64_t period_ns; /* 0: it fires once */
    uint64_t due_turns;
    bool in_timer; /* it was armed inside a timer's callback */
    enum { TIMER_FREE, TIMER_ARMED, TIMER_FIRED, TIMER_CANCELLED } state;
};

struct command {
    struct ior_command base;
    struct story *s;
    unsigned sender;
    uint64_t number;
    struct service *to;    /* where it is going now */
    struct service *reply; /* where its answer goes; NULL: nowhere */
    enum { COMMAND_FREE, COMMAND_SENT } state;
};

struct service {
    struct story *s;
    struct runtime *rt;
    struct ior_context *cx;
    struct ior_controller *ctl;
    struct ior_handler handler;
    bool used, started, stopped, failed, line, soft_line;
    uint64_t last[SENDERS];
    uint64_t command_turn;
    unsigned commands;
    unsigned live; /* registrations whose handover is still to come */
};

struct runtime {
    struct story *s;
    struct ior_runtime *rt;
    int host;
    bool stopping, has_tick, over;
    struct ior_config config;
    struct service *first;
    struct reg *slots[SLOTS];
    uint64_t turn, timer_turn, accept_turn, drain_ns;
    unsigned timers, sent;
};

struct peer {
    struct ior_sim_peer *p;
    bool live, listening, finished, hung, silent;
    int host;
    struct flow *out;
    struct inlet in;
    const struct conn *conn; /* at the other end, where that is known */
    uint64_t heard;
    char addr[40];
};

struct own {
    struct ior_resource base;
    struct story *s;
    struct conn *conn;
    const struct ior_os *os;
    bool live, socket, eof;
    size_t kept;
    unsigned char bytes[512];
};

struct shared {
    struct ior_buf *buf;
    uint32_t offset;
    size_t len;
    bool wrapped;
};

/* What a seed draws. */
struct plan {
    enum ior_sim_shape shape;
    bool calm;       /* nobody ends anything rudely, nothing fails */
    bool faults;     /* the world's, by chance */
    unsigned memory; /* one in so many allocations fails; 0: none */
    int hosts, runtimes;
    unsigned steps;
    bool threads, own, files, unix_only, idle, stops, calls_take_time, steals, flood, periodic, slows;
    unsigned slow; /* how many callbacks are still to be slow */
    struct ior_sim_rates rates;
    struct ior_sim_link link;
};

struct options {
    uint64_t first, seeds, seed;
    bool one, verbose, shrink;
    bool aborts;      /* where a promise is broken, rather than leaving: a fuzzer keeps what led there */
    const char *sums; /* the file for them, NULL: none */
    int shape;        /* -1: both */
    int jobs;
    unsigned patience; /* seconds until a story hangs */
    const char *also;  /* a file of seeds that come first */
};

/* The choices of a story: from a generator, from a list, or both, in that order. */
struct choices {
    uint64_t random;
    const uint32_t *list;
    uint32_t *kept;
    size_t list_n, kept_n, kept_room, at;
    bool keep, plain; /* plain: zeros behind the list */
};

struct story {
    struct choices *choices;
    uint64_t seed, hash;
    struct ior_sim *sim;
    struct plan plan;
    const struct options *options;
    bool in_callback, in_listener, in_request, in_free, in_timer, ending, calm_end, stolen, was_cut, verbose;
    unsigned harsh;  /* acts that may break connections */
    unsigned breath; /* so many sends inside events until the next step: two of ours would talk for ever */
    struct service *inside;
    struct reg *ended;   /* END was told; its handover comes next */
    unsigned char *lent; /* inside a DATA event: what of it was neither given back nor sent on */
    size_t lent_len;
    int hosts[HOSTS];
    int files[HOSTS];
    unsigned conns_n, regs_n, peers_n, flows_n, services_n, owns_n;
    uint64_t seq, command_number[SENDERS];
    unsigned acts[SENDERS]; /* of simulated threads */
    unsigned buffers;       /* wrapped, not released */
    struct shared shared[SHARED];
    struct runtime runtimes[RUNTIMES];
    struct service services[SERVICES];
    struct timer timers[TIMERS];
    struct command commands[COMMANDS];
    struct conn conns[CONNS];
    struct reg regs[REGS];
    struct peer peers[PEERS];
    struct flow flows[FLOWS];
    struct own owns[OWNS];
};

/* ---- main.c ---- */

/* A promise is broken: tells which, with the command that replays it, and ends the process. */
void wrong(struct story *s, int oracle, const char *format, ...) __attribute__((format(printf, 3, 4), noreturn));
#define CHECK(s, oracle, holds, ...)       \
    do {                                   \
        if (!(holds))                      \
            wrong(s, oracle, __VA_ARGS__); \
    } while (0)

uint64_t choices_next(struct choices *choices, uint64_t n);
void note(struct story *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define NOTE(s, ...)              \
    do {                          \
        if ((s)->verbose)         \
            note(s, __VA_ARGS__); \
    } while (0)

static inline uint64_t pick(struct story *s, uint64_t n)
{
    return choices_next(s->choices, n);
}

/* True for one in n; never where n is 0. The plainest is false. */
static inline bool once_in(struct story *s, uint64_t n)
{
    return n > 0 && pick(s, n) == n - 1;
}

static inline uint64_t now(const struct story *s)
{
    return ior_sim_now(s->sim);
}

/* Whether its turns are counted: its first service has a tick, and is not gone. */
static inline bool ticks(const struct runtime *rt)
{
    return rt->has_tick && !rt->stopping && !rt->first->line;
}

static inline void mix(struct story *s, uint64_t x)
{
    s->hash = (s->hash ^ x) * UINT64_C(0x9e3779b97f4a7c15);
    s->hash ^= s->hash >> 29;
}

/* Whether an event may be answered. */
static inline bool may_answer(struct story *s, uint64_t n)
{
    if (s->ending || s->breath == 0 || !once_in(s, n))
        return false;
    s->breath--;
    return true;
}

static inline int asked(struct story *s, int r)
{
    s->in_request = false;
    mix(s, (uint64_t)(int64_t)r);
    return r;
}
/* A request: no callback may come from inside it. */
#define ASK(s, call) ((s)->in_request = true, asked((s), (call)))

/* ---- shrink.c ---- */

int shrink(const struct options *options);
/*
 * Plays a list of choices, zeros behind it, in a process of its own; or, with `keep`, the seed, and keeps its choices.
 * The number of the oracle, 0: nothing failed, -1: it crashed.
 */
int play(const struct options *options, uint64_t seed, const uint32_t *list, size_t n, struct choices *keep);

/* ---- plan.c ---- */
void plan_draw(struct story *s, int shape);
void plan_config(struct story *s, struct ior_config *config);
void plan_stream(struct story *s, struct ior_stream_options *opts, bool to_library);

/* ---- story.c ---- */
uint64_t story_play(struct story *s, const struct options *options, uint64_t seed, struct choices *choices);
/* The allocator of the library, which fails by chance. */
void memory_init(void);

/* ---- oracle.c ---- */
struct conn *conn_new(struct story *s, enum kind kind, int host);
void conn_loose(struct conn *conn);
struct reg *reg_new(struct service *service, struct conn *conn, ior_id id);
struct reg *reg_find(const struct runtime *rt, ior_id id);
struct reg *oracle_registered(struct service *service, ior_id id);
struct reg *oracle_event(struct service *service, const struct ior_event *ev);
void oracle_destroyed(struct reg *reg);
struct conn *oracle_handover(struct service *service, struct ior_resource *res);
/* What is so whenever all is quiet. `late`: all that is due is done. */
void oracle_quiet(struct story *s);
void oracle_arrived(struct story *s);
void oracle_turn(struct runtime *rt);
void conn_freed(struct story *s, struct conn *conn, uint64_t unsent);

/* ---- service.c ---- */
int runtime_new(struct story *s, struct runtime *rt);
void runtime_gone(struct runtime *rt);
void runtime_free(struct runtime *rt);
void service_attach(struct service *by);
bool service_usable(const struct service *service);
struct service *service_any(struct story *s); /* one that can be asked; NULL: none */

/* ---- requests.c ---- */
void act_any(struct story *s, struct service *service);
void act_accept(struct service *service, struct reg *reg, const struct ior_event *ev);
void act_data(struct service *service, struct reg *reg, const struct ior_event_data *data);
void act_ready(struct service *service, struct reg *reg, unsigned ready);
void act_handover(struct service *service, struct conn *conn);
void conn_free(struct story *s, struct conn *conn);
int conn_register(struct service *service, struct conn *conn);
void conn_resume(struct conn *conn);
void listen_at(struct service *service);
bool transports(const struct reg *reg);
void registered_or(struct service *service, int r, const char *what);
void connect_to(struct service *service);
void adopt(struct service *service, bool own);
void watch(struct service *service);
void send_some(struct service *service, struct reg *reg);
void send_at_stop(struct service *service);

/* ---- own.c ---- */
bool own_new(struct service *service, struct conn *conn, int fd, bool socket);

/* ---- peers.c ---- */
void peers_act(struct story *s);
/* Takes all that can be taken. True: there was something. */
bool peers_hear_all(struct story *s);
int peer_fd(struct story *s, int host, int kind, struct peer **ret);
const char *peer_address(struct story *s, int host);
void peers_check(struct story *s);
void peers_leave(struct story *s);

/* ---- times.c ---- */
void timer_act(struct service *service);
void timer_fired(struct service *service, ior_timer_id id, void *user);
void deadline_act(struct service *service, struct reg *reg);
void deadline_told(struct reg *reg, const struct ior_event *ev);
void deadlines_look(struct story *s);
void times_quiet(struct story *s);
void times_turn(struct runtime *rt);
void timers_forget(struct service *service);

/* ---- commands.c ---- */
void command_send(struct story *s, unsigned sender);
void command_came(struct service *service, struct ior_command *command);
void threads_begin(struct story *s);
void stop_act(struct story *s, struct runtime *rt);
void detach_act(struct story *s);
void commands_quiet(struct story *s);
void commands_gone(struct service *service);

#endif
