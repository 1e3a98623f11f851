/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A defined answer to each bad argument of every call: no context, a stale id, another thread, structs of other
 * versions, configs that cannot be. Nothing of it has an effect.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "support/check.h"
#include "support/live.h"
#include "support/recorder.h"

/* ---- every request, good but for what the test spoils ---- */

static struct ior_addr addr;
static int fd, file;
static struct ior_resource *res;
static struct ior_buf *buf;
static ior_timer_id timer;

static int do_listen(struct ior_context *cx, ior_id id)
{
    ior_id ret;
    (void)id;
    return ior_listen(cx, &addr, NULL, &ret);
}

static int do_connect(struct ior_context *cx, ior_id id)
{
    ior_id ret;
    (void)id;
    return ior_connect(cx, &addr, NULL, &ret);
}

static int do_adopt(struct ior_context *cx, ior_id id)
{
    ior_id ret;
    (void)id;
    return ior_adopt(cx, fd, NULL, &ret);
}

static int do_watch(struct ior_context *cx, ior_id id)
{
    ior_id ret;
    (void)id;
    return ior_watch(cx, fd, IOR_READ, NULL, &ret);
}

static int do_signals(struct ior_context *cx, ior_id id)
{
    const int number = SIGUSR1;
    ior_id ret;
    (void)id;
    return ior_signals(cx, &number, 1, NULL, &ret);
}

static int do_spawn(struct ior_context *cx, ior_id id)
{
    char *argv[] = {(char *)(uintptr_t) "/bin/true", NULL};
    const struct ior_spawn_options opts = {.struct_size = sizeof(opts), .argv = argv};
    ior_id ret;
    (void)id;
    return ior_spawn(cx, &opts, &ret);
}

static int do_kill(struct ior_context *cx, ior_id id)
{
    return ior_kill(cx, id, 0);
}

static int do_child_pid(struct ior_context *cx, ior_id id)
{
    pid_t ret;
    return ior_child_pid(cx, id, &ret);
}

static int do_register(struct ior_context *cx, ior_id id)
{
    ior_id ret;
    (void)id;
    return ior_register(cx, res, &ret);
}

static int do_attach(struct ior_context *cx, ior_id id)
{
    static const struct ior_handler handler = {.struct_size = sizeof(handler)};
    struct ior_context *ret;
    (void)id;
    return ior_attach(cx, &handler, NULL, &ret);
}

static int do_timer_set(struct ior_context *cx, ior_id id)
{
    ior_timer_id ret;
    (void)id;
    return ior_timer_set(cx, 1, NULL, &ret);
}

static int do_timer_at(struct ior_context *cx, ior_id id)
{
    ior_timer_id ret;
    (void)id;
    return ior_timer_at(cx, IOR_NEVER - 1, NULL, &ret);
}

static int do_timer_every(struct ior_context *cx, ior_id id)
{
    ior_timer_id ret;
    (void)id;
    return ior_timer_every(cx, IOR_NEVER - 1, 1, NULL, &ret);
}

static int do_timer_move_at(struct ior_context *cx, ior_id id)
{
    (void)id;
    return ior_timer_move_at(cx, timer, IOR_NEVER);
}

static int do_timer_move(struct ior_context *cx, ior_id id)
{
    (void)id;
    return ior_timer_move(cx, timer, IOR_NEVER);
}

static int do_timer_cancel(struct ior_context *cx, ior_id id)
{
    (void)id;
    return ior_timer_cancel(cx, timer);
}

static int do_close(struct ior_context *cx, ior_id id)
{
    return ior_close(cx, id, 0);
}

static int do_unread(struct ior_context *cx, ior_id id)
{
    return ior_unread(cx, id, 0);
}

static int do_interest(struct ior_context *cx, ior_id id)
{
    return ior_interest(cx, id, IOR_READ);
}

static int do_deadline(struct ior_context *cx, ior_id id)
{
    return ior_deadline(cx, id, IOR_DEADLINE_USER, 1);
}

static int do_send(struct ior_context *cx, ior_id id)
{
    return ior_send(cx, id, "x", 1);
}

static int do_sendv(struct ior_context *cx, ior_id id)
{
    char byte = 'x';
    struct iovec iov = {&byte, 1};
    return ior_sendv(cx, id, &iov, 1);
}

static int do_send_buf(struct ior_context *cx, ior_id id)
{
    return ior_send_buf(cx, id, buf);
}

static int do_send_file(struct ior_context *cx, ior_id id)
{
    return ior_send_file(cx, id, file, 0, 1);
}

static int do_datagram_open(struct ior_context *cx, ior_id id)
{
    ior_id ret;
    (void)id;
    return ior_datagram_open(cx, &addr, NULL, &ret);
}

static int do_datagram_adopt(struct ior_context *cx, ior_id id)
{
    ior_id ret;
    (void)id;
    return ior_datagram_adopt(cx, fd, NULL, &ret);
}

static int do_send_to(struct ior_context *cx, ior_id id)
{
    return ior_send_to(cx, id, &addr, "x", 1);
}

static int do_send_from(struct ior_context *cx, ior_id id)
{
    return ior_send_from(cx, id, &addr, &addr, "x", 1);
}

static int do_multicast_join(struct ior_context *cx, ior_id id)
{
    return ior_multicast_join(cx, id, &addr, 0);
}

static int do_multicast_leave(struct ior_context *cx, ior_id id)
{
    return ior_multicast_leave(cx, id, &addr, 0);
}

static int do_send_fds(struct ior_context *cx, ior_id id)
{
    return ior_send_fds(cx, id, "x", 1, &file, 1);
}

static int do_local(struct ior_context *cx, ior_id id)
{
    struct ior_addr ret;
    return ior_local(cx, id, &ret);
}

static int do_peer(struct ior_context *cx, ior_id id)
{
    struct ior_addr ret;
    return ior_peer(cx, id, &ret);
}

static int do_peer_credentials(struct ior_context *cx, ior_id id)
{
    struct ior_credentials ret;
    return ior_peer_credentials(cx, id, &ret);
}

static int do_changes_open(struct ior_context *cx, ior_id id)
{
    ior_id ret;
    (void)id;
    return ior_changes_open(cx, NULL, &ret);
}

static int do_changes_add(struct ior_context *cx, ior_id id)
{
    int ret;
    return ior_changes_add(cx, id, "/", IOR_CHANGE_MODIFIED, &ret);
}

static int do_changes_remove(struct ior_context *cx, ior_id id)
{
    return ior_changes_remove(cx, id, 1);
}

static int do_serial_open(struct ior_context *cx, ior_id id)
{
    ior_id ret;
    (void)id;
    return ior_serial_open(cx, "/none", NULL, &ret);
}

static int do_serial_adopt(struct ior_context *cx, ior_id id)
{
    ior_id ret;
    (void)id;
    return ior_serial_adopt(cx, fd, NULL, &ret);
}

static int do_detach(struct ior_context *cx, ior_id id)
{
    (void)id;
    return ior_detach(cx, 0);
}

static const struct {
    const char *name;
    int (*call)(struct ior_context *cx, ior_id id);
    bool takes_id;
} requests[] = {
    {"listen", do_listen, false},
    {"connect", do_connect, false},
    {"adopt", do_adopt, false},
    {"watch", do_watch, false},
    {"signals", do_signals, false},
    {"spawn", do_spawn, false},
    {"kill", do_kill, true},
    {"child_pid", do_child_pid, true},
    {"register", do_register, false},
    {"attach", do_attach, false},
    {"detach", do_detach, false},
    {"timer_set", do_timer_set, false},
    {"timer_at", do_timer_at, false},
    {"timer_every", do_timer_every, false},
    {"timer_move", do_timer_move, false},
    {"timer_move_at", do_timer_move_at, false},
    {"timer_cancel", do_timer_cancel, false},
    {"unregister", ior_unregister, true},
    {"close", do_close, true},
    {"abort", ior_abort, true},
    {"finish", ior_finish, true},
    {"pause", ior_pause, true},
    {"resume", ior_resume, true},
    {"touch", ior_touch, true},
    {"unread", do_unread, true},
    {"interest", do_interest, true},
    {"deadline", do_deadline, true},
    {"send", do_send, true},
    {"sendv", do_sendv, true},
    {"send_buf", do_send_buf, true},
    {"send_file", do_send_file, true},
    {"datagram_open", do_datagram_open, false},
    {"datagram_adopt", do_datagram_adopt, false},
    {"send_to", do_send_to, true},
    {"send_from", do_send_from, true},
    {"multicast_join", do_multicast_join, true},
    {"multicast_leave", do_multicast_leave, true},
    {"send_fds", do_send_fds, true},
    {"local", do_local, true},
    {"peer", do_peer, true},
    {"peer_credentials", do_peer_credentials, true},
    {"changes_open", do_changes_open, false},
    {"serial_open", do_serial_open, false},
    {"serial_adopt", do_serial_adopt, false},
    {"changes_add", do_changes_add, true},
    {"changes_remove", do_changes_remove, true},
};
enum { REQUESTS = sizeof(requests) / sizeof(requests[0]) };

static struct recorder *ready(ior_id *id)
{
    struct recorder *r = rec_new();
    int taken;
    assert_int_equal(ior_addr_parse(&addr, "192.0.2.1:80"), 0);
    fd = script_stream(r->script);
    file = script_file(r->script, 10);
    *id = rec_stream(r, NULL, &taken);
    r->keep = true;
    assert_int_equal(rec_unregister(r, *id), 0);
    rec_settle(r);
    res = rec_of(r, *id)->handed;
    *id = rec_stream(r, NULL, &taken);
    timer = rec_timer(r, IOR_NEVER, 1);
    buf = ior_buf_copy("x", 1);
    rec_settle(r);
    rec_forget(r);
    script_forget(r->script);
    return r;
}

static void done(struct recorder *r)
{
    ior_buf_unref(buf);
    r->keep = false;
    rec_free(r);
}

static void without_a_context(void **state)
{
    ior_id id;
    struct recorder *r = ready(&id);
    (void)state;
    for (int i = 0; i < REQUESTS; i++) {
        int answer = requests[i].call(NULL, id);
        if (answer != -EINVAL)
            fail_msg("%s answers %d", requests[i].name, answer);
    }
    assert_null(ior_user(NULL, id));
    assert_null(ior_take(NULL, NULL));
    assert_null(ior_controller_of(NULL));
    assert_int_equal(ior_queued(NULL, id), 0);
    assert_int_equal(ior_count(NULL), 0);
    assert_int_equal(ior_timer_count(NULL), 0);
    assert_int_equal(ior_timer_missed(NULL), 0);
    assert_true(ior_timer_next(NULL) == IOR_NEVER);
    ior_stop(NULL, 0);
    ior_reply(NULL, NULL, 0);
    done(r);
}

static void with_a_stale_id(void **state)
{
    ior_id id;
    struct recorder *r = ready(&id);
    (void)state;
    for (int i = 0; i < REQUESTS; i++) {
        if (!requests[i].takes_id)
            continue;
        for (unsigned bit = 0; bit < 64; bit += 3) {
            int answer = requests[i].call(r->cx, id ^ UINT64_C(1) << bit);
            if (answer != -ENOENT)
                fail_msg("%s answers %d", requests[i].name, answer);
        }
    }
    rec_settle(r);
    rec_expect(r, "");
    done(r);
}

static ior_id other_id;
static const char *complaint;

static void *from_another_thread(void *arg)
{
    struct recorder *r = arg;
    for (int i = 0; i < REQUESTS; i++)
        if (requests[i].call(r->cx, other_id) != -EPERM)
            complaint = requests[i].name;
    if (ior_user(r->cx, other_id) != NULL || ior_queued(r->cx, other_id) != 0 || ior_take(r->cx, NULL) != NULL ||
        ior_controller_of(r->cx) != NULL)
        complaint = "a question";
    ior_stop(r->cx, 0);
    return NULL;
}

/* Promise 13, seen from the other side. */
static void inv13_from_another_thread(void **state)
{
    pthread_t thread;
    struct recorder *r = ready(&other_id);
    (void)state;
    complaint = NULL;
    assert_int_equal(pthread_create(&thread, NULL, from_another_thread, r), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    if (complaint != NULL)
        fail_msg("from another thread it is not refused: %s", complaint);
    rec_settle(r);
    rec_expect(r, "");
    assert_int_equal(script_count(r->script, SCRIPT_SOCKET), 0);
    done(r);
}

static void without_a_place_for_the_answer(void **state)
{
    ior_id id;
    struct recorder *r = ready(&id);
    struct ior_event ev = {.type = IOR_EV_ACCEPTED};
    (void)state;
    assert_int_equal(ior_listen(r->cx, &addr, NULL, NULL), -EINVAL);
    assert_int_equal(ior_connect(r->cx, &addr, NULL, NULL), -EINVAL);
    assert_int_equal(ior_adopt(r->cx, fd, NULL, NULL), -EINVAL);
    assert_int_equal(ior_watch(r->cx, fd, 0, NULL, NULL), -EINVAL);
    assert_int_equal(ior_register(r->cx, res, NULL), -EINVAL);
    assert_int_equal(ior_accept(r->cx, &ev, NULL), -EINVAL);
    assert_int_equal(ior_timer_set(r->cx, 1, NULL, NULL), -EINVAL);
    assert_int_equal(ior_timer_at(r->cx, 1, NULL, NULL), -EINVAL);
    assert_int_equal(ior_timer_every(r->cx, 1, 1, NULL, NULL), -EINVAL);
    assert_int_equal(ior_local(r->cx, id, NULL), -EINVAL);
    assert_int_equal(ior_peer(r->cx, id, NULL), -EINVAL);
    assert_int_equal(script_open_fds(r->script), 4);
    done(r);
}

/* ---- structs of other versions ---- */

static void options_of_a_later_version(void **state)
{
    struct {
        struct ior_stream_options known;
        uint64_t later[4];
    } opts = {.known = {.struct_size = sizeof(opts), .high_bytes = 100}};
    ior_id id, ret = 4711;
    struct recorder *r = ready(&id);
    (void)state;
    opts.later[3] = 1; /* something we do not know is asked for */
    assert_int_equal(ior_adopt(r->cx, fd, &opts.known, &ret), -EINVAL);
    assert_int_equal(ret, 4711);
    opts.later[3] = 0; /* it is not */
    rec_adopt(r, fd, &opts.known);
    opts.known.struct_size = 0;
    assert_int_equal(ior_adopt(r->cx, script_stream(r->script), &opts.known, &ret), -EINVAL);
    opts.known.struct_size = UINT32_MAX;
    assert_int_equal(ior_adopt(r->cx, script_stream(r->script), &opts.known, &ret), -EINVAL);
    done(r);
}

/* ---- configs ---- */

static void refused(struct script *s, const struct ior_config *config, int expected)
{
    struct ior_handler handler = {.struct_size = sizeof(handler)};
    struct ior_runtime *rt = (struct ior_runtime *)(uintptr_t)4711;
    live_alloc_start();
    assert_int_equal(ior_runtime_new(config, &handler, NULL, &rt), expected);
    assert_int_equal((uintptr_t)rt, 4711);
    live_alloc_stop();
    assert_int_equal(script_open_fds(s), 0);
}

static void configs_that_cannot_be(void **state)
{
    struct script *s = script_new();
    struct ior_config good = script_config(s), c;
    (void)state;
    c = good, c.struct_size = 0, refused(s, &c, -EINVAL);
    c = good, c.struct_size = 8, refused(s, &c, -EINVAL);
    c = good, c.read_bytes = 511, refused(s, &c, -EINVAL);
    c = good, c.records = 65537, refused(s, &c, -EINVAL);
    c = good, c.max_resources = (1u << 24) - 1, refused(s, &c, -EINVAL);
    c = good, c.max_timers = (1u << 24) - 1, refused(s, &c, -EINVAL);
    c = good, c.engine = "epoll", refused(s, &c, -EINVAL); /* which one? */
    c = good, c.engine_ops = NULL, c.engine = "no such engine", refused(s, &c, -ENOSYS);
    script_fail_next(s, SCRIPT_OPEN, EMFILE);
    refused(s, &good, -EMFILE);
    script_free(s);
}

static void configs_at_their_bounds(void **state)
{
    struct script *s = script_new();
    struct ior_config config = script_config(s);
    struct ior_handler handler = {.struct_size = sizeof(handler)};
    struct ior_runtime *rt;
    (void)state;
    config.max_resources = config.max_timers = (1u << 24) - 2;
    config.records = 65536;
    config.read_bytes = 512;
    config.output_cap_bytes = 64u << 10;
    assert_int_equal(ior_runtime_new(&config, &handler, NULL, &rt), 0);
    script_free_runtime(s, rt);
    script_free(s);
}

static void no_handler_and_no_place(void **state)
{
    struct script *s = script_new();
    struct ior_config config = script_config(s);
    struct ior_handler handler = {.struct_size = sizeof(handler)}, small = {.struct_size = 8};
    struct ior_runtime *rt = NULL;
    (void)state;
    assert_int_equal(ior_runtime_new(&config, NULL, NULL, &rt), -EINVAL);
    assert_int_equal(ior_runtime_new(&config, &handler, NULL, NULL), -EINVAL);
    assert_int_equal(ior_runtime_new(&config, &small, NULL, &rt), -EINVAL);
    assert_null(rt);
    script_free(s);
}

/* Every function of the tables has to be there, but for those that say otherwise; they are cleared one by one. */
static void tables_with_holes(void **state)
{
    struct script *s = script_new();
    struct ior_config config = script_config(s);
    (void)state;
    struct ior_os os = *script_os(s);
    config.os = &os;
    for (size_t at = offsetof(struct ior_os, clock); at <= offsetof(struct ior_os, path_unlink); at += sizeof(void *)) {
        memset((char *)&os + at, 0, sizeof(void *));
        refused(s, &config, -EINVAL);
        os = *script_os(s);
    }
    struct ior_os_processes processes = {.struct_size = 8};
    os.processes = &processes;
    refused(s, &config, -EINVAL);
    os.struct_size = 8;
    refused(s, &config, -EINVAL);
    config = script_config(s);
    struct ior_engine_ops ops = *script_ops(s);
    config.engine_ops = &ops;
    for (size_t at = offsetof(struct ior_engine_ops, name); at <= offsetof(struct ior_engine_ops, fd);
         at += sizeof(void *)) {
        memset((char *)&ops + at, 0, sizeof(void *));
        refused(s, &config, -EINVAL);
        ops = *script_ops(s);
    }
    ops.features |= IOR_ENGINE_DOES_IO; /* but the calls for it are not there */
    refused(s, &config, -EINVAL);
    ops.struct_size = 8;
    refused(s, &config, -EINVAL);
    script_free(s);
}

static void an_engine_without_fd(void **state)
{
    struct script *s = script_new();
    struct ior_config config = script_config(s);
    struct ior_engine_ops ops = *script_ops(s);
    struct ior_handler handler = {.struct_size = sizeof(handler)};
    struct ior_runtime *rt;
    (void)state;
    ops.features = 0;
    ops.fd = NULL;
    config.engine_ops = &ops;
    assert_int_equal(ior_runtime_new(&config, &handler, NULL, &rt), 0);
    assert_string_equal(ior_runtime_engine(rt), "script");
    assert_int_equal(ior_runtime_fd(rt), -ENOTSUP);
    script_free_runtime(s, rt);
    script_free(s);
}

/* ---- runtimes, reactors, resources, hooks ---- */

static void without_a_runtime(void **state)
{
    struct ior_stats stats = {.struct_size = sizeof(stats)}, small = {.struct_size = 4};
    ior_id id;
    struct recorder *r = ready(&id);
    (void)state;
    assert_int_equal(ior_runtime_run(NULL), -EINVAL);
    assert_int_equal(ior_runtime_turn(NULL, 0), -EINVAL);
    assert_int_equal(ior_runtime_fd(NULL), -EINVAL);
    assert_true(ior_runtime_deadline(NULL) == IOR_NEVER);
    assert_int_equal(ior_runtime_stats(NULL, &stats), -EINVAL);
    assert_int_equal(ior_runtime_stats(r->rt, NULL), -EINVAL);
    assert_int_equal(ior_runtime_stats(r->rt, &small), -EINVAL);
    ior_runtime_free(NULL);
    done(r);
}

static void reactors(void **state)
{
    struct ior_handler handler = {.struct_size = sizeof(handler)};
    struct ior_config config = {.struct_size = sizeof(config), .thread_name = "sixteen letters!"};
    struct ior_reactor *reactor = NULL;
    pthread_attr_t attr;
    (void)state;
    assert_int_equal(ior_reactor_new(NULL, &handler, NULL, NULL), -EINVAL);
    assert_int_equal(ior_reactor_new(NULL, NULL, NULL, &reactor), -EINVAL);
    assert_int_equal(ior_reactor_new(&config, &handler, NULL, &reactor), -EINVAL);
    assert_int_equal(pthread_attr_init(&attr), 0);
    assert_int_equal(pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED), 0);
    config.thread_name = NULL;
    config.thread_attr = &attr;
    assert_int_equal(ior_reactor_new(&config, &handler, NULL, &reactor), -EINVAL); /* it could not be joined */
    pthread_attr_destroy(&attr);
    assert_null(reactor);
    assert_int_equal(ior_reactor_join(NULL), -EINVAL);
    ior_reactor_free(NULL);
}

static void nothing_to_free(void **state)
{
    int n = 7;
    (void)state;
    ior_resource_free(NULL);
    ior_buf_unref(NULL);
    ior_controller_unref(NULL);
    assert_int_equal(ior_resource_unsent(NULL, NULL, 0, &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(ior_resource_unread(NULL, NULL, 0, NULL), 0);
}

static void the_allocator_cannot_be_exchanged_in_use(void **state)
{
    (void)state;
    live_alloc_start();
    struct ior_buf *held = ior_buf_copy("x", 1);
    assert_int_equal(ior_set_alloc(NULL, NULL), -EBUSY);
    ior_buf_unref(held);
    live_alloc_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_context),
        cmocka_unit_test(with_a_stale_id),
        cmocka_unit_test(inv13_from_another_thread),
        cmocka_unit_test(without_a_place_for_the_answer),
        cmocka_unit_test(options_of_a_later_version),
        cmocka_unit_test(configs_that_cannot_be),
        cmocka_unit_test(configs_at_their_bounds),
        cmocka_unit_test(no_handler_and_no_place),
        cmocka_unit_test(tables_with_holes),
        cmocka_unit_test(an_engine_without_fd),
        cmocka_unit_test(without_a_runtime),
        cmocka_unit_test(reactors),
        cmocka_unit_test(nothing_to_free),
        cmocka_unit_test(the_allocator_cannot_be_exchanged_in_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
