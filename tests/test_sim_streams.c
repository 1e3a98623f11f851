/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated world: connections, as a service and plain peers see them. The expectations are what Linux does.
 */
#include "support/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/sim_box.h"

#define MS IOR_NS_PER_MS

static struct ior_sim_peer_info info_of(const struct ior_sim_peer *peer)
{
    struct ior_sim_peer_info info;
    ior_sim_peer_info(peer, &info);
    return info;
}

static void what_is_said_is_echoed(void **state)
{
    struct box box = {0};
    (void)state;
    box_init(&box, NULL);
    struct ior_sim_peer *peer = ior_sim_dial(box.sim, box.client, BOX_ADDR);
    assert_int_equal(ior_sim_say(peer, "hello", 5), 0); /* before it is connected */
    assert_int_equal(ior_sim_expect(peer, "hello", 5), 0);
    assert_int_equal(box.accepted, 1);
    assert_int_equal(box.opened, 1);
    ior_sim_hang_up(peer);
    ior_sim_settle(box.sim);
    assert_int_equal(box.ended, 1);
    assert_int_equal(box.last_why, IOR_EOF);
    assert_int_equal(box_free(&box), 0);
}

static void all_families_connect(void **state)
{
    static const char *const addrs[] = {"10.0.0.1:7000", "[fd00::1]:7000", "[::]:7000", "0.0.0.0:7000"};
    static const char *const dials[] = {"10.0.0.1:7000", "[fd00::1]:7000", "10.0.0.1:7000", "10.0.0.1:7000"};
    (void)state;
    for (size_t i = 0; i < sizeof(addrs) / sizeof(addrs[0]); i++) {
        struct box box = {.listen = addrs[i]};
        char text[IOR_ADDR_TEXT_MAX];
        struct ior_addr addr;
        box_init(&box, NULL);
        struct ior_sim_peer *peer = ior_sim_dial(box.sim, box.client, dials[i]);
        ior_sim_say(peer, "x", 1);
        assert_int_equal(ior_sim_expect(peer, "x", 1), 0);
        assert_int_equal(ior_peer(box.cx, box.last, &addr), 0);
        assert_true(ior_addr_format(&addr, text, sizeof(text)) > 0);
        if (i == 2) /* an IPv4 peer of an IPv6 listener */
            assert_memory_equal(text, "[::ffff:10.0.0.2]:", 18);
        assert_int_equal(box_free(&box), 0);
    }
}

static void unix_sockets_connect_on_their_host(void **state)
{
    struct box box = {.listen = "unix:/run/box"};
    (void)state;
    box_init(&box, NULL);
    assert_true(ior_sim_path_exists(box.sim, box.server, "/run/box"));
    struct ior_sim_peer *peer = ior_sim_dial(box.sim, box.server, "unix:/run/box");
    assert_int_equal(info_of(peer).state, IOR_SIM_PEER_OPEN); /* at once */
    ior_sim_say(peer, "abc", 3);
    assert_int_equal(ior_sim_expect(peer, "abc", 3), 0);
    ior_sim_settle(box.sim);
    ior_sim_finish(peer);
    ior_sim_settle(box.sim);
    assert_int_equal(box.eofs, 1);
    assert_int_equal(box.ended, 1);
    struct ior_sim_peer *other = ior_sim_dial(box.sim, box.client, "unix:/run/box");
    assert_int_equal(info_of(other).error, ENOENT);
    box_stop(&box);
    assert_false(ior_sim_path_exists(box.sim, box.server, "/run/box"));
    assert_int_equal(box_free(&box), 0);
}

static void nobody_listens(void **state)
{
    struct box box = {0};
    (void)state;
    box_init(&box, NULL);
    struct ior_sim_peer *peer = ior_sim_dial(box.sim, box.client, "10.0.0.1:7001");
    assert_int_equal(info_of(peer).state, IOR_SIM_PEER_CONNECTING);
    ior_sim_settle(box.sim);
    assert_int_equal(info_of(peer).state, IOR_SIM_PEER_CLOSED);
    assert_int_equal(info_of(peer).error, ECONNREFUSED);
    assert_int_equal(ior_sim_say(peer, "x", 1), -EPIPE);
    assert_int_equal(box_free(&box), 0);
}

static void the_way_takes_its_time(void **state)
{
    struct box box = {0};
    const struct ior_sim_link link = {.latency_ns = 10 * MS, .bytes_per_sec = 1000000};
    char bytes[10000] = {0};
    (void)state;
    box_init(&box, NULL);
    assert_int_equal(ior_sim_link(box.sim, box.server, box.client, &link), 0);
    uint64_t begin_ns = ior_sim_now(box.sim);
    struct ior_sim_peer *peer = box_dial(&box);
    assert_int_equal(ior_sim_now(box.sim) - begin_ns, 20 * MS);
    begin_ns = ior_sim_now(box.sim);
    ior_sim_say(peer, bytes, sizeof(bytes));
    assert_int_equal(ior_sim_expect(peer, bytes, sizeof(bytes)), 0);
    /* 10 ms each on the line, 10 ms each on the way. */
    assert_int_equal(ior_sim_now(box.sim) - begin_ns, 40 * MS);
    assert_int_equal(box_free(&box), 0);
}

static void a_peer_that_does_not_hear_stops_the_service(void **state)
{
    struct box box = {0};
    (void)state;
    box_init(&box, NULL);
    struct ior_sim_peer *peer = box_dial(&box);
    size_t len = 1000000;
    char *bytes = calloc(1, len);
    ior_sim_say(peer, bytes, len);
    ior_sim_settle(box.sim);
    struct ior_sim_peer_info info = info_of(peer);
    assert_true(info.ready > 0 && info.ready <= 65536);
    assert_true(info.unsaid > 0);
    assert_true(box.bytes < len);
    ior_sim_drain(peer, UINT64_MAX);
    ior_sim_settle(box.sim);
    info = info_of(peer);
    assert_int_equal(info.heard, len);
    assert_int_equal(info.unsaid, 0);
    assert_int_equal(info.sum, ior_sim_sum(0, bytes, len));
    free(bytes);
    assert_int_equal(box_free(&box), 0);
}

static void a_slow_peer_takes_its_time(void **state)
{
    struct box box = {0};
    char bytes[50000] = {0};
    (void)state;
    box_init(&box, NULL);
    struct ior_sim_peer *peer = box_dial(&box);
    ior_sim_drain(peer, 10000);
    uint64_t begin_ns = ior_sim_now(box.sim);
    ior_sim_say(peer, bytes, sizeof(bytes));
    ior_sim_settle(box.sim);
    assert_int_equal(info_of(peer).heard, sizeof(bytes));
    uint64_t took_ns = ior_sim_now(box.sim) - begin_ns;
    assert_true(took_ns >= 5 * IOR_NS_PER_SEC && took_ns < 6 * IOR_NS_PER_SEC);
    assert_int_equal(box_free(&box), 0);
}

static void a_peer_finishes_and_still_hears(void **state)
{
    struct box box = {0};
    (void)state;
    box_init(&box, NULL);
    struct ior_sim_peer *peer = box_dial(&box);
    ior_sim_say(peer, "last words", 10);
    ior_sim_finish(peer);
    assert_int_equal(ior_sim_say(peer, "x", 1), -EPIPE);
    assert_int_equal(ior_sim_expect(peer, "last words", 10), 0);
    ior_sim_settle(box.sim);
    assert_int_equal(box.eofs, 1);
    assert_int_equal(ior_sim_hear(peer, (char[1]){0}, 1), 0);
    assert_true(info_of(peer).eof);
    assert_int_equal(box_free(&box), 0);
}

static void the_end_comes_behind_all_that_was_said(void **state)
{
    struct box box = {0};
    size_t len = 300000;
    char *bytes = calloc(1, len);
    (void)state;
    box_init(&box, NULL);
    for (int hangs_up = 0; hangs_up < 2; hangs_up++) {
        struct ior_sim_peer *peer = ior_sim_dial(box.sim, box.client, BOX_ADDR);
        box.bytes = 0;
        ior_sim_say(peer, bytes, len);
        assert_true(info_of(peer).unsaid > 0);
        if (hangs_up) {
            ior_sim_drain(peer, UINT64_MAX);
            ior_sim_hang_up(peer);
        } else {
            ior_sim_finish(peer);
            ior_sim_drain(peer, UINT64_MAX);
        }
        ior_sim_settle(box.sim);
        assert_int_equal(box.bytes, len);
        assert_int_equal(box.ended, hangs_up + 1);
        if (!hangs_up)
            assert_int_equal(info_of(peer).heard, len);
    }
    free(bytes);
    assert_int_equal(box_free(&box), 0);
}

static void a_reset_is_the_services_error(void **state)
{
    struct box box = {0};
    (void)state;
    box_init(&box, NULL);
    struct ior_sim_peer *peer = box_dial(&box);
    ior_sim_reset(peer);
    ior_sim_settle(box.sim);
    assert_int_equal(box.ended, 1);
    assert_int_equal(box.last_why, IOR_ERROR);
    assert_int_equal(box.last_error, ECONNRESET);
    assert_int_equal(box_free(&box), 0);
}

static void an_abort_is_the_peers_error(void **state)
{
    struct box box = {0};
    (void)state;
    box_init(&box, NULL);
    struct ior_sim_peer *peer = box_dial(&box);
    assert_int_equal(ior_abort(box.cx, box.last), 0);
    ior_sim_settle(box.sim);
    assert_int_equal(info_of(peer).error, ECONNRESET);
    assert_int_equal(ior_sim_hear(peer, (char[1]){0}, 1), -ECONNRESET);
    assert_int_equal(box_free(&box), 0);
}

static void close_over_unread_input_is_a_reset(void **state)
{
    struct box box = {0};
    (void)state;
    if (box_shape == IOR_SIM_SHAPE_DONE)
        return; /* the engine has read it */
    box_init(&box, NULL);
    struct ior_sim_peer *peer = box_dial(&box);
    assert_int_equal(ior_pause(box.cx, box.last), 0);
    ior_sim_say(peer, "unread", 6);
    ior_sim_settle(box.sim);
    assert_int_equal(ior_unregister(box.cx, box.last), 0);
    ior_sim_settle(box.sim);
    assert_int_equal(info_of(peer).error, ECONNRESET);
    assert_int_equal(box_free(&box), 0);
}

static void who_sends_to_nobody_is_reset(void **state)
{
    struct box box = {0};
    (void)state;
    box_init(&box, NULL);
    struct ior_sim_peer *peer = box_dial(&box);
    ior_id id = box.last;
    ior_sim_hang_up(peer);
    assert_int_equal(ior_send(box.cx, id, "to nobody", 9), 0);
    ior_sim_settle(box.sim);
    assert_int_equal(box.ended, 1);
    assert_int_equal(box_free(&box), 0);
}

/* The end came first; what is sent all the same meets nobody, and is answered by a reset. */
static void a_half_open_stream_to_nobody_is_reset(void **state)
{
    struct box box = {.listen = ""};
    struct ior_addr addr;
    const struct ior_listen_options opts = {.struct_size = sizeof(opts),
                                            .stream = {.struct_size = sizeof(opts.stream), .half_open = true}};
    (void)state;
    box_init(&box, NULL);
    assert_int_equal(ior_addr_parse(&addr, BOX_ADDR), 0);
    assert_int_equal(ior_listen(box.cx, &addr, &opts, &box.listener), 0);
    box.listen = BOX_ADDR;
    struct ior_sim_peer *peer = box_dial(&box);
    ior_sim_hang_up(peer);
    ior_sim_settle(box.sim);
    assert_int_equal(box.eofs, 1);
    assert_int_equal(box.ended, 0);
    assert_int_equal(ior_send(box.cx, box.last, "to nobody", 9), 0);
    ior_sim_settle(box.sim);
    assert_int_equal(box.ended, 1);
    assert_int_equal(box.last_error, EPIPE);
    assert_int_equal(box_free(&box), 0);
}

static void segments_do_not_overtake(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct box box = {0};
        struct ior_sim_config config = box_config(&box, seed, false);
        const char text[] = "in this order, and then the end";
        config.link = (struct ior_sim_link){.latency_ns = MS, .jitter_ns = 20 * MS};
        box_init(&box, &config);
        struct ior_sim_peer *peer = box_dial(&box);
        for (size_t i = 0; i < sizeof(text); i++)
            ior_sim_say(peer, text + i, 1);
        ior_sim_finish(peer);
        assert_int_equal(ior_sim_expect(peer, text, sizeof(text)), 0);
        ior_sim_settle(box.sim);
        assert_int_equal(box.bytes, sizeof(text));
        assert_int_equal(box.ended, 1);
        assert_int_equal(box_free(&box), 0);
    }
}

static void a_cut_link_holds_and_heals(void **state)
{
    struct box box = {0};
    (void)state;
    box_init(&box, NULL);
    struct ior_sim_peer *peer = box_dial(&box);
    ior_sim_say(peer, "one ", 4);
    assert_int_equal(ior_sim_cut(box.sim, box.server, box.client), 0);
    ior_sim_say(peer, "two ", 4);
    ior_sim_settle(box.sim);
    assert_int_equal(box.bytes, 0);
    ior_sim_run_for(box.sim, 10 * IOR_NS_PER_SEC);
    assert_int_equal(box.bytes, 0);
    ior_sim_say(peer, "three", 5);
    assert_int_equal(ior_sim_heal(box.sim, box.server, box.client), 0);
    assert_int_equal(ior_sim_expect(peer, "one two three", 13), 0);
    ior_sim_run_for(box.sim, 2000 * IOR_NS_PER_SEC); /* no time-out is left over */
    assert_int_equal(box.ended, 0);
    assert_int_equal(box_free(&box), 0);
}

static void a_cut_that_lasts_times_out(void **state)
{
    struct box box = {0};
    (void)state;
    box_init(&box, NULL);
    struct ior_sim_peer *peer = box_dial(&box);
    ior_sim_cut(box.sim, box.server, 0);
    assert_int_equal(ior_send(box.cx, box.last, "anybody?", 8), 0);
    struct ior_sim_peer *late = ior_sim_dial(box.sim, box.client, BOX_ADDR);
    ior_sim_run_for(box.sim, 128 * IOR_NS_PER_SEC);
    assert_int_equal(info_of(late).error, ETIMEDOUT);
    assert_int_equal(box.ended, 0);
    ior_sim_run_for(box.sim, 900 * IOR_NS_PER_SEC);
    assert_int_equal(box.ended, 1);
    assert_int_equal(box.last_error, ETIMEDOUT);
    assert_int_equal(info_of(peer).state, IOR_SIM_PEER_OPEN); /* it does not know */
    assert_int_equal(box_free(&box), 0);
}

static void a_vanished_peer_times_out(void **state)
{
    struct box box = {0};
    (void)state;
    box_init(&box, NULL);
    struct ior_sim_peer *peer = box_dial(&box);
    ior_sim_vanish(peer);
    ior_sim_run_for(box.sim, 5000 * IOR_NS_PER_SEC);
    assert_int_equal(box.ended, 0); /* nothing is sent, nothing is missed */
    assert_int_equal(ior_send(box.cx, box.last, "hello?", 6), 0);
    ior_sim_run_for(box.sim, 1000 * IOR_NS_PER_SEC);
    assert_int_equal(box.ended, 1);
    assert_int_equal(box.last_error, ETIMEDOUT);
    assert_int_equal(box_free(&box), 0);
}

static void a_full_backlog_makes_wait(void **state)
{
    struct box box = {.listen = ""};
    struct ior_sim_peer *peers[8];
    struct ior_addr addr;
    const struct ior_listen_options opts = {.struct_size = sizeof(opts), .backlog = 1};
    (void)state;
    box_init(&box, NULL);
    assert_int_equal(ior_addr_parse(&addr, BOX_ADDR), 0);
    assert_int_equal(ior_listen(box.cx, &addr, &opts, &box.listener), 0);
    assert_int_equal(ior_pause(box.cx, box.listener), 0);
    for (int i = 0; i < 8; i++)
        peers[i] = ior_sim_dial(box.sim, box.client, BOX_ADDR);
    ior_sim_run_for(box.sim, 100 * MS);
    unsigned open = 0;
    for (int i = 0; i < 8; i++)
        open += info_of(peers[i]).state == IOR_SIM_PEER_OPEN;
    assert_true(box_shape == IOR_SIM_SHAPE_DONE ? open < 8 : open == 2); /* an engine may have accepted some */
    assert_int_equal(ior_resume(box.cx, box.listener), 0);
    ior_sim_run_for(box.sim, 60 * IOR_NS_PER_SEC);
    assert_int_equal(box.accepted, 8);
    ior_sim_run_for(box.sim, 600 * IOR_NS_PER_SEC); /* no time-out is left over */
    for (int i = 0; i < 8; i++)
        assert_int_equal(info_of(peers[i]).state, IOR_SIM_PEER_OPEN);
    assert_int_equal(box_free(&box), 0);
}

static void services_connect_to_peers(void **state)
{
    struct box box = {0};
    struct ior_addr addr = {0};
    (void)state;
    box_init(&box, NULL);
    struct ior_sim_peer *door = ior_sim_serve(box.sim, box.client, "10.0.0.2:80");
    assert_non_null(door);
    assert_null(ior_sim_serve(box.sim, box.client, "10.0.0.2:80"));
    assert_null(ior_sim_pick_up(door));
    addr = ior_sim_host_addr(box.sim, box.client, false, 80);
    assert_int_equal(ior_connect(box.cx, &addr, NULL, &box.last), 0);
    ior_sim_settle(box.sim);
    assert_int_equal(box.opened, 1);
    struct ior_sim_peer *peer = ior_sim_pick_up(door);
    assert_non_null(peer);
    ior_sim_say(peer, "ping", 4);
    assert_int_equal(ior_sim_expect(peer, "ping", 4), 0);
    ior_sim_peer_free(door);
    assert_int_equal(ior_connect(box.cx, &addr, NULL, &box.last), 0);
    ior_sim_settle(box.sim);
    assert_int_equal(box.last_error, ECONNREFUSED);
    assert_int_equal(box_free(&box), 0);
}

static void fds_of_all_kinds_are_adopted(void **state)
{
    static const int kinds[] = {IOR_FD_TCP, IOR_FD_UNIX, IOR_FD_PIPE | IOR_FD_NO_WRITE};
    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct box box = {0};
        struct ior_sim_peer *peer;
        box_init(&box, NULL);
        int fd = ior_sim_fd(box.sim, box.server, kinds[i], &peer);
        assert_true(fd >= IOR_SIM_FD_FIRST);
        assert_int_equal(ior_adopt(box.cx, fd, NULL, &box.last), 0);
        ior_sim_say(peer, "bytes", 5);
        ior_sim_settle(box.sim);
        assert_int_equal(box.bytes, 5);
        ior_sim_hang_up(peer);
        ior_sim_settle(box.sim);
        assert_int_equal(box.ended, 1);
        assert_int_equal(box_free(&box), 0);
    }
}

static void watches_are_told(void **state)
{
    struct box box = {0};
    (void)state;
    box_init(&box, NULL);
    int fd = ior_sim_fd(box.sim, box.server, IOR_FD_OTHER, NULL);
    assert_int_equal(ior_watch(box.cx, fd, IOR_READ, NULL, &box.last), 0);
    ior_sim_settle(box.sim);
    assert_true(ior_sim_asleep(box.sim, box.rt));
    assert_int_equal(ior_sim_ready(box.sim, fd, IOR_READ), 0);
    assert_false(ior_sim_asleep(box.sim, box.rt));
    assert_int_equal(ior_sim_step(box.sim), 1);
    assert_int_equal(ior_sim_ready(box.sim, fd, 0), 0);
    ior_sim_settle(box.sim);
    assert_true(ior_sim_asleep(box.sim, box.rt));
    assert_int_equal(box_free(&box), 0);
}

static void a_hang_up_is_told(void **state)
{
    static const int kinds[] = {IOR_FD_TCP, IOR_FD_UNIX, IOR_FD_PIPE | IOR_FD_NO_WRITE};
    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct box box = {0};
        struct ior_sim_peer *peer;
        box_init(&box, NULL);
        int fd = ior_sim_fd(box.sim, box.server, kinds[i], &peer);
        assert_int_equal(ior_watch(box.cx, fd, IOR_READ, NULL, &box.last), 0);
        ior_sim_settle(box.sim);
        assert_int_equal(box.ready, 0);
        if (kinds[i] == IOR_FD_TCP)
            ior_sim_reset(peer);
        else
            ior_sim_hang_up(peer);
        for (int steps = 0; steps < 20 && box.ready == 0; steps++)
            ior_sim_step(box.sim);
        assert_true(box.ready & IOR_HUP);
        assert_int_equal((box.ready & IOR_ERR) != 0, kinds[i] == IOR_FD_TCP);
        assert_int_equal(ior_unregister(box.cx, box.last), 0);
        assert_int_equal(box_free(&box), 0);
    }
}

static void files_are_sent(void **state)
{
    struct box box = {0};
    char bytes[200000], got[200000];
    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 7 % 251);
    box_init(&box, NULL);
    struct ior_sim_peer *peer = box_dial(&box);
    int fd = ior_sim_file(box.sim, box.server, bytes, sizeof(bytes));
    assert_int_equal(ior_send_file(box.cx, box.last, fd, 100, sizeof(bytes) - 100), 0);
    assert_int_equal(ior_sim_close(box.sim, fd), 0); /* the queue has a dup */
    assert_int_equal(ior_sim_expect(peer, bytes + 100, sizeof(bytes) - 100), 0);
    assert_true(ior_sim_count(box.sim, 0, IOR_SIM_SENDFILE) > 0);
    (void)got;
    fd = ior_sim_file(box.sim, box.server, bytes, 1000);
    assert_int_equal(ior_send_file(box.cx, box.last, fd, 0, 1000), 0);
    assert_int_equal(ior_sim_file_resize(box.sim, fd, 500), 0);
    ior_sim_settle(box.sim);
    assert_int_equal(box.last_error, EIO);
    assert_int_equal(box_free(&box), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_said_is_echoed),
        cmocka_unit_test(all_families_connect),
        cmocka_unit_test(unix_sockets_connect_on_their_host),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(the_way_takes_its_time),
        cmocka_unit_test(a_peer_that_does_not_hear_stops_the_service),
        cmocka_unit_test(a_slow_peer_takes_its_time),
        cmocka_unit_test(a_peer_finishes_and_still_hears),
        cmocka_unit_test(the_end_comes_behind_all_that_was_said),
        cmocka_unit_test(a_reset_is_the_services_error),
        cmocka_unit_test(an_abort_is_the_peers_error),
        cmocka_unit_test(close_over_unread_input_is_a_reset),
        cmocka_unit_test(who_sends_to_nobody_is_reset),
        cmocka_unit_test(a_half_open_stream_to_nobody_is_reset),
        cmocka_unit_test(segments_do_not_overtake),
        cmocka_unit_test(a_cut_link_holds_and_heals),
        cmocka_unit_test(a_cut_that_lasts_times_out),
        cmocka_unit_test(a_vanished_peer_times_out),
        cmocka_unit_test(a_full_backlog_makes_wait),
        cmocka_unit_test(services_connect_to_peers),
        cmocka_unit_test(fds_of_all_kinds_are_adopted),
        cmocka_unit_test(watches_are_told),
        cmocka_unit_test(a_hang_up_is_told),
        cmocka_unit_test(files_are_sent),
    };

    int failed = cmocka_run_group_tests_name("simulated streams, what is ready", tests, NULL, NULL);
    box_shape = IOR_SIM_SHAPE_DONE;
    return failed + cmocka_run_group_tests_name("simulated streams, what is done", tests, NULL, NULL);
}
