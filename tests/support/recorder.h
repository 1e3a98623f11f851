/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A service that writes down, as lines of text, what it is told, on a runtime in a scripted world. It fails the test at
 * once where a promise of order is broken: `registered` first and once, nothing after END, END once and then one
 * handover, nothing but END after unregister, no data while paused or after close or after EOF, no DRAINED that is
 * not owed, written + unsent = accepted at END, callbacks only from the loop and one at a time.
 *
 * Resources are numbered from 1 on, in the order in which they became known. The lines:
 *
 *   start / stop / registered 1 / accepted 1 192.0.2.2:4000 / open 1 / data 1 hello / eof 1 / drained 1 / ready 1 read
 *   deadline 1 / custom 1 7 / resolved 1 2 of 3 / end 1 asked 5 0 0 / handover 1 / timer 3 / command 4 / reply 4 0
 *   error 1 EMFILE
 *
 * The numbers behind an end are written, unsent and unread; "error ECONNRESET" and "timeout idle" say more. Data
 * events in a row are joined; data of more than 60 bytes are "data 1 (70000 bytes)". A timer's number is its user.
 */
#ifndef TESTS_SUPPORT_RECORDER_H
#define TESTS_SUPPORT_RECORDER_H

#include <ioreactor.h>

#include "script.h"

struct rec_res {
    ior_id id;
    void *user;
    bool registered, open, eof, ended, handed_over;
    bool paused, closing, asked, owed; /* what the test asked for; DRAINED is owed */
    unsigned data_events, ready_events, accept_events, errors;
    uint64_t accepted_bytes; /* by sends */
    unsigned char *in;       /* all bytes of data events, what was given back taken out again */
    size_t in_len, in_room;
    enum ior_why why; /* what END said */
    int error, which;
    uint64_t written, unsent, unread;
    struct ior_resource *handed; /* with recorder.keep: the test's now */
};

struct recorder {
    struct script *script;
    struct ior_runtime *rt;
    struct ior_context *cx;
    struct ior_handler handler; /* a copy may be changed before rec_open */
    struct recorder *root;      /* the one that owns the runtime */
    struct rec_res *res;
    size_t n, room;
    uint32_t *by_slot; /* 1 + index of the latest resource of a slot */
    size_t slots;
    char *log;
    size_t log_len, log_room;
    size_t joined; /* 1 + index of the resource whose data is the last line; 0: none */
    size_t joined_at;
    size_t last_end; /* 1 + index */
    int depth;
    unsigned starts, stops, ticks, timers, commands;
    int start_answer;
    bool owns_script;
    bool keep;   /* keep what is handed over */
    bool refuse; /* do not answer ACCEPTED */
    bool quiet;  /* write no lines */

    void *arg;
    void (*on_start)(struct recorder *r);
    void (*on_stop)(struct recorder *r);
    void (*on_tick)(struct recorder *r);
    void (*on_event)(struct recorder *r, const struct ior_event *ev);
    void (*on_timer)(struct recorder *r, ior_timer_id id, void *user);
    void (*on_command)(struct recorder *r, struct ior_command *command); /* else commands are left alone */
    void (*on_registered)(struct recorder *r, ior_id id);
    void (*on_error)(struct recorder *r, ior_id id, int err);
    void (*on_handover)(struct recorder *r, struct ior_resource *res); /* else kept or freed */
};

/* A recorder in a world of its own, with its runtime, after its start and a little use by another service. */
struct recorder *rec_new(void);

/* The parts of that: a recorder without a runtime; the runtime (config NULL: the world's defaults); the first turn. */
struct recorder *rec_bare(struct script *s);
void rec_open(struct recorder *r, const struct ior_config *config);
void rec_begin(struct recorder *r);

/* rec_bare with a world of its own, rec_open, rec_begin, and the little use. */
struct recorder *rec_new_with(const struct ior_config *like);

/* A second service on the runtime of `first`; its context is attached. */
struct recorder *rec_attach(struct recorder *first);

/* Frees the runtime, checks that everything came to its END and was handed over, and frees the rest. */
void rec_free(struct recorder *r);
/* Frees an attached recorder; the runtime must be free already, or its service have ended. */
void rec_free_attached(struct recorder *r);
/* Only the runtime; the notes stay. */
void rec_close_runtime(struct recorder *r);

/* What is known of a resource. It moves when others become known. */
struct rec_res *rec_of(struct recorder *r, ior_id id);
/* Its number. */
unsigned rec_number(struct recorder *r, ior_id id);
ior_id rec_id(struct recorder *r, unsigned number);

/* ---- the loop ---- */

int rec_turn(struct recorder *r);
unsigned rec_settle(struct recorder *r);
unsigned rec_pass(struct recorder *r, uint64_t ns);
bool rec_idle(struct recorder *r);

/* ---- the lines ---- */

/* Fails unless these are the lines since the last call; ends each with a newline. */
void rec_expect_at(struct recorder *r, const char *text, const char *file, int line);
#define rec_expect(r, text) rec_expect_at((r), (text), __FILE__, __LINE__)
const char *rec_lines(struct recorder *r);
void rec_forget(struct recorder *r);

/* ---- requests, with the notes that the checks need; those that answer an id must succeed ---- */

ior_id rec_adopt(struct recorder *r, int fd, const struct ior_stream_options *opts);
ior_id rec_stream(struct recorder *r, const struct ior_stream_options *opts, int *ret_fd);
ior_id rec_listen(struct recorder *r, const char *addr, const struct ior_listen_options *opts, int *ret_fd);
ior_id rec_connect(struct recorder *r, const char *addr, const struct ior_stream_options *opts, int *ret_fd);
ior_id rec_watch(struct recorder *r, int fd, unsigned io);
ior_id rec_register(struct recorder *r, struct ior_resource *res);
ior_timer_id rec_timer(struct recorder *r, uint64_t after_ns, intptr_t user);

int rec_send(struct recorder *r, ior_id id, const void *bytes, size_t len);
#define rec_send_text(r, id, text) rec_send((r), (id), (text), sizeof(text) - 1)
/* Sends `len` bytes of the pattern, from what was accepted before on. */
int rec_send_pattern(struct recorder *r, ior_id id, size_t len);
int rec_send_buf(struct recorder *r, ior_id id, struct ior_buf *buf);
int rec_send_file(struct recorder *r, ior_id id, int fd, uint64_t offset, uint64_t len);
/* Notes what another send answered. */
int rec_note_send(struct recorder *r, ior_id id, uint64_t len, int answer);
int rec_pause(struct recorder *r, ior_id id);
int rec_resume(struct recorder *r, ior_id id);
int rec_close(struct recorder *r, ior_id id, uint64_t drain_ns);
int rec_abort(struct recorder *r, ior_id id);
int rec_unregister(struct recorder *r, ior_id id);
int rec_unread(struct recorder *r, ior_id id, size_t len);

struct ior_stats rec_stats(struct recorder *r);

#define REC_STREAM(...) \
    (&(const struct ior_stream_options){.struct_size = sizeof(struct ior_stream_options), __VA_ARGS__})
#define REC_LISTEN(...) \
    (&(const struct ior_listen_options){.struct_size = sizeof(struct ior_listen_options), __VA_ARGS__})

#endif
