/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Controllers: the only door that other threads have to a service. Commands are embedded in the user's own structs,
 * travel without being copied through a lock-free queue, and arrive exactly once, in order for each sender.
 */
#ifndef IOREACTOR_CONTROLLER_H
#define IOREACTOR_CONTROLLER_H

#include <ioreactor/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ior_context;
struct ior_controller;

/* Embed it in your own command; zero it, then set what you use. */
struct ior_command {
    int kind;                        /* the user's own numbering */
    int status;                      /* of a reply: 0 or -errno */
    bool is_reply;                   /* it came back through ior_reply */
    struct ior_controller *reply_to; /* where ior_reply sends it, borrowed; NULL: nobody waits */
    /*
     * Called from a loop (or from ior_runtime_free), never inside a request, for a command that was accepted but cannot
     * be delivered, or a reply that cannot. It owns the command then. May be NULL (the memory is somebody else's).
     */
    void (*drop)(struct ior_command *command);
    void *priv[2]; /* the library's while the command is on its way */
};

/*
 * The controller of a service, as a new reference. Loop's thread (or before the loop runs). NULL: out of memory.
 * A controller outlives its runtime: sending then answers -EPIPE.
 */
IOR_API struct ior_controller *ior_controller_of(struct ior_context *cx);

/* Reference counting; any thread. unref of NULL does nothing. */
IOR_API struct ior_controller *ior_controller_ref(struct ior_controller *ctl);
IOR_API void ior_controller_unref(struct ior_controller *ctl);

/*
 * Sends a command; any thread, never blocks, allocates nothing. 0: it will be delivered (or dropped), and belongs to
 * the receiver. -EPIPE: the service was stopped, the command is still the caller's.
 */
IOR_API int ior_controller_send(struct ior_controller *ctl, struct ior_command *command);

/*
 * Sends a command and waits for its reply: for plain threads, not for loops. 0: the reply is here, the command is the
 * caller's again, look at its status. -EPIPE: not taken, the caller's. -ETIMEDOUT: no reply in time; the command is not
 * the caller's any more and will come back through `drop`. -EDEADLK: called on the loop that would have to serve it;
 * the caller's. -ENOMEM: the caller's. It sets and clears reply_to. The service must answer such a command with
 * ior_reply; one that a shutdown leaves undelivered comes back with status -ECANCELED.
 */
IOR_API int ior_controller_call(struct ior_controller *ctl, struct ior_command *command, uint64_t timeout_ns);

/*
 * Asks for the shutdown of the whole runtime, as ior_stop does. This call is the line: commands sent through this
 * controller before it are served, later ones are refused with -EPIPE. Any thread, and signal handlers; asked again
 * it can only shorten the time. Answers 0, also where the runtime is gone.
 */
IOR_API int ior_controller_shutdown(struct ior_controller *ctl, uint64_t drain_ns);

/*
 * Sends a command back to its reply_to with a status; the command is not the caller's any more. Without reply_to, or
 * where its service is gone, the command goes to `drop`, from the loop. Loop's thread.
 */
IOR_API void ior_reply(struct ior_context *cx, struct ior_command *command, int status);

#ifdef __cplusplus
}
#endif
#endif
