/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reactor: a runtime in a thread of its own.
 *
 * The runtime is made in the caller's thread, so that what is wrong with its config is the caller's answer; the new
 * thread calls start, tells what it answered, and runs. All signals are blocked in it: they are the program's affair.
 * Who frees: the caller (which joins), or, asked from its own loop, the thread itself when the loop has ended.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "controller.h"
#include "core.h"

#define NAME_BYTES 16 /* pthread_setname_np takes 15 bytes and the zero */

struct ior_reactor {
    struct ior_runtime *rt;
    struct ior_controller *ctl;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    int started; /* 1: it runs; <= 0: what start answered, once `answered` */
    bool answered;
    bool joined;
    bool frees_itself; /* the loop's thread only */
    int result;
    char name[NAME_BYTES];
};

static void set_name(const char *name)
{
    if (name[0] == 0)
        return;
#if defined(__APPLE__)
    pthread_setname_np(name);
#elif defined(__linux__)
    pthread_setname_np(pthread_self(), name);
#endif
}

static void reactor_release(struct ior_reactor *reactor)
{
    ior_controller_unref(reactor->ctl);
    ior_runtime_free(reactor->rt);
    pthread_mutex_destroy(&reactor->mutex);
    pthread_cond_destroy(&reactor->cond);
    ior__free(reactor, sizeof(*reactor));
}

static void *reactor_main(void *arg)
{
    struct ior_reactor *reactor = arg;
    set_name(reactor->name);
    int err = ior__runtime_start(reactor->rt);
    pthread_mutex_lock(&reactor->mutex);
    reactor->started = err < 0 ? err : 1;
    reactor->answered = true;
    pthread_cond_signal(&reactor->cond);
    pthread_mutex_unlock(&reactor->mutex);
    int result = ior_runtime_run(reactor->rt);
    reactor->result = result;
    if (reactor->frees_itself)
        reactor_release(reactor);
    return NULL;
}

/* Starts the thread with all signals blocked, and waits for what start answers. */
static int start_thread(struct ior_reactor *reactor, const pthread_attr_t *attr)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&reactor->thread, attr, reactor_main, reactor);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err) {
        reactor->joined = true;
        return -err;
    }
    pthread_mutex_lock(&reactor->mutex);
    while (!reactor->answered)
        pthread_cond_wait(&reactor->cond, &reactor->mutex);
    pthread_mutex_unlock(&reactor->mutex);
    return reactor->started < 0 ? reactor->started : 0;
}

/* The thread's part of the config: -EINVAL where it could not be honoured. */
static int thread_config(struct ior_reactor *reactor, const struct ior_config *config, const pthread_attr_t **ret_attr)
{
    struct ior_config in;
    int err = ior__struct_in(&in, sizeof(in), config, sizeof(in));
    if (err < 0)
        return err;
    int detached = PTHREAD_CREATE_JOINABLE;
    if (in.thread_attr && pthread_attr_getdetachstate(in.thread_attr, &detached) != 0)
        return -EINVAL;
    if (detached != PTHREAD_CREATE_JOINABLE)
        return -EINVAL;
    if (in.thread_name) {
        if (strlen(in.thread_name) >= NAME_BYTES)
            return -EINVAL;
        memcpy(reactor->name, in.thread_name, strlen(in.thread_name));
    }
    *ret_attr = in.thread_attr;
    return 0;
}

int ior_reactor_new(const struct ior_config *config, const struct ior_handler *handler, void *self,
                    struct ior_reactor **ret)
{
    if (!ret)
        return -EINVAL;
    struct ior_reactor *reactor = ior__calloc(sizeof(*reactor));
    if (!reactor)
        return -ENOMEM;
    const pthread_attr_t *attr = NULL;
    int err = thread_config(reactor, config, &attr);
    if (err == 0)
        err = ior_runtime_new(config, handler, self, &reactor->rt);
    if (err < 0) {
        ior__free(reactor, sizeof(*reactor));
        return err;
    }
    pthread_mutex_init(&reactor->mutex, NULL);
    pthread_cond_init(&reactor->cond, NULL);
    reactor->ctl = ior_controller_of(ior_runtime_context(reactor->rt));
    err = start_thread(reactor, attr);
    if (err < 0) {
        if (!reactor->joined)
            pthread_join(reactor->thread, NULL);
        reactor_release(reactor);
        return err;
    }
    *ret = reactor;
    return 0;
}

struct ior_controller *ior_reactor_controller(struct ior_reactor *reactor)
{
    return reactor->ctl;
}

int ior_reactor_join(struct ior_reactor *reactor)
{
    if (!reactor)
        return -EINVAL;
    if (reactor->joined)
        return reactor->result;
    if (pthread_equal(reactor->thread, pthread_self()))
        return -EDEADLK;
    int err = pthread_join(reactor->thread, NULL);
    if (err)
        return -err;
    reactor->joined = true;
    return reactor->result;
}

void ior_reactor_free(struct ior_reactor *reactor)
{
    if (!reactor)
        return;
    if (ior__in_child(reactor->rt)) { /* a forked child: the thread stayed with the parent */
        reactor_release(reactor);
        return;
    }
    if (reactor->joined) {
        reactor_release(reactor);
        return;
    }
    if (!reactor->ctl->asks)
        ior_controller_shutdown(reactor->ctl, IOR_REACTOR_FREE_DRAIN_NS);
    if (pthread_equal(reactor->thread, pthread_self())) {
        reactor->frees_itself = true;
        pthread_detach(reactor->thread);
        return;
    }
    ior_reactor_join(reactor);
    reactor_release(reactor);
}
