/* SPDX-License-Identifier: Apache-2.0 */
/* A reactor: a runtime in a thread of its own. Any thread may call these, one at a time for one reactor. */
#ifndef IOREACTOR_REACTOR_H
#define IOREACTOR_REACTOR_H

#include <ioreactor/runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ior_reactor;
struct ior_controller;

/*
 * Starts a thread (config.thread_name, config.thread_attr; all signals blocked) that runs the service, and waits until
 * its start has answered. Errors: as ior_runtime_new, of pthread_create(3), or what start answered.
 */
IOR_API int ior_reactor_new(const struct ior_config *config, const struct ior_handler *handler, void *self,
                            struct ior_reactor **ret);

/* The controller of the service, borrowed: valid until the reactor is freed (take a reference to keep it longer). */
IOR_API struct ior_controller *ior_reactor_controller(struct ior_reactor *reactor);

/*
 * Waits until the loop has ended; answers what ior_runtime_run answered, also when asked again. It does not stop the
 * loop. -EDEADLK from the loop's own thread.
 */
IOR_API int ior_reactor_join(struct ior_reactor *reactor);

/* How long ior_reactor_free lets output drain, where no shutdown was asked for before. */
#define IOR_REACTOR_FREE_DRAIN_NS (UINT64_C(1000000000))

/*
 * Stops the loop (as ior_controller_shutdown with IOR_REACTOR_FREE_DRAIN_NS), joins the thread and frees everything;
 * nothing is leaked. From the loop's own thread it does not wait: the thread frees itself when the loop has ended.
 * After fork the child may call it alone: memory and fds are freed. NULL is ignored.
 */
IOR_API void ior_reactor_free(struct ior_reactor *reactor);

#ifdef __cplusplus
}
#endif
#endif
