/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ior_dial: a stream that gets its fd later. It is registered at once, connecting and without an fd, so that its id, its
 * user's memory, its deadlines and all requests are those of any connecting stream; what it waits for is its dial: a
 * look-up first, then the race of dial_race.c. Each step of the dial is taken from the ready list: the look-up's answer,
 * the delay until the next attempt (the stream's back-off deadline, which without an fd has no other use), an attempt
 * that was lost.
 *
 * The dial is over when the stream is open or ends, and is freed with OPEN, or with the stream.
 */
#include <errno.h>
#include <string.h>

#include "dial.h"
#include "kinds.h"

void ior__dial_free(struct ior__dial *dial)
{
    if (!dial)
        return;
    ior__lookup_drop(dial->lookup);
    if (dial->causes != &dial->single)
        ior__free(dial->causes, dial->count * sizeof(*dial->causes));
    ior__free(dial, sizeof(*dial));
}

/* ---- steps ---- */

/* The look-up came to this: addresses to try, or the end. */
static void looked_up(struct ior__dial *dial, const struct ior_addr *addrs, int n)
{
    struct ior__lookup *lookup = dial->lookup;
    struct ior_dial_cause *causes = n > 0 ? ior__calloc((size_t)n * sizeof(*causes)) : NULL;
    dial->lookup = NULL;
    if (causes) {
        dial->causes = causes;
        dial->count = (uint32_t)n;
        ior__dial_order(addrs, dial->count, dial->first_family, causes);
    } else {
        dial->single.error = n > 0 ? ENOMEM : -n;
        dial->tried = dial->count = 1;
    }
    ior__lookup_drop(lookup);
    ior__dial_advance(dial);
}

void ior__dial_step(struct ior_resource *res)
{
    struct ior__dial *dial = ior__dial_of(res);
    if (dial->lookup) {
        const struct ior_addr *addrs = NULL;
        uint32_t total;
        int n = ior__lookup_answer(dial->lookup, &addrs, &total);
        if (n != -EINPROGRESS)
            looked_up(dial, addrs, n);
    } else if (res->cx->rt->now_ns >= dial->next_ns) {
        ior__dial_advance(dial); /* else one that failed meanwhile has let the next one begin */
    }
}

int ior__dial_won(struct ior__dial *dial, int fd)
{
    struct ior_resource *res = dial->stream;
    struct ior__stream_opts *opts = ior__stream_opts_of(res);
    int err = ior__attach_fd(res, fd);
    if (err < 0) {
        res->cx->rt->os->close(res->cx->rt->os->arg, fd);
        return err;
    }
    ior__dial_call_off_attempts(dial, 0);
    ior__deadline_clear(res, IOR__DEADLINE_BACKOFF);
    ior__stream_connected(res);
    opts->dial = NULL;
    ior__dial_free(dial);
    return 0;
}

void ior__dial_call_off(struct ior_resource *res, int error)
{
    struct ior__dial *dial = ior__dial_of(res);
    if (!dial)
        return;
    if (dial->lookup) {
        ior__lookup_drop(dial->lookup);
        dial->lookup = NULL;
        dial->single.error = error;
        dial->tried = dial->count = 1;
    }
    ior__dial_call_off_attempts(dial, error);
}

/* ---- requests ---- */

static int options_in(struct ior_dial_options *in, const struct ior_dial_options *opts)
{
    int err = ior__struct_in(in, sizeof(*in), opts, sizeof(*in));
    if (err < 0)
        return err;
    if (!in->delay_ns)
        in->delay_ns = IOR_DIAL_DELAY_NS_DEFAULT;
    if (!in->first_family)
        in->first_family = 1;
    bool valid = in->delay_ns >= IOR_DIAL_DELAY_NS_MIN && in->delay_ns <= IOR_DIAL_DELAY_NS_MAX;
    return valid ? 0 : -EINVAL;
}

/* The stream, and in its options the dial. */
static int stream_new(struct ior_context *cx, const struct ior_dial_options *in, struct ior_resource **ret)
{
    struct ior__stream_opts *opts;
    int err = ior__stream_opts_new(cx->rt, in->stream.struct_size ? &in->stream : NULL, &opts);
    if (err < 0)
        return err;
    struct ior__dial *dial = ior__calloc(sizeof(*dial));
    struct ior_resource *res = dial ? ior__stream_new(-1, opts, IOR__SOCKET | IOR__CONNECTING) : NULL;
    opts->dial = dial;
    ior__stream_opts_unref(opts);
    if (!res)
        return -ENOMEM;
    dial->stream = res;
    dial->causes = &dial->single;
    dial->first_family = in->first_family;
    dial->delay_ns = in->delay_ns;
    *ret = res;
    return 0;
}

/* The stream is the caller's on failure. */
static int start(struct ior_context *cx, struct ior_resource *res, const struct ior__question *question, ior_id *ret_id)
{
    struct ior__dial *dial = ior__dial_of(res);
    ior_id id;
    int literal = ior__question_literal(question, &dial->single.addr);
    if (literal < 0)
        return literal;
    res->cx = cx;
    int err = ior__deadlines_reserve(res);
    if (err == 0 && !literal)
        err = ior__lookup_start(res, question, &dial->lookup);
    if (err == 0) {
        err = ior__stream_attach(cx, res, IOR__TELL_REGISTERED, &id);
    } else {
        ior__deadlines_drop(res);
        res->cx = NULL;
    }
    if (err < 0)
        return err;
    if (literal) {
        dial->count = 1;
        ior__ready_add(cx->rt, res, IOR_WRITE);
    } else {
        ior__lookup_registered(dial->lookup);
    }
    *ret_id = id;
    return 0;
}

int ior_dial(struct ior_context *cx, const char *host, unsigned port, const struct ior_dial_options *opts,
             ior_id *ret_id)
{
    struct ior_dial_options in;
    int err = ior__enter(cx);
    if (err == 0)
        err = options_in(&in, opts);
    if (err < 0)
        return err;
    struct ior__question question = {.host = host, .port = port, .family = in.family, .max = in.max_addrs};
    err = ret_id ? ior__question_check(&question) : -EINVAL;
    if (err == 0)
        err = ior__may_register(cx);
    struct ior_resource *res = NULL;
    if (err == 0)
        err = stream_new(cx, &in, &res);
    if (err < 0)
        return err;
    err = start(cx, res, &question, ret_id);
    if (err < 0)
        ior_resource_free(res);
    return err;
}

int ior_dial_causes(struct ior_context *cx, ior_id id, const struct ior_dial_cause **ret)
{
    int err = ior__enter(cx);
    if (err < 0)
        return err;
    if (!ret)
        return -EINVAL;
    const struct ior_resource *res = ior__slots_find(&cx->rt->slots, id);
    if (!res || res->cx != cx)
        return res ? -EACCES : -ENOENT;
    const struct ior__dial *dial = ior__dial_of(res);
    if (!dial)
        return 0;
    *ret = dial->causes;
    return (int)dial->tried;
}
