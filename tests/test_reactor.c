/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reactors: the thread they make (name, attributes, signals), what new, join and free answer in each state, and that a
 * service in a reactor does real I/O. The loop's thread only notes; the main thread asserts.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/check.h"
#include "support/probe.h"

#define LIMIT_NS (UINT64_C(60) * IOR_NS_PER_SEC)

/* What the loop's thread found out about itself; written before ior_reactor_new returns. */
struct thread_facts {
    pthread_t thread;
    struct ior_context *cx;
    char name[32];
    size_t stack;
    int unblocked;
    int answer; /* of start */
    unsigned starts, stops;
};

static int look_around(void *self, struct ior_context *cx)
{
    struct thread_facts *facts = self;
    pthread_attr_t attr;
    sigset_t mask;
    facts->starts++;
    facts->cx = cx;
    facts->thread = pthread_self();
    pthread_getname_np(pthread_self(), facts->name, sizeof(facts->name));
    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        pthread_attr_getstacksize(&attr, &facts->stack);
        pthread_attr_destroy(&attr);
    }
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    for (int number = 1; number < SIGRTMIN; number++)
        if (number != SIGKILL && number != SIGSTOP && number < 32 && sigismember(&mask, number) == 0)
            facts->unblocked++;
    return facts->answer;
}

static void count_stop(void *self, struct ior_context *cx)
{
    struct thread_facts *facts = self;
    (void)cx;
    facts->stops++;
}

static const struct ior_handler looking = {
    .struct_size = sizeof(struct ior_handler), .start = look_around, .stop = count_stop};

static void the_thread_has_its_name_attributes_and_no_signals(void **state)
{
    struct ior_config config = probe_config();
    struct thread_facts facts = {.starts = 0};
    struct ior_reactor *reactor = NULL;
    pthread_attr_t attr;
    sigset_t before, after;
    (void)state;
    pthread_attr_init(&attr);
    assert_int_equal(pthread_attr_setstacksize(&attr, 1 << 20), 0);
    config.thread_name = "ior-test-loop";
    config.thread_attr = &attr;
    sigemptyset(&before);
    sigemptyset(&after);
    pthread_sigmask(SIG_BLOCK, NULL, &before);
    assert_int_equal(ior_reactor_new(&config, &looking, &facts, &reactor), 0);
    pthread_sigmask(SIG_BLOCK, NULL, &after);
    assert_int_equal(facts.starts, 1); /* start has answered */
    assert_false(pthread_equal(facts.thread, pthread_self()));
    assert_string_equal(facts.name, "ior-test-loop");
    assert_in_range(facts.stack, 1 << 19, 3 << 20);
    assert_int_equal(facts.unblocked, 0);
    for (int number = 1; number < 32; number++)
        assert_int_equal(sigismember(&after, number), sigismember(&before, number)); /* the caller's are as before */
    pthread_attr_destroy(&attr);
    ior_reactor_free(reactor);
    assert_int_equal(facts.stops, 1);
}

static void new_fails_without_leaving_anything(void **state)
{
    struct ior_config config = probe_config();
    struct thread_facts facts = {.answer = -EADDRNOTAVAIL};
    struct ior_reactor *reactor = NULL;
    size_t threads = net_threads_at_rest(), fds = net_fd_count();
    (void)state;
    assert_int_equal(ior_reactor_new(&config, &looking, &facts, &reactor), -EADDRNOTAVAIL);
    assert_int_equal(facts.starts, 1);
    assert_null(reactor);
    net_await_threads(threads);
    config.thread_name = "sixteen-letters!";
    assert_int_equal(ior_reactor_new(&config, &looking, &facts, &reactor), -EINVAL);
    config = probe_config();
    config.engine = "no-such-engine";
    assert_int_equal(ior_reactor_new(&config, &looking, &facts, &reactor), -ENOSYS);
    config = probe_config();
    assert_int_equal(ior_reactor_new(&config, NULL, &facts, &reactor), -EINVAL);
    assert_int_equal(ior_reactor_new(&config, &looking, &facts, NULL), -EINVAL);
    config.struct_size = 4;
    assert_int_equal(ior_reactor_new(&config, &looking, &facts, &reactor), -EINVAL);
    assert_int_equal(facts.starts, 1);
    assert_null(reactor);
    assert_int_equal(net_fd_count(), fds);
    assert_int_equal(net_thread_count(), threads);
}

static void join_answers_the_same_again_and_free_follows_in_any_state(void **state)
{
    struct ior_config config = probe_config();
    size_t threads = net_threads_at_rest(), fds = net_fd_count();
    (void)state;
    for (int joins = 0; joins < 3; joins++) {
        struct thread_facts facts = {.starts = 0};
        struct ior_reactor *reactor = NULL;
        assert_int_equal(ior_reactor_new(&config, &looking, &facts, &reactor), 0);
        if (joins > 0)
            assert_int_equal(ior_controller_shutdown(ior_reactor_controller(reactor), 0), 0);
        for (int i = 0; i < joins; i++)
            assert_int_equal(ior_reactor_join(reactor), 0);
        if (joins == 2)
            assert_int_equal(ior_controller_shutdown(ior_reactor_controller(reactor), 0), 0);
        ior_reactor_free(reactor);
        assert_int_equal(facts.stops, 1);
    }
    ior_reactor_free(NULL);
    net_await_threads(threads);
    assert_int_equal(net_fd_count(), fds);
}

static void requests_from_other_threads_are_refused(void **state)
{
    struct ior_config config = probe_config();
    struct thread_facts facts = {.starts = 0};
    struct ior_reactor *reactor = NULL;
    struct ior_addr addr;
    ior_id id = 0;
    int pair[2];
    (void)state;
    net_unix_pair(pair);
    assert_int_equal(ior_addr_parse(&addr, "127.0.0.1:0"), 0);
    assert_int_equal(ior_reactor_new(&config, &looking, &facts, &reactor), 0);
    assert_int_equal(ior_listen(facts.cx, &addr, NULL, &id), -EPERM);
    assert_int_equal(ior_connect(facts.cx, &addr, NULL, &id), -EPERM);
    assert_int_equal(ior_adopt(facts.cx, pair[0], NULL, &id), -EPERM);
    assert_int_equal(ior_watch(facts.cx, pair[0], IOR_READ, NULL, &id), -EPERM);
    assert_int_equal(ior_timer_set(facts.cx, 0, NULL, &id), -EPERM);
    assert_int_equal(ior_send(facts.cx, 16, "x", 1), -EPERM);
    assert_int_equal(ior_unregister(facts.cx, 16), -EPERM);
    assert_int_equal(id, 0);
    ior_reactor_free(reactor);
    close(pair[0]);
    close(pair[1]);
}

/* An echo service in a reactor. */
struct echo {
    struct ior_addr addr;
    atomic_int open, ended, wrong;
};

static int echo_start(void *self, struct ior_context *cx)
{
    struct echo *echo = self;
    struct ior_addr any;
    ior_id id;
    int rc = ior_addr_parse(&any, "127.0.0.1:0");
    if (rc == 0)
        rc = ior_listen(cx, &any, NULL, &id);
    return rc == 0 ? ior_local(cx, id, &echo->addr) : rc;
}

static void echo_listener(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct echo *echo = self;
    ior_id id;
    if (ev->type == IOR_EV_ACCEPTED && ior_accept(cx, ev, &id) != 0)
        atomic_fetch_add(&echo->wrong, 1);
}

static void echo_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct echo *echo = self;
    if (ev->type == IOR_EV_OPEN)
        atomic_fetch_add(&echo->open, 1);
    else if (ev->type == IOR_EV_DATA && ior_send(cx, ev->id, ev->data.bytes, ev->data.len) < 0)
        atomic_fetch_add(&echo->wrong, 1);
    else if (ev->type == IOR_EV_END)
        atomic_fetch_add(&echo->ended, 1);
}

static const struct ior_handler echo_handler = {
    .struct_size = sizeof(struct ior_handler),
    .start = echo_start,
    .listener = echo_listener,
    .transport = echo_transport,
};

static void a_service_in_a_reactor_serves_clients(void **state)
{
    struct ior_config config = probe_config();
    struct echo echo = {.wrong = 0};
    struct ior_reactor *reactor = NULL;
    unsigned char bytes[5000];
    int fds[5];
    (void)state;
    assert_int_equal(ior_reactor_new(&config, &echo_handler, &echo, &reactor), 0);
    for (int i = 0; i < 5; i++)
        fds[i] = net_connect(&echo.addr);
    for (int round = 0; round < 20; round++)
        for (int i = 0; i < 5; i++) {
            net_write_pattern(fds[i], (uint64_t)round * sizeof(bytes), sizeof(bytes));
            net_read(fds[i], bytes, sizeof(bytes));
            assert_true(net_is_pattern(bytes, (uint64_t)round * sizeof(bytes), sizeof(bytes)));
        }
    for (int i = 0; i < 5; i++)
        close(fds[i]);
    ior_reactor_free(reactor);
    assert_int_equal(atomic_load(&echo.open), 5);
    assert_int_equal(atomic_load(&echo.ended), 5);
    assert_int_equal(atomic_load(&echo.wrong), 0);
}

/* Sends much to the one stream it is given, at the command that asks for it. */
struct giver {
    int fd;
    unsigned char *bytes;
    size_t len;
    int rc;
};

static void give(void *self, struct ior_context *cx, struct ior_command *command)
{
    struct giver *giver = self;
    const struct ior_stream_options opts = {.struct_size = sizeof(opts), .cap_bytes = 2 * giver->len};
    ior_id id;
    giver->rc = ior_adopt(cx, giver->fd, &opts, &id);
    if (giver->rc == 0)
        giver->rc = ior_send(cx, id, giver->bytes, giver->len);
    ior_reply(cx, command, 0);
}

struct taker {
    int fd;
    size_t got;
    bool wrong;
};

static void *take(void *arg)
{
    struct taker *taker = arg;
    unsigned char bytes[10000];
    for (ssize_t n; (n = recv(taker->fd, bytes, sizeof(bytes), 0)) > 0; taker->got += (size_t)n)
        taker->wrong = taker->wrong || !net_is_pattern(bytes, taker->got, (size_t)n);
    return NULL;
}

static void free_lets_queued_output_drain(void **state)
{
    const struct ior_handler giving = {.struct_size = sizeof(giving), .command = give};
    struct ior_config config = probe_config();
    struct ior_command command = {.kind = 1};
    struct giver giver = {.len = 2 << 20};
    struct taker taker = {.got = 0};
    struct ior_reactor *reactor = NULL;
    pthread_t thread;
    int pair[2];
    (void)state;
    net_unix_pair(pair);
    giver.fd = pair[0];
    taker.fd = pair[1];
    giver.bytes = malloc(giver.len);
    assert_non_null(giver.bytes);
    net_pattern(giver.bytes, 0, giver.len);
    assert_int_equal(ior_reactor_new(&config, &giving, &giver, &reactor), 0);
    assert_int_equal(ior_controller_call(ior_reactor_controller(reactor), &command, LIMIT_NS), 0);
    assert_int_equal(giver.rc, 1);
    assert_int_equal(pthread_create(&thread, NULL, take, &taker), 0);
    assert_int_equal(ior_controller_shutdown(ior_reactor_controller(reactor), LIMIT_NS), 0);
    ior_reactor_free(reactor);
    pthread_join(thread, NULL);
    assert_int_equal(taker.got, giver.len);
    assert_false(taker.wrong);
    free(giver.bytes);
    close(pair[1]);
}

static void many_reactors_at_once_leave_nothing(void **state)
{
    enum { N = 20 };
    struct ior_config config = probe_config();
    struct thread_facts facts[N];
    struct ior_reactor *reactors[N];
    size_t threads = net_threads_at_rest(), fds = net_fd_count();
    (void)state;
    memset(facts, 0, sizeof(facts));
    for (int i = 0; i < N; i++)
        assert_int_equal(ior_reactor_new(&config, &looking, &facts[i], &reactors[i]), 0);
    assert_int_equal(net_thread_count(), threads + N);
    for (int i = 0; i < N; i += 2)
        assert_int_equal(ior_controller_shutdown(ior_reactor_controller(reactors[i]), 0), 0);
    for (int i = 0; i < N; i++)
        ior_reactor_free(reactors[i]);
    net_await_threads(threads);
    assert_int_equal(net_fd_count(), fds);
    for (int i = 0; i < N; i++)
        assert_int_equal(facts[i].starts + facts[i].stops, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_thread_has_its_name_attributes_and_no_signals),
        cmocka_unit_test(new_fails_without_leaving_anything),
        cmocka_unit_test(join_answers_the_same_again_and_free_follows_in_any_state),
        cmocka_unit_test(requests_from_other_threads_are_refused),
        cmocka_unit_test(a_service_in_a_reactor_serves_clients),
        cmocka_unit_test(free_lets_queued_output_drain),
        cmocka_unit_test(many_reactors_at_once_leave_nothing),
    };
    (void)net_threads_at_rest(); /* before there are others */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
