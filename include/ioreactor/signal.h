/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals as events, instead of handlers of the program's own. The one place where the library changes what the process
 * does with signals: those that are asked for are blocked in the calling thread until the resource ends. Only where the
 * system has no signalfd(2) they are handled instead, which is the one case where the library installs handlers.
 */
#ifndef IOREACTOR_SIGNAL_H
#define IOREACTOR_SIGNAL_H

#include <ioreactor/event.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ior_context;

/* What comes with IOR_EV_SIGNAL: lent until the callback returns. */
struct ior_signal {
    int number; /* SIGTERM ... */
    int code;   /* why it was sent, siginfo_t.si_code: SI_USER, SI_QUEUE, CLD_EXITED ... */
    pid_t pid;  /* who sent it, or of SIGCHLD the child; 0: the kernel, or a process outside of this pid namespace */
    uid_t uid;
    int value;  /* what sigqueue(3) sent along */
    int status; /* of SIGCHLD: the exit status, or the number of the signal */
};

struct ior_signal_options {
    uint32_t struct_size; /* sizeof(struct ior_signal_options) */
    bool keep_blocked;    /* at the end the signals stay blocked: for programs that leave then */
    void *user;           /* comes with each event */
};

/*
 * Tells each of `count` signals as IOR_EV_SIGNAL, until the resource is unregistered (or closed, which is the same).
 * The numbers are copied; opts may be NULL. In a simulation -ENOSYS.
 *
 * Which thread: the signals are blocked in the calling thread, and threads that are made later inherit that. The
 * kernel gives a signal to any thread that does not block it, so a program with more threads asks for its signals (or
 * blocks them) before it makes those. Threads of ior_reactor_new block all signals. A signal sent to one thread
 * (pthread_kill(3)) is told only if that is the loop's.
 *
 * Which runtime: a signal is sent to the process. Where several resources, in one runtime or in several, ask for the
 * same number, each signal goes to exactly one of them, and which one is not said.
 *
 * How often: a standard signal that is sent again before it was told is told once, with the first sender; real-time
 * signals (SIGRTMIN and up) are told each time, the lowest number first. Paused, they wait in the kernel.
 *
 * At the end, before END is told, what this call blocked is unblocked again, unless keep_blocked is set, another
 * resource of the runtime asks for it still, or the loop has moved to another thread since. A signal that waits
 * there untold then has the effect it would have had without the library. Runtimes do not know of each other: where two
 * of one thread ask for the same number, use keep_blocked for the one that ends first. SIGPIPE, too, can be asked for:
 * those that the library's own writes would raise are not among them.
 *
 * Errors: -EINVAL (no number, not a signal, or one of SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, which do not
 * wait for anybody), -ENOSYS, -EMFILE, -ENFILE, -ENOMEM.
 *
 * Without signalfd(2) (other systems than Linux, filters of system calls) the same holds, but:
 *  - A handler is installed (sigaction(2)) while anybody in the process asks for the number; then what was there before
 *    is put back, unless the program has replaced it. A handler that the program installs meanwhile takes the signal away.
 *  - The signals are unblocked in the calling thread, in place of blocked, until the end, and then as before; with
 *    keep_blocked they are blocked then. Whatever thread does not block them may handle them, and has its blocking
 *    calls interrupted (SA_RESTART is set); a signal sent to any one thread is told, too.
 *  - Of a real-time signal 1,024 may wait; how many more were lost is logged as a warning. What waits at the last end is
 *    sent again, as from this process. Where the end of one of two runtimes of a thread blocks the signals again, the
 *    other one gets them only by other threads.
 *  - A forked child has what was there before from its first such signal on.
 */
IOR_API int ior_signals(struct ior_context *cx, const int *numbers, size_t count, const struct ior_signal_options *opts,
                        ior_id *ret_id);

#ifdef __cplusplus
}
#endif
#endif
