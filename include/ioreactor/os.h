/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The seam to the operating system: every system call, clock and random number the runtime and the built-in resources
 * use goes through one table, so that a test can replace the world. Members behave as the system calls they are named
 * after, but answer -errno. User's own kinds of resource should use the table too (ior_context_os).
 */
#ifndef IOREACTOR_OS_H
#define IOREACTOR_OS_H

#include <pthread.h>
#include <sys/uio.h>
#include <ioreactor/addr.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ior_context;
struct ior_exit;
struct ior_signal;
struct ior_file_stat;

/* What an fd is, as far as the runtime must know. */
enum ior_fd_kind {
    IOR_FD_TCP = 1,      /* a connected stream socket of the Internet families */
    IOR_FD_UNIX = 2,     /* a connected Unix stream socket (or another stream family) */
    IOR_FD_LISTENER = 3, /* a listening stream socket */
    IOR_FD_SOCKET = 4,   /* a socket of another type, or not connected */
    IOR_FD_PIPE = 5,     /* a pipe or FIFO */
    IOR_FD_FILE = 6,     /* a regular file, directory or block device: cannot be waited for */
    IOR_FD_OTHER = 7,    /* a tty, a character device, an eventfd ... */
};
enum {
    IOR_FD_KIND_MASK = 15,
    IOR_FD_NO_READ = 16,  /* opened write-only */
    IOR_FD_NO_WRITE = 32, /* opened read-only */
};

/* What is to be looked up. */
struct ior_os_name {
    const char *host; /* at most 254 bytes */
    unsigned port;    /* goes into the addresses */
    int family;       /* AF_INET, AF_INET6, or AF_UNSPEC: both */
};

/* What a path is, for stale Unix sockets. */
struct ior_os_path {
    bool is_socket;
    uint64_t dev, ino;
};

/* What may block: threads for it, and calls that are made on them alone. Each gets the `arg` of struct ior_os. */
struct ior_os_blocking {
    uint32_t struct_size; /* sizeof(struct ior_os_blocking) */
    uint32_t reserved;
    /* Starts a joinable thread with all signals blocked. */
    int (*thread)(void *arg, pthread_t *ret, void *(*run)(void *), void *run_arg);
    /* Files. Opens with IOR_FILE_... flags: close-on-exec, never 0, 1 or 2; -ESPIPE for pipes and sockets. */
    int (*file_open)(void *arg, const char *path, unsigned flags, unsigned mode);
    ssize_t (*file_read)(void *arg, int fd, void *bytes, size_t len, uint64_t offset);
    ssize_t (*file_write)(void *arg, int fd, const void *bytes, size_t len, uint64_t offset); /* or IOR_OS_APPEND */
    int (*file_sync)(void *arg, int fd);
    int (*file_stat)(void *arg, int fd, struct ior_file_stat *ret);
};

/* In the place of an offset: the end of a file that was opened to append. */
#define IOR_OS_APPEND UINT64_MAX

/* The most datagrams that one call takes. */
#define IOR_OS_DATAGRAMS 32

/* One datagram, for the calls below. Addresses are sockaddrs, at any place in memory. */
struct ior_os_datagram {
    void *bytes;        /* sending does not write to them */
    size_t len;         /* receiving: the room, then how many came */
    void *peer;         /* from whom, or to whom; sending: NULL is the connected peer; receiving: NULL, not wanted */
    void *local;        /* to which address (its port is 0), or from which; NULL: not wanted, or the system's choice */
    uint32_t peer_len;  /* receiving: the room, then the length; 0: none is known */
    uint32_t local_len; /* the same */
    uint32_t interface; /* received: where it came in, with `local`; 0: unknown */
    int32_t error;      /* recv_error: a positive errno value; 0: nothing to be told */
    bool joins;         /* sending: over UDP, so that it may leave together with others of its length and peer;
                           cleared where it was tried, and only apart they could be sent */
    bool truncated;     /* received: the room was too small */
};

/* A program to be started: ior_spawn with everything decided. */
struct ior_os_spawn {
    const char *file, *search_path, *cwd; /* the last two may be NULL */
    char *const *argv;
    char *const *envp;
    const struct ior_os_spawn_fd *fds;
    size_t fd_count;
    bool new_group, new_session;
};

/* The caller's fd `from`, -1 for /dev/null, is `to` in the child. */
struct ior_os_spawn_fd {
    int from, to;
};

/* Signals that are asked for: what `signal_open` made. */
struct ior_os_signals {
    int fd;       /* readable while one of them waits: non-blocking, close-on-exec, never 0, 1 or 2 */
    bool handled; /* by handlers: they must not be blocked; else they must */
    void *own;    /* the table's own */
};

/* A child process: what `spawn` made. */
struct ior_os_process {
    int fd; /* readable once it has exited: close-on-exec, never 0, 1 or 2 */
    pid_t pid;
    void *own; /* the table's own */
};

/* Signals and child processes. A call that is NULL is not there: what needs it answers -ENOSYS. */
struct ior_os_processes {
    uint32_t struct_size; /* sizeof(struct ior_os_processes) */
    uint32_t reserved;

    int (*signal_open)(void *arg, const int *numbers, size_t count, struct ior_os_signals *ret);
    int (*signal_read)(void *arg, struct ior_os_signals *signals,
                       struct ior_signal *ret); /* 0, or -EAGAIN: none waits */
    /* Where they are handled: handlers are there from now on; or no more, and signals not read are sent again. */
    void (*signal_take)(void *arg, struct ior_os_signals *signals, bool on);
    void (*signal_close)(void *arg, struct ior_os_signals *signals); /* its fd, too, if that is not -1 */

    int (*pipe)(void *arg, int fds[2]); /* both blocking, close-on-exec, never 0, 1 or 2 */
    int (*spawn)(void *arg, const struct ior_os_spawn *spawn,
                 struct ior_os_process *ret); /* -errno: there is no child */
    /*
     * Whether the child has exited (1) or not within that time (0), and how; `reap`: it is gone then. -ECHILD: it is
     * not a child of this process, or not any more.
     */
    int (*wait)(void *arg, struct ior_os_process *process, uint64_t timeout_ns, bool reap, struct ior_exit *ret);
    /* A child that was not reaped; `group`: all of the process group of its number. */
    int (*kill)(void *arg, struct ior_os_process *process, bool group, int signo);
    /* The process is not asked about any more, whether it has ended or not. Closes its fd, if that is not -1. */
    void (*process_close)(void *arg, struct ior_os_process *process);
};

/* As many fds as one message can carry (SCM_MAX_FD of Linux). */
#define IOR_FDS_MAX 253

/* The fds that came with bytes. */
struct ior_os_fds {
    uint32_t count;
    bool lost; /* there were more, which this process had no room for: they are gone */
    int fds[IOR_FDS_MAX];
};

/* The settings of a terminal, in the system's own struct. */
struct ior_os_tty {
    uint64_t space[16];
};

enum ior_os_tty_ask {
    IOR_TTY_EXCLUSIVE = 1, /* nobody else may open it */
    IOR_TTY_SHARED = 2,
    IOR_TTY_QUEUED = 3, /* how many bytes were written, but have not left it */
    IOR_TTY_DROP_QUEUED = 4,
};

struct ior_os {
    uint32_t struct_size; /* sizeof(struct ior_os) */
    uint32_t reserved;
    void *arg; /* the first argument of each call */

    uint64_t (*clock)(void *arg);          /* CLOCK_MONOTONIC, ns */
    uint64_t (*wall)(void *arg);           /* CLOCK_REALTIME, ns */
    uint64_t (*random)(void *arg);         /* 64 random bits */
    void (*sleep)(void *arg, uint64_t ns); /* only where the engine's wait keeps failing */

    int (*socket)(void *arg, int domain, int type, int protocol); /* non-blocking, close-on-exec, never 0, 1 or 2 */
    int (*bind)(void *arg, int fd, const struct ior_addr *addr);
    int (*listen)(void *arg, int fd, int backlog);
    int (*accept)(void *arg, int fd, struct ior_addr *peer); /* non-blocking, close-on-exec, never 0, 1 or 2 */
    int (*connect)(void *arg, int fd, const struct ior_addr *addr);
    int (*getsockname)(void *arg, int fd, struct ior_addr *addr);
    int (*getpeername)(void *arg, int fd, struct ior_addr *addr);
    int (*getsockopt)(void *arg, int fd, int level, int name, void *value, uint32_t *len);
    int (*setsockopt)(void *arg, int fd, int level, int name, const void *value, uint32_t len);
    int (*shutdown)(void *arg, int fd, int how);
    int (*close)(void *arg, int fd);

    ssize_t (*recv)(void *arg, int fd, void *bytes, size_t len);                  /* sockets */
    ssize_t (*send)(void *arg, int fd, const struct iovec *iov, int n);           /* sockets; never SIGPIPE */
    ssize_t (*read)(void *arg, int fd, void *bytes, size_t len);                  /* pipes, ttys */
    ssize_t (*write)(void *arg, int fd, const struct iovec *iov, int n);          /* pipes, ttys; never SIGPIPE */
    ssize_t (*sendfile)(void *arg, int out, int in, uint64_t offset, size_t len); /* never SIGPIPE */
    ssize_t (*pread)(void *arg, int fd, void *bytes, size_t len, uint64_t offset);

    int (*dup)(void *arg, int fd);                   /* close-on-exec */
    int (*fd_kind)(void *arg, int fd);               /* enum ior_fd_kind with flags, or -EBADF */
    int (*set_nonblock)(void *arg, int fd, bool on); /* whether it was non-blocking before, or -errno */
    int (*path_stat)(void *arg, const char *path, struct ior_os_path *ret); /* lstat(2) */
    int (*path_chmod)(void *arg, const char *path, unsigned mode);
    int (*path_unlink)(void *arg, const char *path);
    const struct ior_os_blocking *blocking; /* NULL: there are no threads here, and no jobs (-ENOSYS) */

    /*
     * Datagrams: several in one call, in order. How many were received or sent (never 0), or the -errno of the first;
     * not more than IOR_OS_DATAGRAMS at once. All NULL: the table has none, and ior_datagram_open answers -ENOSYS.
     */
    int (*recv_datagrams)(void *arg, int fd, struct ior_os_datagram *datagrams, int n);
    int (*send_datagrams)(void *arg, int fd, struct ior_os_datagram *datagrams, int n);
    /* The next of a socket's ICMP errors (MSG_ERRQUEUE): with the peer's address. -EAGAIN: none; -ENOSYS: not here. */
    int (*recv_error)(void *arg, int fd, struct ior_os_datagram *datagram);

    const struct ior_os_processes *processes; /* the calls have ior_os.arg; NULL: no signals, no child processes */

    /* The rest may be NULL: what needs it answers -EOPNOTSUPP. */

    /* Unix sockets: bytes with fds, as SCM_RIGHTS; never SIGPIPE. What was received is close-on-exec, never 0, 1 or 2. */
    ssize_t (*send_fds)(void *arg, int fd, const void *bytes, size_t len, const int *fds, unsigned n);
    ssize_t (*recv_fds)(void *arg, int fd, void *bytes, size_t len, struct ior_os_fds *ret);

    /* inotify(7): the fd (non-blocking, close-on-exec, never 0, 1 or 2), to be read; the kernel's masks. */
    int (*changes_open)(void *arg);
    int (*changes_add)(void *arg, int fd, const char *path, uint32_t mask); /* the watch, positive */
    int (*changes_remove)(void *arg, int fd, int watch);

    /* Terminals: the fd (non-blocking, close-on-exec, never 0, 1 or 2, nor the controlling terminal); their settings. */
    int (*tty_open)(void *arg, const char *path);
    int (*tty_get)(void *arg, int fd, struct ior_os_tty *ret);
    int (*tty_set)(void *arg, int fd, const struct ior_os_tty *settings); /* at once */
    int (*tty_ask)(void *arg, int fd, enum ior_os_tty_ask what);          /* all four, or none */
    /*
     * The addresses of a name, in the order in which they should be tried; at most `max` of them are filled in. Answers
     * how many there are in all, at least 1, or -errno: -ENOENT (there is no such name, or no such address of it),
     * -EAGAIN (nobody answered, or not now), -EIO (the answer was a failure), -ENOMEM ... It may block: it is called on
     * a thread for blocking work. Where there are none it is called on the loop, must not block, and sets *after_ns to
     * the time that it is to take. NULL: names cannot be looked up.
     */
    int (*resolve)(void *arg, const struct ior_os_name *name, struct ior_addr *addrs, uint32_t max, uint64_t *after_ns);
    /* fchmod(2) of a socket that is not bound yet. NULL, or an error: only its path gets the mode, once it is bound. */
    int (*fd_chmod)(void *arg, int fd, unsigned mode);
};

/* The real system. Static. */
IOR_API const struct ior_os *ior_os_default(void);

/* The table a runtime uses. Loop's thread. */
IOR_API const struct ior_os *ior_context_os(struct ior_context *cx);

#ifdef __cplusplus
}
#endif
#endif
