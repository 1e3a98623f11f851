/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Differential testing: a random program of requests and of what peers do is played in several worlds (each real engine,
 * over loopback and Unix sockets, and each simulated shape), and what a resource is told must be the same in all
 * of them: adjacent data joined, DRAINED and the order across resources left out.
 *
 * A program is a list of rounds. In a round either side of a connection acts, not both, and then everything settles:
 * what can arrive has arrived. So nothing races that would have more than one right outcome.
 */
#ifndef TESTS_DIFFER_DIFFER_H
#define TESTS_DIFFER_DIFFER_H

#include <ioreactor/sim.h>

enum { MAX_CONNS = 6, MAX_OPS = 48, WORLDS = 8 };

/* How a connection comes to be. */
enum how {
    ACCEPT_TCP,
    ACCEPT_UNIX,
    CONNECT_TCP,
    CONNECT_UNIX,
    ADOPT_TCP,
    ADOPT_UNIX,
    ADOPT_PIPE_IN,  /* the service reads */
    ADOPT_PIPE_OUT, /* it writes */
    REFUSED_TCP,    /* a connect to where nobody listens */
    REFUSED_UNIX,
    HOWS
};

/* What the service does with data, and at EOF. */
enum on_data { SINKS, ECHOES, TENS, ON_DATA };
enum on_eof { WAITS, FINISHES, ANSWERS, CLOSES, ON_EOF };

enum what {
    /* the service's */
    BIRTH,
    SEND,
    SENDV,
    SEND_BUF,
    SEND_FILE,
    PAUSE,
    RESUME,
    CLOSE,
    ABORT,
    UNREGISTER,
    FINISH,
    DEADLINE,
    TIMER,
    COMMAND,
    /* the peer's */
    SAY,
    PEER_FINISH,
    PEER_HANG_UP,
    PEER_RESET,
    STOP_READING,
    GO_READING,
    WHATS
};

struct op {
    enum what what;
    int conn;
    uint32_t n;
    bool last; /* of its round: everything settles behind it */
};

struct plan {
    enum how how;
    enum on_data on_data;
    enum on_eof on_eof;
    bool half_open, again; /* again: it is registered once more when it is handed over */
};

struct program {
    uint64_t seed;
    struct plan conns[MAX_CONNS];
    int conns_n;
    struct op ops[MAX_OPS];
    int ops_n;
};

void program_make(struct program *program, uint64_t seed);
void program_print(const struct program *program);
const char *how_name(enum how how);

/* ---- what happened ---- */

struct lines {
    char *text;
    size_t len, room;
};

struct world;

struct conn {
    struct world *world;
    const struct plan *plan;
    int number;
    ior_id id;
    struct lines lines;
    uint64_t joined; /* bytes of data that are not written down yet */
    /* The service's side. */
    bool gap;    /* input was discarded: what comes is not the pattern any more */
    bool closed; /* it was closing once */
    bool born, open, eof, ended, registered_again, paused, closing, finished;
    uint64_t in, tail, accepted;
    uint64_t unread; /* as END told */
    int echo_error;  /* of the last echo that was refused */
    /* The peer's. */
    bool has_peer, reads, peer_eof, peer_finished, hung_up, was_reset;
    int peer_error;
    uint64_t said, heard;
    /* The backend's. */
    int fd;
    struct ior_sim_peer *peer;
};

/* How a world is made of sockets, or of a simulation. */
struct backend {
    void (*open)(struct world *w);
    void (*close)(struct world *w);
    /* One turn at least; `wait`: something is due, so wait a little for it. */
    int (*step)(struct world *w, bool wait);
    /* An fd for the service, whose other end is the connection's peer. */
    int (*pair)(struct conn *c);
    void (*close_fd)(struct world *w, int fd);
    /* The peer connects to the service's listener, or is what a connect of the service reached. */
    void (*dial)(struct conn *c, const char *addr);
    bool (*pick_up)(struct conn *c);
    ssize_t (*hear)(struct conn *c, void *bytes, size_t len);
    size_t (*say)(struct conn *c, const void *bytes, size_t len);
    void (*finish)(struct conn *c);
    void (*hang_up)(struct conn *c);
    void (*reset)(struct conn *c);
    int (*file)(struct world *w, const void *bytes, size_t len);
};
extern const struct backend backend_real, backend_sim;

struct world {
    const char *name;
    const struct backend *backend;
    const struct ior_engine_ops *engine; /* real */
    enum ior_sim_shape shape;            /* simulated */
    bool does_io;                        /* its engine does */
    bool verbose;                        /* print the trace of a simulated world */
    const struct program *program;
    struct conn conns[MAX_CONNS];
    struct lines lines; /* of the service as a whole */
    struct ior_runtime *rt;
    struct ior_context *cx;
    struct ior_controller *ctl;
    struct ior_command commands[MAX_OPS];
    int commands_n;
    struct conn *being_born, *last_end;
    uint64_t changes; /* grows with each thing that happens */
    bool over;        /* the runtime has ended */
    const char *stuck;
    /* Where the service, and where peers listen; where nobody does. */
    char service_tcp[80], service_unix[160], peer_tcp[80], peer_unix[160], nobody_tcp[80], nobody_unix[160];
    int listener_tcp, listener_unix, nobody, file;
    char folder[64];
    struct ior_sim *sim;
    struct ior_sim_peer *sim_tcp, *sim_unix;
    int host;
    char complaint[160];
};

extern const struct ior_handler differ_handler;

unsigned char byte_at(uint64_t offset);
void fill(void *bytes, uint64_t offset, size_t len);

/* Plays a program; the lines stay until world_free. */
void world_play(struct world *w, const struct program *program);
void world_free(struct world *w);
void lines_print(const char *title, const struct lines *lines);
/* Compares two worlds; prints the first difference. true: they are the same. */
bool worlds_equal(const struct world *a, const struct world *b);

/* How many differences were met that may be. */
uint64_t differences_used(void);

void note(struct world *w, struct conn *c, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
