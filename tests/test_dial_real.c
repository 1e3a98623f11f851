/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dialling on real engines, sockets and threads. The resolver is the test's own, in the place of the system's: it waits
 * at a gate, so that what is in hand of a thread can be called off there.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"
#include "support/live.h"
#include "support/net.h"
#include "support/probe.h"

/* ---- the resolver ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
static bool gate_shut;
static unsigned inside, answered;
static char answers[4][IOR_ADDR_TEXT_MAX]; /* the port does not count; up to the first empty one */

static int resolve(void *arg, const struct ior_os_name *name, struct ior_addr *addrs, uint32_t max, uint64_t *after_ns)
{
    uint32_t n = 0;
    (void)arg;
    *after_ns = 0;
    pthread_mutex_lock(&mutex);
    inside++;
    pthread_cond_broadcast(&moved);
    while (gate_shut)
        pthread_cond_wait(&moved, &mutex);
    for (; n < 4 && answers[n][0]; n++) {
        if (n >= max || ior_addr_parse(&addrs[n], answers[n]) < 0)
            continue;
        addrs[n].raw[2] = (unsigned char)(name->port >> 8);
        addrs[n].raw[3] = (unsigned char)name->port;
    }
    inside--;
    answered++;
    pthread_cond_broadcast(&moved);
    pthread_mutex_unlock(&mutex);
    return n > 0 ? (int)n : -ENOENT;
}

static void gate(bool shut)
{
    pthread_mutex_lock(&mutex);
    gate_shut = shut;
    pthread_cond_broadcast(&moved);
    pthread_mutex_unlock(&mutex);
}

static void wait_for(const unsigned *what, unsigned least)
{
    pthread_mutex_lock(&mutex);
    while (*what < least)
        pthread_cond_wait(&moved, &mutex);
    pthread_mutex_unlock(&mutex);
}

static struct ior_os os;

static struct probe *named_probe(const char *first, const char *second)
{
    struct ior_config config = probe_config();
    os = *ior_os_default();
    os.resolve = resolve;
    config.os = &os;
    memset(answers, 0, sizeof(answers));
    snprintf(answers[0], sizeof(answers[0]), "%s", first);
    snprintf(answers[1], sizeof(answers[1]), "%s", second);
    answered = inside = 0;
    gate(false);
    return probe_new(&config);
}

static ior_id dial(struct probe *p, const char *host, unsigned port)
{
    ior_id id = 0;
    assert_int_equal(ior_dial(p->cx, host, port, NULL, &id), 0);
    return id;
}

/* What was called off while a thread had it is freed by the thread, perhaps after the runtime: until then it counts. */
static void free_with_threads(struct probe *p, size_t threads)
{
    probe_free(p);
    gate(false);
    net_await_threads(threads);
}

/* ---- tests ---- */

static void by_address_and_by_name(void **state)
{
    static const char *const hosts[] = {"127.0.0.1", "host.example"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct probe *p = named_probe("127.0.0.1:1", "");
        struct ior_addr addr, peer;
        probe_listen(p, NULL, &addr);
        ior_id id = dial(p, hosts[i], ior_addr_port(&addr));
        assert_int_equal(ior_send(p->cx, id, "early", 5), -ENOTCONN);
        probe_until(p, probe_of(p, id)->open == 1 && p->accepted != 0 && probe_of(p, p->accepted)->open == 1);
        assert_int_equal(ior_peer(p->cx, id, &peer), 0);
        assert_true(ior_addr_equal(&peer, &addr));
        /* Both ways. */
        assert_int_equal(ior_send(p->cx, id, "ping", 4), 0);
        probe_until(p, probe_of(p, p->accepted)->bytes == 4);
        assert_int_equal(ior_send(p->cx, p->accepted, "a pong", 6), 0);
        probe_until(p, probe_of(p, id)->bytes == 6);
        assert_int_equal(ior_close(p->cx, id, IOR_NEVER), 0);
        probe_until(p, probe_of(p, id)->end == 1);
        assert_int_equal(probe_of(p, id)->written, 4);
        probe_free(p);
    }
}

static char causes[512];

static void note_causes(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    const struct ior_dial_cause *cause;
    (void)r;
    if (ev->type != IOR_EV_OPEN && ev->type != IOR_EV_END)
        return;
    int n = ior_dial_causes(p->cx, ev->id, &cause);
    causes[0] = '\0';
    for (int i = 0; i < n; i++)
        snprintf(causes + strlen(causes), sizeof(causes) - strlen(causes), "%s ", ior_errname(cause[i].error));
}

static void refused_by_the_first_taken_by_the_second(void **state)
{
    struct probe *p = named_probe("127.0.0.2:1", "127.0.0.1:1");
    struct ior_addr addr;
    (void)state;
    probe_listen(p, NULL, &addr); /* on 127.0.0.1 alone */
    ior_id listener = p->res[0].id;
    p->on_event = note_causes;
    p->refuse = true;
    ior_id id = dial(p, "host.example", ior_addr_port(&addr));
    probe_until(p, probe_of(p, id)->open == 1);
    assert_string_equal(causes, "ECONNREFUSED 0 ");
    /* And where nobody listens. */
    assert_int_equal(ior_unregister(p->cx, listener), 0);
    probe_until(p, probe_of(p, listener)->end == 1);
    int refuses = net_refused_addr(&addr);
    ior_id other = dial(p, "host.example", ior_addr_port(&addr));
    probe_until(p, probe_of(p, other)->end == 1);
    assert_int_equal(probe_of(p, other)->error, ECONNREFUSED);
    assert_string_equal(causes, "ECONNREFUSED ECONNREFUSED ");
    close(refuses);
    probe_free(p);
}

static void a_look_up_in_hand_is_called_off(void **state)
{
    size_t threads = net_threads_at_rest();
    (void)state;
    for (int how = 0; how < 3; how++) {
        live_alloc_start();
        struct probe *p = named_probe("127.0.0.1:1", "");
        ior_id name = 0;
        gate(true);
        ior_id id = dial(p, "host.example", 9);
        assert_int_equal(ior_resolve(p->cx, "host.example", 9, NULL, &name), 0);
        probe_turns(p, 2);
        wait_for(&inside, 2);
        if (how == 0) {
            /* The threads come back later, and nobody is told. */
            assert_int_equal(ior_unregister(p->cx, id), 0);
            assert_int_equal(ior_unregister(p->cx, name), 0);
            probe_until(p, probe_of(p, id)->end == 1 && probe_of(p, name)->end == 1);
            assert_int_equal(probe_of(p, name)->resolved, 0);
            gate(false);
            probe_turns(p, 5);
        } else if (how == 1) {
            ior_stop(p->cx, 0); /* a shutdown does not wait for them */
            assert_int_equal(ior_runtime_run(p->rt), 0);
        } /* 2: freed as it is */
        free_with_threads(p, threads);
        wait_for(&answered, 2);
        live_alloc_stop();
    }
}

/* R75: whatever races, an answer has one owner: many look-ups, called off while the threads answer them. */
static void r75_answers_and_cancels_race(void **state)
{
    enum { ROUNDS = 60, EACH = 8 };
    size_t threads = net_threads_at_rest();
    (void)state;
    live_alloc_start();
    struct probe *p = named_probe("127.0.0.1:1", "127.0.0.2:1");
    for (int round = 0; round < ROUNDS; round++) {
        ior_id ids[EACH];
        for (int i = 0; i < EACH; i++)
            assert_int_equal(ior_resolve(p->cx, "host.example", 9, NULL, &ids[i]), 0);
        if (round % 3 > 0)
            probe_turns(p, (unsigned)round % 3);
        for (int i = 0; i < EACH; i += 2)
            (void)ior_unregister(p->cx, ids[i]);
        for (int i = 0; i < EACH; i++)
            probe_until(p, probe_of(p, ids[i])->end == 1);
        for (int i = 0; i < EACH; i++)
            assert_true(probe_of(p, ids[i])->resolved == (probe_of(p, ids[i])->why == IOR_EOF));
    }
    free_with_threads(p, threads);
    live_alloc_stop();
}

static void a_child_frees_what_waits(void **state)
{
    struct probe *p = named_probe("127.0.0.1:1", "");
    ior_id name;
    int status;
    (void)state;
    gate(true);
    dial(p, "host.example", 9);
    dial(p, "127.0.0.1", 9);
    assert_int_equal(ior_resolve(p->cx, "host.example", 9, NULL, &name), 0);
    probe_turns(p, 1);
    wait_for(&inside, 2);
    pid_t child = net_fork();
    if (child == 0) {
        ior_runtime_free(p->rt);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    gate(false);
    probe_until(p, probe_of(p, name)->end == 1);
    probe_free(p);
}

static int begun_fd;

/* Nothing comes of it, as where packets are lost. */
static int connect_for_ever(void *arg, int fd, const struct ior_addr *addr)
{
    (void)arg;
    (void)addr;
    begun_fd = fd;
    return -EINPROGRESS;
}

static int free_and_look(void *arg)
{
    ior_runtime_free(((struct probe *)arg)->rt);
    return fcntl(begun_fd, F_GETFD) >= 0;
}

/* Else the peer would take the child for whoever connects, for as long as the child lives. */
static void a_child_closes_what_is_being_connected(void **state)
{
    struct probe *p = named_probe("127.0.0.1:1", "");
    (void)state;
    os.connect = connect_for_ever;
    begun_fd = -1;
    ior_id id = dial(p, "127.0.0.1", 9);
    probe_until(p, begun_fd >= 0);
    assert_int_equal(net_in_child(free_and_look, p), 0);
    assert_true(fcntl(begun_fd, F_GETFD) >= 0);
    assert_int_equal(ior_unregister(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_true(fcntl(begun_fd, F_GETFD) < 0);
    probe_free(p);
}

/* The system's own: no network is needed for what stands in a file everywhere, and for what no name can be. */
static void the_systems_resolver(void **state)
{
    struct probe *p = probe_new(NULL);
    struct ior_addr addr;
    ior_id name;
    (void)state;
    probe_listen(p, NULL, &addr);
    p->on_event = note_causes;
    ior_id id = dial(p, "localhost", ior_addr_port(&addr));
    probe_until(p, probe_of(p, id)->open == 1 || probe_of(p, id)->end == 1);
    if (probe_of(p, id)->open == 0)
        print_message("localhost is no name here: %s\n", causes);
    assert_int_equal(ior_resolve(p->cx, "a..b", 9, NULL, &name), 0);
    probe_until(p, probe_of(p, name)->end == 1);
    assert_int_equal(probe_of(p, name)->resolved, 0);
    assert_int_equal(probe_of(p, name)->why, IOR_ERROR);
    probe_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_address_and_by_name),
        cmocka_unit_test(refused_by_the_first_taken_by_the_second),
        cmocka_unit_test(a_look_up_in_hand_is_called_off),
        cmocka_unit_test(r75_answers_and_cancels_race),
        cmocka_unit_test(a_child_frees_what_waits),
        cmocka_unit_test(a_child_closes_what_is_being_connected),
        cmocka_unit_test(the_systems_resolver),
    };
    (void)net_threads_at_rest(); /* before there are others */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
