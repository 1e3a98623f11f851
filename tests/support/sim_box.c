/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_box.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"

enum ior_sim_shape box_shape;

static void on_trace(void *arg, const char *line)
{
    struct box *box = arg;
    size_t len = strlen(line);
    box->trace = realloc(box->trace, box->trace_len + len + 2);
    assert_non_null(box->trace);
    memcpy(box->trace + box->trace_len, line, len);
    box->trace_len += len;
    box->trace[box->trace_len++] = '\n';
    box->trace[box->trace_len] = '\0';
}

static void on_violation(void *arg, enum ior_sim_violation what, const char *text)
{
    struct box *box = arg;
    box->violations[what]++;
    strncpy(box->violation, text, sizeof(box->violation) - 1);
}

struct ior_sim_config box_config(struct box *box, uint64_t seed, bool keep)
{
    return (struct ior_sim_config){
        .struct_size = sizeof(struct ior_sim_config),
        .shape = box_shape,
        .seed = seed,
        .trace = keep ? on_trace : NULL,
        .trace_arg = box,
        .violation = on_violation,
        .violation_arg = box,
    };
}

static int start(void *self, struct ior_context *cx)
{
    struct box *box = self;
    struct ior_addr addr;
    const char *at = box->listen ? box->listen : BOX_ADDR;
    if (*at == '\0')
        return 0;
    assert_int_equal(ior_addr_parse(&addr, at), 0);
    return ior_listen(cx, &addr, NULL, &box->listener);
}

static void listener(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct box *box = self;
    if (ev->type == IOR_EV_ACCEPTED && ior_accept(cx, ev, &box->last) == 0)
        box->accepted++;
}

static void transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct box *box = self;
    switch (ev->type) {
    case IOR_EV_OPEN:
        box->opened++;
        break;
    case IOR_EV_DATA:
        box->bytes += ev->data.len;
        if (!box->deaf)
            ior_send(cx, ev->id, ev->data.bytes, ev->data.len);
        break;
    case IOR_EV_READY:
        box->ready = ev->ready;
        break;
    case IOR_EV_EOF:
        box->eofs++;
        break;
    case IOR_EV_END:
        box->ended++;
        box->last_error = ev->end.error;
        box->last_why = ev->end.why;
        break;
    default:
        break;
    }
}

static void timer(void *self, struct ior_context *cx, ior_timer_id id, void *user)
{
    struct box *box = self;
    (void)id;
    (void)user;
    box->timers++;
    box->timer_ns = ior_now(cx);
}

static void command(void *self, struct ior_context *cx, struct ior_command *cmd)
{
    struct box *box = self;
    (void)cx;
    (void)cmd;
    box->commands++;
}

static void error(void *self, struct ior_context *cx, ior_id id, int err)
{
    struct box *box = self;
    (void)cx;
    (void)id;
    (void)err;
    box->errors++;
}

const struct ior_handler box_handler = {
    .struct_size = sizeof(box_handler),
    .start = start,
    .listener = listener,
    .transport = transport,
    .timer = timer,
    .command = command,
    .error = error,
};

void box_start(struct box *box)
{
    assert_int_equal(ior_sim_runtime_new(box->sim, box->server, NULL, &box_handler, box, &box->rt), 0);
    box->cx = ior_runtime_context(box->rt);
    ior_sim_settle(box->sim);
}

void box_init(struct box *box, const struct ior_sim_config *config)
{
    struct ior_sim_config in = config ? *config : box_config(box, 1, false);
    assert_int_equal(ior_sim_new(&in, &box->sim), 0);
    box->server = ior_sim_host(box->sim, "server");
    box->client = ior_sim_host(box->sim, "client");
    assert_int_equal(box->server, 1);
    assert_int_equal(box->client, 2);
    box_start(box);
}

void box_stop(struct box *box)
{
    ior_runtime_free(box->rt);
    box->rt = NULL;
}

unsigned box_free(struct box *box)
{
    if (box->rt)
        box_stop(box);
    unsigned violations = ior_sim_free(box->sim);
    free(box->trace);
    box->trace = NULL;
    return violations;
}

struct ior_sim_peer *box_dial(struct box *box)
{
    struct ior_sim_peer_info info;
    struct ior_sim_peer *peer = ior_sim_dial(box->sim, box->client, box->listen ? box->listen : BOX_ADDR);
    assert_non_null(peer);
    ior_sim_settle(box->sim);
    ior_sim_peer_info(peer, &info);
    assert_int_equal(info.state, IOR_SIM_PEER_OPEN);
    return peer;
}
