/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of the world, shared by the files that make it. From the bottom up:
 *
 *   memory.c, ring.c     blocks, bytes in a ring            hosts.c       hosts, links, addresses
 *   chance.c, trace.c    choices, the trace, violations     calendar.c    what is due when
 *   ends.c               ends of connections                listeners.c   bound addresses, the way of a SYN
 *   files.c, paths.c     fds, open files; Unix paths        faults.c      which calls fail, and with what
 *   call.c, os_*.c       struct ior_os                      engine*.c     struct ior_engine_ops
 *   peers.c              plain ends                         scheduler.c   who acts next
 *   lookups.c            names of hosts
 *
 * Ends of connections live in numbered places and are meant by number and generation (struct ref), so that what is on
 * its way to one that is gone finds out. Nothing here depends on an address, on time or chance from outside, on the
 * order of bytes in memory, or on the size of a type: the same choices give the same world everywhere.
 */
#ifndef IOREACTOR_SIM_WORLD_H
#define IOREACTOR_SIM_WORLD_H

#include <errno.h>
#include <ioreactor/sim.h>

#define SIM_LIKELY(x) __builtin_expect(!!(x), 1)
#define SIM_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define SIM_COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- memory ---- */

/* They end the program where there is none. */
void *ior__mem_new(size_t len); /* cleared */
void *ior__mem_grow(void *old, size_t len);
void ior__mem_free(void *block);

/* Makes room for one more element in an array of *room; the new part is cleared. */
void *ior__mem_room(void *array, uint32_t count, uint32_t *room, size_t element);

/* ---- bytes in a ring ---- */

struct ring {
    unsigned char *bytes;
    uint32_t room, head, len;
};

void ior__ring_put(struct ring *ring, const void *bytes, size_t len);
/* The first piece in one part; its length. */
size_t ior__ring_look(const struct ring *ring, const unsigned char **ret);
void ior__ring_drop(struct ring *ring, size_t len);
void ior__ring_free(struct ring *ring);

/* ---- addresses ---- */

enum family { FAMILY_NONE, FAMILY_V4, FAMILY_V6, FAMILY_UNIX };

/* An address, small. Unix: `path` is the number of the path from 1, 0: unnamed. */
struct where {
    uint32_t host; /* 0: of no host here */
    uint32_t path;
    uint16_t port;
    uint8_t family;
    bool any : 1;    /* the wildcard address */
    bool loop : 1;   /* the host itself */
    bool mapped : 1; /* an IPv4 address in an IPv6 one */
};

bool ior__where_of(struct ior_sim *sim, int host, const struct ior_addr *addr, struct where *ret);
void ior__where_addr(const struct ior_sim *sim, const struct where *where, struct ior_addr *ret);

/* ---- hosts and links ---- */

struct link {
    uint32_t a, b; /* a <= b */
    bool cut;
    struct ior_sim_link is;
};

struct host {
    char name[16];
    int64_t wall_off_ns;
    uint32_t open_fds, max_fds;
    uint32_t next_port;
    uint32_t runtimes; /* engines that are open */
    bool isolated;
    uint64_t counts[IOR_SIM_CALLS];
};

struct host *ior__host_at(const struct ior_sim *sim, int host); /* NULL: none */
struct link *ior__link_between(struct ior_sim *sim, uint32_t a, uint32_t b);
bool ior__link_is_cut(const struct ior_sim *sim, const struct link *link);
void ior__hosts_free(struct ior_sim *sim);
void ior__names_free(struct ior_sim *sim);

/* ---- ends ---- */

struct ref {
    uint32_t index, gen;
};

enum end_kind { END_TCP, END_UNIX, END_PIPE_READER, END_PIPE_WRITER };
enum end_state { END_FREE, END_NEW, END_CONNECTING, END_OPEN, END_DEAD };

struct end {
    struct ref self, other;
    uint8_t kind, state;
    bool is_peers : 1;   /* `owner` is a peer, else a file */
    bool fin_sent : 1;   /* the sending side was shut */
    bool fin_seen : 1;   /* the other one's was, and all before it has arrived */
    bool read_shut : 1;  /* shutdown of the reading side */
    bool other_gone : 1; /* Unix, pipes: the other end was closed */
    bool vanished : 1;   /* answers no more */
    bool to_nobody : 1;  /* it sent to where nobody is: a reset will come */
    bool timing : 1;     /* a time-out is on the calendar */
    int16_t error;       /* pending */
    int16_t ended;       /* why the connection failed, for ever */
    void *owner;         /* NULL: waits to be accepted */
    struct ring in;      /* the last part of it is still on the way */
    uint32_t arrived;
    uint32_t limit;  /* the most that `in` holds */
    uint32_t flying; /* segments of its own that are on the way */
    uint32_t held;   /* those that a cut link holds, or a vanished end swallowed */
    uint32_t conn;   /* number of the connection, for the trace */
    uint32_t host;
    struct link *link;
    uint64_t last_ns; /* when the last of its segments arrives */
    uint64_t line_ns; /* until when its line is busy */
    struct where local, remote;
    uint32_t next_free;
};

struct end *ior__end_new(struct ior_sim *sim, enum end_kind kind, uint32_t host);
struct end *ior__end_at(const struct ior_sim *sim, struct ref ref); /* NULL: gone */
void ior__end_pair(struct ior_sim *sim, struct end *a, struct end *b);
void ior__end_forget(struct ior_sim *sim, struct end *end); /* no word to the other one */
void ior__ends_free(struct ior_sim *sim);

/* How many bytes it could send now; its readiness (IOR_READ ...). */
size_t ior__end_room(const struct ior_sim *sim, const struct end *end);
unsigned ior__end_ready(const struct ior_sim *sim, const struct end *end);
/* What a send, or a receive, answers without moving bytes: 1: it can move some, 0 (receive): the end, or -errno. */
int ior__end_may_send(struct ior_sim *sim, struct end *end);
int ior__end_may_take(struct ior_sim *sim, struct end *end);
/* Puts bytes on the way; there is room for them. Then end_sent for what was put in one call. */
void ior__end_put(struct ior_sim *sim, struct end *end, const void *bytes, size_t len);
void ior__end_sent(struct ior_sim *sim, struct end *end, size_t len);
/* Takes at most len arrived bytes (bytes NULL: throws them away, continuing *sum). */
size_t ior__end_take(struct ior_sim *sim, struct end *end, void *bytes, size_t len, uint64_t *sum);
void ior__end_fin(struct ior_sim *sim, struct end *end);
/* The connection is dead, here. `err` stays pending. */
void ior__end_die(struct ior_sim *sim, struct end *end, int err);
/* Tells the other end that it is; overtaking: what is on the way is lost. */
void ior__end_send_reset(struct ior_sim *sim, struct end *end, bool overtaking);
void ior__end_close(struct ior_sim *sim, struct end *end, bool reset);
void ior__end_vanish(struct ior_sim *sim, struct end *end);
/* Tells the owner that its readiness may have changed. */
void ior__end_changed(struct ior_sim *sim, struct end *end, unsigned what);

/* What the calendar delivers. */
struct due;
void ior__end_segment(struct ior_sim *sim, const struct due *due);
void ior__end_timeout(struct ior_sim *sim, const struct due *due);
/* Starts the time-out of an end whose segment is held. */
void ior__end_hold(struct ior_sim *sim, struct end *end);

/* ---- listeners ---- */

struct listener {
    struct where where;
    void *owner; /* file or peer */
    bool is_peers, reuse_port, reuse_addr, v6_only, listening, vanished;
    uint32_t backlog;
    struct ref *queue; /* a ring */
    uint32_t queue_room, queue_head, queue_len;
    uint32_t place; /* in the world's array of bound addresses */
};

int ior__bound_new(struct ior_sim *sim, uint32_t host, struct where *where, const struct listener *like,
                   struct listener **ret);
void ior__bound_free(struct ior_sim *sim, struct listener *bound);
struct end *ior__listener_next(struct ior_sim *sim, struct listener *listener); /* NULL: none waits */
uint32_t ior__port_for(struct ior_sim *sim, uint32_t host);
/* Sends a SYN, or connects a Unix end at once. 0, -EINPROGRESS or -errno. */
int ior__end_connect(struct ior_sim *sim, struct end *end, const struct where *to, bool now);
void ior__listener_syn(struct ior_sim *sim, const struct due *due);
void ior__listener_syn_ack(struct ior_sim *sim, const struct due *due);

/* ---- Unix paths ---- */

struct path {
    char *name; /* abstract ones begin with '@' */
    size_t len;
    uint32_t host;
    bool exists, is_socket;
    uint32_t mode;
    uint64_t ino;
    struct listener *bound;
};

uint32_t ior__path_number(struct ior_sim *sim, uint32_t host, const char *name, size_t len);
struct path *ior__path_at(const struct ior_sim *sim, uint32_t number);
void ior__path_make(struct ior_sim *sim, struct path *path, bool is_socket);
void ior__paths_free(struct ior_sim *sim);

/* ---- files and fds ---- */

enum file_kind { FILE_STREAM, FILE_LISTENER, FILE_REGULAR, FILE_OTHER };

struct watch;

struct blob {
    unsigned char *bytes;
    size_t len;
};

/* An open file; several fds may mean it. */
struct file {
    uint8_t kind;
    bool nonblock : 1, reuse_port : 1, reuse_addr : 1, v6_only : 1, linger : 1, keep_alive : 1, no_delay : 1;
    uint8_t linger_s;
    uint32_t refs;
    uint32_t host;
    uint32_t number; /* each file of a world has its own */
    struct watch *watches;
    struct end *end;        /* FILE_STREAM */
    struct listener *bound; /* bound address, or NULL */
    union {
        struct blob *blob; /* FILE_REGULAR */
        unsigned ready;    /* FILE_OTHER */
    } of;
};

enum fd_state { FD_NEVER, FD_OPEN, FD_CLOSED, FD_STOLEN };

struct fd {
    struct file *file;
    uint32_t host : 24;
    uint32_t state : 4;
    uint32_t tests : 1;  /* made by the test */
    uint32_t leaked : 1; /* reported */
};

struct file *ior__file_new(struct ior_sim *sim, uint32_t host, enum file_kind kind);
void ior__file_unref(struct ior_sim *sim, struct file *file);
int ior__fd_new(struct ior_sim *sim, struct file *file, bool tests); /* takes a reference */
void ior__fd_close(struct ior_sim *sim, int fd, enum fd_state then);
struct fd *ior__fd_at(const struct ior_sim *sim, int fd); /* NULL: never was one */
bool ior__fds_full(const struct ior_sim *sim, uint32_t host);
unsigned ior__file_ready(const struct ior_sim *sim, const struct file *file);
void ior__fds_check_leaks(struct ior_sim *sim);
void ior__fds_free(struct ior_sim *sim);

/* ---- runtimes and their engines ---- */

struct watch {
    struct node *node;
    struct file *file; /* NULL: bad */
    int fd;
    uint32_t interest;
    ior_id id;
    struct watch *next_of_file;
    struct watch *prev_ready, *next_ready;
    uint32_t place; /* in node->set */
    bool is_ready, is_bad;
    uint64_t told; /* the last wait that told it */
};

struct node {
    struct ior_sim *sim;
    struct ior_os os;
    uint32_t host, number;
    uint64_t random;
    struct ior_runtime *rt; /* NULL: none is attached */
    bool open;              /* the engine is */
    bool woken, turning, blocked, ended;
    int answer; /* of the last turn */
    uint32_t max_records;
    uint64_t waits;
    uint32_t turns_here; /* at this time */
    struct watch **set;
    uint32_t set_n, set_room;
    bool does_io;
    bool short_send;        /* a send took less than all: the next wait does not wait */
    struct stash **stashes; /* by fd */
    uint32_t stashes_room;
    uint32_t *sending; /* places of stashes whose send was begun */
    uint32_t sending_n, sending_room;
    struct watch *first_ready, *last_ready;
};

/* What an engine that does I/O keeps for an fd: it belongs to the id, and outlives the watch. */
struct stash {
    ior_id id; /* 0: nothing is kept */
    int fd;
    struct ring bytes;
    bool ended; /* the end of input, or an error, was received */
    bool told;  /* and taken */
    int error;  /* 0: the end */
    int *fds;   /* accepted connections, from fds_first on */
    uint32_t fds_n, fds_room, fds_first;
    struct iovec *iov; /* of a send that was begun */
    int iov_n;
    bool sending, sent_known;
    ssize_t sent;
    uint64_t send_len;
};

extern const struct ior_engine_ops ior__sim_engine_ready, ior__sim_engine_done;

int ior__engine_watch(void *engine, int fd, ior_id id, unsigned interest);
int ior__engine_rewatch(void *engine, int fd, ior_id id, unsigned interest);
int ior__engine_unwatch(void *engine, int fd, ior_id id);
int ior__engine_wait(void *engine, struct ior_record *records, int max, uint64_t deadline_ns);
int ior__engine_wake(void *engine);
int ior__engine_open(const struct ior_engine_config *config, void **ret_engine);
void ior__engine_close(void *engine, bool in_child);
int ior__engine_rebuild(void *engine);

/* engine_done.c: whether a watch asks the engine to work; what of it is told, and WORK: something can be done. */
#define WORK (1u << 16)
bool ior__done_is_armed(const struct watch *watch);
unsigned ior__done_what(const struct watch *watch, unsigned ready);
void ior__done_work(struct watch *watch);
/* A number is watched under an id: what was kept for another one is dropped. */
void ior__done_watched(struct node *node, int fd, ior_id id);
/* The kernel does what was handed over. */
void ior__done_flush(struct node *node);
void ior__done_free(struct node *node);

void ior__os_init(struct node *node);
bool ior__node_has_ready(struct node *node);
/* The state of a file changed: watches that hold now get ready. */
void ior__watches_look(struct file *file, const struct ior_sim *sim);
/* An fd is closed. */
void ior__watches_fd_closed(struct ior_sim *sim, struct file *file, int fd, bool last, bool stolen);
void ior__engine_forget(struct node *node);

/* ---- calls ---- */

struct call {
    struct node *node;
    struct file *file;
    enum ior_sim_call kind;
    int fd;
    uint64_t a, b;  /* for the trace */
    bool short_of;  /* move fewer bytes than could be */
    int late_error; /* do it, and answer this */
};

/* Counts a call, looks up its fd (none: fd 0). 0, or -EBADF. */
int ior__call_begin(struct call *call, void *arg, enum ior_sim_call kind, int fd);
/* Whether it is to fail: 0 or -errno. `most`: the bytes it could move. */
int ior__call_fault(struct call *call, uint64_t most);
/* Traces it, and answers its result. */
int64_t ior__call_end(struct call *call, int64_t result);

/* ---- faults ---- */

int ior__faults_pick(struct call *call, uint64_t most);
void ior__faults_free(struct ior_sim *sim);
bool ior__fault_possible(enum ior_sim_call kind, int error);

/* ---- the calendar ---- */

enum due_what {
    DUE_SYN,     /* a: who connects; n: tries so far */
    DUE_SYN_ACK, /* a: who connects, b: the new end */
    DUE_REFUSED, /* a: who connects */
    DUE_DATA,    /* a: to, b: from, n bytes */
    DUE_FIN,     /* a: to, b: from */
    DUE_RESET,   /* a: to, n: how many segments it overtakes is all of them (1) or none (0) */
    DUE_DRAIN,   /* a.index: number of the peer's place, a.gen */
    DUE_TIMEOUT, /* a: whose; the quiet ones from here on */
    DUE_ACT,     /* n: place in acts */
    DUE_THREAD,  /* a.index: place in threads, a.gen: its turn */
    DUE_HEAL,    /* a.index, b.index: hosts */
};

struct due {
    uint64_t at_ns, seq;
    struct ref a, b;
    uint32_t what, n;
};

void ior__calendar_add(struct ior_sim *sim, uint64_t at_ns, struct due due);
uint64_t ior__calendar_next(const struct ior_sim *sim); /* IOR_NEVER: nothing */
/* Does the first thing. */
void ior__calendar_do(struct ior_sim *sim);
/* Keeps what cannot pass a cut link. */
void ior__calendar_hold(struct ior_sim *sim, const struct due *due);
void ior__calendar_release(struct ior_sim *sim);

/* ---- peers ---- */

struct ior_sim_peer {
    struct ior_sim *sim;
    struct ior_sim_peer *prev, *next; /* of the world */
    struct end *end;                  /* NULL: closed, or a listener */
    struct listener *listener;
    uint32_t host;
    bool finishing, hanging_up; /* once all is said */
    bool finished, eof, pending_listed, draining, freed;
    unsigned pending; /* what its callback is to be told */
    int error;
    struct ring unsaid;
    uint64_t said, heard, sum;
    uint64_t drain_rate;
    struct where local, remote;
    struct ior_sim_peer *next_pending;
    void (*fn)(void *arg, struct ior_sim_peer *peer, unsigned what);
    void *arg;
};

void ior__peer_changed(struct ior_sim *sim, struct ior_sim_peer *peer, unsigned what);
/* Serves one peer that something happened to. */
void ior__peers_serve(struct ior_sim *sim);
void ior__peer_drain_due(struct ior_sim *sim, const struct due *due);
void ior__peers_free(struct ior_sim *sim);

/* ---- scheduler ---- */

struct act {
    void (*fn)(void *arg);
    void *arg;
    uint32_t next_free;
};

struct thread {
    uint64_t (*act)(void *arg);
    void *arg;
    uint32_t turn;
    bool alive;
};

void ior__thread_run(struct ior_sim *sim, uint32_t index);
void ior__act_run(struct ior_sim *sim, uint32_t index);
void ior__thread_in_call(struct ior_sim *sim);
/* One step, not beyond that time. 0: there is nothing to do until then. */
int ior__sim_step_until(struct ior_sim *sim, uint64_t until_ns);
/* A wait outside of the scheduler: the world goes on until the node is ready, woken, or the deadline has come. */
void ior__sim_block(struct node *node, uint64_t deadline_ns);
void ior__engines_check(struct ior_sim *sim); /* reports those that are open */
void ior__scheduler_free(struct ior_sim *sim);

/* ---- chance, trace, violations ---- */

bool ior__chance(struct ior_sim *sim, uint32_t one_in);
uint64_t ior__mix64(uint64_t *state); /* splitmix64 */

void ior__trace_call(struct call *call, int64_t result);
void ior__trace_net(struct ior_sim *sim, const char *what, const struct end *end, uint64_t n, int err);
void ior__trace_text(struct ior_sim *sim, const char *text);
void ior__violate(struct ior_sim *sim, enum ior_sim_violation what, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- the world ---- */

struct fault {
    struct ior_sim_fault is;
    uint64_t seen;
};
struct fault_at {
    uint64_t index;
    int error;
};
struct kept_call {
    uint32_t errors; /* a bit for each line of the table of faults for the kind */
    int fd;
    uint16_t host;
    uint8_t kind;
};

/* Arrays of what there is: so many, with room for so many. */
struct ior_sim {
    struct ior_sim_config config;
    uint64_t now_ns, begin_ns, random, hash, faults, calls, seq, inos;

    struct host **hosts;
    struct link **links;
    struct end **pages;
    struct listener **bounds;
    struct path **paths;
    struct fd *fds;
    uint32_t *free_fds; /* a heap: the lowest first */
    struct node **nodes;
    uint32_t *runnable; /* scratch: who could act */
    struct due *calendar;
    struct due *held;
    struct ior_sim_peer *peers, *first_pending, *last_pending;
    struct act *acts;
    struct thread *threads;
    struct kept_call *kept;
    struct fault *scripted;
    struct fault_at *fail_at;
    struct name **names;

    uint32_t hosts_n, hosts_room;
    uint32_t links_n, links_room;
    uint32_t pages_n, pages_room, ends_made, ends_free; /* a place + 1, 0: none */
    uint32_t bounds_n, bounds_room;
    uint32_t paths_n, paths_room;
    uint32_t fds_n, fds_room, free_fds_n, free_fds_room;
    uint32_t nodes_n, nodes_room, runnable_room;
    uint32_t calendar_n, calendar_room, held_n, held_room;
    uint32_t loud; /* of the calendar: what is not quiet */
    uint32_t acts_n, acts_room, acts_free;
    uint32_t threads_n, threads_room;
    uint32_t kept_room, scripted_n, scripted_room, fail_at_n, fail_at_room;
    uint32_t names_n, names_room;
    uint32_t conns, files_made; /* ever: their numbers */
    uint32_t next_turn;
    uint32_t steps_here; /* since the clock moved */
    unsigned violations;
    bool faulty;    /* a fault is possible */
    bool in_thread; /* a simulated thread acts */
    bool in_work;   /* an engine receives or accepts */
    bool woke_here; /* a spurious wake-up was made at this time */
};

#endif
