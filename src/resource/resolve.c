/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Look-ups as resources: without an fd, waiting for the answer of src/lookup.c. An address is its own answer; it is told
 * from the loop all the same.
 */
#include <errno.h>

#include "kinds.h"
#include "lookup.h"
#include <ioreactor/name.h>

struct resolve {
    struct ior_resource base;
    struct ior__lookup *lookup; /* NULL: `literal` is the answer */
    struct ior_addr literal;
};

static struct resolve *resolve_of(const struct ior_resource *res)
{
    return (struct resolve *)(uintptr_t)res;
}

/* An answer is on the ready list as if it could be read, so that a pause keeps it for later. */
static unsigned interests(struct ior_resource *res)
{
    (void)res;
    return IOR_READ;
}

static int handle_io(struct ior_resource *res, unsigned io, struct ior_emit *emit)
{
    struct resolve *resolve = resolve_of(res);
    struct ior__lookup *lookup = resolve->lookup;
    struct ior_resolved resolved = {.addrs = &resolve->literal, .count = 1, .total = 1};
    (void)io;
    (void)emit;
    if (lookup) {
        int n = ior__lookup_answer(lookup, &resolved.addrs, &resolved.total);
        if (n < 0)
            return n == -EINPROGRESS ? IOR_IO_DONE : n;
        resolved.count = (uint32_t)n;
    }
    resolve->lookup = NULL; /* lent, also where the callback ends the resource */
    struct ior_event ev = {.type = IOR_EV_RESOLVED};
    ev.resolved = &resolved;
    ior__tell(res, &ev);
    ior__lookup_drop(lookup);
    ior__end(res, IOR_EOF, 0, -1);
    return IOR_IO_DONE;
}

static void call_off(struct ior_resource *res, enum ior_why why)
{
    (void)why;
    ior__lookup_drop(resolve_of(res)->lookup);
    resolve_of(res)->lookup = NULL;
}

static void destroy(struct ior_resource *res)
{
    call_off(res, IOR_ASKED);
    ior__free(resolve_of(res), sizeof(struct resolve));
}

static const struct ior__kind kind = {
    .call_off = call_off,
};

const struct ior_resource_ops ior__resolve_ops = {
    .struct_size = sizeof(struct ior_resource_ops),
    .name = "resolve",
    .interests = interests,
    .handle_io = handle_io,
    .destroy = destroy,
    .reserved = &kind,
};

/* The resource is the caller's on failure. */
static int start(struct ior_context *cx, struct resolve *resolve, const struct ior__question *question,
                 uint64_t timeout_ns, ior_id *ret_id)
{
    struct ior_resource *res = &resolve->base;
    ior_id id;
    int literal = ior__question_literal(question, &resolve->literal);
    if (literal < 0)
        return literal;
    res->cx = cx;
    int err = ior__deadlines_reserve(res);
    if (err == 0 && !literal)
        err = ior__lookup_start(res, question, &resolve->lookup);
    if (err == 0)
        err = ior__attach_resource(cx, res, IOR__TELL_REGISTERED, &id);
    if (err < 0) {
        res->cx = cx;
        ior__deadlines_drop(res);
        res->cx = NULL;
        return err;
    }
    if (timeout_ns) /* cannot fail: its memory is reserved */
        (void)ior__deadline_set(res, IOR_DEADLINE_CONNECT, ior__deadline_after(cx->rt, timeout_ns));
    if (literal)
        ior__ready_add(cx->rt, res, IOR_READ);
    else
        ior__lookup_registered(resolve->lookup);
    *ret_id = id;
    return 0;
}

int ior_resolve(struct ior_context *cx, const char *host, unsigned port, const struct ior_resolve_options *opts,
                ior_id *ret_id)
{
    struct ior_resolve_options in;
    int err = ior__enter(cx);
    if (err == 0)
        err = ior__struct_in(&in, sizeof(in), opts, sizeof(in));
    if (err < 0)
        return err;
    struct ior__question question = {.host = host, .port = port, .family = in.family, .max = in.max_addrs};
    err = ret_id ? ior__question_check(&question) : -EINVAL;
    if (err == 0)
        err = ior__may_register(cx);
    if (err < 0)
        return err;
    struct resolve *resolve = ior__calloc(sizeof(*resolve));
    if (!resolve)
        return -ENOMEM;
    ior_resource_init(&resolve->base, &ior__resolve_ops, -1, in.user);
    err = start(cx, resolve, &question, in.timeout_ns, ret_id);
    if (err < 0)
        destroy(&resolve->base);
    return err;
}
