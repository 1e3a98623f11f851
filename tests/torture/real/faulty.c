/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real system, of which one call fails: it is not made then, and answers an error that its man page has for that
 * state. Some take effect all the same: close(2), which frees the fd whatever it says, an interrupted connect(2), which
 * goes on, and a wait, or the removal of a watch, that finds that somebody was there first. Names stand for one address: the system's resolver would tell other things everywhere.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "support/family.h"

#include "real.h"

static const struct {
    const char *name;
    int errors[8]; /* ended by 0 */
} known[CALLS] = {
    [CALL_NONE] = {"alloc", {0}},
    [CALL_SOCKET] = {"socket", {EMFILE, ENFILE, ENOBUFS}},
    [CALL_CONNECT] = {"connect", {ECONNREFUSED, ENETUNREACH, EADDRNOTAVAIL, EINTR}},
    [CALL_GETSOCKNAME] = {"getsockname", {ENOBUFS}},
    [CALL_GETSOCKOPT] = {"getsockopt", {ENOBUFS}},
    [CALL_SETSOCKOPT] = {"setsockopt", {ENOMEM, EINVAL}},
    [CALL_SHUTDOWN] = {"shutdown", {ENOTCONN}},
    [CALL_CLOSE] = {"close", {EINTR, EIO}},
    [CALL_RECV] = {"recv", {EAGAIN, EINTR, ECONNRESET, ENOMEM, SHORT}},
    [CALL_SEND] = {"send", {EAGAIN, EINTR, EPIPE, ENOBUFS, SHORT}},
    [CALL_READ] = {"read", {EAGAIN, EINTR, EIO, ENOMEM, SHORT}},
    [CALL_WRITE] = {"write", {EAGAIN, EINTR, EIO, EPIPE, SHORT}},
    [CALL_DUP] = {"dup", {EMFILE}},
    [CALL_FD_KIND] = {"fd_kind", {EBADF}},
    [CALL_SET_NONBLOCK] = {"set_nonblock", {EPERM}},
    [CALL_THREAD] = {"thread", {EAGAIN, ENOMEM}},
    [CALL_FILE_OPEN] = {"file_open", {EMFILE, EACCES, ENOENT, EINTR}},
    [CALL_FILE_READ] = {"file_read", {EIO, ENOMEM, EINTR, SHORT}},
    [CALL_FILE_WRITE] = {"file_write", {ENOSPC, EIO, EFBIG, EINTR, SHORT}},
    [CALL_FILE_SYNC] = {"file_sync", {EIO, ENOSPC, EINTR}},
    [CALL_FILE_STAT] = {"file_stat", {EIO, EOVERFLOW}},
    [CALL_SIGNAL_OPEN] = {"signal_open", {EMFILE, ENFILE, ENOMEM}},
    [CALL_SIGNAL_READ] = {"signal_read", {EAGAIN, EINTR, EIO}},
    [CALL_PIPE] = {"pipe", {EMFILE, ENFILE}},
    [CALL_SPAWN] = {"spawn", {EAGAIN, ENOENT, EMFILE}},
    [CALL_WAIT] = {"wait", {ECHILD, EINTR}},
    [CALL_KILL] = {"kill", {EPERM}},
    [CALL_SEND_FDS] = {"send_fds", {EAGAIN, EINTR, EPIPE, ETOOMANYREFS, EBADF, SHORT}},
    [CALL_RECV_FDS] = {"recv_fds", {EAGAIN, EINTR, ECONNRESET, ENOMEM, SHORT}},
    [CALL_CHANGES_OPEN] = {"changes_open", {EMFILE, ENOMEM}},
    [CALL_CHANGES_ADD] = {"changes_add", {ENOSPC, EACCES, ENOENT}},
    [CALL_CHANGES_REMOVE] = {"changes_remove", {EINVAL}},
    [CALL_TTY_OPEN] = {"tty_open", {EMFILE, EBUSY, ENXIO, EINTR}},
    [CALL_TTY_GET] = {"tty_get", {EIO, ENOTTY}},
    [CALL_TTY_SET] = {"tty_set", {EIO, EINTR}},
    [CALL_TTY_ASK] = {"tty_ask", {EIO, ENOTTY}},
    [CALL_RESOLVE] = {"resolve", {EAGAIN, ENOENT, EIO}},
};

struct ior_addr faulty_addr;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* calls come from other threads, too */
static struct fault fault;
static unsigned calls[CALLS];
static bool happened;
static pid_t spared; /* a process that could not be killed: it stays, and that is said in the log */

void faulty_begin(const struct fault *what)
{
    pthread_mutex_lock(&lock);
    fault = *what;
    memset(calls, 0, sizeof(calls));
    happened = false;
    pthread_mutex_unlock(&lock);
}

bool faulty_happened(void)
{
    pthread_mutex_lock(&lock);
    bool it = happened;
    pthread_mutex_unlock(&lock);
    return it;
}

unsigned faulty_calls(enum call call)
{
    pthread_mutex_lock(&lock);
    unsigned n = calls[call];
    pthread_mutex_unlock(&lock);
    return n;
}

const char *faulty_name(enum call call)
{
    return known[call].name;
}

const int *faulty_errors(enum call call)
{
    return known[call].errors;
}

bool faulty_is_quiet(enum call call, int error)
{
    bool moves = call == CALL_RECV || call == CALL_SEND || call == CALL_READ || call == CALL_WRITE ||
                 call == CALL_SEND_FDS || call == CALL_RECV_FDS || call == CALL_SIGNAL_READ;
    if (error == ENOMEM || error == ENOBUFS) /* it passes */
        return call == CALL_RECV || call == CALL_SEND || call == CALL_RECV_FDS;
    return error == SHORT || call == CALL_CLOSE || (error == EAGAIN && moves) ||
           (error == EINTR &&
            (moves || call == CALL_FILE_OPEN || call == CALL_FILE_SYNC || call == CALL_TTY_SET ||
             call == CALL_FILE_READ || call == CALL_FILE_WRITE || call == CALL_WAIT || call == CALL_CONNECT)) ||
           error == ETOOMANYREFS;
}

bool faulty_may_pass(enum call call)
{
    return call == CALL_CLOSE || call == CALL_SHUTDOWN || call == CALL_SETSOCKOPT || call == CALL_KILL ||
           call == CALL_CHANGES_REMOVE || call == CALL_THREAD; /* there are others */
}

/* 0: make the call; SHORT; or what it answers. */
static int begin(enum call call)
{
    pthread_mutex_lock(&lock);
    calls[call]++;
    bool fails = call == fault.call && calls[call] == fault.nth;
    int error = !fails ? 0 : fault.error == SHORT ? SHORT : -fault.error;
    happened = happened || fails;
    pthread_mutex_unlock(&lock);
    return error;
}

#define REAL (probe_os())

/* A member whose call is not made where it fails. */
#define PLAIN(table, member, CALL, parameters, arguments) \
    static int f_##member parameters                      \
    {                                                     \
        int err = begin(CALL);                            \
        (void)arg;                                        \
        return err != 0 ? err : table->member arguments;  \
    }

PLAIN(REAL, socket, CALL_SOCKET, (void *arg, int domain, int type, int protocol), (NULL, domain, type, protocol))
PLAIN(REAL, getsockname, CALL_GETSOCKNAME, (void *arg, int fd, struct ior_addr *addr), (NULL, fd, addr))
PLAIN(REAL, getsockopt, CALL_GETSOCKOPT, (void *arg, int fd, int level, int name, void *value, uint32_t *len),
      (NULL, fd, level, name, value, len))
PLAIN(REAL, setsockopt, CALL_SETSOCKOPT, (void *arg, int fd, int level, int name, const void *value, uint32_t len),
      (NULL, fd, level, name, value, len))
PLAIN(REAL, shutdown, CALL_SHUTDOWN, (void *arg, int fd, int how), (NULL, fd, how))
PLAIN(REAL, dup, CALL_DUP, (void *arg, int fd), (NULL, fd))
PLAIN(REAL, fd_kind, CALL_FD_KIND, (void *arg, int fd), (NULL, fd))
PLAIN(REAL, set_nonblock, CALL_SET_NONBLOCK, (void *arg, int fd, bool on), (NULL, fd, on))
PLAIN(REAL->blocking, thread, CALL_THREAD, (void *arg, pthread_t *ret, void *(*run)(void *), void *run_arg),
      (NULL, ret, run, run_arg))
PLAIN(REAL->blocking, file_open, CALL_FILE_OPEN, (void *arg, const char *path, unsigned flags, unsigned mode),
      (NULL, path, flags, mode))
PLAIN(REAL->blocking, file_sync, CALL_FILE_SYNC, (void *arg, int fd), (NULL, fd))
PLAIN(REAL->blocking, file_stat, CALL_FILE_STAT, (void *arg, int fd, struct ior_file_stat *ret), (NULL, fd, ret))
PLAIN(REAL->processes, signal_open, CALL_SIGNAL_OPEN,
      (void *arg, const int *numbers, size_t count, struct ior_os_signals *ret), (NULL, numbers, count, ret))
PLAIN(REAL->processes, signal_read, CALL_SIGNAL_READ,
      (void *arg, struct ior_os_signals *signals, struct ior_signal *ret), (NULL, signals, ret))
PLAIN(REAL->processes, pipe, CALL_PIPE, (void *arg, int fds[2]), (NULL, fds))
PLAIN(REAL->processes, spawn, CALL_SPAWN, (void *arg, const struct ior_os_spawn *spawn, struct ior_os_process *ret),
      (NULL, spawn, ret))
PLAIN(REAL, changes_open, CALL_CHANGES_OPEN, (void *arg), (NULL))
PLAIN(REAL, changes_add, CALL_CHANGES_ADD, (void *arg, int fd, const char *path, uint32_t mask), (NULL, fd, path, mask))
PLAIN(REAL, tty_open, CALL_TTY_OPEN, (void *arg, const char *path), (NULL, path))
PLAIN(REAL, tty_get, CALL_TTY_GET, (void *arg, int fd, struct ior_os_tty *ret), (NULL, fd, ret))
PLAIN(REAL, tty_set, CALL_TTY_SET, (void *arg, int fd, const struct ior_os_tty *settings), (NULL, fd, settings))
PLAIN(REAL, tty_ask, CALL_TTY_ASK, (void *arg, int fd, enum ior_os_tty_ask what), (NULL, fd, what))

static int f_close(void *arg, int fd)
{
    int err = begin(CALL_CLOSE), really = REAL->close(NULL, fd);
    (void)arg;
    return err != 0 ? err : really;
}

static int f_connect(void *arg, int fd, const struct ior_addr *addr)
{
    int err = begin(CALL_CONNECT), really = err == 0 || err == -EINTR ? REAL->connect(NULL, fd, addr) : err;
    (void)arg;
    return err != 0 ? err : really;
}

static int f_changes_remove(void *arg, int fd, int watch)
{
    int err = begin(CALL_CHANGES_REMOVE), really = REAL->changes_remove(NULL, fd, watch);
    (void)arg;
    return err != 0 ? err : really;
}

static int f_wait(void *arg, struct ior_os_process *process, uint64_t timeout_ns, bool reap, struct ior_exit *ret)
{
    int err = begin(CALL_WAIT);
    struct ior_exit exit;
    (void)arg;
    if (err == -ECHILD) { /* somebody else has reaped it, once it was killed */
        (void)REAL->processes->kill(NULL, process, false, SIGKILL);
        while (REAL->processes->wait(NULL, process, IOR_NS_PER_SEC, true, &exit) == 0)
            continue;
    }
    return err != 0 ? err : REAL->processes->wait(NULL, process, timeout_ns, reap, ret);
}

static int f_kill(void *arg, struct ior_os_process *process, bool group, int signo)
{
    int err = begin(CALL_KILL);
    (void)arg;
    spared = err != 0 ? process->pid : spared;
    return err != 0 ? err : family_os()->processes->kill(NULL, process, group, signo);
}

void faulty_kill_spared(void)
{
    if (spared > 0 && waitpid(spared, NULL, WNOHANG) == 0) {
        (void)kill(spared, SIGKILL);
        (void)waitpid(spared, NULL, 0);
    }
    spared = 0;
}

/* Then there is nothing to wait for, and no call says so. */
static bool hung_up(int fd)
{
    struct pollfd look = {.fd = fd};
    return poll(&look, 1, 0) == 1 && (look.revents & POLLHUP);
}

/* Those that move bytes can be short. */
#define MOVES(table, member, CALL, parameters, arguments) \
    static ssize_t f_##member parameters                  \
    {                                                     \
        int err = begin(CALL);                            \
        (void)arg;                                        \
        if (err < 0 && (err != -EAGAIN || !hung_up(fd)))  \
            return err;                                   \
        if (err == SHORT && len > 1)                      \
            len = 1;                                      \
        return table->member arguments;                   \
    }

MOVES(REAL, recv, CALL_RECV, (void *arg, int fd, void *bytes, size_t len), (NULL, fd, bytes, len))
MOVES(REAL, read, CALL_READ, (void *arg, int fd, void *bytes, size_t len), (NULL, fd, bytes, len))
MOVES(REAL, send_fds, CALL_SEND_FDS, (void *arg, int fd, const void *bytes, size_t len, const int *fds, unsigned n),
      (NULL, fd, bytes, len, fds, n))
MOVES(REAL, recv_fds, CALL_RECV_FDS, (void *arg, int fd, void *bytes, size_t len, struct ior_os_fds *ret),
      (NULL, fd, bytes, len, ret))
MOVES(REAL->blocking, file_read, CALL_FILE_READ, (void *arg, int fd, void *bytes, size_t len, uint64_t offset),
      (NULL, fd, bytes, len, offset))
MOVES(REAL->blocking, file_write, CALL_FILE_WRITE, (void *arg, int fd, const void *bytes, size_t len, uint64_t offset),
      (NULL, fd, bytes, len, offset))

static ssize_t gather(enum call call, ssize_t (*make)(void *, int, const struct iovec *, int), int fd,
                      const struct iovec *iov, int n)
{
    int err = begin(call);
    if (err < 0)
        return err;
    struct iovec one = {.iov_base = iov[0].iov_base, .iov_len = 1};
    return err == SHORT && iov[0].iov_len > 0 ? make(NULL, fd, &one, 1) : make(NULL, fd, iov, n);
}

static ssize_t f_send(void *arg, int fd, const struct iovec *iov, int n)
{
    (void)arg;
    return gather(CALL_SEND, REAL->send, fd, iov, n);
}

static ssize_t f_write(void *arg, int fd, const struct iovec *iov, int n)
{
    (void)arg;
    return gather(CALL_WRITE, REAL->write, fd, iov, n);
}

static int f_resolve(void *arg, const struct ior_os_name *name, struct ior_addr *addrs, uint32_t max, uint64_t *after)
{
    int err = begin(CALL_RESOLVE);
    (void)arg;
    (void)name;
    (void)after;
    if (err == 0 && max > 0)
        addrs[0] = faulty_addr;
    return err != 0 ? err : 1;
}

static struct ior_os_blocking blocking;
static struct ior_os_processes processes;
static struct ior_os os;

const struct ior_os *faulty_os(void)
{
    blocking = (struct ior_os_blocking){.struct_size = sizeof(blocking),
                                        .thread = f_thread,
                                        .file_open = f_file_open,
                                        .file_read = f_file_read,
                                        .file_write = f_file_write,
                                        .file_sync = f_file_sync,
                                        .file_stat = f_file_stat};
    processes = *REAL->processes; /* what cannot fail */
    processes.signal_open = f_signal_open;
    processes.signal_read = f_signal_read;
    processes.pipe = f_pipe;
    processes.spawn = f_spawn;
    processes.wait = f_wait;
    processes.kill = f_kill;
    os = *REAL; /* the clock, and what these kinds never call */
    os.blocking = &blocking;
    os.processes = &processes;
    os.socket = f_socket;
    os.connect = f_connect;
    os.getsockname = f_getsockname;
    os.getsockopt = f_getsockopt;
    os.setsockopt = f_setsockopt;
    os.shutdown = f_shutdown;
    os.close = f_close;
    os.recv = f_recv;
    os.send = f_send;
    os.read = f_read;
    os.write = f_write;
    os.dup = f_dup;
    os.fd_kind = f_fd_kind;
    os.set_nonblock = f_set_nonblock;
    os.send_fds = f_send_fds;
    os.recv_fds = f_recv_fds;
    os.changes_open = f_changes_open;
    os.changes_add = f_changes_add;
    os.changes_remove = f_changes_remove;
    os.tty_open = f_tty_open;
    os.tty_get = f_tty_get;
    os.tty_set = f_tty_set;
    os.tty_ask = f_tty_ask;
    os.resolve = f_resolve;
    return &os;
}
