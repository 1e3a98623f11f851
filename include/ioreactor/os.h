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
};

/* The real system. Static. */
IOR_API const struct ior_os *ior_os_default(void);

/* The table a runtime uses. Loop's thread. */
IOR_API const struct ior_os *ior_context_os(struct ior_context *cx);

#ifdef __cplusplus
}
#endif
#endif
