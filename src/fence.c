/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fence against SIGPIPE. sendfile, and on older kernels the write to a pipe, raise it where nobody reads any more,
 * and have no flag against it. A library must not change what the program does with the signal; so it is blocked in
 * this thread for the length of the call, and if the call raised it (then it is pending for this thread), taken back.
 *
 * A call that did all it was asked for did not raise it. One that was cut short may have: sendfile sends piece by
 * piece, and answers the count of the first pieces when a later one met the closed peer.
 *
 * Invariant: after the fence the thread's signal mask and its pending signals are as they were before.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fence.h"

#include <errno.h>
#include <time.h>

void ior__fence_up(struct ior__fence *fence)
{
    sigset_t before, pending;

    sigemptyset(&fence->sigpipe);
    sigaddset(&fence->sigpipe, SIGPIPE);
    sigemptyset(&before);
    pthread_sigmask(SIG_BLOCK, &fence->sigpipe, &before);
    fence->was_blocked = sigismember(&before, SIGPIPE) == 1;
    /* Only where the program itself blocks it can one be pending that is not ours to take. */
    fence->was_pending = fence->was_blocked && sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
}

static void take_pending(const sigset_t *sigpipe)
{
#if defined(__APPLE__) || defined(__OpenBSD__)
    sigset_t pending;
    int sig;

    if (sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1)
        sigwait(sigpipe, &sig);
#else
    const struct timespec at_once = {0, 0};

    while (sigtimedwait(sigpipe, NULL, &at_once) < 0 && errno == EINTR) {
    }
#endif
}

void ior__fence_down(const struct ior__fence *fence, ssize_t result, size_t len)
{
    bool may_have_raised = result == -EPIPE || (result >= 0 && (size_t)result < len);

    /* A blocked signal becomes pending even where it is ignored. */
    if (may_have_raised && !fence->was_pending)
        take_pending(&fence->sigpipe);
    if (!fence->was_blocked)
        pthread_sigmask(SIG_UNBLOCK, &fence->sigpipe, NULL);
}
