/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A service: callbacks over the user's own state. Every member is optional. All are called by the loop, on its thread,
 * one at a time, never from inside a request and with no lock held; they must not block. `self` is the pointer that
 * was given with the handler; `cx` is the service's place in its runtime, the first argument of its requests.
 */
#ifndef IOREACTOR_HANDLER_H
#define IOREACTOR_HANDLER_H

#include <ioreactor/event.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ior_context;
struct ior_command;
struct ior_resource;

struct ior_handler {
    uint32_t struct_size; /* sizeof(struct ior_handler) */
    uint32_t reserved;

    /*
     * The loop begins. A negative answer ends it: ior_runtime_run, or ior_reactor_new, fails with it. (Of a service
     * that was attached to a running loop, it only detaches that service.)
     */
    int (*start)(void *self, struct ior_context *cx);
    /* Shutdown begins, or ior_detach was asked: the service may still send and unregister. Called once. */
    void (*stop)(void *self, struct ior_context *cx);
    /* Once a turn, after the wait, before everything else. */
    void (*tick)(void *self, struct ior_context *cx, uint64_t now_ns);
    /* A timer fired. Its id is stale already, unless it is periodic (ior_timer_every); the callback may arm a new one. */
    void (*timer)(void *self, struct ior_context *cx, ior_timer_id id, void *user);
    /*
     * A command from a controller, owned by the service from here on: reply to it, keep it, or free it. One with a
     * reply_to must be answered with ior_reply sooner or later: somebody may be waiting.
     */
    void (*command)(void *self, struct ior_context *cx, struct ior_command *command);
    /* The first call for a resource, before any of its events. Not made where it ended before the loop came to it. */
    void (*registered)(void *self, struct ior_context *cx, ior_id id, void *user);
    /* Events of listeners. */
    void (*listener)(void *self, struct ior_context *cx, const struct ior_event *ev);
    /* Events of everything else: streams, watches, the user's own kinds. */
    void (*transport)(void *self, struct ior_context *cx, const struct ior_event *ev);
    /*
     * Something failed that ends nothing; it is told once for each spell: accept out of fds (EMFILE, ENFILE) or of
     * slots (ENOSPC), the kernel out of memory for a transport (ENOMEM, ENOBUFS), the engine's wait failing (id 0).
     * `err` is a positive errno value.
     */
    void (*error)(void *self, struct ior_context *cx, ior_id id, int err);
    /*
     * After END: the resource is the service's now, with its unsent and unread bytes. Register it again, here or in
     * another runtime, or free it with ior_resource_free. Without this callback the runtime destroys it.
     */
    void (*handover_listener)(void *self, struct ior_context *cx, struct ior_resource *res);
    void (*handover_transport)(void *self, struct ior_context *cx, struct ior_resource *res);
};

#ifdef __cplusplus
}
#endif
#endif
