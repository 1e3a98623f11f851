/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whatever can happen to streams, at random: connects, floods, pauses, handovers, closes and resets, on peers that read
 * and write when they like. Every byte is checked on its way in and out, and in the end nothing may be left: no fd, no
 * block, no resource. The same seed gives the same peers, but not the same kernel. IOR_STORM_STEPS makes it longer.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ioreactor.h>

#include "support/check.h"
#include "support/live.h"
#include "support/net.h"

enum { PEERS = 60, STREAMS = 1000, STEPS = 4000, CHUNK = 30000, BACKLOG = 64 };

/* Of a stream; the runtime keeps it with the stream. */
struct tally {
    uint64_t in, out; /* bytes of the pattern that came, and that were taken to be sent */
    bool paused, moved, seen_eof, closing;
};

struct stream {
    ior_id id;
    struct tally *tally;
};

struct storm {
    struct ior_runtime *rt;
    struct ior_context *cx;
    uint64_t random;
    struct ior_addr addr;
    struct stream streams[STREAMS]; /* registered; id 0: free */
    struct ior_resource *handed[STREAMS];
    unsigned handed_n;
    bool stopping;
    struct {
        int fd; /* -1: none */
        uint64_t in, out;
        bool finished;
    } peers[PEERS];
    uint64_t registered, ended, eofs, errors, bytes;
};

static unsigned char scratch[CHUNK];

static uint64_t next_random(struct storm *s)
{
    s->random ^= s->random << 13;
    s->random ^= s->random >> 7;
    s->random ^= s->random << 17;
    return s->random;
}

static unsigned below(struct storm *s, unsigned n)
{
    return (unsigned)(next_random(s) >> 20) % n;
}

static const struct ior_stream_options stream_options = {
    .struct_size = sizeof(stream_options), .user_size = sizeof(struct tally), .drain_ns = 100 * IOR_NS_PER_MS};

/* ---- the service ---- */

static void note_stream(struct storm *s, ior_id id)
{
    s->registered++;
    for (unsigned i = 0; i < STREAMS; i++) {
        if (s->streams[i].id == 0) {
            s->streams[i] = (struct stream){.id = id, .tally = ior_user(s->cx, id)};
            return;
        }
    }
    fail_msg("more streams than there can be");
}

static void on_listener(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    ior_id id;
    if (ev->type == IOR_EV_ACCEPTED && ior_accept(cx, ev, &id) == 0)
        note_stream(self, id);
}

static void answer(struct storm *s, ior_id id, struct tally *tally)
{
    size_t len = 1 + below(s, CHUNK);
    net_pattern(scratch, tally->out, len);
    if (ior_send(s->cx, id, scratch, len) >= 0)
        tally->out += len;
}

static void on_end(struct storm *s, const struct ior_event *ev, const struct tally *tally)
{
    unsigned i = 0;
    while (i < STREAMS && s->streams[i].id != ev->id)
        i++;
    if (i < STREAMS)
        s->streams[i].id = 0;
    s->ended++;
    s->errors += ev->end.why == IOR_ERROR;
    if (ev->end.why == IOR_EOF)
        assert_int_equal(ev->end.unsent, 0);
    if (!tally->moved)
        assert_int_equal(ev->end.written + ev->end.unsent, tally->out);
}

static void on_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct storm *s = self;
    struct tally *tally = ev->user;
    (void)cx;
    if (ev->type == IOR_EV_DATA) {
        assert_false(tally->paused || tally->seen_eof);
        assert_true(net_is_pattern(ev->data.bytes, tally->in, ev->data.len));
        size_t back = below(s, 8) == 0 ? 1 + below(s, (unsigned)ev->data.len) : 0;
        if (ior_unread(s->cx, ev->id, back) < 0)
            back = 0;
        tally->in += ev->data.len - back;
        s->bytes += ev->data.len - back;
        if (below(s, 4) != 0)
            answer(s, ev->id, tally);
    } else if (ev->type == IOR_EV_EOF) {
        tally->seen_eof = true;
        s->eofs++;
    } else if (ev->type == IOR_EV_END) {
        on_end(s, ev, tally);
    }
}

static void on_handover(void *self, struct ior_context *cx, struct ior_resource *res)
{
    struct storm *s = self;
    (void)cx;
    if (s->stopping || s->handed_n == STREAMS || below(s, 3) == 0)
        ior_resource_free(res);
    else
        s->handed[s->handed_n++] = res;
}

static const struct ior_handler handler = {
    .struct_size = sizeof(handler),
    .listener = on_listener,
    .transport = on_transport,
    .handover_transport = on_handover,
};

/* What a thread with requests would do: something to a stream. */
static void disturb(struct storm *s)
{
    struct stream *stream = &s->streams[below(s, PEERS)];
    ior_id id = stream->id;
    if (id == 0)
        return;
    switch (below(s, 12)) {
    case 0:
        (void)ior_abort(s->cx, id);
        break;
    case 1:
        stream->tally->closing = true; /* what comes now is read and dropped */
        (void)ior_close(s->cx, id, 50 * IOR_NS_PER_MS);
        break;
    case 2:
    case 3:
        if (!stream->tally->seen_eof)
            (void)ior_unregister(s->cx, id);
        break;
    case 4:
    case 5:
    case 6:
        if (ior_pause(s->cx, id) == 0)
            stream->tally->paused = true;
        break;
    default:
        stream->tally->paused = false;
        (void)ior_resume(s->cx, id);
        answer(s, id, stream->tally);
        break;
    }
}

/* What was handed back goes on where it was, or not. */
static void register_again(struct storm *s)
{
    while (s->handed_n > 0 && below(s, 3) != 0) {
        struct ior_resource *res = s->handed[--s->handed_n];
        struct tally *tally = res->user;
        ior_id id;
        tally->paused = false;
        tally->moved = true;
        if (tally->seen_eof || tally->closing || ior_register(s->cx, res, &id) < 0)
            ior_resource_free(res);
        else
            note_stream(s, id);
    }
}

/* ---- the peers ---- */

static void connect_peer(struct storm *s, unsigned i)
{
    ior_id id;
    int fds[2];
    if (below(s, 2) == 0) {
        fds[1] = net_connect(&s->addr);
    } else {
        net_unix_pair(fds);
        assert_int_equal(ior_adopt(s->cx, fds[0], &stream_options, &id), 0);
        note_stream(s, id);
    }
    net_nonblock(fds[1]);
    s->peers[i].fd = fds[1];
    s->peers[i].in = s->peers[i].out = 0;
    s->peers[i].finished = false;
}

static void peer_writes(struct storm *s, unsigned i)
{
    for (unsigned n = 1 + below(s, 3); n > 0 && !s->peers[i].finished; n--) {
        size_t len = 1 + (below(s, 2) ? below(s, CHUNK) : below(s, 100));
        net_pattern(scratch, s->peers[i].out, len);
        ssize_t written = send(s->peers[i].fd, scratch, len, MSG_NOSIGNAL);
        if (written <= 0)
            return;
        s->peers[i].out += (uint64_t)written;
    }
}

/* False: it is over. */
static bool peer_reads(struct storm *s, unsigned i)
{
    for (unsigned n = below(s, 4); n > 0; n--) {
        ssize_t got = net_read_some(s->peers[i].fd, scratch, sizeof(scratch));
        if (got == -EAGAIN)
            return true;
        if (got <= 0)
            return false;
        assert_true(net_is_pattern(scratch, s->peers[i].in, (size_t)got));
        s->peers[i].in += (uint64_t)got;
    }
    return true;
}

static void step_peer(struct storm *s, unsigned i)
{
    if (s->peers[i].fd < 0) {
        if (below(s, 3) == 0 && !s->stopping)
            connect_peer(s, i);
        return;
    }
    peer_writes(s, i);
    bool over = !peer_reads(s, i);
    unsigned chance = below(s, 100);
    if (over || chance == 0) {
        net_close(&s->peers[i].fd);
    } else if (chance == 1) {
        net_reset(s->peers[i].fd);
        s->peers[i].fd = -1;
    } else if (chance < 4 && !s->peers[i].finished) {
        (void)shutdown(s->peers[i].fd, SHUT_WR);
        s->peers[i].finished = true;
    }
}

static unsigned storm_steps(void)
{
    const char *steps = getenv("IOR_STORM_STEPS");
    return steps ? (unsigned)strtoul(steps, NULL, 10) : STEPS;
}

static void run_storm(struct storm *s)
{
    for (unsigned step = 0, steps = storm_steps(); step < steps; step++) {
        for (unsigned n = 1 + below(s, 8); n > 0; n--)
            step_peer(s, below(s, PEERS));
        for (unsigned n = below(s, 3); n > 0; n--)
            disturb(s);
        register_again(s);
        assert_int_equal(ior_runtime_turn(s->rt, 0), 1);
    }
    s->stopping = true;
    for (unsigned i = 0; i < PEERS; i++) {
        if (s->peers[i].fd >= 0)
            net_close(&s->peers[i].fd);
    }
    while (s->handed_n > 0)
        ior_resource_free(s->handed[--s->handed_n]);
}

static void storm(const struct ior_engine_ops *ops)
{
    struct ior_config config = {.struct_size = sizeof(config), .engine_ops = ops};
    struct ior_listen_options listen_options = {
        .struct_size = sizeof(listen_options), .backlog = BACKLOG, .stream = stream_options};
    struct storm *s = calloc(1, sizeof(*s));
    size_t fds = net_fd_count();
    ior_id id;

    live_alloc_start();
    s->random = UINT64_C(88172645463325252);
    for (unsigned i = 0; i < PEERS; i++)
        s->peers[i].fd = -1;
    assert_int_equal(ior_runtime_new(&config, &handler, s, &s->rt), 0);
    s->cx = ior_runtime_context(s->rt);
    assert_int_equal(ior_addr_parse(&s->addr, "127.0.0.1:0"), 0);
    assert_int_equal(ior_listen(s->cx, &s->addr, &listen_options, &id), 0);
    assert_int_equal(ior_local(s->cx, id, &s->addr), 0);
    run_storm(s);
    ior_runtime_free(s->rt);
    print_message("%u streams, %u ends, %u of them errors, %u EOFs, %u KiB\n", (unsigned)s->registered,
                  (unsigned)s->ended, (unsigned)s->errors, (unsigned)s->eofs, (unsigned)(s->bytes / 1024));
    assert_int_equal(s->registered, s->ended);
    assert_true(s->bytes > 0);
    live_alloc_stop();
    assert_int_equal(net_fd_count(), fds);
    free(s);
}

static const struct ior_engine_ops *ops;
static struct ior_engine_ops staying;

static int open_and_stay(const struct ior_engine_config *config, void **ret_engine)
{
    int err = ops->open(config, ret_engine);
    if (err == 0)
        ops->stay(*ret_engine);
    return err;
}

static void a_storm_leaves_nothing_behind(void **state)
{
    (void)state;
    storm(ops);
}

/* As in a reactor's thread. */
static void a_storm_in_a_thread_of_its_own_does_not_either(void **state)
{
    (void)state;
    if (!(ops->features & IOR_ENGINE_DOES_IO) || !ops->stay)
        skip();
    staying = *ops;
    staying.open = open_and_stay;
    storm(&staying);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_storm_leaves_nothing_behind),
        cmocka_unit_test(a_storm_in_a_thread_of_its_own_does_not_either),
    };
    const char *name = ior_engine_from_env();

    ops = name ? ior_engine_named(name) : ior_engine_at(0);
    if (!ops) {
        printf("skipped: no engine \"%s\" in this build\n", name);
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
