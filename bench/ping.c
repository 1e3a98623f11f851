/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PING server on the library, written as one would: an ior_send for each request. That what a turn sends leaves in
 * one call is the library's work. A request that came in part is given back with ior_unread.
 */
#include "bench.h"
#include "ping.h"
#include "service.h"

static void on_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    size_t at = 0;
    (void)self;
    if (ev->type != IOR_EV_DATA)
        return;
    int requests = ping_count(&at, ev->data.bytes, ev->data.len);
    if (requests < 0) {
        ior_abort(cx, ev->id);
        return;
    }
    for (int i = 0; i < requests; i++)
        if (ior_send(cx, ev->id, PING_ANSWER, PING_ANSWER_BYTES) < 0)
            ior_abort(cx, ev->id);
    if (at > 0)
        ior_unread(cx, ev->id, at);
}

int main(int argc, char **argv)
{
    struct ior_handler handler = {
        .struct_size = sizeof handler, .listener = service_on_listener, .transport = on_transport};
    return service_run(argc > 1 ? argv[1] : NULL, &handler, NULL, NULL);
}
