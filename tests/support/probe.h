/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A service that writes down what it is told, on a runtime with the real engine named by IOR_ENGINE. It checks the
 * promises every test may rely on: `registered` first and once, nothing after END, END once, then one handover, an
 * ordered pattern of bytes where a test asks for it. A broken promise fails the test in probe_free.
 */
#ifndef TESTS_SUPPORT_PROBE_H
#define TESTS_SUPPORT_PROBE_H

#include <ioreactor.h>
#include <signal.h>

#include "net.h"

/* For what must come: far more than even a busy machine takes, and less than CTest gives the whole program. */
#define PROBE_LIMIT_NS (UINT64_C(60) * IOR_NS_PER_SEC)

/* What was told of one resource. */
struct probe_res {
    ior_id id;
    void *user;
    unsigned registered, accepted, open, data, eof, drained, ready, deadline, custom, end, handover, errors;
    unsigned datagrams, send_errors, signals, exited, file, resolved;
    unsigned ready_bits;      /* of the last IOR_EV_READY */
    struct ior_signal signal; /* the last one */
    struct ior_exit exit;
    uint64_t bytes; /* of all data events */
    bool listener;
    int last_error;   /* of the `error` callback */
    enum ior_why why; /* and what else END said */
    int error, which;
    uint64_t written, unsent, unread;
    struct ior_resource *handed; /* with probe.keep: handed back, the test's now */
};

struct probe {
    struct ior_runtime *rt;
    struct ior_context *cx;
    struct probe_res *res; /* in the order in which they became known */
    size_t n, cap;
    uint32_t *by_slot; /* 1 + the index of the slot's latest resource */
    size_t slots;
    unsigned starts, stops, ticks, timers, commands, errors, jobs;
    int last_error;  /* of the `error` callback with id 0 */
    unsigned broken; /* promises; `complaint` is the first of them */
    const char *complaint;
    ior_id last_end; /* the resource whose END was told last */
    ior_id accepted; /* the stream accepted last */
    bool keep;       /* keep what is handed over instead of destroying it */
    bool refuse;     /* do not answer ACCEPTED */
    bool own_kind;   /* resources of the test's own kind: they need no OPEN before data */
    bool pattern;    /* data must be the pattern, from 0 on for each resource */

    /* Hooks of the test, called after the notes were made. `r` is valid until the next request. */
    void *arg;
    int (*on_start)(struct probe *p);
    void (*on_stop)(struct probe *p);
    void (*on_tick)(struct probe *p);
    void (*on_event)(struct probe *p, struct probe_res *r, const struct ior_event *ev);
    void (*on_timer)(struct probe *p, ior_timer_id id, void *user);
    void (*on_command)(struct probe *p, struct ior_command *command);
    void (*on_registered)(struct probe *p, ior_id id);
    void (*on_handover)(struct probe *p, struct probe_res *r, struct ior_resource *res);
    void (*on_error)(struct probe *p, ior_id id, int err);
    void (*on_job)(struct probe *p, struct ior_job *job);
};

extern const struct ior_handler probe_handler;

/*
 * The real system; with IOR_PROCESSES=plain in the environment as it is where there are no fds of signals and processes:
 * signals come by handlers, and a thread waits for each child.
 */
const struct ior_os *probe_os(void);
bool probe_os_is_plain(void);

/*
 * After a signal was sent that a handler is to get. ThreadSanitizer holds one of each number back until the next call
 * that it knows, and merges others with it; valgrind looks for signals now and then.
 */
#if defined(__SANITIZE_THREAD__)
#define PROBE_SIGNALS_HELD_BACK 1
#else
#define PROBE_SIGNALS_HELD_BACK 0
#endif
void probe_signal_sent(void);

/* Waits until a handler has counted up to `n`. */
void probe_await_count(const volatile sig_atomic_t *count, int n);

/*
 * Gives `os` a clock that stands still until it is moved, so that no time limit of the library's is over only because
 * the machine was busy. The engine knows nothing of it: what waits for a time spins once it has come by the real clock.
 */
void probe_clock_stop(struct ior_os *os);
void probe_clock_move(uint64_t ns);

/* A config whose engine is the one the tests run on, and that has this system. */
struct ior_config probe_config(void);

/* A probe with a runtime; config NULL: probe_config(). */
struct probe *probe_new(const struct ior_config *config);

/*
 * The same without a runtime, for tests that make the runtime or the reactor themselves (handler, self = the probe).
 */
struct probe *probe_bare(void);

/* Frees the runtime and the probe, after the check of all promises. */
void probe_free(struct probe *p);

/* What is known of an id (made if need be), never NULL. */
struct probe_res *probe_of(struct probe *p, ior_id id);

/* Streams with a pair of sockets: the id, and the peer's end in *peer. */
ior_id probe_unix(struct probe *p, const struct ior_stream_options *opts, int *peer);
ior_id probe_tcp(struct probe *p, const struct ior_stream_options *opts, int *peer);
ior_id probe_adopt(struct probe *p, int fd, const struct ior_stream_options *opts);
ior_id probe_watch(struct probe *p, int fd, unsigned io);

/* A TCP listener on loopback, and where it listens. */
ior_id probe_listen(struct probe *p, const struct ior_listen_options *opts, struct ior_addr *addr);

/* `n` turns that do not wait. */
void probe_turns(struct probe *p, unsigned n);

/* Lets the loop wait for `ms`: answers how many turns it took, at least one. An idle loop needs one, a spinning one thousands. */
uint64_t probe_quiet(struct probe *p, unsigned ms);

struct ior_stats probe_stats(struct probe *p);

/* Whether the engine receives, accepts and sends itself: then struct ior_os is not asked to. */
bool probe_engine_does_io(const struct probe *p);

/* One turn of at most 20 ms, for the loops below. */
void probe_step(struct probe *p);

/*
 * Reads exactly `len` bytes of the pattern from `from` on at the peer's side, in pieces of at most `piece`, turning in
 * between. Fails the test where other bytes come, or none for the time limit.
 */
void probe_read_pattern(struct probe *p, int peer, uint64_t from, size_t len, size_t piece);

/* Turns until `condition` holds; fails the test when it does not within the time limit. */
#define probe_until(p, condition)                                                             \
    do {                                                                                      \
        uint64_t probe_end = net_now() + PROBE_LIMIT_NS;                                      \
        while (!(condition) && net_now() < probe_end)                                         \
            probe_step(p);                                                                    \
        if (!(condition))                                                                     \
            fail_msg("%s:%d: not within the time limit: %s", __FILE__, __LINE__, #condition); \
    } while (0)

/* Options with their size filled in. */
#define PROBE_STREAM(...) \
    (&(const struct ior_stream_options){.struct_size = sizeof(struct ior_stream_options), __VA_ARGS__})

#endif
