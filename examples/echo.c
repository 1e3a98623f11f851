/* SPDX-License-Identifier: Apache-2.0 */
/*
 * echo: sends back what it receives. The first program to read.
 *
 * A service is a set of callbacks. The loop calls them when something happens; inside them the service asks the loop
 * for things (accept this, send that). A request takes effect at once and never calls back, so nothing here can be
 * interrupted by itself, and there are no locks.
 *
 * Try it:  build/release/examples/echo --listen 127.0.0.1:7000     and     nc 127.0.0.1 7000
 */
#include <ioreactor.h>
#include "program.h"

/* Events of listeners: somebody connected. A connection that is not accepted here is closed by the loop. */
static void on_listener(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    (void)self;
    ior_id id;
    if (ev->type == IOR_EV_ACCEPTED)
        ior_accept(cx, ev, &id);
}

/*
 * Events of connections. The bytes of a data event are lent until this function returns; ior_send puts them into
 * the queue of the connection, which is written once at the end of the turn.
 *
 * What if a client sends for ever and never reads? Its queue grows past its high-water mark (64 KiB), and the loop
 * stops reading from it until the queue has drained. The queue's cap is the mark and the largest data event together,
 * so the answer to an event that did come always fits: no byte is lost, and the memory for each client is bounded.
 *
 * When the peer is done sending (EOF), the loop writes what is queued and ends the connection by itself. So two events
 * of nine are all that an echo has to know about.
 */
static void on_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    (void)self;
    if (ev->type != IOR_EV_DATA)
        return;
    /*
     * A refusal means that the peer is gone, that memory ran out, or that all clients together hold more output than
     * the loop allows (256 MiB): better no echo than one with a hole in it.
     */
    if (ior_send(cx, ev->id, ev->data.bytes, ev->data.len) < 0)
        ior_abort(cx, ev->id);
}

static const struct ior_handler handler = {
    .struct_size = sizeof(struct ior_handler),
    .listener = on_listener,
    .transport = on_transport,
};

int main(int argc, char **argv)
{
    struct program program = {.name = "echo", .summary = "Sends back what it receives.", .listen = "127.0.0.1:7000"};
    program_init(&program, argc, argv);

    /* A runtime is a loop in the caller's thread; the service has no state of its own, so its `self` is NULL. */
    struct ior_config config = {.struct_size = sizeof(config), .engine = program.engine};
    struct ior_runtime *rt;
    int err = ior_runtime_new(&config, &handler, NULL, &rt);
    if (err < 0)
        return program_fail(&program, "cannot make a runtime", err);

    /*
     * Requests can be made before the loop runs. program_listen calls ior_listen, program_run calls ior_runtime_run.
     */
    int status = PROGRAM_EXIT_FAILURE;
    if (program_listen(&program, ior_runtime_context(rt), NULL, NULL) == 0)
        status = program_run(&program, rt);
    ior_runtime_free(rt);
    return status;
}
