/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serial: a bridge between a serial device (or a pseudo-terminal) and TCP, line by line.
 *
 * Each line of the device goes to all clients; each line of a client goes to the device, whole, so that lines of several
 * clients never mix. A client that reads too slowly is closed: better than a hole in what it gets. A device that takes
 * lines too slowly holds the clients back: they are not read from until there is room.
 *
 * When the device hangs up, or is not there, the clients stay, are not read from, and the device is opened again: after
 * 100 ms, then twice as long each time, up to --retry-ms.
 *
 * Try it:  socat pty,raw,echo=0,link=/tmp/device -,raw,echo=0
 *          build/release/examples/serial --device /tmp/device --listen 127.0.0.1:7070     and     nc 127.0.0.1 7070
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <ioreactor.h>
#include "program.h"

#define MAX_CLIENTS 64
#define LINE_MAX_BYTES 65536 /* a client that sends more without an end is closed; the device's go on in parts */
#define RETRY_FIRST_NS (100 * IOR_NS_PER_MS)
#define CLOSE_NS (2 * IOR_NS_PER_SEC)

struct bridge {
    struct program *program;
    struct ior_context *cx;
    const char *path;
    struct ior_serial_options options;
    ior_id device; /* 0: it is not open */
    bool device_full;
    bool told_missing; /* that it cannot be opened: once, until it is open */
    ior_id clients[MAX_CLIENTS];
    size_t count;
    uint64_t retry_ns, retry_most_ms;
};

static void open_device(struct bridge *bridge);

/* ---- lines ---- */

/* How much of the bytes are whole lines. */
static size_t whole_lines(const char *bytes, size_t len)
{
    while (len > 0 && bytes[len - 1] != '\n')
        len--;
    return len;
}

/* Gives back what is no whole line yet, to be told again with more. The rest are lines; too long a one is cut here. */
static size_t take_lines(struct bridge *bridge, const struct ior_event *ev)
{
    size_t lines = whole_lines(ev->data.bytes, ev->data.len);
    int err = ior_unread(bridge->cx, ev->id, ev->data.len - lines);
    return err < 0 ? ev->data.len : lines;
}

/* ---- clients ---- */

/* They are read from only while the device takes what they send. */
static void hold_clients(struct bridge *bridge)
{
    bool hold = !bridge->device || bridge->device_full;
    for (size_t i = 0; i < bridge->count; i++)
        (void)(hold ? ior_pause(bridge->cx, bridge->clients[i]) : ior_resume(bridge->cx, bridge->clients[i]));
}

static void to_clients(struct bridge *bridge, const char *bytes, size_t len)
{
    struct ior_buf *buf = ior_buf_copy(bytes, len); /* one copy for all */
    for (size_t i = 0; i < bridge->count; i++) {
        int r = buf ? ior_send_buf(bridge->cx, bridge->clients[i], buf) : -ENOMEM;
        if (r == -ENOBUFS || r == -ENOMEM) {
            fprintf(stderr, "%s: a client that reads too slowly is closed\n", bridge->program->name);
            (void)ior_abort(bridge->cx, bridge->clients[i]);
        }
    }
    ior_buf_unref(buf);
}

static void client_data(struct bridge *bridge, const struct ior_event *ev)
{
    size_t lines = take_lines(bridge, ev);
    if (whole_lines(ev->data.bytes, lines) != lines) {
        fprintf(stderr, "%s: a client whose line is too long is closed\n", bridge->program->name);
        (void)ior_abort(bridge->cx, ev->id);
        return;
    }
    int r = lines > 0 ? ior_send(bridge->cx, bridge->device, ev->data.bytes, lines) : 0;
    if (r == 1) {
        bridge->device_full = true;
        hold_clients(bridge);
    } else if (r < 0) {
        /* The device has ended in this very turn, or there is no room: the lines are kept for later. */
        if (ior_unread(bridge->cx, ev->id, ev->data.len) < 0 || ior_pause(bridge->cx, ev->id) < 0)
            (void)ior_abort(bridge->cx, ev->id);
    }
}

static void client_end(struct bridge *bridge, ior_id id)
{
    for (size_t i = 0; i < bridge->count; i++) {
        if (bridge->clients[i] == id)
            bridge->clients[i] = bridge->clients[--bridge->count];
    }
}

static void on_listener(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct bridge *bridge = self;
    ior_id id;
    if (ev->type != IOR_EV_ACCEPTED || bridge->count == MAX_CLIENTS || ior_accept(cx, ev, &id) < 0)
        return; /* what is not accepted is closed */
    bridge->clients[bridge->count++] = id;
    hold_clients(bridge);
}

/* ---- the device ---- */

static void retry_later(struct bridge *bridge)
{
    uint64_t most_ns = ior_time_from_ms(bridge->retry_most_ms);
    uint64_t pause_ns = bridge->retry_ns < most_ns ? bridge->retry_ns : most_ns;
    ior_timer_id id;
    (void)ior_timer_set(bridge->cx, pause_ns, NULL, &id);
    bridge->retry_ns = 2 * pause_ns;
}

static void device_opened(struct bridge *bridge)
{
    fprintf(stderr, "%s: %s is open\n", bridge->program->name, bridge->path);
    bridge->retry_ns = RETRY_FIRST_NS;
    bridge->device_full = false;
    bridge->told_missing = false;
    hold_clients(bridge);
}

static void open_device(struct bridge *bridge)
{
    int err = ior_serial_open(bridge->cx, bridge->path, &bridge->options, &bridge->device);
    if (err == 0)
        return; /* OPEN is told */
    if (!bridge->told_missing)
        fprintf(stderr, "%s: cannot open %s: %s\n", bridge->program->name, bridge->path, ior_errname(err));
    bridge->told_missing = true;
    if (err != -ESHUTDOWN)
        retry_later(bridge);
}

static void device_end(struct bridge *bridge, const struct ior_event_end *end)
{
    bridge->device = 0;
    if (end->why == IOR_SHUTDOWN)
        return;
    fprintf(stderr, "%s: %s hung up (%s)\n", bridge->program->name, bridge->path,
            end->error ? ior_errname(end->error) : ior_why_name(end->why));
    hold_clients(bridge);
    retry_later(bridge);
}

static void device_event(struct bridge *bridge, const struct ior_event *ev)
{
    switch (ev->type) {
    case IOR_EV_OPEN:
        device_opened(bridge);
        break;
    case IOR_EV_DATA:
        to_clients(bridge, ev->data.bytes, take_lines(bridge, ev));
        break;
    case IOR_EV_DRAINED:
        bridge->device_full = false;
        hold_clients(bridge);
        break;
    case IOR_EV_END:
        device_end(bridge, &ev->end);
        break;
    default:
        break;
    }
}

/* ---- the service ---- */

static void on_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct bridge *bridge = self;
    (void)cx;
    if (ev->id == bridge->device)
        device_event(bridge, ev);
    else if (ev->type == IOR_EV_DATA)
        client_data(bridge, ev);
    else if (ev->type == IOR_EV_END)
        client_end(bridge, ev->id);
}

static void on_timer(void *self, struct ior_context *cx, ior_timer_id id, void *user)
{
    (void)cx;
    (void)id;
    (void)user;
    open_device(self);
}

static int on_start(void *self, struct ior_context *cx)
{
    (void)cx;
    open_device(self);
    return 0;
}

static const struct ior_handler handler = {
    .struct_size = sizeof(struct ior_handler),
    .start = on_start,
    .listener = on_listener,
    .transport = on_transport,
    .timer = on_timer,
};

/* ---- beginning ---- */

struct options {
    uint64_t speed, data_bits, stop_bits;
    const char *parity, *flow;
};

/* The place of a word in a list that ends with NULL. */
static int choice(const struct program *program, const char *option, const char *value, const char *const *words)
{
    for (int i = 0; words[i]; i++) {
        if (strcmp(value, words[i]) == 0)
            return i;
    }
    program_bad_option(program, option, value, "there is no such choice; see --help");
}

static void set_options(struct bridge *bridge, const struct options *from)
{
    static const char *const parities[] = {"", "none", "even", "odd", "mark", "space", NULL};
    static const char *const flows[] = {"", "none", "rts-cts", "xon-xoff", NULL};
    struct ior_serial_options *to = &bridge->options;
    to->struct_size = sizeof(*to);
    to->exclusive = true;
    to->speed = (uint32_t)from->speed;
    to->data_bits = (unsigned)from->data_bits;
    to->stop_bits = (unsigned)from->stop_bits;
    to->parity = (enum ior_parity)choice(bridge->program, "--parity", from->parity, parities);
    to->flow = (enum ior_flow)choice(bridge->program, "--flow", from->flow, flows);
    to->stream.struct_size = sizeof(to->stream);
    to->stream.unread_max_bytes = LINE_MAX_BYTES;
}

int main(int argc, char **argv)
{
    struct bridge bridge = {.path = "", .retry_ns = RETRY_FIRST_NS, .retry_most_ms = 10000};
    struct options from = {.data_bits = 8, .stop_bits = 1, .parity = "none", .flow = "none"};
    const struct program_option options[] = {
        {"--device", "PATH", "the serial device", PROGRAM_TEXT, &bridge.path, 0, 0},
        {"--speed", "N", "bits per second; 0: as it is", PROGRAM_NUMBER, &from.speed, 0, INT32_MAX},
        {"--data-bits", "N", "5 to 8", PROGRAM_NUMBER, &from.data_bits, 5, 8},
        {"--stop-bits", "N", "1 or 2", PROGRAM_NUMBER, &from.stop_bits, 1, 2},
        {"--parity", "WORD", "none, even, odd, mark or space", PROGRAM_TEXT, &from.parity, 0, 0},
        {"--flow", "WORD", "none, rts-cts or xon-xoff", PROGRAM_TEXT, &from.flow, 0, 0},
        {"--retry-ms", "N", "the longest pause before it is opened again", PROGRAM_NUMBER, &bridge.retry_most_ms, 1,
         3600000},
        {.name = NULL},
    };
    struct program program = {
        .name = "serial",
        .summary = "Passes lines between a serial device and TCP clients.",
        .listen = "127.0.0.1:7070",
        .options = options,
    };
    program_init(&program, argc, argv);
    bridge.program = &program;
    if (bridge.path[0] == '\0')
        program_bad_option(&program, "--device", NULL, "say which");
    set_options(&bridge, &from);

    struct ior_config config = {.struct_size = sizeof(config), .engine = program.engine};
    const struct ior_listen_options listen = {
        .struct_size = sizeof(listen),
        .stream = {.struct_size = sizeof(listen.stream), .unread_max_bytes = LINE_MAX_BYTES, .drain_ns = CLOSE_NS},
    };
    struct ior_runtime *rt;
    int err = ior_runtime_new(&config, &handler, &bridge, &rt);
    if (err < 0)
        return program_fail(&program, "cannot make a runtime", err);
    bridge.cx = ior_runtime_context(rt);
    int status = PROGRAM_EXIT_FAILURE;
    if (program_listen(&program, bridge.cx, &listen, NULL) == 0)
        status = program_run(&program, rt);
    ior_runtime_free(rt);
    return status;
}
