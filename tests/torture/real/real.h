/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Torture on the real system, for the kinds that the simulated world does not have: regular files, jobs, look-ups on
 * threads, signals, child processes, changes of files, terminals, fds over Unix streams. A scene is played once without
 * a fault, and then again for each of its system calls (those of struct ior_os) and allocations, one of which fails. It
 * goes on with what it got: an id of 0 was refused, and what has ended is waited for no longer.
 *
 * Each wait is for something that must come, or for the END in its place: nothing is ever answered by silence. What a
 * scene wants beyond that (want, until) must be so where nothing failed, or only what nobody may notice: an interrupted
 * call, a short one, one that would have blocked.
 */
#ifndef TESTS_TORTURE_REAL_REAL_H
#define TESTS_TORTURE_REAL_REAL_H

#include <ioreactor.h>

#include "support/probe.h"

enum call {
    CALL_NONE, /* no call fails: an allocation, or nothing */
    CALL_SOCKET,
    CALL_CONNECT,
    CALL_GETSOCKNAME,
    CALL_GETSOCKOPT,
    CALL_SETSOCKOPT,
    CALL_SHUTDOWN,
    CALL_CLOSE,
    CALL_RECV,
    CALL_SEND,
    CALL_READ,
    CALL_WRITE,
    CALL_DUP,
    CALL_FD_KIND,
    CALL_SET_NONBLOCK,
    CALL_THREAD,
    CALL_FILE_OPEN,
    CALL_FILE_READ,
    CALL_FILE_WRITE,
    CALL_FILE_SYNC,
    CALL_FILE_STAT,
    CALL_SIGNAL_OPEN,
    CALL_SIGNAL_READ,
    CALL_PIPE,
    CALL_SPAWN,
    CALL_WAIT,
    CALL_KILL,
    CALL_SEND_FDS,
    CALL_RECV_FDS,
    CALL_CHANGES_OPEN,
    CALL_CHANGES_ADD,
    CALL_CHANGES_REMOVE,
    CALL_TTY_OPEN,
    CALL_TTY_GET,
    CALL_TTY_SET,
    CALL_TTY_ASK,
    CALL_RESOLVE,
    CALLS
};

enum { SHORT = 100000 }; /* in the place of an errno value: the call does what it can of one byte */

/* What fails in a run. */
struct fault {
    enum call call;
    unsigned nth; /* of the calls of this kind, or of the allocations, from 1 on; 0: nothing */
    int error;    /* errno value, or SHORT */
    bool all;     /* allocations: and all that follow */
};

struct run {
    struct probe *p;
    struct ior_context *cx;
    const struct fault *fault;
    bool strict;       /* nothing failed, or nothing that anybody may notice */
    bool peers_leave;  /* so EPIPE and ECONNRESET are no wonder */
    bool threads;      /* others open and close fds meanwhile */
    char *dir;         /* a fresh folder */
    unsigned noticed;  /* answers and events that had the fault as their cause */
    uint64_t waits_ns; /* since when; 0: it does not yet */
    void (*on_event)(struct run *run, struct probe_res *r, const struct ior_event *ev);
};

struct scene {
    const char *name;
    void (*play)(struct run *run);
    void (*leave)(struct run *run); /* the peers go: when the shutdown has begun, or is over; may be NULL */
    void (*over)(struct run *run);  /* when the runtime is gone; may be NULL */
    bool packets;                   /* its reads cannot be cut */
};

/* Each file has its list; a name of NULL ends it. */
extern const struct scene real_files[], real_processes[], real_devices[];

/* ---- faulty.c: the real system, of which one call fails ---- */

void faulty_begin(const struct fault *fault);
bool faulty_happened(void);
unsigned faulty_calls(enum call call);
const char *faulty_name(enum call call);
/* The errors of a call, ended by 0; of one that fails in a way nobody may notice, `quiet` is true. */
const int *faulty_errors(enum call call);
bool faulty_is_quiet(enum call call, int error);
/* What the library had to leave to whoever reaps. */
void faulty_kill_spared(void);
/* A call whose failure need not be told, because nobody could do anything about it. */
bool faulty_may_pass(enum call call);
const struct ior_os *faulty_os(void);
/* What names stand for: a port on loopback. */
extern struct ior_addr faulty_addr;

/* ---- main.c ---- */

/* Before a request that makes something; and what it answered: the id, or 0 where nothing changed. */
void ask(struct run *run);
ior_id given(struct run *run, int answer, ior_id id);
/* Unregisters it, and registers what is handed over again: the new id, or 0. */
ior_id again(struct run *run, ior_id id);
/* The answer of another request: whether it was taken. A refusal must name the cause. */
bool taken(struct run *run, int answer);
/* Whether what failed explains this error. */
bool explains(struct run *run, int error);
/* By now somebody must have been told what failed. */
void so_far(struct run *run);
/* Registered, and not at its END. */
bool lives(struct run *run, ior_id id);
struct probe_res *res(struct run *run, ior_id id);

/* One turn of the scene's waits, which together take no longer than the time limit. Where all memory is gone, some of it comes back in time. */
void wait_on(struct run *run, int line, const char *condition);

#define want(run, condition)                                                      \
    do {                                                                          \
        if ((run)->strict && !(condition))                                        \
            fail_msg("%s:%d: does not hold: %s", __FILE__, __LINE__, #condition); \
    } while (0)

/* Waits for it, or for the END of `id`. */
#define until(run, id, condition)                      \
    do {                                               \
        if ((id) != 0) {                               \
            while (!(condition) && lives((run), (id))) \
                wait_on((run), __LINE__, #condition);  \
            want((run), condition);                    \
        }                                              \
    } while (0)

#define OPTIONS(type, ...) (&(const struct type){.struct_size = sizeof(struct type), __VA_ARGS__})

#endif
