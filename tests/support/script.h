/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scripted world for tests of logic: an engine, system calls and a virtual clock in one place, given to a runtime by
 * config.engine_ops and config.os. No socket, no sleep; each run is the same.
 *
 * Fds are numbers from 2^30 on, the lowest free one first, as kernels give them. What the other end does is said by
 * the test (script_say, script_eof, script_reset ...), readiness follows from the state of the fd, level-triggered: a
 * forgotten change of interest spins or hangs here as it would on a kernel, and both fail the test. A wait takes no
 * time: the clock jumps to the next thing that was put on the calendar, or to the deadline.
 *
 * The world fails the test at once where the library does what a program must not: closing an fd that the engine still
 * watches, closing twice, using an fd that was never made, sending after it shut the sending side, waiting for ever
 * while nothing can happen.
 */
#ifndef TESTS_SUPPORT_SCRIPT_H
#define TESTS_SUPPORT_SCRIPT_H

#include <ioreactor.h>

#define SCRIPT_FD_FIRST (1 << 30)

/* Members of struct ior_os and struct ior_engine_ops, for logs, counts and failures. */
enum script_call {
    SCRIPT_CLOCK,
    SCRIPT_WALL,
    SCRIPT_RANDOM,
    SCRIPT_SLEEP,
    SCRIPT_SOCKET,
    SCRIPT_BIND,
    SCRIPT_LISTEN,
    SCRIPT_ACCEPT,
    SCRIPT_CONNECT,
    SCRIPT_GETSOCKNAME,
    SCRIPT_GETPEERNAME,
    SCRIPT_GETSOCKOPT,
    SCRIPT_SETSOCKOPT,
    SCRIPT_SHUTDOWN,
    SCRIPT_CLOSE,
    SCRIPT_RECV,
    SCRIPT_SEND,
    SCRIPT_READ,
    SCRIPT_WRITE,
    SCRIPT_SENDFILE,
    SCRIPT_PREAD,
    SCRIPT_DUP,
    SCRIPT_FD_KIND,
    SCRIPT_SET_NONBLOCK,
    SCRIPT_PATH_STAT,
    SCRIPT_PATH_CHMOD,
    SCRIPT_PATH_UNLINK,
    SCRIPT_OPEN, /* the engine's from here on */
    SCRIPT_WATCH,
    SCRIPT_REWATCH,
    SCRIPT_UNWATCH,
    SCRIPT_WAIT,
    SCRIPT_WAKE,
    SCRIPT_REBUILD,
    SCRIPT_CALLS,
};

/* One call that was made. What does not apply is 0. */
struct script_entry {
    enum script_call call;
    int fd;
    int64_t arg;   /* interest, how, level << 16 | name, domain, backlog, mode, offset, pieces ... */
    uint64_t len;  /* what was asked for */
    int64_t value; /* of options: the int; of a wait: the deadline */
    int64_t result;
};

struct script;

/* ---- the world ---- */

struct script *script_new(void);

/*
 * Frees it. Fails the test where the library left an fd or its engine open. Fds that the test made itself are its own.
 */
void script_free(struct script *s);

/* A config with the engine and the system calls of this world. */
struct ior_config script_config(struct script *s);
const struct ior_os *script_os(struct script *s);
const struct ior_engine_ops *script_ops(struct script *s);

uint64_t script_now(const struct script *s);
void script_advance(struct script *s, uint64_t ns);
void script_set_wall(struct script *s, uint64_t ns);

/* Puts something on the calendar: a wait that reaches the time calls `fn(s, arg)` and goes on. */
void script_at(struct script *s, uint64_t at_ns, void (*fn)(struct script *s, void *arg), void *arg);

/* ---- the loop ---- */

/* One turn that does not wait; answers what ior_runtime_turn answered, which must be 0 or 1. */
int script_turn(struct script *s, struct ior_runtime *rt);
/* The same, waiting for at most so long. */
int script_turn_for(struct script *s, struct ior_runtime *rt, uint64_t wait_ns);

/* Turns until nothing is left to do now; fails the test if that never comes (a spinning loop). Answers the turns. */
unsigned script_settle(struct script *s, struct ior_runtime *rt);

/* Lets virtual time pass, with all that is due in it. Answers the number of turns. */
unsigned script_pass(struct script *s, struct ior_runtime *rt, uint64_t ns);

/* Whether the loop, when nothing is left to do now, waits without a deadline. */
bool script_idle(struct script *s, struct ior_runtime *rt);

/* ior_runtime_run and ior_runtime_free. */
int script_run(struct script *s, struct ior_runtime *rt);
void script_free_runtime(struct script *s, struct ior_runtime *rt);

/* Whether the loop is running (or is being freed): the only time at which callbacks may come. */
bool script_in_loop(const struct script *s);

/* The next `n` waits are interrupted: they answer 0 at once. */
void script_interrupt(struct script *s, unsigned n);

/* Adds a record to the next wait, whatever the state of things: spurious, stale ... */
void script_record(struct script *s, ior_id id, unsigned what);

/* Tells ready fds in the opposite order. */
void script_reverse(struct script *s, bool on);

/* ---- fds ---- */

/* A connected TCP socket (Unix: script_fd with IOR_FD_UNIX): nothing to read, room for all that is written. */
int script_stream(struct script *s);

/* An fd of a kind (enum ior_fd_kind with flags); IOR_FD_SOCKET is a datagram socket. */
int script_fd(struct script *s, int kind);

/* A regular file of `len` bytes of the pattern; script_shrink cuts it short. */
int script_file(struct script *s, uint64_t len);
void script_shrink(struct script *s, int fd, uint64_t len);

/* Whether an fd is open, and the fd that was made last (by socket, accept or dup too). */
bool script_is_open(const struct script *s, int fd);
int script_last_fd(const struct script *s);
unsigned script_open_fds(const struct script *s);

/* socket, accept and dup answer -EMFILE when so many fds are open; 0: no limit. */
void script_fd_limit(struct script *s, unsigned most);

/* Closes an fd that is the test's own. */
void script_close(struct script *s, int fd);

/* Marks an fd as the library's (it must close it), or as the test's again. */
void script_give_away(struct script *s, int fd, bool away);

/* How an engine behaves when somebody else closes a watched fd. */
enum script_steal {
    SCRIPT_STEAL_BAD,  /* as poll: tells IOR_BAD */
    SCRIPT_STEAL_GONE, /* as epoll: says nothing, unwatch answers -EBADF */
    SCRIPT_STEAL_DUP,  /* as epoll with a duplicate: goes on telling, unwatch answers -EBADF, until rebuild */
};
void script_steal(struct script *s, int fd, enum script_steal how);

/* ---- what the peer does ---- */

void script_say(struct script *s, int fd, const void *bytes, size_t len);
#define script_say_text(s, fd, text) script_say((s), (fd), (text), sizeof(text) - 1)
/* Says `len` bytes more of the pattern (bytes that show a lost or doubled one). */
void script_say_pattern(struct script *s, int fd, size_t len);

/* The peer finished sending; it goes on reading. */
void script_eof(struct script *s, int fd);

/* The peer closed: EOF behind what it said, HUP, and writing fails with EPIPE. */
void script_hangup(struct script *s, int fd);

/* A reset: ECONNRESET behind what was said, told once to whoever comes first; HUP and ERR. */
void script_reset(struct script *s, int fd);

/* Any error in the place of ECONNRESET. */
void script_error(struct script *s, int fd, int err);

/* The outcome of a connect that is under way (ior_connect gets -EINPROGRESS, but for Unix paths). */
void script_connected(struct script *s, int fd);
void script_refused(struct script *s, int fd, int err);

/* ior_connect succeeds at once. */
void script_connect_now(struct script *s, bool on);

/* A peer connects to a listening fd: answers the fd that accept will give. `from` as for ior_addr_parse. */
int script_accept_from(struct script *s, int listener, const char *from);

/* Sets what other fds than streams are ready for: IOR_READ, IOR_WRITE, IOR_HUP, IOR_ERR. */
void script_ready(struct script *s, int fd, unsigned what);

/* ---- what the peer gets ---- */

/* How many bytes more the kernel takes before it would block (SIZE_MAX: no end), and at most in one call (0: any). */
void script_room(struct script *s, int fd, size_t bytes);
void script_take(struct script *s, int fd, size_t most);

/* How many bytes one read gives at most (0: any). */
void script_give(struct script *s, int fd, size_t most);

/* What is written is counted and not kept: for sizes no memory holds. */
void script_deaf(struct script *s, int fd);

/* The number of bytes that were written in the fd's life. */
uint64_t script_heard(const struct script *s, int fd);

/* Fails unless exactly these bytes were written since the last call. */
void script_hear(struct script *s, int fd, const void *bytes, size_t len);
#define script_hear_text(s, fd, text) script_hear((s), (fd), (text), sizeof(text) - 1)
/* Fails unless `len` bytes of the pattern from `offset` on were. */
void script_hear_pattern(struct script *s, int fd, uint64_t offset, size_t len);

/*
 * Whether the sending side was shut; whether the fd was closed with a reset (SO_LINGER); unread bytes in the kernel.
 */
bool script_got_fin(const struct script *s, int fd);
bool script_got_reset(const struct script *s, int fd);
size_t script_unread(const struct script *s, int fd);

/* ---- paths ---- */

/* A path in the world's file system: a socket (listened on, or stale) or something else. */
void script_path(struct script *s, const char *path, bool is_socket, bool listened);
bool script_path_exists(const struct script *s, const char *path);
unsigned script_path_mode(const struct script *s, const char *path);
/* The path now stands for another file. */
void script_path_replace(struct script *s, const char *path);

/* ---- calls ---- */

/*
 * The next call of that kind answers -err without an effect (-EIO of close: the fd is closed all the same). Calls

 * queue.
 */
void script_fail_next(struct script *s, enum script_call call, int err);

/* Each call of that kind does; err 0 ends it. */
void script_fail_always(struct script *s, enum script_call call, int err);

/* The n-th call from now on, of all that can fail in a program's life, answers -err (n 0: none). */
void script_fail_nth(struct script *s, uint64_t n, int err);
bool script_failed_nth(const struct script *s);

/* Calls of that kind since script_new or script_forget; all calls but those of the clock. */
unsigned script_count(const struct script *s, enum script_call call);
unsigned script_count_all(const struct script *s);
/* The same for one fd. */
unsigned script_count_fd(const struct script *s, enum script_call call, int fd);
void script_forget(struct script *s);

/* The calls in their order; NULL past the last. */
const struct script_entry *script_entry(const struct script *s, unsigned index);
/* The last one of that kind, NULL: none. */
const struct script_entry *script_last(const struct script *s, enum script_call call);
const char *script_call_name(enum script_call call);
void script_print(const struct script *s);

/* What the engine waits for on behalf of an fd; -1: it is not watched. */
int script_interest(const struct script *s, int fd);

/* The pattern. */
unsigned char script_pattern_at(uint64_t offset);
void script_pattern(void *bytes, uint64_t offset, size_t len);
bool script_is_pattern(const void *bytes, uint64_t offset, size_t len);

#endif
