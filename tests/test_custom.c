/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user's own kinds of resource: what they emit, when they are asked for their interests, how they end and are destroyed.
 * The kind here wraps a fake fd and does what the test tells it. How such kinds write is in test_custom_output.c.
 */
#include <errno.h>
#include <string.h>

#include "support/check.h"
#include "support/recorder.h"

struct gadget {
    struct ior_resource base;
    struct script *script;
    unsigned interest;
    unsigned asked; /* for its interests */
    unsigned calls; /* of handle_io */
    unsigned io;    /* of the last one */
    unsigned destroyed;
    int answer;             /* of handle_io */
    int emitted;            /* what ior_emit answered last */
    struct ior_event event; /* to be emitted, `times` times a call */
    unsigned times;
    size_t takes; /* bytes one write takes */
    int write_error;
    char out[256];
    size_t out_len;
    unsigned writes;
};

static struct gadget *gadget_of(struct ior_resource *res)
{
    return (struct gadget *)res;
}

static unsigned gadget_interests(struct ior_resource *res)
{
    gadget_of(res)->asked++;
    return gadget_of(res)->interest;
}

static int gadget_handle_io(struct ior_resource *res, unsigned io, struct ior_emit *emit)
{
    struct gadget *g = gadget_of(res);
    g->calls++;
    g->io = io;
    for (unsigned i = 0; i < g->times; i++) {
        g->emitted = ior_emit(emit, &g->event);
        if (g->emitted == -ECANCELED)
            return IOR_IO_DONE;
    }
    return g->answer;
}

static ssize_t gadget_write(struct ior_resource *res, const struct iovec *iov, int n)
{
    struct gadget *g = gadget_of(res);
    size_t taken = 0;
    g->writes++;
    if (g->write_error != 0)
        return -g->write_error;
    for (int i = 0; i < n && taken < g->takes; i++) {
        size_t part = iov[i].iov_len < g->takes - taken ? iov[i].iov_len : g->takes - taken;
        assert_true(g->out_len + part <= sizeof(g->out));
        memcpy(g->out + g->out_len, iov[i].iov_base, part);
        g->out_len += part;
        taken += part;
    }
    return taken > 0 ? (ssize_t)taken : -EAGAIN;
}

static void gadget_destroy(struct ior_resource *res)
{
    gadget_of(res)->destroyed++;
}

static const struct ior_resource_ops gadget_ops = {
    .struct_size = sizeof(struct ior_resource_ops),
    .name = "gadget",
    .interests = gadget_interests,
    .handle_io = gadget_handle_io,
    .write = gadget_write,
    .destroy = gadget_destroy,
};

static const struct ior_resource_ops listener_ops = {
    .struct_size = sizeof(struct ior_resource_ops),
    .listener = true,
    .name = "gadget that listens",
    .interests = gadget_interests,
    .handle_io = gadget_handle_io,
    .destroy = gadget_destroy,
};

static struct recorder *one_gadget(struct gadget *g, const struct ior_resource_ops *ops, ior_id *id)
{
    struct recorder *r = rec_new();
    memset(g, 0, sizeof(*g));
    g->script = r->script;
    g->interest = IOR_READ;
    g->takes = SIZE_MAX;
    g->event.type = IOR_EV_CUSTOM;
    g->event.custom.kind = 7;
    ior_resource_init(&g->base, ops, script_fd(r->script, IOR_FD_OTHER), g);
    assert_null(ior_resource_context(&g->base));
    *id = rec_register(r, &g->base);
    assert_ptr_equal(ior_resource_context(&g->base), r->cx);
    assert_ptr_equal(ior_user(r->cx, *id), g);
    rec_settle(r);
    rec_expect(r, "registered 1\n"); /* OPEN is the kind's to tell */
    return r;
}

static void done(struct recorder *r, struct gadget *g)
{
    script_ready(r->script, g->base.fd, 0);
    rec_free(r);
    assert_int_equal(g->destroyed, 1);
}

static void emits_what_it_likes(void **state)
{
    struct gadget g;
    ior_id id;
    struct recorder *r = one_gadget(&g, &gadget_ops, &id);
    (void)state;
    g.times = 3;
    script_ready(r->script, g.base.fd, IOR_READ);
    rec_turn(r);
    assert_int_equal(g.calls, 1);
    assert_int_equal(g.io, IOR_READ);
    rec_expect(r, "custom 1 7\ncustom 1 7\ncustom 1 7\n");
    g.times = 1;
    g.event = (struct ior_event){.type = IOR_EV_DATA, .data = {.bytes = "bytes", .len = 5}};
    rec_turn(r);
    g.event = (struct ior_event){.type = IOR_EV_READY, .ready = IOR_READ};
    rec_turn(r);
    g.event = (struct ior_event){.type = IOR_EV_OPEN};
    rec_turn(r);
    rec_expect(r, "data 1 bytes\nready 1 read\nopen 1\n");
    done(r, &g);
}

static void emits_only_what_it_may(void **state)
{
    static const enum ior_event_type forbidden[] = {IOR_EV_ACCEPTED, IOR_EV_DRAINED,         IOR_EV_DEADLINE,
                                                    IOR_EV_END,      (enum ior_event_type)0, (enum ior_event_type)99};
    struct gadget g;
    ior_id id;
    struct recorder *r = one_gadget(&g, &gadget_ops, &id);
    (void)state;
    g.times = 1;
    script_ready(r->script, g.base.fd, IOR_READ);
    for (int i = 0; i < 6; i++) {
        g.event.type = forbidden[i];
        rec_turn(r);
        assert_int_equal(g.emitted, -EINVAL);
    }
    rec_expect(r, "");
    done(r, &g);
}

static void events_of_a_listening_kind_go_to_listener(void **state)
{
    struct gadget g;
    ior_id id;
    struct recorder *r = rec_bare(NULL);
    (void)state;
    r->handler.transport = NULL;
    r->handler.handover_transport = NULL;
    rec_open(r, NULL);
    rec_begin(r);
    memset(&g, 0, sizeof(g));
    g.interest = IOR_READ;
    g.times = 1;
    g.event.type = IOR_EV_CUSTOM;
    ior_resource_init(&g.base, &listener_ops, script_fd(r->script, IOR_FD_OTHER), NULL);
    id = rec_register(r, &g.base);
    script_ready(r->script, g.base.fd, IOR_READ);
    rec_turn(r);
    rec_turn(r);
    assert_non_null(strstr(rec_lines(r), "registered 1\ncustom 1 0\n"));
    rec_forget(r);
    assert_int_equal(ior_send(r->cx, id, "x", 1), -EOPNOTSUPP);
    assert_int_equal(rec_unregister(r, id), 0);
    script_ready(r->script, g.base.fd, 0);
    rec_settle(r);
    rec_expect(r, "end 1 asked 0 0 0\nhandover 1\n");
    done(r, &g);
}

static void more_is_called_again_without_a_wait(void **state)
{
    struct gadget g;
    ior_id id;
    struct recorder *r = one_gadget(&g, &gadget_ops, &id);
    (void)state;
    g.answer = IOR_IO_MORE;
    script_record(r->script, id, IOR_READ);
    rec_turn(r);
    assert_int_equal(g.calls, 1); /* once a turn */
    assert_int_equal(ior_runtime_deadline(r->rt), 0);
    rec_turn(r);
    assert_int_equal(g.calls, 2);
    assert_true(g.io & IOR_READ);
    g.answer = IOR_IO_DONE;
    assert_true(rec_idle(r));
    assert_int_equal(g.calls, 3);
    done(r, &g);
}

static void interests_are_asked_only_when_touched(void **state)
{
    struct gadget g;
    ior_id id;
    struct recorder *r = one_gadget(&g, &gadget_ops, &id);
    (void)state;
    g.asked = 0;
    for (int i = 0; i < 10; i++)
        rec_turn(r);
    assert_int_equal(g.asked, 0);
    g.interest = IOR_READ | IOR_WRITE;
    rec_turn(r);
    assert_int_equal(script_interest(r->script, g.base.fd), IOR_READ); /* it did not say so */
    assert_int_equal(ior_touch(r->cx, id), 0);
    assert_int_equal(script_interest(r->script, g.base.fd), IOR_READ); /* at the end of the turn */
    rec_turn(r);
    assert_int_equal(script_interest(r->script, g.base.fd), IOR_READ | IOR_WRITE);
    script_ready(r->script, g.base.fd, IOR_WRITE);
    rec_turn(r);
    assert_int_equal(g.io, IOR_WRITE);
    g.interest = IOR_READ; /* changed in handle_io, so to speak: asked after it */
    rec_turn(r);
    assert_true(rec_idle(r));
    done(r, &g);
}

static void a_kind_without_interest_waits_for_nothing(void **state)
{
    struct gadget g;
    ior_id id;
    struct recorder *r = one_gadget(&g, &gadget_ops, &id);
    (void)state;
    g.interest = 0;
    assert_int_equal(ior_touch(r->cx, id), 0);
    script_ready(r->script, g.base.fd, IOR_READ | IOR_WRITE);
    assert_true(rec_idle(r));
    g.interest = IOR_WRITE;
    assert_int_equal(ior_touch(r->cx, id), 0);
    rec_turn(r);
    rec_turn(r);
    assert_true(g.calls >= 1);
    assert_int_equal(g.io & IOR_WRITE, IOR_WRITE);
    done(r, &g);
}

static void an_error_ends_it(void **state)
{
    struct gadget g;
    ior_id id;
    struct recorder *r = one_gadget(&g, &gadget_ops, &id);
    (void)state;
    g.answer = -EPROTO;
    g.times = 1;
    script_ready(r->script, g.base.fd, IOR_READ);
    rec_settle(r);
    rec_expect(r, "custom 1 7\nend 1 error EPROTO 0 0 0\nhandover 1\n");
    done(r, &g);
}

static void end_it(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_CUSTOM)
        assert_int_equal(rec_unregister(r, ev->id), 0);
}

static void r09_ended_in_its_event(void **state)
{
    struct gadget g;
    ior_id id;
    struct recorder *r = one_gadget(&g, &gadget_ops, &id);
    (void)state;
    r->on_event = end_it;
    g.times = 5;
    script_ready(r->script, g.base.fd, IOR_READ);
    rec_settle(r);
    assert_int_equal(g.emitted, -ECANCELED);
    rec_expect(r, "custom 1 7\nend 1 asked 0 0 0\nhandover 1\n");
    done(r, &g);
}

static void pause_it(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA && rec_of(r, ev->id)->data_events == 1)
        assert_int_equal(rec_pause(r, ev->id), 0);
}

static void paused_in_its_event(void **state)
{
    struct gadget g;
    ior_id id;
    struct recorder *r = one_gadget(&g, &gadget_ops, &id);
    (void)state;
    r->on_event = pause_it;
    g.times = 2;
    g.event = (struct ior_event){.type = IOR_EV_DATA, .data = {.bytes = "x", .len = 1}};
    script_record(r->script, id, IOR_READ);
    assert_true(rec_idle(r));
    assert_int_equal(g.emitted, -EAGAIN); /* keep it, and emit it after the next handle_io */
    rec_expect(r, "data 1 x\n");
    g.times = 1;
    assert_int_equal(rec_resume(r, id), 0);
    rec_settle(r); /* asked again although the fd is not ready: it may hold something back */
    rec_expect(r, "data 1 x\n");
    done(r, &g);
}

/* ---- hang-ups, deadlines, ends ---- */

static void hang_ups_are_passed_on(void **state)
{
    struct gadget g;
    ior_id id;
    struct recorder *r = one_gadget(&g, &gadget_ops, &id);
    (void)state;
    script_ready(r->script, g.base.fd, IOR_HUP | IOR_ERR);
    g.answer = -EIO;
    rec_settle(r);
    assert_true((g.io & IOR_HUP) && (g.io & IOR_ERR));
    rec_expect(r, "end 1 error EIO 0 0 0\nhandover 1\n");
    done(r, &g);
}

static void a_hang_up_of_a_kind_that_wants_nothing_does_not_spin(void **state)
{
    struct gadget g;
    ior_id id;
    struct recorder *r = one_gadget(&g, &gadget_ops, &id);
    (void)state;
    g.interest = 0;
    assert_int_equal(ior_touch(r->cx, id), 0);
    rec_settle(r);
    script_ready(r->script, g.base.fd, IOR_HUP);
    assert_true(rec_idle(r));
    done(r, &g);
}

static void deadlines_work(void **state)
{
    struct gadget g;
    ior_id id;
    struct recorder *r = one_gadget(&g, &gadget_ops, &id);
    (void)state;
    g.times = 1;
    g.event.type = IOR_EV_CUSTOM;
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_USER, 10), 0);
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_IDLE, 20), 0);
    rec_pass(r, 15);
    rec_expect(r, "deadline 1\n");
    script_record(r->script, id, IOR_READ); /* an event counts as life */
    rec_pass(r, 15);
    rec_expect(r, "custom 1 7\n");
    rec_pass(r, 10);
    rec_expect(r, "end 1 timeout idle 0 0 0\nhandover 1\n");
    done(r, &g);
}

static void without_handover_it_is_destroyed_once(void **state)
{
    struct recorder *r = rec_bare(NULL);
    struct gadget g = {.interest = IOR_READ};
    (void)state;
    r->handler.handover_transport = NULL;
    rec_open(r, NULL);
    rec_begin(r);
    ior_resource_init(&g.base, &gadget_ops, script_fd(r->script, IOR_FD_OTHER), NULL);
    ior_id id = rec_register(r, &g.base);
    rec_settle(r);
    assert_int_equal(rec_unregister(r, id), 0);
    assert_int_equal(g.destroyed, 0);
    rec_settle(r);
    assert_int_equal(g.destroyed, 1);
    rec_free(r);
    assert_int_equal(g.destroyed, 1);
}

static void always_ready_where_the_engine_cannot_wait(void **state)
{
    struct recorder *r = rec_new();
    struct gadget g = {.interest = IOR_READ, .times = 1};
    (void)state;
    g.event.type = IOR_EV_CUSTOM;
    ior_resource_init(&g.base, &gadget_ops, script_file(r->script, 10), NULL);
    ior_id id = rec_register(r, &g.base);
    for (int i = 0; i < 3; i++)
        rec_turn(r);
    assert_in_range(g.calls, 2, 3); /* once a turn */
    g.times = 0;
    g.interest = 0;
    assert_int_equal(ior_touch(r->cx, id), 0);
    assert_true(rec_idle(r));
    done(r, &g);
}

static void bad_kinds_are_refused(void **state)
{
    struct recorder *r = rec_new();
    struct gadget g = {.interest = IOR_READ};
    struct ior_resource_ops ops = gadget_ops;
    ior_id id = 4711;
    (void)state;
    int fd = script_fd(r->script, IOR_FD_OTHER);
    ops.struct_size = 8;
    ior_resource_init(&g.base, &ops, fd, NULL);
    assert_int_equal(ior_register(r->cx, &g.base, &id), -EINVAL);
    ops = gadget_ops;
    ops.handle_io = NULL;
    assert_int_equal(ior_register(r->cx, &g.base, &id), -EINVAL);
    ops = gadget_ops;
    ops.interests = NULL;
    assert_int_equal(ior_register(r->cx, &g.base, &id), -EINVAL);
    ops = gadget_ops;
    ops.destroy = NULL;
    assert_int_equal(ior_register(r->cx, &g.base, &id), -EINVAL);
    ior_resource_init(&g.base, NULL, fd, NULL);
    assert_int_equal(ior_register(r->cx, &g.base, &id), -EINVAL);
    ior_resource_init(&g.base, &gadget_ops, -1, NULL);
    assert_int_equal(ior_register(r->cx, &g.base, &id), -EBADF);
    assert_int_equal(id, 4711);
    ior_resource_init(&g.base, &gadget_ops, fd, NULL);
    ior_resource_free(&g.base); /* never registered: the caller's */
    assert_int_equal(g.destroyed, 1);
    rec_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(emits_what_it_likes),
        cmocka_unit_test(emits_only_what_it_may),
        cmocka_unit_test(events_of_a_listening_kind_go_to_listener),
        cmocka_unit_test(more_is_called_again_without_a_wait),
        cmocka_unit_test(interests_are_asked_only_when_touched),
        cmocka_unit_test(a_kind_without_interest_waits_for_nothing),
        cmocka_unit_test(an_error_ends_it),
        cmocka_unit_test(r09_ended_in_its_event),
        cmocka_unit_test(paused_in_its_event),
        cmocka_unit_test(hang_ups_are_passed_on),
        cmocka_unit_test(a_hang_up_of_a_kind_that_wants_nothing_does_not_spin),
        cmocka_unit_test(deadlines_work),
        cmocka_unit_test(without_handover_it_is_destroyed_once),
        cmocka_unit_test(always_ready_where_the_engine_cannot_wait),
        cmocka_unit_test(bad_kinds_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
