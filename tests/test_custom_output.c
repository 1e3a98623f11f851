/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user's own kinds of resource, as transports: they are sent to, flushed, closed, and end in order.
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

static const struct ior_resource_ops deaf_ops = {
    .struct_size = sizeof(struct ior_resource_ops),
    .name = "deaf gadget",
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

static void eof_ends_it_once_its_queue_is_written(void **state)
{
    struct gadget g;
    ior_id id;
    struct recorder *r = one_gadget(&g, &gadget_ops, &id);
    (void)state;
    g.takes = 0;
    assert_int_equal(rec_send_text(r, id, "last"), 0);
    g.times = 1;
    g.event.type = IOR_EV_EOF;
    script_record(r->script, id, IOR_READ);
    rec_settle(r);
    rec_expect(r, "eof 1\n");
    g.times = 0;
    g.takes = SIZE_MAX;
    script_ready(r->script, g.base.fd, IOR_WRITE);
    rec_settle(r);
    assert_memory_equal(g.out, "last", 4);
    rec_expect(r, "end 1 eof 4 0 0\nhandover 1\n");
    done(r, &g);
}

/* As a stream's: the flush after EOF has its time. */
static void eof_has_a_drain_deadline(void **state)
{
    struct gadget g;
    ior_id id;
    struct recorder *r = one_gadget(&g, &gadget_ops, &id);
    (void)state;
    g.takes = 0;
    assert_int_equal(rec_send_text(r, id, "last"), 0);
    g.times = 1;
    g.event.type = IOR_EV_EOF;
    script_record(r->script, id, IOR_READ);
    rec_pass(r, IOR_DRAIN_NS_DEFAULT - 1);
    rec_expect(r, "eof 1\n");
    rec_pass(r, 1);
    rec_expect(r, "end 1 timeout drain 0 4 0\nhandover 1\n");
    done(r, &g);
}

/* ---- writing ---- */

static void writes_through_its_own_call(void **state)
{
    struct gadget g;
    ior_id id;
    struct recorder *r = one_gadget(&g, &gadget_ops, &id);
    (void)state;
    assert_int_equal(rec_send_text(r, id, "hello"), 0);
    assert_int_equal(rec_send_text(r, id, ", you"), 0);
    assert_int_equal(g.writes, 0);
    rec_settle(r);
    assert_int_equal(g.writes, 1);
    assert_int_equal(g.out_len, 10);
    assert_memory_equal(g.out, "hello, you", 10);
    /* It takes three bytes and then no more; the runtime waits for writing on its behalf. */
    g.takes = 3;
    assert_int_equal(rec_send_text(r, id, "abcdef"), 0);
    rec_turn(r);
    assert_int_equal(script_interest(r->script, g.base.fd), IOR_READ | IOR_WRITE);
    assert_true(rec_idle(r));
    script_ready(r->script, g.base.fd, IOR_WRITE);
    rec_settle(r);
    assert_memory_equal(g.out + 10, "abcdef", 6);
    assert_true(rec_idle(r)); /* writable still, and nobody asks */
    done(r, &g);
}

static void write_errors_end_it(void **state)
{
    struct gadget g;
    ior_id id;
    struct recorder *r = one_gadget(&g, &gadget_ops, &id);
    (void)state;
    g.write_error = ENOSPC;
    assert_int_equal(rec_send_text(r, id, "hello"), 0);
    rec_settle(r);
    rec_expect(r, "end 1 error ENOSPC 0 5 0\nhandover 1\n");
    done(r, &g);
}

static void files_are_read_and_written(void **state)
{
    struct gadget g;
    ior_id id;
    struct recorder *r = one_gadget(&g, &gadget_ops, &id);
    (void)state;
    int file = script_file(r->script, 200);
    g.takes = 70;
    script_ready(r->script, g.base.fd, IOR_WRITE);
    assert_int_equal(rec_send_file(r, id, file, 20, 180), 0);
    rec_settle(r);
    assert_int_equal(g.out_len, 180);
    assert_true(script_is_pattern(g.out, 20, 180));
    assert_int_equal(script_count(r->script, SCRIPT_SENDFILE), 0);
    done(r, &g);
}

static void a_kind_without_write_cannot_be_sent_to(void **state)
{
    struct gadget g;
    ior_id id;
    struct recorder *r = one_gadget(&g, &deaf_ops, &id);
    (void)state;
    assert_int_equal(ior_send(r->cx, id, "x", 1), -EOPNOTSUPP);
    assert_int_equal(rec_close(r, id, IOR_NEVER), 0); /* nothing to drain: as unregister */
    rec_settle(r);
    rec_expect(r, "end 1 asked 0 0 0\nhandover 1\n");
    done(r, &g);
}

static void close_flushes_and_ends(void **state)
{
    struct gadget g;
    ior_id id;
    struct recorder *r = one_gadget(&g, &gadget_ops, &id);
    (void)state;
    assert_int_equal(rec_send_text(r, id, "bye"), 0);
    assert_int_equal(rec_close(r, id, IOR_NEVER), 0);
    rec_settle(r);
    assert_memory_equal(g.out, "bye", 3);
    rec_expect(r, "end 1 asked 3 0 0\nhandover 1\n");
    done(r, &g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eof_ends_it_once_its_queue_is_written),
        cmocka_unit_test(eof_has_a_drain_deadline),
        cmocka_unit_test(writes_through_its_own_call),
        cmocka_unit_test(write_errors_end_it),
        cmocka_unit_test(files_are_read_and_written),
        cmocka_unit_test(a_kind_without_write_cannot_be_sent_to),
        cmocka_unit_test(close_flushes_and_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
