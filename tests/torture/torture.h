/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Torture: each system call and each allocation of a scenario fails once. A scenario is a function over the public API
 * that is played in a simulated world, again and again, each time with another fault; so it asks for what it needs, and
 * goes on with what it got (an id of 0 is one that was refused).
 *
 * Two kinds of checks. Those of the witness (service.c) and of the peers (world.c) hold whatever fails.
 * What a scenario wants (t_want, t_ok) must hold where nothing failed, and where only something failed that nobody
 * may notice: an interrupted call, a short write, a send that would have blocked. The first complaint ends a run.
 */
#ifndef TESTS_TORTURE_TORTURE_H
#define TESTS_TORTURE_TORTURE_H

#include <ioreactor/sim.h>

#define MS IOR_NS_PER_MS
#define SEC IOR_NS_PER_SEC

enum { MAX_RES = 192, MAX_PEERS = 64, MAX_SERVICES = 4, MAX_TIMERS = 64, MAX_COMMANDS = 256 };

struct run;
struct service;

/* One registration. */
struct res {
    ior_id id;
    bool registered, open, eof, ended, handed_over;
    bool asked, paused, closing, owed; /* what was asked for; DRAINED is owed */
    unsigned told;                     /* events */
    unsigned accepts, readies, deadlines, customs, datagrams, send_errors, resolved;
    uint64_t due_ns[4]; /* of its deadlines, as far as they are known */
    uint64_t in;        /* bytes of DATA, from the transport's beginning, without those that were given back */
    uint64_t accepted;  /* bytes of sends, from the transport's beginning */
    uint64_t failed;    /* bytes of datagrams that could not be sent */
    enum ior_why why;
    int error, deadline;
    uint64_t written, unsent, unread;
    struct ior_resource *handed; /* kept: the scenario's now */
};

struct timer {
    ior_timer_id id;
    uint64_t due_ns, period_ns; /* a periodic one is due again after each time */
    bool fired, cancelled;
    unsigned times;
};

/* A service that writes down what it is told, and complains where a promise is broken. */
struct service {
    struct run *run;
    struct ior_runtime *rt;
    struct ior_context *cx;
    int host;
    bool attached, running, gone; /* gone: its runtime was freed, or it was detached */
    struct res res[MAX_RES];
    size_t n;
    struct res *last_end;
    struct res nobody;
    struct timer timers[MAX_TIMERS];
    size_t timers_n;
    unsigned starts, stops, errors;
    int depth;
    unsigned last_command[4]; /* of each sender */
    bool keep;                /* keep what is handed over */

    /* Of the scenario. `r` stays where it is. */
    void (*on_event)(struct service *s, struct res *r, const struct ior_event *ev);
    void (*on_timer)(struct service *s);
    void (*on_stop)(struct service *s);
    void (*on_command)(struct service *s, struct ior_command *command);
    const struct ior_stream_options *opts;
    int step;
};

/* The other end of a connection. */
struct peer {
    struct run *run;
    struct ior_sim_peer *end;
    uint64_t said, heard;
    bool manual; /* it reads only when told to */
    bool pipe;
    bool eof;
    int error;
};

/* A command from one of four senders. */
struct parcel {
    struct ior_command command;
    struct run *run;
    unsigned sender, number;
    bool accepted, delivered, dropped, replied;
};

/* What fails in a run. */
struct fault {
    enum fault_kind { FAULT_NONE, FAULT_CALL, FAULT_ALLOC, FAULT_ALLOC_ALL } kind;
    uint64_t index;
    int error; /* of a call: errno, IOR_SIM_SHORT */
};

/* The conditions of a run: those of a plain world; links that hold little and jitter; budgets of next to nothing. */
enum way { WAY_PLAIN, WAY_NARROW, WAY_TIGHT, WAYS };

struct run {
    struct ior_sim *sim;
    enum way way;
    int here, there; /* hosts: of services, of peers */
    bool strict;     /* nobody may notice the fault */
    bool counting;
    uint64_t steps;
    char complaint[256];
    struct service *services[MAX_SERVICES];
    size_t services_n;
    struct peer peers[MAX_PEERS];
    size_t peers_n;
    struct parcel parcels[MAX_COMMANDS];
    size_t parcels_n;
    struct ior_controller *ctl; /* given back at the end */
    unsigned released;          /* wrapped buffers */
    void *arg;
};

struct scenario {
    const char *name;
    void (*play)(struct run *run);
};

/* Each file of scenarios has its list; a name of NULL ends it. */
extern const struct scenario torture_accept[], torture_connect[], torture_output[], torture_files[], torture_input[],
    torture_ends[], torture_handover[], torture_time[], torture_commands[], torture_kinds[], torture_datagrams[],
    torture_names[];

/* ---- the world: world.c ---- */

void run_begin(struct run *run, enum ior_sim_shape shape, enum way way, uint64_t seed, const struct fault *fault,
               bool counting);
/* Stops what still runs, frees everything, checks what must be true in the end. The world is left for questions. */
void run_over(struct run *run);
/* Ends the world. What is left of the library's memory is a complaint. */
void run_end(struct run *run);

void complain(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Complains where `condition` does not hold and nobody may have noticed the fault. */
bool t_want_at(struct run *run, bool condition, const char *text, const char *file, int line);
#define t_want(run, condition) t_want_at((run), (condition), #condition, __FILE__, __LINE__)
/* Whether an answer is success, which is wanted too. */
bool t_ok_at(struct run *run, int64_t answer, const char *text, const char *file, int line);
#define t_ok(run, answer) t_ok_at((run), (answer), #answer, __FILE__, __LINE__)

/* Lets virtual time pass. */
void t_pass(struct run *run, uint64_t ns);
/* The same until `condition` holds, for at most a virtual minute (a second, where it need not); it is wanted then. */
#define t_until(run, condition)                                                                \
    do {                                                                                       \
        for (int t_tries = (run)->strict ? 6000 : 100; t_tries > 0 && !(condition); t_tries--) \
            t_pass((run), 10 * MS);                                                            \
        t_want(run, condition);                                                                \
    } while (0)

void pattern(void *bytes, uint64_t offset, size_t len);
bool is_pattern(const void *bytes, uint64_t offset, size_t len);
/* Whether these bytes are a run of the pattern, wherever it begins. */
bool is_datagram(const void *bytes, size_t len);

/* Peers. NULL is one that could not be made; it does nothing. */
struct peer *t_dial(struct run *run, const char *addr);      /* from the other host */
struct peer *t_dial_here(struct run *run, const char *addr); /* from this one */
struct peer *t_serve(struct run *run, const char *addr);     /* on the other host */
struct peer *t_serve_here(struct run *run, const char *addr);
struct peer *t_pick(struct run *run, struct peer *listener); /* NULL: nobody waits */
void t_listen_to(struct peer *peer); /* its callback: it hears what comes, unless it is manual */
void t_say(struct peer *peer, size_t len);
size_t t_hear(struct peer *peer, size_t most);
void t_finish(struct peer *peer);
void t_hang_up(struct peer *peer);
void t_reset(struct peer *peer);

/* ---- services: service.c ---- */

/* A service on a runtime of its own; NULL: it was refused. */
struct service *t_service(struct run *run, const struct ior_config *like);
struct service *t_attach(struct service *first);
struct res *t_res(struct service *s, ior_id id); /* of an unknown id: a blank one */
struct res *t_res_new(struct service *s, ior_id id);
void t_free(struct service *s); /* the runtime, now */
void service_check_end(struct service *s);
bool t_alive(struct service *s, ior_id id);
/* Whether it ended so. */
bool t_ended(struct service *s, ior_id id, enum ior_why why, int error);
uint64_t t_in(struct service *s, ior_id id);
/* The n-th stream that was accepted or registered by a callback: ids in the order they became known. */
ior_id t_nth(struct service *s, size_t n);
struct ior_resource *t_handed(struct service *s, ior_id id); /* takes it out of the notes */

/* Hooks: sends back what came; reads; takes messages of ten bytes. */
void t_echo(struct service *s, struct res *r, const struct ior_event *ev);
void t_sink(struct service *s, struct res *r, const struct ior_event *ev);
void t_tens(struct service *s, struct res *r, const struct ior_event *ev);

/* ---- requests, with the checks that a refused one changed nothing: requests.c ---- */

ior_id t_listen(struct service *s, const char *addr, const struct ior_listen_options *opts);
ior_id t_connect(struct service *s, const char *addr, const struct ior_stream_options *opts);
/* An fd with a peer at its other end; *ret_peer as for t_dial. */
ior_id t_adopt(struct service *s, int kind, const struct ior_stream_options *opts, struct peer **ret_peer);
ior_id t_watch(struct service *s, int fd, unsigned io);
ior_id t_resolve(struct service *s, const char *name, uint64_t timeout_ns);
ior_id t_dial_name(struct service *s, const char *name, uint64_t connect_ns); /* port 80 */
ior_id t_datagrams(struct service *s, const char *addr, const struct ior_datagram_options *opts);
/* It goes on from `old` (NULL: it is new). What is refused is freed. */
ior_id t_register(struct service *s, struct ior_resource *res, const struct res *old);
ior_timer_id t_timer(struct service *s, uint64_t after_ns);
ior_timer_id t_timer_every(struct service *s, uint64_t first_ns, uint64_t period_ns);
int t_timer_cancel(struct service *s, ior_timer_id id);
int t_timer_move(struct service *s, ior_timer_id id, uint64_t after_ns);

/* Sends answer as the library did; the bytes are those that come next in the pattern. */
int t_send(struct service *s, ior_id id, size_t len);
int t_send_to(struct service *s, ior_id id, const char *addr, size_t len);
int t_sendv(struct service *s, ior_id id, size_t len, int pieces);
int t_send_buf(struct service *s, ior_id id, struct ior_buf *buf);
int t_send_file(struct service *s, ior_id id, int fd, size_t len); /* the file holds the pattern from 0 on */
int t_pause(struct service *s, ior_id id);
int t_resume(struct service *s, ior_id id);
int t_close(struct service *s, ior_id id, uint64_t drain_ns);
int t_abort(struct service *s, ior_id id);
int t_unregister(struct service *s, ior_id id);
int t_fin(struct service *s, ior_id id);
int t_unread(struct service *s, ior_id id, size_t len);
int t_deadline(struct service *s, ior_id id, int which, uint64_t after_ns);
int t_interest(struct service *s, ior_id id, unsigned io);
void t_stop(struct service *s, uint64_t drain_ns);
int t_detach(struct service *s, uint64_t drain_ns);
/* Sends a command; false: it was refused. */
bool t_command(struct run *run, struct ior_controller *ctl, unsigned sender, struct ior_controller *reply_to);
int t_file(struct run *run, size_t len);

#define T_STREAM(...) \
    (&(const struct ior_stream_options){.struct_size = sizeof(struct ior_stream_options), __VA_ARGS__})
#define T_LISTEN(...) \
    (&(const struct ior_listen_options){.struct_size = sizeof(struct ior_listen_options), __VA_ARGS__})
#define T_CONFIG(...) (&(const struct ior_config){.struct_size = sizeof(struct ior_config), __VA_ARGS__})

#endif
