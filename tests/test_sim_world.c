/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated world: seeds and traces, the scheduler and its clocks, violations. */
#include "support/check.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "support/sim_box.h"

#define MS IOR_NS_PER_MS

/* ---- the same seed ---- */

static const struct ior_sim_rates some_of_all = {
    .short_read = 3,
    .short_write = 3,
    .again = 5,
    .interrupted = 5,
    .reset = 200,
    .aborted = 20,
    .no_fds = 20,
    .no_memory = 50,
    .other_error = 50,
    .delayed = 5,
    .reordered = 3,
    .spurious = 5,
    .spurious_wake = 3,
    .wall_jump = 2,
    .cut = 100,
    .cut_ns = 20 * MS,
};

/* Peers come, talk and go, by the world's own choices. Answers the sum; *ret_trace is the caller's to free. */
static uint64_t story(uint64_t seed, bool keep, char **ret_trace)
{
    struct box box = {.listen = BOX_ADDR};
    struct ior_sim_config config = box_config(&box, seed, keep);
    struct ior_sim_peer *peers[10] = {NULL};
    char bytes[3000];
    memset(bytes, 'x', sizeof(bytes));
    box_init(&box, &config);
    ior_sim_set_rates(box.sim, &some_of_all);
    for (int i = 0; i < 400; i++) {
        struct ior_sim_peer **at = &peers[ior_sim_choose(box.sim, 10)];
        switch (*at ? ior_sim_choose(box.sim, 8) : 0) {
        case 0:
            ior_sim_peer_free(*at);
            *at = ior_sim_dial(box.sim, box.client, BOX_ADDR);
            break;
        case 1:
            ior_sim_hang_up(*at);
            break;
        case 2:
            ior_sim_reset(*at);
            break;
        default:
            ior_sim_say(*at, bytes, (size_t)ior_sim_choose(box.sim, sizeof(bytes)));
            break;
        }
        ior_sim_drain(*at, UINT64_MAX);
        ior_sim_run_for(box.sim, ior_sim_choose(box.sim, 2 * MS));
    }
    ior_unix_ns(box.cx);
    ior_sim_run_for(box.sim, 100 * IOR_NS_PER_SEC);
    uint64_t hash = ior_sim_hash(box.sim);
    assert_true(box.accepted > 5);
    assert_true(box.bytes > 100);
    assert_true(ior_sim_faults(box.sim) > 50);
    if (ret_trace) {
        *ret_trace = box.trace;
        box.trace = NULL;
    }
    ior_sim_set_rates(box.sim, NULL);
    box_stop(&box);
    if (box_free(&box) != 0)
        fail_msg("seed %llu: %s", (unsigned long long)seed, box.violation);
    return hash;
}

static void the_same_seed_gives_the_same_trace(void **state)
{
    char *one, *two, *other;
    (void)state;
    uint64_t hash = story(42, true, &one);
    assert_true(story(42, true, &two) == hash);
    assert_string_equal(one, two);
    assert_true(story(42, false, NULL) == hash); /* whether somebody reads it or not */
    assert_true(story(43, true, &other) != hash);
    assert_string_not_equal(one, other);
    assert_null(strstr(one, "0x"));
    free(one);
    free(two);
    free(other);
}

static void many_seeds_are_clean(void **state)
{
    (void)state;
    for (uint64_t seed = 100; seed < 140; seed++)
        story(seed, false, NULL);
}

/* The sum of one seed on every compiler and machine; without a runtime, so that it changes only with the world. */
static void a_seed_gives_this_sum_everywhere(void **state)
{
    struct ior_sim_config config = {.struct_size = sizeof(config), .seed = 7};
    struct ior_sim *sim;
    char bytes[500] = "bytes";
    (void)state;
    config.link = (struct ior_sim_link){.latency_ns = MS, .jitter_ns = 5 * MS, .bytes_per_sec = 100000};
    config.rates.cut = 10;
    assert_int_equal(ior_sim_new(&config, &sim), 0);
    int one = ior_sim_host(sim, NULL), two = ior_sim_host(sim, "two");
    struct ior_sim_peer *door = ior_sim_serve(sim, two, "[fd00::2]:80");
    for (int i = 0; i < 50; i++) {
        struct ior_sim_peer *peer = ior_sim_dial(sim, one, i % 7 ? "[fd00::2]:80" : "10.0.0.2:80");
        ior_sim_say(peer, bytes, 1 + (size_t)ior_sim_choose(sim, sizeof(bytes) - 1));
        ior_sim_run_for(sim, 20 * MS);
        struct ior_sim_peer *other = ior_sim_pick_up(door);
        if (other)
            ior_sim_drain(other, 10000);
        if (i % 3)
            ior_sim_hang_up(peer);
    }
    ior_sim_run_for(sim, 10 * IOR_NS_PER_SEC);
    ior_sim_note(sim, "done: %d", 1);
    if (ior_sim_hash(sim) != UINT64_C(0xc2af9df346575400))
        fail_msg("the sum is %016llx", (unsigned long long)ior_sim_hash(sim));
    assert_int_equal(ior_sim_free(sim), 0);
}

static void the_trace_can_be_read(void **state)
{
    struct box box = {0};
    struct ior_sim_config config = box_config(&box, 7, true);
    (void)state;
    box_init(&box, &config);
    struct ior_sim_peer *peer = box_dial(&box);
    ior_sim_say(peer, "one", 3);
    assert_int_equal(ior_sim_expect(peer, "one", 3), 0);
    ior_sim_note(box.sim, "done: %d", 1);
    assert_non_null(strstr(box.trace, "1.000050000 c1 at client: syn 0\n"));
    assert_non_null(strstr(box.trace, "1.000150000 c1 at server: data 3\n"));
    assert_non_null(strstr(box.trace, "1.000050000 server/1 accept(fd 0 connection 1) = 1\n"));
    assert_non_null(strstr(box.trace, "server/1 bind(fd 0 port 7000 of host 1) = 0\n"));
    assert_non_null(strstr(box.trace, " done: 1\n"));
    assert_int_equal(box_free(&box), 0);
}

static uint64_t sum_with(const char *text)
{
    struct box box = {0};
    box_init(&box, NULL);
    struct ior_sim_peer *peer = box_dial(&box);
    ior_sim_say(peer, text, 9);
    assert_int_equal(ior_sim_expect(peer, text, 9), 0);
    uint64_t sum = ior_sim_hash(box.sim);
    assert_int_equal(box_free(&box), 0);
    return sum;
}

static void what_was_said_is_in_the_sum(void **state)
{
    (void)state;
    assert_true(sum_with("some text") == sum_with("some text"));
    assert_true(sum_with("some text") != sum_with("some tent"));
}

struct choices {
    unsigned count;
    uint64_t answer;
};

static uint64_t choose(void *arg, uint64_t n)
{
    struct choices *choices = arg;
    choices->count++;
    return choices->answer % n;
}

static void choices_can_be_driven(void **state)
{
    struct choices plain = {0}, wild = {.answer = UINT64_MAX};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct box box = {0};
        struct ior_sim_config config = box_config(&box, 1, false);
        config.choose = choose;
        config.choose_arg = i == 0 ? &plain : &wild;
        config.rates = (struct ior_sim_rates){.short_read = 10, .interrupted = 10};
        box_init(&box, &config);
        struct ior_sim_peer *peer = box_dial(&box);
        ior_sim_say(peer, "abcdef", 6);
        ior_sim_run_for(box.sim, MS);
        /* Always 0: no fault at all, and all gets done. */
        if (i == 0) {
            assert_int_equal(ior_sim_faults(box.sim), 0);
            assert_int_equal(box.bytes, 6);
        }
        box_free(&box);
    }
    assert_true(plain.count > 5);
}

/* ---- time ---- */

static void the_clock_jumps_to_what_is_due(void **state)
{
    struct box box = {0};
    ior_timer_id id;
    (void)state;
    box_init(&box, NULL);
    uint64_t begin_ns = ior_sim_now(box.sim);
    assert_int_equal(ior_timer_set(box.cx, 3600 * IOR_NS_PER_SEC, NULL, &id), 0);
    ior_sim_settle(box.sim);
    assert_int_equal(ior_sim_now(box.sim), begin_ns); /* settling does not wait for it */
    assert_int_equal(box.timers, 0);
    unsigned steps = 0;
    while (ior_sim_step(box.sim))
        steps++;
    assert_int_equal(box.timers, 1);
    assert_int_equal(box.timer_ns - begin_ns, 3600 * IOR_NS_PER_SEC);
    assert_true(steps < 10);
    ior_sim_run_for(box.sim, 5 * MS);
    assert_int_equal(ior_sim_now(box.sim) - box.timer_ns, 5 * MS);
    assert_int_equal(box_free(&box), 0);
}

static void wall_clocks_jump_alone(void **state)
{
    struct box box = {0};
    (void)state;
    box_init(&box, NULL);
    uint64_t wall_ns = ior_unix_ns(box.cx), now_ns = ior_now(box.cx);
    assert_int_equal(wall_ns / IOR_NS_PER_SEC, 1704067200);
    ior_sim_wall_jump(box.sim, box.server, -(int64_t)(60 * IOR_NS_PER_SEC));
    assert_int_equal(wall_ns - ior_unix_ns(box.cx), 60 * IOR_NS_PER_SEC);
    ior_sim_wall_set(box.sim, box.server, 5);
    assert_int_equal(ior_unix_ns(box.cx), 5);
    assert_int_equal(ior_now(box.cx), now_ns);
    assert_int_equal(box_free(&box), 0);
}

static void bump(void *arg)
{
    ++*(unsigned *)arg;
}

static bool is_two(void *arg)
{
    return *(unsigned *)arg == 2;
}

static void things_are_put_on_the_calendar(void **state)
{
    struct box box = {0};
    unsigned count = 0;
    (void)state;
    box_init(&box, NULL);
    ior_sim_at(box.sim, 2 * MS, bump, &count);
    ior_sim_at(box.sim, MS, bump, &count);
    assert_int_equal(ior_sim_run_until(box.sim, is_two, &count, MS), -ETIMEDOUT);
    assert_int_equal(count, 1);
    assert_int_equal(ior_sim_run_until(box.sim, is_two, &count, MS), 0);
    assert_int_equal(ior_sim_step(box.sim), 0);
    count = 0;
    assert_int_equal(ior_sim_run_until(box.sim, is_two, &count, IOR_NEVER), -EDEADLK);
    assert_int_equal(box_free(&box), 0);
}

/* ior_runtime_run, as a program calls it, with the world going on in its waits. */
static void stop_it(void *arg)
{
    struct box *box = arg;
    struct ior_controller *ctl = ior_controller_of(box->cx);
    ior_controller_shutdown(ctl, 0);
    ior_controller_unref(ctl);
}

static void a_program_runs_its_own_loop(void **state)
{
    struct box box = {0};
    (void)state;
    box_init(&box, NULL);
    struct ior_sim_peer *peer = ior_sim_dial(box.sim, box.client, BOX_ADDR);
    ior_sim_drain(peer, UINT64_MAX);
    ior_sim_say(peer, "echo", 4);
    ior_sim_at(box.sim, IOR_NS_PER_SEC, stop_it, &box);
    assert_int_equal(ior_runtime_run(box.rt), 0);
    assert_int_equal(box.bytes, 4);
    assert_true(ior_sim_now(box.sim) >= 2 * IOR_NS_PER_SEC);
    assert_int_equal(box_free(&box), 0);
}

/* ---- several runtimes, threads ---- */

static void runtimes_talk_to_each_other(void **state)
{
    struct box server = {0}, client = {.listen = "", .deaf = true};
    struct ior_addr addr;
    int answer = 77;
    (void)state;
    box_init(&server, NULL);
    client.sim = server.sim;
    client.server = server.client; /* the host it runs on */
    box_start(&client);
    addr = ior_sim_host_addr(server.sim, server.server, false, 7000);
    assert_int_equal(ior_connect(client.cx, &addr, NULL, &client.last), 0);
    ior_sim_settle(server.sim);
    assert_int_equal(ior_send(client.cx, client.last, "over the wire", 13), 0);
    ior_sim_settle(server.sim);
    assert_int_equal(client.bytes, 13);
    assert_int_equal(server.bytes, 13);
    ior_stop(client.cx, 0);
    assert_false(ior_sim_ended(server.sim, client.rt, &answer));
    ior_sim_settle(server.sim);
    assert_true(ior_sim_ended(server.sim, client.rt, &answer));
    assert_int_equal(answer, 0);
    box_stop(&client);
    assert_int_equal(ior_sim_open_fds(server.sim, server.client), 0);
    assert_int_equal(box_free(&server), 0);
}

struct sender {
    struct ior_controller *ctl;
    struct ior_command commands[50];
    unsigned sent;
};

static uint64_t send_one(void *arg)
{
    struct sender *sender = arg;
    if (sender->sent == 50)
        return IOR_NEVER;
    assert_int_equal(ior_controller_send(sender->ctl, &sender->commands[sender->sent++]), 0);
    return 10 * IOR_NS_PER_US;
}

static void threads_send_commands(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct box box = {0};
        struct sender sender = {0};
        struct ior_sim_config config = box_config(&box, seed, false);
        config.rates.thread = 3;
        box_init(&box, &config);
        sender.ctl = ior_controller_of(box.cx);
        ior_sim_thread(box.sim, send_one, &sender);
        struct ior_sim_peer *peer = box_dial(&box);
        ior_sim_say(peer, "x", 1);
        ior_sim_run_for(box.sim, IOR_NS_PER_SEC);
        assert_int_equal(sender.sent, 50);
        assert_int_equal(box.commands, 50);
        assert_true(ior_sim_asleep(box.sim, box.rt));
        ior_controller_unref(sender.ctl);
        assert_int_equal(box_free(&box), 0);
    }
}

/* ---- what a program must not do ---- */

static void misuse_of_fds_is_seen(void **state)
{
    struct box box = {0};
    char byte[2] = "x";
    const struct iovec iov = {.iov_base = byte, .iov_len = 1};
    (void)state;
    box_init(&box, NULL);
    const struct ior_os *os = ior_context_os(box.cx);
    int fd = os->socket(os->arg, AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= IOR_SIM_FD_FIRST);
    assert_int_equal(os->close(os->arg, fd), 0);
    assert_int_equal(os->close(os->arg, fd), -EBADF);
    assert_int_equal(box.violations[IOR_SIM_DOUBLE_CLOSE], 1);
    assert_int_equal(os->recv(os->arg, fd, byte, 1), -EBADF);
    assert_int_equal(box.violations[IOR_SIM_USE_AFTER_CLOSE], 1);
    assert_int_equal(os->recv(os->arg, 5, byte, 1), -EBADF);
    assert_int_equal(box.violations[IOR_SIM_BAD_FD], 1);
    /* One of another host. */
    int other = ior_sim_fd(box.sim, box.client, IOR_FD_TCP, NULL);
    assert_int_equal(os->recv(os->arg, other, byte, 1), -EBADF);
    assert_int_equal(box.violations[IOR_SIM_BAD_FD], 2);
    /* What the test closes is the test's affair. */
    fd = os->socket(os->arg, AF_INET, SOCK_STREAM, 0);
    assert_int_equal(ior_sim_close(box.sim, fd), 0);
    assert_int_equal(os->close(os->arg, fd), -EBADF);
    assert_int_equal(box.violations[IOR_SIM_DOUBLE_CLOSE], 1);
    /* After shutdown, and blocking. */
    fd = ior_sim_fd(box.sim, box.server, IOR_FD_TCP, NULL);
    assert_int_equal(os->recv(os->arg, fd, byte, 1), -EAGAIN);
    assert_int_equal(box.violations[IOR_SIM_BLOCKING], 1);
    assert_int_equal(os->set_nonblock(os->arg, fd, true), 0);
    assert_int_equal(os->shutdown(os->arg, fd, SHUT_WR), 0);
    assert_int_equal(os->send(os->arg, fd, &iov, 1), -EPIPE);
    assert_int_equal(box.violations[IOR_SIM_SEND_AFTER_SHUT], 1);
    assert_int_equal(ior_sim_check(box.sim), 6);
    assert_int_equal(box_free(&box), 6);
}

static void leaks_are_seen(void **state)
{
    struct box box = {0};
    (void)state;
    box_init(&box, NULL);
    const struct ior_os *os = ior_context_os(box.cx);
    assert_true(os->socket(os->arg, AF_INET, SOCK_STREAM, 0) >= 0);
    ior_sim_file(box.sim, box.server, "x", 1);   /* the test's own */
    assert_int_equal(ior_sim_check(box.sim), 0); /* a runtime is there: it may be its */
    box_stop(&box);
    assert_int_equal(ior_sim_check(box.sim), 1);
    assert_int_equal(ior_sim_check(box.sim), 1); /* once */
    assert_int_equal(box.violations[IOR_SIM_LEAK], 1);
    assert_int_equal(box_free(&box), 1);
}

static void an_engine_that_is_left_is_seen(void **state)
{
    struct box box = {0};
    struct ior_config config = {.struct_size = sizeof(config)};
    const struct ior_engine_config engine_config = {.max_records = 1};
    void *engine;
    (void)state;
    box_init(&box, NULL);
    assert_int_equal(ior_sim_runtime_config(box.sim, box.client, &config), 0);
    struct ior_engine_config in = engine_config;
    in.os = config.os;
    in.arg = config.engine_arg;
    assert_int_equal(config.engine_ops->open(&in, &engine), 0);
    assert_int_equal(box_free(&box), 1);
    assert_int_equal(box.violations[IOR_SIM_ENGINE_LEFT], 1);
}

static void a_spinning_runtime_is_seen(void **state)
{
    struct box box = {0};
    struct ior_sim_config config = box_config(&box, 1, false);
    (void)state;
    config.spin_turns = 1000;
    box_init(&box, &config);
    int fd = ior_sim_fd(box.sim, box.server, IOR_FD_OTHER, NULL);
    ior_sim_ready(box.sim, fd, IOR_READ);
    assert_int_equal(ior_watch(box.cx, fd, IOR_READ, NULL, &box.last), 0); /* told for ever */
    ior_sim_run_for(box.sim, 100 * IOR_NS_PER_MS);
    assert_int_equal(box.violations[IOR_SIM_SPIN], 1);
    assert_int_equal(ior_unregister(box.cx, box.last), 0);
    assert_int_equal(box_free(&box), 1);
}

static void waiting_for_ever_is_seen(void **state)
{
    struct box box = {0};
    (void)state;
    box_init(&box, NULL);
    assert_int_equal(ior_runtime_turn(box.rt, IOR_NEVER), 1);
    assert_int_equal(box.violations[IOR_SIM_HANG], 1);
    assert_int_equal(box_free(&box), 1);
}

/* ---- fds that others close ---- */

static void stolen_fds_are_forgotten_or_told(void **state)
{
    (void)state;
    for (int tells = 0; tells < 2; tells++) {
        struct box box = {0};
        struct ior_sim_config config = box_config(&box, 1, false);
        config.tells_bad = tells;
        box_init(&box, &config);
        box_dial(&box);
        assert_int_equal(ior_sim_open_fds(box.sim, box.server), 2);
        /* The connection has the highest number. */
        assert_int_equal(ior_sim_close(box.sim, IOR_SIM_FD_FIRST + 1), 0);
        ior_sim_settle(box.sim);
        assert_int_equal(box.ended, tells);
        assert_int_equal(box_free(&box), 0);
    }
}

static void numbers_come_again(void **state)
{
    struct box box = {0};
    (void)state;
    box_init(&box, NULL);
    int fds[5];
    for (int i = 0; i < 5; i++)
        fds[i] = ior_sim_fd(box.sim, box.server, IOR_FD_OTHER, NULL);
    assert_int_equal(fds[4], fds[0] + 4);
    ior_sim_close(box.sim, fds[3]);
    ior_sim_close(box.sim, fds[1]);
    assert_int_equal(ior_sim_fd(box.sim, box.server, IOR_FD_OTHER, NULL), fds[1]);
    assert_int_equal(ior_sim_dup(box.sim, fds[0]), fds[3]);
    assert_int_equal(ior_sim_dup(box.sim, fds[0]), fds[4] + 1);
    assert_int_equal(box_free(&box), 0);
}

/* They belong to the real system, and say so. */
static void neither_signals_nor_children(void **state)
{
    struct box box = {0};
    char *argv[] = {(char *)(uintptr_t) "/bin/true", NULL};
    const struct ior_spawn_options opts = {.struct_size = sizeof(opts), .argv = argv};
    const int number = 10;
    ior_id id = 4711;
    (void)state;
    box_init(&box, NULL);
    assert_int_equal(ior_signals(box.cx, &number, 1, NULL, &id), -ENOSYS);
    assert_int_equal(ior_spawn(box.cx, &opts, &id), -ENOSYS);
    assert_int_equal(id, 4711);
    assert_int_equal(box_free(&box), 0);
}

static void arguments_are_checked(void **state)
{
    struct ior_sim_config config = {.struct_size = sizeof(config) - 1};
    struct ior_sim *sim;
    (void)state;
    assert_int_equal(ior_sim_new(&config, &sim), -EINVAL);
    assert_int_equal(ior_sim_new(NULL, NULL), -EINVAL);
    assert_int_equal(ior_sim_new(NULL, &sim), 0);
    assert_int_equal(ior_sim_host(sim, ""), -EINVAL);
    assert_int_equal(ior_sim_host(sim, "sixteen bytes long"), -EINVAL);
    assert_int_equal(ior_sim_host(sim, NULL), 1);
    assert_null(ior_sim_dial(sim, 2, "10.0.0.1:80"));
    assert_null(ior_sim_dial(sim, 1, "nonsense"));
    assert_int_equal(ior_sim_fd(sim, 1, IOR_FD_FILE, NULL), -EINVAL);
    assert_int_equal(ior_sim_file(sim, 1, NULL, 1), -EINVAL);
    assert_int_equal(ior_sim_ready(sim, 3, IOR_READ), -EBADF);
    assert_int_equal(ior_sim_link(sim, 1, 2, &(struct ior_sim_link){0}), -EINVAL);
    assert_int_equal(ior_sim_attach(sim, NULL), -EINVAL);
    assert_string_equal(ior_sim_call_name(IOR_SIM_REBUILD), "rebuild");
    assert_string_equal(ior_sim_call_name(IOR_SIM_CALLS), "?");
    assert_string_equal(ior_sim_violation_name(IOR_SIM_HANG), "hang");
    assert_int_equal(ior_sim_free(sim), 0);
    assert_int_equal(ior_sim_free(NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_gives_the_same_trace),
        cmocka_unit_test(many_seeds_are_clean),
        cmocka_unit_test(a_seed_gives_this_sum_everywhere),
        cmocka_unit_test(the_trace_can_be_read),
        cmocka_unit_test(what_was_said_is_in_the_sum),
        cmocka_unit_test(choices_can_be_driven),
        cmocka_unit_test(the_clock_jumps_to_what_is_due),
        cmocka_unit_test(wall_clocks_jump_alone),
        cmocka_unit_test(things_are_put_on_the_calendar),
        cmocka_unit_test(a_program_runs_its_own_loop),
        cmocka_unit_test(runtimes_talk_to_each_other),
        cmocka_unit_test(threads_send_commands),
        cmocka_unit_test(misuse_of_fds_is_seen),
        cmocka_unit_test(leaks_are_seen),
        cmocka_unit_test(an_engine_that_is_left_is_seen),
        cmocka_unit_test(a_spinning_runtime_is_seen),
        cmocka_unit_test(waiting_for_ever_is_seen),
        cmocka_unit_test(stolen_fds_are_forgotten_or_told),
        cmocka_unit_test(numbers_come_again),
        cmocka_unit_test(neither_signals_nor_children),
        cmocka_unit_test(arguments_are_checked),
    };

    int failed = cmocka_run_group_tests_name("simulated world, what is ready", tests, NULL, NULL);
    box_shape = IOR_SIM_SHAPE_DONE;
    return failed + cmocka_run_group_tests_name("simulated world, what is done", tests, NULL, NULL);
}
