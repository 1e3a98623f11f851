/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Child processes as resources: started by a request, told when they exit, stopped with grace, never left as zombies.
 * In a simulation -ENOSYS. Linux 5.4 and later has file descriptors of processes; elsewhere a thread waits for each child,
 * which takes an fd more.
 */
#ifndef IOREACTOR_CHILD_H
#define IOREACTOR_CHILD_H

#include <ioreactor/request.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What an fd of the child is. */
enum ior_child_fd_kind {
    IOR_CHILD_NULL = 0,   /* /dev/null, for reading and writing */
    IOR_CHILD_FD = 1,     /* a copy of the caller's fd, which stays the caller's */
    IOR_CHILD_READS = 2,  /* a pipe: the child reads what is sent to a stream */
    IOR_CHILD_WRITES = 3, /* a pipe: what the child writes are the data events of a stream */
};

struct ior_child_fd {
    int number; /* in the child: 0 is its stdin */
    enum ior_child_fd_kind kind;
    int fd;                                  /* IOR_CHILD_FD: which one */
    const struct ior_stream_options *stream; /* of a pipe; NULL: all defaults */
    ior_id id;                               /* of a pipe: the stream's id, set where ior_spawn answers 0 */
};

#define IOR_CHILD_FDS_MAX 64

struct ior_spawn_options {
    uint32_t struct_size; /* sizeof(struct ior_spawn_options) */
    bool new_group;       /* a process group of its own */
    bool new_session;     /* a session of its own, and a group */
    /*
     * With one of those: ior_kill, ior_close and the end of the runtime mean the whole group; and when the child has
     * exited, what is left of its group is killed (SIGKILL) before EXITED is told.
     */
    bool whole_group;
    const char *file;        /* the program; NULL: argv[0] */
    const char *search_path; /* where to look for one without a slash: as PATH, "/bin:/usr/bin" */
    char *const *argv;       /* ends with NULL; at least one */
    char *const *envp;       /* "NAME=value", ends with NULL; NULL: that of the program (environ) */
    const char *cwd;         /* the child's working directory; NULL: the caller's. A relative `file` begins there */
    struct ior_child_fd *fds;
    size_t fd_count; /* at most IOR_CHILD_FDS_MAX */
    void *user;      /* comes with the child's own events */
};

/* What comes with IOR_EV_EXITED: lent until the callback returns. */
struct ior_exit {
    pid_t pid;
    int status;                  /* what it answered, 0 to 255; -1: a signal ended it */
    int signal;                  /* that signal, or 0 */
    bool core;                   /* it left a core dump */
    uint64_t user_ns, system_ns; /* CPU time of it and of the children it waited for, in us steps; 0: not known */
    uint64_t max_rss_bytes;      /* the most memory it had; 0: not known */
};

/*
 * Starts a program as a child of this process. On success it runs, and has an id; END comes after IOR_EV_EXITED, with
 * IOR_EOF (it exited by itself), IOR_ASKED or IOR_SHUTDOWN. The pipes are streams of their own with their own ids and
 * ends: they may well bring data after EXITED, and others who inherited the far end can hold them open.
 *
 * The child has the fds of the list, /dev/null as those of 0, 1 and 2 that are not there, and no other. All its signals
 * are unblocked and have their default effect. The rest (credentials, umask, limits, priorities) it inherits.
 *
 * The call returns when the program has been loaded, or could not be: a file on a slow disk holds up the loop. On Linux
 * no copy of the process is made (the child borrows its memory until then), and no handler of pthread_atfork(3) is
 * called; elsewhere it is fork(2).
 *
 * Errors: what kept the program from running, as fork(2), execve(2), chdir(2), setsid(2), dup2(2) and pipe(2) tell it:
 * -ENOENT, -EACCES, -ENOEXEC, -E2BIG, -EAGAIN, -EMFILE (also for a `number` past RLIMIT_NOFILE), -EBADF (an fd of the
 * list is not open) ...; -EINVAL (also a name without a slash where search_path is NULL, or a number twice); -ENOSYS.
 * Then there is no child. Where the engine or the memory for it fails last (-ENOMEM, -ENOSPC), the program may have run
 * for a moment and has been killed.
 */
IOR_API int ior_spawn(struct ior_context *cx, const struct ior_spawn_options *opts, ior_id *ret_id);

/*
 * Sends a signal to a child (0: none, only looks); never to another process that has its pid by now. -ESRCH: it has
 * exited, and EXITED is to come. -EINVAL: not a signal. Other errors: those of kill(2).
 *
 * Requests of all resources, and a child:
 *  - ior_close sends SIGTERM, and SIGKILL when drain_ns has passed (with 0: at once); asked again it moves that time.
 *    EXITED and END follow. One that cannot even be killed within a second ends with IOR_TIMEOUT, without EXITED.
 *    Shutdown is the same, with its own time. ior_abort is ior_close with 0.
 *  - ior_unregister ends the resource while the child runs on: END without EXITED. It is handed over and can be
 *    registered again, here or elsewhere, and tells EXITED then, whenever that was. ior_resource_free kills and
 *    reaps it, and so does the runtime where there is no handover callback (and waits for that, at most a second).
 *    ior_resource_release lets it run: the caller has its process fd, and reaps it with waitid(P_PIDFD). Where there
 *    are no such fds it is one that is readable once the process has exited, to be reaped by its pid.
 *  - ior_pause holds back EXITED. IOR_DEADLINE_USER is told as ever; IOR_DEADLINE_IDLE ends the resource, as
 *    ior_unregister does.
 *
 * Only the library may wait for its children. Where SIGCHLD is ignored, or other code reaps all children, what they
 * answered is lost, and the resource ends with ECHILD, without EXITED. Without process fds its pid may be another's then,
 * until that is told.
 */
IOR_API int ior_kill(struct ior_context *cx, ior_id id, int signo);

/* The process id of a child, for logs. */
IOR_API int ior_child_pid(struct ior_context *cx, ior_id id, pid_t *ret_pid);

#ifdef __cplusplus
}
#endif
#endif
