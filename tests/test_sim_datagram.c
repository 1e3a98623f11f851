/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams in the simulated world: what the world does to them, and random stories over it. Each datagram of a story
 * has a number; the oracle knows from which socket to which one it was sent, and holds everything that is told of it
 * against that: whole, with the right addresses, never twice unless the world doubles, and in a world that loses nothing
 * either delivered or reported, exactly once.
 */
#include "support/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ioreactor/sim.h>

#define MS IOR_NS_PER_MS
#define OPTIONS(...) \
    (&(const struct ior_datagram_options){.struct_size = sizeof(struct ior_datagram_options), __VA_ARGS__})

static struct ior_addr addr_of(const char *text)
{
    struct ior_addr addr;
    assert_int_equal(ior_addr_parse(&addr, text), 0);
    return addr;
}

/* ---- the world ---- */

struct lone {
    struct ior_sim *sim;
    struct ior_runtime *rt;
    struct ior_context *cx;
    ior_id id;
    unsigned came, errors, ended;
    char last[64];
    struct ior_addr peer, local;
    int error;
    bool truncated, was_sent;
};

static void lone_event(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct lone *l = self;
    (void)cx;
    if (ev->type == IOR_EV_END)
        l->ended++;
    if (ev->type != IOR_EV_DATAGRAM && ev->type != IOR_EV_SEND_ERROR)
        return;
    const struct ior_datagram *d = ev->datagram;
    if (ev->type == IOR_EV_DATAGRAM)
        l->came++;
    else
        l->errors++;
    memset(l->last, 0, sizeof(l->last));
    if (d->bytes != NULL)
        memcpy(l->last, d->bytes, d->len < sizeof(l->last) - 1 ? d->len : sizeof(l->last) - 1);
    l->peer = *d->peer;
    l->local = *d->local;
    l->error = d->error;
    l->truncated = d->truncated;
    l->was_sent = d->was_sent;
}

static const struct ior_handler lone_handler = {.struct_size = sizeof(struct ior_handler), .transport = lone_event};

/* A service with one socket at 10.0.0.1:53; a second host for mailboxes. */
static void lone_begin(struct lone *l, const struct ior_sim_rates *rates, const struct ior_datagram_options *opts)
{
    struct ior_sim_config config = {.struct_size = sizeof(config), .seed = 7};
    struct ior_addr addr = addr_of("0.0.0.0:53");
    if (rates != NULL)
        config.rates = *rates;
    memset(l, 0, sizeof(*l));
    assert_int_equal(ior_sim_new(&config, &l->sim), 0);
    assert_int_equal(ior_sim_host(l->sim, "server"), 1);
    assert_int_equal(ior_sim_host(l->sim, "client"), 2);
    assert_int_equal(ior_sim_runtime_new(l->sim, 1, NULL, &lone_handler, l, &l->rt), 0);
    l->cx = ior_runtime_context(l->rt);
    assert_int_equal(ior_datagram_open(l->cx, &addr, opts, &l->id), 0);
    ior_sim_settle(l->sim);
}

static void lone_end(struct lone *l)
{
    ior_runtime_free(l->rt);
    assert_int_equal(ior_sim_free(l->sim), 0);
}

static void there_and_back(void **state)
{
    struct lone l;
    char bytes[16];
    struct ior_addr from, server = addr_of("10.0.0.1:53");
    (void)state;
    lone_begin(&l, NULL, OPTIONS(.tell_local = true, .max_bytes = 5));
    struct ior_sim_mailbox *mailbox = ior_sim_mailbox(l.sim, 2, "0.0.0.0:0");
    assert_non_null(mailbox);
    assert_null(ior_sim_mailbox(l.sim, 1, "0.0.0.0:53")); /* it is taken */
    assert_int_equal(ior_sim_mailbox_send(mailbox, &server, "hello!", 6), 0);
    ior_sim_settle(l.sim);
    assert_int_equal(l.came, 1);
    assert_string_equal(l.last, "hello");
    assert_true(l.truncated);
    struct ior_addr addr = ior_sim_mailbox_addr(mailbox);
    assert_true(ior_addr_equal(&l.peer, &addr));
    assert_true(ior_addr_equal(&l.local, &server));
    assert_int_equal(ior_send_from(l.cx, l.id, &l.local, &l.peer, "welcome", 7), 0);
    assert_int_equal(ior_send_to(l.cx, l.id, &l.peer, NULL, 0), 0);
    ior_sim_settle(l.sim);
    assert_int_equal(ior_sim_mailbox_take(mailbox, bytes, sizeof(bytes), &from), 7);
    assert_memory_equal(bytes, "welcome", 7);
    assert_true(ior_addr_equal(&from, &server));
    assert_int_equal(ior_sim_mailbox_take(mailbox, bytes, sizeof(bytes), NULL), 0);
    assert_int_equal(ior_sim_mailbox_take(mailbox, bytes, sizeof(bytes), NULL), -EAGAIN);
    ior_sim_mailbox_free(mailbox);
    lone_end(&l);
}

/* How many of a hundred arrive, and whether in order. */
static unsigned hundred(const struct ior_sim_rates *rates, bool *in_order)
{
    struct lone l;
    struct ior_addr server = addr_of("10.0.0.1:53");
    unsigned last = 0;
    lone_begin(&l, rates, NULL);
    struct ior_sim_mailbox *mailbox = ior_sim_mailbox(l.sim, 2, "0.0.0.0:0");
    *in_order = true;
    struct ior_addr to = ior_sim_mailbox_addr(mailbox);
    (void)server;
    for (unsigned i = 1; i <= 100; i++) {
        assert_int_equal(ior_send_to(l.cx, l.id, &to, &i, sizeof(i)), 0);
        ior_sim_run_for(l.sim, IOR_NS_PER_US);
    }
    ior_sim_settle(l.sim);
    unsigned n = 0, number;
    while (ior_sim_mailbox_take(mailbox, &number, sizeof(number), NULL) == sizeof(number)) {
        *in_order = *in_order && number > last;
        last = number;
        n++;
    }
    ior_sim_mailbox_free(mailbox);
    lone_end(&l);
    return n;
}

static void lost_doubled_and_overtaken(void **state)
{
    bool in_order;
    (void)state;
    assert_int_equal(hundred(NULL, &in_order), 100);
    assert_true(in_order);
    assert_int_equal(hundred(&(struct ior_sim_rates){.lost = 1}, &in_order), 0);
    assert_in_range(hundred(&(struct ior_sim_rates){.lost = 4}, &in_order), 50, 95);
    assert_true(in_order);
    assert_int_equal(hundred(&(struct ior_sim_rates){.duplicated = 1}, &in_order), 200);
    assert_int_equal(hundred(&(struct ior_sim_rates){.overtaken = 3}, &in_order), 100);
    assert_false(in_order);
}

static void nobody_is_told_by_icmp(void **state)
{
    struct lone l;
    struct ior_addr nobody = addr_of("10.0.0.2:9"), nowhere = addr_of("192.0.2.1:9");
    (void)state;
    lone_begin(&l, NULL, NULL);
    assert_int_equal(ior_send_to(l.cx, l.id, &nobody, "anyone?", 7), 0);
    ior_sim_settle(l.sim);
    assert_int_equal(l.errors, 1);
    assert_int_equal(l.error, ECONNREFUSED);
    assert_true(ior_addr_equal(&l.peer, &nobody));
    assert_string_equal(l.last, "anyone?");
    assert_int_equal(ior_send_to(l.cx, l.id, &nowhere, "far", 3), 0);
    ior_sim_settle(l.sim);
    assert_int_equal(l.errors, 2);
    assert_int_equal(l.error, ENETUNREACH);
    assert_int_equal(ior_sim_cut(l.sim, 1, 2), 0);
    assert_int_equal(ior_send_to(l.cx, l.id, &nobody, "cut", 3), 0);
    ior_sim_settle(l.sim);
    assert_int_equal(l.errors, 2);
    assert_int_equal(l.ended, 0);
    lone_end(&l);
}

static void a_queue_that_is_full_drops(void **state)
{
    struct lone l;
    struct ior_addr server = addr_of("10.0.0.1:53");
    char bytes[1000] = {0};
    (void)state;
    lone_begin(&l, NULL, NULL);
    struct ior_sim_mailbox *mailbox = ior_sim_mailbox(l.sim, 2, "0.0.0.0:0");
    assert_int_equal(ior_pause(l.cx, l.id), 0);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(ior_sim_mailbox_send(mailbox, &server, bytes, sizeof(bytes)), 0);
        ior_sim_settle(l.sim);
    }
    assert_int_equal(l.came, 0);
    assert_int_equal(ior_resume(l.cx, l.id), 0);
    ior_sim_settle(l.sim);
    assert_in_range(l.came, 60, 70); /* 64 KiB of them */
    ior_sim_mailbox_free(mailbox);
    lone_end(&l);
}

/* Errors of older datagrams, one after the other: none of them takes the one that is to be sent now. */
static void an_older_ones_error_costs_nothing(void **state)
{
    struct lone l;
    struct ior_addr local = addr_of("10.0.0.1:54");
    char bytes[8];
    ior_id id = 0;
    (void)state;
    lone_begin(&l, NULL, NULL);
    struct ior_sim_mailbox *mailbox = ior_sim_mailbox(l.sim, 2, "10.0.0.2:99");
    struct ior_addr peer = ior_sim_mailbox_addr(mailbox);
    assert_int_equal(ior_datagram_open(l.cx, &local, OPTIONS(.peer = &peer), &id), 0);
    struct ior_sim_fault fault = {.call = IOR_SIM_SEND_DATAGRAMS, .error = ECONNREFUSED, .count = 3};
    assert_int_equal(ior_sim_fail(l.sim, &fault), 0);
    assert_int_equal(ior_send(l.cx, id, "new", 3), 0);
    ior_sim_settle(l.sim);
    assert_int_equal(l.errors, 3);
    assert_int_equal(l.error, ECONNREFUSED);
    assert_string_equal(l.last, ""); /* nobody knows which it was */
    assert_true(l.was_sent);
    assert_int_equal(ior_sim_mailbox_take(mailbox, bytes, sizeof(bytes), NULL), 3);
    /* What a send may find out itself is its own the second time. */
    fault.error = ENETUNREACH;
    fault.count = 2;
    assert_int_equal(ior_sim_fail(l.sim, &fault), 0);
    assert_int_equal(ior_send(l.cx, id, "none", 4), 0);
    assert_int_equal(ior_send(l.cx, id, "next", 4), 0);
    ior_sim_settle(l.sim);
    assert_int_equal(l.errors, 4);
    assert_string_equal(l.last, "none");
    assert_false(l.was_sent);
    assert_int_equal(ior_sim_mailbox_take(mailbox, bytes, sizeof(bytes), NULL), 4);
    assert_memory_equal(bytes, "next", 4);
    ior_sim_mailbox_free(mailbox);
    lone_end(&l);
}

/* A queue without bytes is not empty. */
static void a_close_sends_an_empty_datagram_too(void **state)
{
    struct lone l;
    char bytes[8];
    (void)state;
    lone_begin(&l, NULL, NULL);
    struct ior_sim_mailbox *mailbox = ior_sim_mailbox(l.sim, 2, "10.0.0.2:99");
    struct ior_addr peer = ior_sim_mailbox_addr(mailbox);
    struct ior_sim_fault fault = {.call = IOR_SIM_SEND_DATAGRAMS, .error = EAGAIN};
    assert_int_equal(ior_sim_fail(l.sim, &fault), 0);
    assert_int_equal(ior_send_to(l.cx, l.id, &peer, NULL, 0), 0);
    assert_int_equal(ior_close(l.cx, l.id, IOR_NEVER), 0);
    ior_sim_settle(l.sim);
    assert_int_equal(l.ended, 1);
    assert_int_equal(ior_sim_mailbox_take(mailbox, bytes, sizeof(bytes), NULL), 0);
    ior_sim_mailbox_free(mailbox);
    lone_end(&l);
}

/* ---- stories ---- */

enum { HOSTS = 2, SOCKETS = 10, SENT_MOST = 20000, HEAD = 12, STEPS = 250 };

struct socket_of {
    int host; /* 1 .. HOSTS */
    int family;
    ior_id id;
    struct ior_addr addr; /* as others see it */
    int peer;             /* connected to it; -1: to nobody */
    bool paused, closing, owed, keeps;
    unsigned lives;             /* how often it began or stopped to hear */
    uint64_t accepted, failed;  /* bytes, in this registration; what was taken over included */
    uint64_t written;           /* as END said */
    uint32_t heard_of[SOCKETS]; /* the last number from each */
};

struct sent {
    int from, to; /* to -1: nobody */
    uint32_t len;
    unsigned came, failed, dropped;
    unsigned lives; /* of the receiver when it was sent */
};

struct story {
    struct ior_sim *sim;
    struct ior_runtime *rts[HOSTS];
    struct ior_context *cxs[HOSTS];
    struct socket_of sockets[SOCKETS];
    struct sent *sent;
    uint32_t sent_n;
    uint64_t random;
    bool lossy, doubles, reorders, over;
    unsigned unknown_errors, delivered, reported;
};

static uint64_t draw(struct story *s, uint64_t n)
{
    uint64_t x = s->random += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (x ^ (x >> 31)) % n;
}

static struct socket_of *socket_with(struct story *s, ior_id id, int host)
{
    for (int i = 0; i < SOCKETS; i++) {
        if (s->sockets[i].id == id && s->sockets[i].host == host)
            return &s->sockets[i];
    }
    fail_msg("an event of a socket that is none");
    return NULL;
}

static unsigned char filler(uint32_t number, size_t at)
{
    return (unsigned char)(number * 7 + at * 13);
}

/* Two addresses of one endpoint, where one may be the IPv4 form in IPv6. */
static bool same_endpoint(const struct ior_addr *a, const struct ior_addr *b)
{
    char text[2][IOR_ADDR_TEXT_MAX], *at[2] = {text[0], text[1]};
    if (ior_addr_equal(a, b))
        return true;
    assert_true(ior_addr_format(a, text[0], sizeof(text[0])) > 0);
    assert_true(ior_addr_format(b, text[1], sizeof(text[1])) > 0);
    for (int i = 0; i < 2; i++) {
        if (strncmp(at[i], "[::ffff:", 8) == 0) {
            at[i] += 8;
            char *end = strchr(at[i], ']');
            memmove(end, end + 1, strlen(end));
        }
    }
    return strcmp(at[0], at[1]) == 0;
}

/* The note of a datagram, which must be whole; NULL: an empty one. */
static struct sent *look_up(struct story *s, const void *bytes, size_t len)
{
    uint32_t number;
    const unsigned char *at = bytes;
    if (len == 0)
        return NULL;
    assert_true(len >= HEAD);
    memcpy(&number, bytes, sizeof(number));
    assert_true(number < s->sent_n);
    struct sent *sent = &s->sent[number];
    if (len != sent->len)
        fail_msg("number %u has %zu bytes instead of %u", number, len, sent->len);
    for (size_t i = sizeof(number); i < len; i++)
        assert_int_equal(at[i], filler(number, i));
    return sent;
}

static void came(struct story *s, struct socket_of *to, const struct ior_datagram *d)
{
    assert_false(to->paused);
    assert_false(to->closing);
    assert_false(d->truncated);
    struct sent *sent = look_up(s, d->bytes, d->len);
    s->delivered++;
    if (sent == NULL)
        return;
    const struct socket_of *from = &s->sockets[sent->from];
    assert_ptr_equal(to, &s->sockets[sent->to]);
    assert_true(same_endpoint(d->peer, &from->addr));
    assert_true(same_endpoint(d->local, &to->addr));
    uint32_t number = (uint32_t)(sent - s->sent) + 1;
    if (!s->reorders && !s->doubles && number <= to->heard_of[sent->from])
        fail_msg("number %u came behind %u", number - 1, to->heard_of[sent->from] - 1);
    to->heard_of[sent->from] = number;
    if (++sent->came > (s->doubles ? 2 : 1))
        fail_msg("number %u came %u times", number - 1, sent->came);
    assert_true(s->doubles || sent->failed + sent->dropped == 0);
}

static void failed(struct story *s, struct socket_of *from, const struct ior_datagram *d)
{
    assert_true(d->error > 0);
    s->reported++;
    if (d->bytes == NULL) {
        s->unknown_errors++;
        return;
    }
    struct sent *sent = look_up(s, d->bytes, d->len);
    if (sent == NULL)
        return;
    assert_ptr_equal(from, &s->sockets[sent->from]);
    if (sent->to >= 0)
        assert_true(same_endpoint(d->peer, &s->sockets[sent->to].addr));
    sent->failed++;
    assert_true(s->doubles || sent->failed + sent->came == 1);
}

static void take_over(struct story *s, struct socket_of *at, struct ior_resource *res, bool keeps)
{
    struct iovec iov[512];
    int n = 0;
    size_t unsent = ior_resource_unsent(res, iov, 512, &n), sum = 0;
    assert_in_range(n, 0, 512);
    for (int i = 0; i < n; i++) {
        struct sent *sent = look_up(s, iov[i].iov_base, iov[i].iov_len);
        sum += iov[i].iov_len;
        if (sent != NULL && !keeps)
            sent->dropped++;
    }
    assert_int_equal(sum, unsent);
    at->accepted = unsent;
    (void)ior_resource_unread(res, iov, 512, &n);
    assert_in_range(n, 0, 31);
    for (int i = 0; i < n; i++) {
        struct sent *sent = look_up(s, iov[i].iov_base, iov[i].iov_len);
        if (sent != NULL && !keeps && sent->came == 0)
            sent->dropped++;
    }
}

static struct story *now; /* handlers have the host for `self` */
static int hosts[HOSTS] = {1, 2};

static void on_event(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct story *s = now;
    struct socket_of *at = socket_with(s, ev->id, *(int *)self);
    (void)cx;
    switch (ev->type) {
    case IOR_EV_DATAGRAM:
        came(s, at, ev->datagram);
        if (!s->over && draw(s, 40) == 0 && ior_pause(s->cxs[at->host - 1], at->id) == 0)
            at->paused = !at->closing;
        break;
    case IOR_EV_SEND_ERROR:
        failed(s, at, ev->datagram);
        if (!ev->datagram->was_sent)
            at->failed += ev->datagram->len;
        break;
    case IOR_EV_DRAINED:
        assert_true(at->owed);
        at->owed = false;
        break;
    case IOR_EV_END:
        at->written = ev->end.written;
        assert_int_equal(ev->end.written + ev->end.unsent + at->failed, at->accepted);
        break;
    default:
        fail_msg("%s", ior_event_name(ev->type));
    }
}

static void on_handover(void *self, struct ior_context *cx, struct ior_resource *res)
{
    struct story *s = now;
    struct socket_of *at = NULL;
    for (int i = 0; i < SOCKETS; i++) {
        if (s->sockets[i].host == *(int *)self && res->user == &s->sockets[i])
            at = &s->sockets[i];
    }
    assert_non_null(at);
    bool keeps = at->keeps;
    take_over(s, at, res, keeps);
    at->failed = 0;
    at->paused = at->closing = at->owed = false;
    at->id = 0;
    if (keeps && ior_register(cx, res, &at->id) == 0) {
        at->accepted += at->written; /* END counts what was written in the whole life */
        return;
    }
    if (keeps)
        take_over(s, at, res, false); /* refused: it is dropped after all */
    at->lives++;
    ior_resource_free(res);
}

static void on_error(void *self, struct ior_context *cx, ior_id id, int err)
{
    (void)self;
    (void)cx;
    (void)id;
    assert_true(err == ENOMEM || err == ENOBUFS || err == ENOSPC);
}

static const struct ior_handler story_handler = {
    .struct_size = sizeof(struct ior_handler),
    .transport = on_event,
    .error = on_error,
    .handover_transport = on_handover,
};

/* What the places are: families 4, 6 and 1 (Unix), on both hosts; two are connected to each other. */
static void open_socket(struct story *s, int i)
{
    struct socket_of *at = &s->sockets[i];
    char text[64];
    int host = i % 2 + 1;
    int family = i < 4 ? 4 : i < 6 ? 6 : i < 8 ? 4 : 1;
    if (family == 1)
        host = 1; /* they share a file system */
    if (family == 1)
        snprintf(text, sizeof(text), "unix:/run/%d", i);
    else if (family == 6)
        snprintf(text, sizeof(text), "[::]:%d", 1000 + i);
    else if (i < 2)
        snprintf(text, sizeof(text), "0.0.0.0:%d", 1000 + i);
    else
        snprintf(text, sizeof(text), "10.0.0.%d:%d", host, 1000 + i);
    struct ior_addr local = addr_of(text);
    at->host = host;
    at->family = family;
    at->peer = i == 6 || i == 7 ? 13 - i : -1;
    at->addr = family == 1 ? local : ior_sim_host_addr(s->sim, host, family == 6, 1000 + (unsigned)i);
    struct ior_addr peer = ior_sim_host_addr(s->sim, i == 6 ? 2 : 1, false, 1000 + 13 - (unsigned)i);
    int err = ior_datagram_open(s->cxs[host - 1], &local,
                                OPTIONS(.user = at, .tell_local = family != 1, .max_bytes = 2000,
                                        .high_bytes = draw(s, 2) ? 3000 : 0, .read_when_full = draw(s, 2) == 0,
                                        .peer = at->peer >= 0 ? &peer : NULL),
                                &at->id);
    at->accepted = at->failed = 0;
    at->lives++; /* what was sent before it was there is lost */
    if (err < 0)
        at->id = 0; /* a fault */
}

static void send_some(struct story *s)
{
    int from = (int)draw(s, SOCKETS);
    struct socket_of *at = &s->sockets[from];
    if (at->id == 0)
        return;
    for (uint64_t n = 1 + draw(s, draw(s, 8) ? 4 : 60); n > 0 && s->sent_n < SENT_MOST; n--) {
        unsigned char bytes[1500];
        size_t len = draw(s, 30) == 0 ? 0 : (size_t)(HEAD + draw(s, draw(s, 5) ? 50 : sizeof(bytes) - HEAD));
        int to = at->peer >= 0 ? at->peer : (int)draw(s, SOCKETS);
        if (s->sockets[to].family != at->family)
            continue;
        if (s->sockets[to].peer >= 0 && s->sockets[to].peer != from)
            continue; /* it hears its peer alone */
        struct ior_addr addr = s->sockets[to].addr;
        if (at->peer < 0 && draw(s, 30) == 0 && at->family == 4) {
            addr = addr_of("10.0.0.2:9");
            to = -1;
        }
        uint32_t number = s->sent_n;
        memcpy(bytes, &number, sizeof(number));
        for (size_t i = sizeof(number); i < len; i++)
            bytes[i] = filler(number, i);
        int r = at->peer >= 0 ? ior_send(s->cxs[at->host - 1], at->id, bytes, len)
                              : ior_send_to(s->cxs[at->host - 1], at->id, &addr, bytes, len);
        if (r < 0) {
            assert_true(r == -ENOBUFS || r == -EPIPE || r == -ENOMEM);
            at->owed = at->owed || (r == -ENOBUFS && !at->closing);
            return;
        }
        at->owed = at->owed || r == 1;
        at->accepted += len;
        if (len == 0)
            continue;
        s->sent[s->sent_n++] =
            (struct sent){.from = from, .to = to, .len = (uint32_t)len, .lives = to >= 0 ? s->sockets[to].lives : 0};
    }
}

static void act(struct story *s)
{
    int i = (int)draw(s, SOCKETS);
    struct socket_of *at = &s->sockets[i];
    struct ior_context *cx = s->cxs[at->host - 1];
    switch (draw(s, 12)) {
    case 0:
        if (at->id != 0 && ior_pause(cx, at->id) == 0)
            at->paused = !at->closing;
        break;
    case 1:
    case 2:
        if (at->id != 0 && ior_resume(cx, at->id) == 0)
            at->paused = false;
        break;
    case 3:
        if (at->id == 0) {
            open_socket(s, i);
        } else if (draw(s, 4) == 0) {
            at->keeps = draw(s, 2) == 0;
            assert_int_equal(at->closing ? 0 : ior_close(cx, at->id, draw(s, 2) ? IOR_NEVER : MS), 0);
            at->lives += !at->closing; /* it hears nothing any more */
            at->closing = true;
            at->paused = at->owed = false;
        }
        break;
    case 4:
        if (at->id != 0 && draw(s, 3) == 0) {
            at->keeps = draw(s, 3) > 0;
            assert_int_equal(ior_unregister(cx, at->id), 0);
            at->paused = true; /* nothing but END */
            ior_sim_settle(s->sim);
        }
        break;
    default:
        send_some(s);
        break;
    }
    if (draw(s, 3) == 0)
        ior_sim_run_for(s->sim, draw(s, 100) * IOR_NS_PER_US);
    else
        (void)ior_sim_step(s->sim);
}

/* In a world that loses nothing: each was delivered or reported, or its receiver, or the queue it was in, is gone. */
static void check_all(const struct story *s)
{
    for (uint32_t i = 0; i < s->sent_n; i++) {
        const struct sent *sent = &s->sent[i];
        if (sent->to < 0 || sent->dropped > 0 || s->sockets[sent->to].lives != sent->lives ||
            s->sockets[sent->to].id == 0)
            continue;
        if (sent->came + sent->failed == 0 && !s->lossy)
            fail_msg("number %u of %d to %d was lost", i, sent->from, sent->to);
    }
    for (int i = 0; i < SOCKETS; i++) {
        if (s->sockets[i].id != 0 && !s->sockets[i].closing)
            assert_false(s->sockets[i].owed);
    }
}

static void on_violation(void *arg, enum ior_sim_violation what, const char *text)
{
    (void)arg;
    print_error("%s: %s\n", ior_sim_violation_name(what), text);
}

static uint64_t play(uint64_t seed, enum ior_sim_shape shape)
{
    struct story s = {.random = seed * 1000 + 1};
    struct ior_sim_config config = {.struct_size = sizeof(config), .seed = seed, .shape = shape};
    config.link.buffer_bytes = 4 << 20;
    config.violation = on_violation;
    if (seed % 2) {
        config.rates = (struct ior_sim_rates){.short_read = 5,
                                              .short_write = 5,
                                              .again = 7,
                                              .interrupted = 9,
                                              .no_memory = 30,
                                              .other_error = 60,
                                              .delayed = 9,
                                              .reordered = 3,
                                              .spurious = 9};
    }
    s.lossy = seed % 3 == 2;
    s.doubles = seed % 5 == 4;
    s.reorders = seed % 7 == 3;
    config.rates.lost = s.lossy ? 5 : 0;
    config.rates.duplicated = s.doubles ? 5 : 0;
    config.rates.overtaken = s.reorders ? 5 : 0;
    if (s.lossy)
        config.link.buffer_bytes = 20000;
    now = &s;
    s.sent = calloc(SENT_MOST, sizeof(*s.sent));
    assert_non_null(s.sent);
    assert_int_equal(ior_sim_new(&config, &s.sim), 0);
    for (int h = 0; h < HOSTS; h++) {
        struct ior_config rt_config = {.struct_size = sizeof(rt_config)};
        assert_int_equal(ior_sim_host(s.sim, NULL), h + 1);
        while (ior_sim_runtime_new(s.sim, h + 1, &rt_config, &story_handler, &hosts[h], &s.rts[h]) < 0) {
        }
        s.cxs[h] = ior_runtime_context(s.rts[h]);
    }
    for (int i = 0; i < SOCKETS; i++) {
        open_socket(&s, i);
        for (int tries = 0; s.sockets[i].id == 0 && tries < 50; tries++)
            open_socket(&s, i);
    }
    for (int i = 0; i < STEPS; i++)
        act(&s);
    s.over = true;
    struct ior_sim_rates calm = {.lost = config.rates.lost};
    ior_sim_set_rates(s.sim, &calm);
    for (int i = 0; i < SOCKETS; i++) {
        if (s.sockets[i].id != 0 && ior_resume(s.cxs[s.sockets[i].host - 1], s.sockets[i].id) == 0)
            s.sockets[i].paused = false;
    }
    ior_sim_run_for(s.sim, IOR_NS_PER_SEC);
    ior_sim_settle(s.sim);
    check_all(&s);
    for (int h = 0; h < HOSTS; h++) {
        for (int i = 0; i < SOCKETS; i++)
            s.sockets[i].keeps = false;
        ior_runtime_free(s.rts[h]);
    }
    uint64_t hash = ior_sim_hash(s.sim);
    assert_true(s.delivered > 50);
    assert_int_equal(ior_sim_free(s.sim), 0);
    free(s.sent);
    return hash;
}

static uint64_t playing;

static int tell_seed(void **state)
{
    (void)state;
    print_message("the last seed was %llu\n", (unsigned long long)playing);
    return 0;
}

static void each_is_delivered_whole_or_reported_once(void **state)
{
    uint64_t seeds = 150;
    const char *more = getenv("IOR_DATAGRAM_SEEDS");
    (void)state;
    if (more != NULL)
        seeds = strtoull(more, NULL, 10);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        playing = seed;
        (void)play(seed, IOR_SIM_SHAPE_READY);
        (void)play(seed, IOR_SIM_SHAPE_DONE);
    }
}

static void the_same_seed_is_the_same_story(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++)
        assert_true(play(seed, IOR_SIM_SHAPE_READY) == play(seed, IOR_SIM_SHAPE_READY));
    assert_true(play(1, IOR_SIM_SHAPE_READY) != play(2, IOR_SIM_SHAPE_READY));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(lost_doubled_and_overtaken),
        cmocka_unit_test(nobody_is_told_by_icmp),
        cmocka_unit_test(a_queue_that_is_full_drops),
        cmocka_unit_test(an_older_ones_error_costs_nothing),
        cmocka_unit_test(a_close_sends_an_empty_datagram_too),
        cmocka_unit_test_teardown(each_is_delivered_whole_or_reported_once, tell_seed),
        cmocka_unit_test(the_same_seed_is_the_same_story),
    };
    return cmocka_run_group_tests_name("sim_datagram", tests, NULL, NULL);
}
