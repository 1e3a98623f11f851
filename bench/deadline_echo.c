/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What deadlines cost an echo. Usage: deadline_echo none|idle|moved [ENGINE].
 *   none   the echo as in examples/echo.c
 *   idle   each connection has an idle deadline, which every message moves
 *   moved  the service moves a deadline of its own with each message
 */
#include "service.h"

static bool moves;

static void on_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    (void)self;
    if (ev->type != IOR_EV_DATA)
        return;
    if (ior_send(cx, ev->id, ev->data.bytes, ev->data.len) < 0)
        ior_abort(cx, ev->id);
    if (moves)
        ior_deadline(cx, ev->id, IOR_DEADLINE_USER, 600 * IOR_NS_PER_SEC);
}

int main(int argc, char **argv)
{
    struct ior_stream_options options = {.struct_size = sizeof options};
    struct ior_handler handler = {
        .struct_size = sizeof handler, .listener = service_on_listener, .transport = on_transport};
    const char *how = argc > 1 ? argv[1] : "";
    moves = strcmp(how, "moved") == 0;
    if (strcmp(how, "idle") == 0)
        options.idle_ns = 600 * IOR_NS_PER_SEC;
    if (argc > 3 || (!moves && options.idle_ns == 0 && strcmp(how, "none") != 0)) {
        fprintf(stderr, "usage: deadline_echo none|idle|moved [ENGINE]\n");
        return 2;
    }
    return service_run(argc > 2 ? argv[2] : NULL, &handler, NULL, &options);
}
