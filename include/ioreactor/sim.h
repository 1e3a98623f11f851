/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ioreactor-sim: a simulated world for services, in a library of its own (pkg-config ioreactor-sim, CMake
 * ioreactor::sim). Unmodified services run against virtual hosts, sockets, files and clocks, in one thread, much faster
 * than real time, and the same seed gives the same run, byte for byte, on every compiler and machine.
 *
 *     struct ior_sim_config config = {.struct_size = sizeof(config), .seed = 42};
 *     struct ior_sim *sim;
 *     ior_sim_new(&config, &sim);
 *     int server = ior_sim_host(sim, "server"), client = ior_sim_host(sim, "client");
 *     ior_sim_runtime_new(sim, server, NULL, &my_handler, &my_state, &rt);    (it listens on 0.0.0.0:7000)
 *     struct ior_sim_peer *peer = ior_sim_dial(sim, client, "10.0.0.1:7000");
 *     ior_sim_say(peer, "hello", 5);
 *     ior_sim_expect(peer, "hello", 5);
 *     ior_runtime_free(rt);
 *     ior_sim_free(sim);                                                      (answers how many violations there were)
 *
 *  - A world has hosts. A host has addresses (the first one 10.0.0.1 and fd00::1, the second 10.0.0.2 ...; 127.0.0.1
 *    and ::1 are the host itself), a file system for Unix sockets, a wall clock and, as one process has, one table of
 *    fds, shared by the runtimes on it. Simulated fds are numbers from 2^30 on, the lowest free one first.
 *  - A scheduler turns the runtimes, delivers what is on the way, and lets simulated threads act, in an order that is
 *    chosen by the seed. The monotonic clock stands still while anything can be done, then jumps to what is due next.
 *  - Faults come by chance (struct ior_sim_rates) or by script (ior_sim_fail, ior_sim_fail_at), each only where the
 *    man page of the call allows it.
 *  - Everything that happens is traced, and summed up in one number, ior_sim_hash.
 *  - What a program must not do (a leak, a double close, use after close ...) is reported as a violation.
 *
 * A world belongs to one thread, that of the test. Its memory comes from malloc, not from the hook of ior_set_alloc, so
 * that tests can make the library's allocations fail and not the world's; where malloc fails the world ends the program.
 * Not simulated: multicast, jobs and regular files as resources (both answer -ENOSYS), and fds that other libraries make
 * for themselves.
 */
#ifndef IOREACTOR_SIM_H
#define IOREACTOR_SIM_H

#include <ioreactor.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ior_sim;
struct ior_sim_peer;

/* The first simulated fd: a stray real system call on one gets EBADF. */
#define IOR_SIM_FD_FIRST (1 << 30)

/* ---- what is called ---- */

/* Members of struct ior_os, then of struct ior_engine_ops. */
enum ior_sim_call {
    IOR_SIM_ANY = 0,
    IOR_SIM_CLOCK,
    IOR_SIM_WALL,
    IOR_SIM_RANDOM,
    IOR_SIM_SLEEP,
    IOR_SIM_SOCKET,
    IOR_SIM_BIND,
    IOR_SIM_LISTEN,
    IOR_SIM_ACCEPT,
    IOR_SIM_CONNECT,
    IOR_SIM_GETSOCKNAME,
    IOR_SIM_GETPEERNAME,
    IOR_SIM_GETSOCKOPT,
    IOR_SIM_SETSOCKOPT,
    IOR_SIM_SHUTDOWN,
    IOR_SIM_CLOSE,
    IOR_SIM_RECV,
    IOR_SIM_SEND,
    IOR_SIM_READ,
    IOR_SIM_WRITE,
    IOR_SIM_SENDFILE,
    IOR_SIM_PREAD,
    IOR_SIM_DUP,
    IOR_SIM_FD_KIND,
    IOR_SIM_SET_NONBLOCK,
    IOR_SIM_PATH_STAT,
    IOR_SIM_PATH_CHMOD,
    IOR_SIM_PATH_UNLINK,
    IOR_SIM_RESOLVE,
    IOR_SIM_ENGINE_OPEN, /* the engine's from here on */
    IOR_SIM_WATCH,
    IOR_SIM_REWATCH,
    IOR_SIM_UNWATCH,
    IOR_SIM_WAIT,
    IOR_SIM_WAKE,
    IOR_SIM_REBUILD,
    IOR_SIM_RECV_DATAGRAMS, /* of struct ior_os again */
    IOR_SIM_SEND_DATAGRAMS,
    IOR_SIM_RECV_ERROR,
    IOR_SIM_CALLS
};

/* "recv", "watch" ...; static; "?" for what is none. */
IOR_API const char *ior_sim_call_name(enum ior_sim_call call);

/* In the place of an errno value: the call succeeds, with fewer bytes than it could have moved. */
#define IOR_SIM_SHORT 100000

/* ---- the world ---- */

/* The shape of the engine the runtimes get. */
enum ior_sim_shape {
    IOR_SIM_SHAPE_READY = 0, /* tells what is ready, as epoll does */
    IOR_SIM_SHAPE_DONE = 1,  /* does the I/O and tells what is done, as io_uring does */
};

/*
 * Faults by chance: each member says "one in so many" (of the calls, records ... it belongs to); 0: never, 1: always.
 * None of them breaks what the kernel promises: of a stream data is never lost without a reset, and readiness comes in
 * the end.
 */
struct ior_sim_rates {
    uint32_t short_read;    /* recv, read, pread move fewer bytes */
    uint32_t short_write;   /* send, write, sendfile move fewer bytes */
    uint32_t again;         /* EAGAIN of recv, send, read, write, sendfile, accept although it could be done */
    uint32_t interrupted;   /* EINTR of calls that can be interrupted, waits included */
    uint32_t reset;         /* a recv or send finds the connection reset (the other end is, too) */
    uint32_t aborted;       /* accept: ECONNABORTED, the connection is gone */
    uint32_t no_fds;        /* EMFILE, ENFILE of socket, accept, dup */
    uint32_t no_memory;     /* ENOMEM, ENOBUFS of calls that can answer it, watch and rewatch included */
    uint32_t other_error;   /* any other error of the man page of socket, bind, listen, connect, shutdown, paths ... */
    uint32_t delayed;       /* a ready fd is told only by a later wait */
    uint32_t reordered;     /* a wait tells the ready fds in another order than they became ready */
    uint32_t spurious;      /* a watched fd is told to be ready and is not */
    uint32_t spurious_wake; /* a runtime that sleeps is turned without a reason */
    uint32_t connect_now;   /* connect succeeds or is refused at once (on the same host) */
    uint32_t wall_jump;     /* a read of the wall clock finds that it jumped, up to an hour, forwards or backwards */
    uint32_t cut;           /* a segment finds its link cut; it heals after at most cut_ns */
    uint32_t thread;        /* a simulated thread acts in the midst of a system call of a loop */
    uint32_t lost;          /* a UDP datagram (or an ICMP error) never arrives */
    uint32_t duplicated;    /* it arrives twice */
    uint32_t overtaken;     /* it arrives later than those sent after it */
    uint64_t cut_ns;        /* default: 1 s */
};

/* A way between two hosts, or on one; the same in both directions. 0: the default of the world, or what is said here. */
struct ior_sim_link {
    uint64_t latency_ns;    /* of each segment; default: 0 on one host, 50 us between two */
    uint64_t jitter_ns;     /* up to so much more, by chance; segments of one connection stay in order */
    uint64_t bytes_per_sec; /* 0: any */
    uint32_t buffer_bytes;  /* what is sent and not read yet, for each direction of a connection; default 64 KiB */
    uint32_t reserved;
};

/* What a program must not do; see ior_sim_config. */
enum ior_sim_violation {
    IOR_SIM_BAD_FD = 1,      /* a call on a number that never was an fd of this host */
    IOR_SIM_USE_AFTER_CLOSE, /* a call on an fd that is closed, and was not closed by the test */
    IOR_SIM_DOUBLE_CLOSE,    /* close of such an fd */
    IOR_SIM_CLOSE_WATCHED,   /* close of an fd that an engine still watches */
    IOR_SIM_SEND_AFTER_SHUT, /* bytes sent after shutdown of the sending side */
    IOR_SIM_BLOCKING,        /* a read or write on an fd that is not non-blocking */
    IOR_SIM_BAD_ARGUMENT,    /* an argument that no correct runtime gives: a bad id or interest, no room for records */
    IOR_SIM_LEAK,            /* an fd that socket, accept or dup made is open, and no runtime is left on the host */
    IOR_SIM_ENGINE_LEFT,     /* an engine is open when the world ends */
    IOR_SIM_SPIN,            /* a runtime was turned too often without a step of time or a call that did anything */
    IOR_SIM_HANG,            /* ior_runtime_run waits, and nothing can ever happen */
    IOR_SIM_VIOLATIONS
};

/* "leak", "double close" ...; static. */
IOR_API const char *ior_sim_violation_name(enum ior_sim_violation violation);

/* Zero means the default for every member. */
struct ior_sim_config {
    uint32_t struct_size; /* sizeof(struct ior_sim_config) */
    enum ior_sim_shape shape;
    uint64_t seed;
    struct ior_sim_rates rates; /* default: no faults */
    struct ior_sim_link link;   /* of all pairs of hosts, until ior_sim_link says otherwise */
    uint64_t start_ns;          /* the monotonic clock at the beginning; default 1 s */
    uint64_t wall_ns;           /* the wall clock then; default 2024-01-01 00:00 UTC */
    uint64_t call_ns;           /* virtual time that passes with each system call; default 0 */
    uint64_t syn_timeout_ns;    /* of a connect nobody answers; default 127 s */
    uint64_t data_timeout_ns;   /* of data nobody acknowledges: ETIMEDOUT; default 924 s */
    uint32_t max_fds;           /* of a host: EMFILE beyond; default 2^30 - 1 */
    uint32_t spin_turns;        /* turns of a runtime at one time until SPIN is reported; default 100000 */
    bool keep_calls;            /* remember each call, for ior_sim_call_at: 16 bytes each */
    bool tells_bad;             /* a watched fd that the test closes is told as IOR_BAD (as by poll), not forgotten */
    /* Each line of the trace, without a newline; valid for the call. */
    void (*trace)(void *arg, const char *line);
    void *trace_arg;
    /* Each violation, when it happens: what, and a sentence. It may call no function of the world but ior_sim_now. */
    void (*violation)(void *arg, enum ior_sim_violation what, const char *text);
    void *violation_arg;
    /*
     * In the place of the generator that the seed starts: answers a number below n (n > 0; other answers are taken
     * modulo n). 0 is always the plainest choice (no fault, the order things came in), so that shrinking has a
     * direction. A fuzzer, or a list of choices that is replayed, drives the world here.
     */
    uint64_t (*choose)(void *arg, uint64_t n);
    void *choose_arg;
};

/* Errors: -EINVAL. */
IOR_API int ior_sim_new(const struct ior_sim_config *config, struct ior_sim **ret);

/*
 * Ends the world: checks for what is left open (see ior_sim_check) and frees everything, peers included. Runtimes and
 * resources of the library must be freed before. Answers the number of violations in the life of the world. NULL does
 * nothing and answers 0.
 */
IOR_API unsigned ior_sim_free(struct ior_sim *sim);

/*
 * Looks for fds that socket, accept or dup made and that are open still, on hosts where no runtime is left, and reports
 * each once. Answers the number of violations so far.
 */
IOR_API unsigned ior_sim_check(struct ior_sim *sim);

/* Turns all faults by chance off, or sets other rates (NULL: off). */
IOR_API void ior_sim_set_rates(struct ior_sim *sim, const struct ior_sim_rates *rates);

/* A number below n from the world's choices (0 for n 0): whoever acts by it acts by the seed. */
IOR_API uint64_t ior_sim_choose(struct ior_sim *sim, uint64_t n);

/* The sum of the trace so far: equal traces have equal ones. Costs little, also when nobody prints the trace. */
IOR_API uint64_t ior_sim_hash(const struct ior_sim *sim);

/* Adds a line of the test's own to the trace, and to the sum. */
IOR_API void ior_sim_note(struct ior_sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- time ---- */

/* The monotonic clock, ns, as all hosts see it. */
IOR_API uint64_t ior_sim_now(const struct ior_sim *sim);

/* Moves the wall clock of a host by `ns` (either way), and sets it. */
IOR_API void ior_sim_wall_jump(struct ior_sim *sim, int host, int64_t ns);
IOR_API void ior_sim_wall_set(struct ior_sim *sim, int host, uint64_t ns);

/* ---- hosts and links ---- */

/*
 * A new host: 1, 2, 3 ...; the n-th has the addresses 10.x.y.z, with n = x * 65536 + y * 256 + z, and fd00:: with n in
 * its last 32 bits. The name (NULL: "hN") is for the trace, at most 15 bytes. -EINVAL, -ENOSPC (65535 hosts).
 */
IOR_API int ior_sim_host(struct ior_sim *sim, const char *name);

/* The address of a host: of IPv4, or IPv6 where v6. */
IOR_API struct ior_addr ior_sim_host_addr(const struct ior_sim *sim, int host, bool v6, unsigned port);

/*
 * Sets the link between two hosts (or of a host to itself), for what is sent from now on; its buffer_bytes count for
 * connections that are made from now on. Errors: -EINVAL.
 */
IOR_API int ior_sim_link(struct ior_sim *sim, int a, int b, const struct ior_sim_link *link);

/*
 * Cuts the way between two hosts: what is sent waits (and times out in the end), until it is healed. b 0: between `a`
 * and all others.
 */
IOR_API int ior_sim_cut(struct ior_sim *sim, int a, int b);
IOR_API int ior_sim_heal(struct ior_sim *sim, int a, int b);

/*
 * What a look-up of this name comes to, on any host, after `after_ns`: these addresses in this order, as
 * ior_addr_parse reads them (their port does not count); or, where there are none (n 0, or none of the family that is
 * asked for), this error; 0: ENOENT, as for names that are not known, which answer at once. The name replaces an equal
 * one: without regard to case, and to a dot at its end. Errors: -EINVAL (over 253 bytes, no address).
 */
IOR_API int ior_sim_name(struct ior_sim *sim, const char *name, const char *const *addrs, uint32_t n, int error,
                         uint64_t after_ns);

/* EMFILE when so many fds are open on the host; 0: as configured. */
IOR_API int ior_sim_max_fds(struct ior_sim *sim, int host, uint32_t max_fds);

/* How many fds of a host are open. */
IOR_API uint32_t ior_sim_open_fds(const struct ior_sim *sim, int host);

/* ---- runtimes ---- */

/*
 * Fills engine_ops, engine_arg and os of a config (and clears engine) for a runtime on a host; the rest stays. Call it
 * once for each runtime that is made. They are valid as long as the world.
 */
IOR_API int ior_sim_runtime_config(struct ior_sim *sim, int host, struct ior_config *config);

/* Hands a runtime that was made with such a config to the scheduler. It leaves when it ends or is freed. */
IOR_API int ior_sim_attach(struct ior_sim *sim, struct ior_runtime *rt);

/* Both, around ior_runtime_new; config may be NULL. */
IOR_API int ior_sim_runtime_new(struct ior_sim *sim, int host, const struct ior_config *config,
                                const struct ior_handler *handler, void *self, struct ior_runtime **ret);

/*
 * Whether the runtime would sleep now: nothing is ready for it, no wake is pending, its deadline is not due. One that
 * sleeps although commands were sent to it has lost a wake-up. True also when it has ended.
 */
IOR_API bool ior_sim_asleep(const struct ior_sim *sim, const struct ior_runtime *rt);

/* Whether its shutdown is over; *ret (may be NULL) is what the last turn answered. */
IOR_API bool ior_sim_ended(const struct ior_sim *sim, const struct ior_runtime *rt, int *ret);

/* ---- the scheduler ---- */

/*
 * One step: one turn of a runtime that has something to do, one thing that arrives, or one act of a simulated thread;
 * where nothing can be done at this time, the clock jumps to what comes next. Answers 1; 0: nothing is to come.
 */
IOR_API int ior_sim_step(struct ior_sim *sim);

/* Steps until the clock has gone on by `ns`, and all that is due by then is done. */
IOR_API void ior_sim_run_for(struct ior_sim *sim, uint64_t ns);

/*
 * Steps until `done(arg)` answers true (asked before each step). Answers 0; -ETIMEDOUT after `limit_ns` of virtual time;
 * -EDEADLK: nothing is to come.
 */
IOR_API int ior_sim_run_until(struct ior_sim *sim, bool (*done)(void *arg), void *arg, uint64_t limit_ns);

/*
 * Steps until all is quiet: the runtimes sleep, nothing is on the way. Timers, deadlines and ior_sim_at that are due
 * later stay where they are. A link that is cut keeps what it holds.
 */
IOR_API void ior_sim_settle(struct ior_sim *sim);

/* Calls fn(arg) from the scheduler, between turns, after `ns`. */
IOR_API void ior_sim_at(struct ior_sim *sim, uint64_t after_ns, void (*fn)(void *arg), void *arg);

/*
 * A simulated thread: `act(arg)` is called between turns, and (rates.thread) in the midst of system calls, and answers
 * after how many ns it wants to be called again, IOR_NEVER: it has ended. It may do what the library allows any thread:
 * controllers' calls.
 */
IOR_API void ior_sim_thread(struct ior_sim *sim, uint64_t (*act)(void *arg), void *arg);

/* ---- peers: plain ends of connections, without a runtime ---- */

/*
 * Connects from a host to an address as ior_addr_parse reads it (a Unix path is one of this host). Never NULL but for
 * an address that cannot be read, or a host that is none. The outcome is in ior_sim_peer_info.
 */
IOR_API struct ior_sim_peer *ior_sim_dial(struct ior_sim *sim, int host, const char *addr);

/* Listens. NULL also where the address is taken. */
IOR_API struct ior_sim_peer *ior_sim_serve(struct ior_sim *sim, int host, const char *addr);

/* The next connection to a peer that listens; NULL: none is waiting. */
IOR_API struct ior_sim_peer *ior_sim_pick_up(struct ior_sim_peer *listener);

/*
 * An fd on a host with a peer at its other end, for ior_adopt and ior_watch: kind IOR_FD_TCP, IOR_FD_UNIX, IOR_FD_PIPE
 * (with IOR_FD_NO_WRITE or IOR_FD_NO_READ) or IOR_FD_OTHER. It is the test's, until the library closes it.
 */
IOR_API int ior_sim_fd(struct ior_sim *sim, int host, int kind, struct ior_sim_peer **ret_peer);

/*
 * Says all these bytes: they wait in the peer as long as the way is full, or the connection is not made. -EPIPE:
 * finished, hung up or reset.
 */
IOR_API int ior_sim_say(struct ior_sim_peer *peer, const void *bytes, size_t len);

/*
 * Takes what has arrived: the number of bytes, 0 at the end of input, -EAGAIN: nothing now, or the error of the
 * connection. The world does not move. Bytes that are not taken fill the way, so that the other end has to wait.
 */
IOR_API ssize_t ior_sim_hear(struct ior_sim_peer *peer, void *bytes, size_t len);

/*
 * Runs the world until `len` bytes came, for at most a virtual minute, and compares them. 0; -EBADMSG: others came;
 * -EPIPE: the input ended before; -ETIMEDOUT.
 */
IOR_API int ior_sim_expect(struct ior_sim_peer *peer, const void *bytes, size_t len);

/* Takes and throws away what comes, at most so fast; 0: no more of it, UINT64_MAX: at any speed. */
IOR_API void ior_sim_drain(struct ior_sim_peer *peer, uint64_t bytes_per_sec);

/* Shuts the sending side behind what was said. Reading goes on. */
IOR_API void ior_sim_finish(struct ior_sim_peer *peer);

/* Closes behind what was said. (Over unread input that becomes a reset, as it does in the kernel.) */
IOR_API void ior_sim_hang_up(struct ior_sim_peer *peer);

/* Closes with a reset; what was said and is not sent yet is lost. */
IOR_API void ior_sim_reset(struct ior_sim_peer *peer);

/* The peer dies without a word: it never answers or acknowledges anything again. */
IOR_API void ior_sim_vanish(struct ior_sim_peer *peer);

/*
 * `fn(arg, peer, what)` is called by the scheduler when something changed for the peer: IOR_READ: bytes, the end of
 * input or (listening) a connection; IOR_WRITE: connected, or all that was said is under way; IOR_ERR: the connection
 * failed. It may use peers, but must not step the world. NULL: no more.
 */
IOR_API void ior_sim_peer_on(struct ior_sim_peer *peer, void (*fn)(void *arg, struct ior_sim_peer *peer, unsigned what),
                             void *arg);

enum ior_sim_peer_state {
    IOR_SIM_PEER_CONNECTING = 1,
    IOR_SIM_PEER_OPEN = 2,
    IOR_SIM_PEER_LISTENING = 3,
    IOR_SIM_PEER_CLOSED = 4, /* by this side, or by an error */
};

struct ior_sim_peer_info {
    enum ior_sim_peer_state state;
    int error;       /* why the connection failed or ended: ECONNREFUSED, ECONNRESET, ETIMEDOUT ...; 0: it did not */
    bool eof;        /* the other side finished, and all it sent was taken */
    bool finished;   /* this side did */
    uint64_t said;   /* bytes that left the peer */
    uint64_t unsaid; /* bytes that wait in it */
    uint64_t heard;  /* bytes that were taken */
    uint64_t ready;  /* bytes that can be taken now */
    uint64_t sum;    /* of the bytes that were taken; see ior_sim_sum */
    struct ior_addr local, peer;
};
IOR_API void ior_sim_peer_info(const struct ior_sim_peer *peer, struct ior_sim_peer_info *ret);

/* The sum of bytes, continued from `sum` (0 at the beginning). However they are cut, the same bytes give the same sum. */
IOR_API uint64_t ior_sim_sum(uint64_t sum, const void *bytes, size_t len);

/* Forgets a peer; one that is open is hung up. */
IOR_API void ior_sim_peer_free(struct ior_sim_peer *peer);

/* ---- datagrams, without a runtime ---- */

/*
 * A plain datagram socket on a host, bound to an address (a port of 0 is chosen; a Unix path is one of this host). NULL:
 * the address cannot be read, or is taken. What is sent goes the way of all datagrams: it can be lost, doubled and
 * overtaken, and is refused, or dropped, where nobody is.
 */
struct ior_sim_mailbox;
IOR_API struct ior_sim_mailbox *ior_sim_mailbox(struct ior_sim *sim, int host, const char *addr);
IOR_API struct ior_addr ior_sim_mailbox_addr(const struct ior_sim_mailbox *mailbox);

/* Sends one datagram. 0, or what sendto(2) answers: -EAGAIN, -EMSGSIZE, -ECONNREFUSED ... */
IOR_API int ior_sim_mailbox_send(struct ior_sim_mailbox *mailbox, const struct ior_addr *to, const void *bytes,
                                 size_t len);

/* Takes the next one: its length, cut at `len`; `from` may be NULL. -EAGAIN: none is there. */
IOR_API ssize_t ior_sim_mailbox_take(struct ior_sim_mailbox *mailbox, void *bytes, size_t len, struct ior_addr *from);

/* Closes it; those that are open must be closed before the world ends. NULL does nothing. */
IOR_API void ior_sim_mailbox_free(struct ior_sim_mailbox *mailbox);

/* ---- files and other fds of the test's own ---- */

/* A regular file with these bytes (copied), open for reading. The fd is the test's. */
IOR_API int ior_sim_file(struct ior_sim *sim, int host, const void *bytes, size_t len);

/* Cuts a file short, or makes it longer (with zeros). */
IOR_API int ior_sim_file_resize(struct ior_sim *sim, int fd, size_t len);

/* What an fd of the kind IOR_FD_OTHER is ready for: a set of IOR_READ, IOR_WRITE, IOR_HUP, IOR_ERR. */
IOR_API int ior_sim_ready(struct ior_sim *sim, int fd, unsigned what);

/* Closes an fd of the host's as its program would by mistake, or one of the test's own; dup's it. */
IOR_API int ior_sim_close(struct ior_sim *sim, int fd);
IOR_API int ior_sim_dup(struct ior_sim *sim, int fd);

/* Makes, or removes, a path on a host: a socket nobody listens on, or a plain file. */
IOR_API int ior_sim_path(struct ior_sim *sim, int host, const char *path, bool is_socket);
IOR_API int ior_sim_path_remove(struct ior_sim *sim, int host, const char *path);
IOR_API bool ior_sim_path_exists(const struct ior_sim *sim, int host, const char *path);

/* ---- faults by script ---- */

/* "The n-th call of this kind, on this host or fd, fails with this error", and the `count` calls after it. */
struct ior_sim_fault {
    enum ior_sim_call call; /* IOR_SIM_ANY: any that can fail so */
    int host;               /* 0: any */
    int fd;                 /* 0: any */
    int error;              /* an errno value, IOR_SIM_SHORT */
    uint64_t nth;           /* from now on, 1 is the next; 0: the next */
    uint64_t count;         /* 0: 1; UINT64_MAX: for ever */
};

/*
 * Errors: -EINVAL; -ENOTSUP (a call of that kind does not answer that). A fault whose call is one where it cannot be
 * (IOR_SIM_SHORT of a call that moves one byte, ECONNRESET of a pipe) waits for the next call that matches.
 */
IOR_API int ior_sim_fail(struct ior_sim *sim, const struct ior_sim_fault *fault);
IOR_API void ior_sim_fail_none(struct ior_sim *sim); /* forgets them all */

/*
 * For tests that fail each call once: calls are counted from 0 on, clocks and chance left out (they cannot fail). A
 * first run counts, and tells which call each was and what it could have failed with; the later ones, from the same
 * seed, fail one of them each.
 */
IOR_API uint64_t ior_sim_calls(const struct ior_sim *sim);

struct ior_sim_call_info {
    enum ior_sim_call call;
    int host;
    int fd; /* 0: none */
    int n_errors;
    int errors[24]; /* what it could have answered in that state: errno values, IOR_SIM_SHORT */
};
/* Errors: -ERANGE (no such call), -ENOTSUP (not keep_calls). */
IOR_API int ior_sim_call_at(const struct ior_sim *sim, uint64_t index, struct ior_sim_call_info *ret);

/* Call `index` fails with this error. Several can be set. */
IOR_API int ior_sim_fail_at(struct ior_sim *sim, uint64_t index, int error);

/* How many faults, by chance and by script, were made so far. */
IOR_API uint64_t ior_sim_faults(const struct ior_sim *sim);

/* How many calls of a kind were made on a host (0: on all). */
IOR_API uint64_t ior_sim_count(const struct ior_sim *sim, int host, enum ior_sim_call call);

#ifdef __cplusplus
}
#endif
#endif
