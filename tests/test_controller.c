/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Controllers with real threads: each command once, in order for each sender, never more wakes than commands; calls
 * with their replies and time limits; the line a shutdown draws; and where every command ends up that was not
 * delivered.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/check.h"
#include "support/probe.h"

#define LIMIT_NS (UINT64_C(60) * IOR_NS_PER_SEC)

enum { SENDERS = 3, EACH = 100000 };

struct letter {
    struct ior_command command;
    uint32_t sender, number;
};

struct sender {
    pthread_t thread;
    struct ior_controller *ctl;
    struct letter *letters;
    uint32_t sent;
    int rc;
};

struct mailbox {
    uint32_t next[SENDERS];
    unsigned long delivered, disordered;
};

static void take_letter(struct probe *p, struct ior_command *command)
{
    struct mailbox *box = p->arg;
    struct letter *letter = (struct letter *)command;
    if (letter->number != box->next[letter->sender]++)
        box->disordered++;
    box->delivered++;
}

static void *send_letters(void *arg)
{
    struct sender *me = arg;
    for (me->sent = 0; me->sent < EACH; me->sent++)
        if ((me->rc = ior_controller_send(me->ctl, &me->letters[me->sent].command)) != 0)
            break;
    return NULL;
}

static void start_senders(struct sender *senders, struct ior_controller *ctl)
{
    for (uint32_t i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.ctl = ctl, .letters = calloc(EACH, sizeof(struct letter))};
        assert_non_null(senders[i].letters);
        for (uint32_t n = 0; n < EACH; n++) {
            senders[i].letters[n].sender = i;
            senders[i].letters[n].number = n;
        }
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_letters, &senders[i]), 0);
    }
}

static unsigned long join_senders(struct sender *senders)
{
    unsigned long sent = 0;
    for (int i = 0; i < SENDERS; i++) {
        pthread_join(senders[i].thread, NULL);
        sent += senders[i].sent;
    }
    return sent;
}

static void free_senders(struct sender *senders)
{
    for (int i = 0; i < SENDERS; i++)
        free(senders[i].letters);
}

static void many_senders_each_command_once_and_in_order(void **state)
{
    struct probe *p = probe_new(NULL);
    struct ior_controller *ctl = ior_controller_of(p->cx);
    struct mailbox box = {.delivered = 0};
    struct sender senders[SENDERS];
    (void)state;
    p->arg = &box;
    p->on_command = take_letter;
    start_senders(senders, ctl);
    probe_until(p, box.delivered == (unsigned long)SENDERS * EACH);
    assert_int_equal(join_senders(senders), SENDERS * EACH);
    probe_turns(p, 3);
    assert_int_equal(box.delivered, SENDERS * EACH); /* nothing twice */
    assert_int_equal(box.disordered, 0);
    assert_int_equal(probe_stats(p).commands, SENDERS * EACH);
    assert_in_range(probe_stats(p).wakes, 1, SENDERS * EACH);
    assert_true(probe_quiet(p, 20) <= 3);
    free_senders(senders);
    ior_controller_unref(ctl);
    probe_free(p);
}

/* Commands queued while the loop does not wait need one wake at the most. */
static void a_burst_needs_one_wake(void **state)
{
    struct probe *p = probe_new(NULL);
    struct ior_controller *ctl = ior_controller_of(p->cx);
    static struct letter letters[1000];
    struct mailbox box = {.delivered = 0};
    uint64_t wakes;
    (void)state;
    memset(letters, 0, sizeof(letters));
    p->arg = &box;
    p->on_command = take_letter;
    probe_turns(p, 2);
    wakes = probe_stats(p).wakes;
    for (uint32_t i = 0; i < 1000; i++) {
        letters[i].number = i;
        assert_int_equal(ior_controller_send(ctl, &letters[i].command), 0);
    }
    probe_until(p, box.delivered == 1000);
    assert_int_equal(box.disordered, 0);
    assert_in_range(probe_stats(p).wakes - wakes, 0, 1);
    ior_controller_unref(ctl);
    probe_free(p);
}

struct closer {
    struct ior_controller *ctl;
    struct ior_command late;
    sem_t go;
    int shut, refused;
};

static void *close_the_door(void *arg)
{
    struct closer *me = arg;
    sem_wait(&me->go);
    me->shut = ior_controller_shutdown(me->ctl, IOR_NS_PER_SEC);
    me->refused = ior_controller_send(me->ctl, &me->late);
    return NULL;
}

static void shutdown_is_a_line_that_every_command_is_on_one_side_of(void **state)
{
    (void)state;
    for (int round = 0; round < 5; round++) {
        struct probe *p = probe_new(NULL);
        struct closer closer = {.ctl = ior_controller_of(p->cx)};
        struct mailbox box = {.delivered = 0};
        struct sender senders[SENDERS];
        pthread_t thread;
        sem_init(&closer.go, 0, 0);
        p->arg = &box;
        p->on_command = take_letter;
        start_senders(senders, closer.ctl);
        assert_int_equal(pthread_create(&thread, NULL, close_the_door, &closer), 0);
        probe_until(p, box.delivered > 1000);
        sem_post(&closer.go);
        assert_int_equal(ior_runtime_run(p->rt), 0);
        pthread_join(thread, NULL);
        assert_int_equal(closer.shut, 0);
        assert_int_equal(closer.refused, -EPIPE);
        assert_int_equal(box.delivered, join_senders(senders)); /* accepted is served, refused is not */
        assert_int_equal(box.disordered, 0);
        for (int i = 0; i < SENDERS; i++)
            assert_true(senders[i].sent == EACH || senders[i].rc == -EPIPE);
        free_senders(senders);
        ior_controller_unref(closer.ctl);
        sem_destroy(&closer.go);
        probe_free(p);
    }
}

/* A service in a reactor for the tests of calls. Kinds: answer, keep for later, answer what was kept, call oneself. */
enum { ANSWER = 1, KEEP, RELEASE, CALL_SELF, DROP_IT };

struct desk {
    struct ior_command *kept;
    atomic_int dropped, inside, dropped_inside, self_call;
};

struct note {
    struct ior_command command;
    struct desk *desk;
};

static void drop_note(struct ior_command *command)
{
    struct note *note = (struct note *)command;
    struct desk *desk = note->desk;
    if (atomic_load(&desk->inside))
        atomic_store(&desk->dropped_inside, 1);
    free(note);
    atomic_fetch_add(&desk->dropped, 1);
}

static struct note *new_note(struct desk *desk, int kind)
{
    struct note *note = calloc(1, sizeof(*note));
    if (note == NULL)
        abort();
    note->desk = desk;
    note->command.kind = kind;
    note->command.drop = drop_note;
    return note;
}

static void serve_note(void *self, struct ior_context *cx, struct ior_command *command)
{
    struct desk *desk = self;
    struct ior_controller *own;
    int kind = command->kind;
    atomic_store(&desk->inside, 1);
    if (kind == KEEP) {
        desk->kept = command;
    } else {
        if (kind == CALL_SELF) {
            struct ior_command again = {.kind = ANSWER};
            own = ior_controller_of(cx);
            atomic_store(&desk->self_call, ior_controller_call(own, &again, LIMIT_NS));
            ior_controller_unref(own);
        }
        if (kind == RELEASE && desk->kept != NULL) {
            ior_reply(cx, desk->kept, 7);
            desk->kept = NULL;
        }
        ior_reply(cx, command, -kind);
    }
    atomic_store(&desk->inside, 0);
}

static const struct ior_handler desk_handler = {.struct_size = sizeof(struct ior_handler), .command = serve_note};

static struct ior_reactor *open_desk(struct desk *desk)
{
    struct ior_config config = probe_config();
    struct ior_reactor *reactor = NULL;
    memset(desk, 0, sizeof(*desk));
    assert_int_equal(ior_reactor_new(&config, &desk_handler, desk, &reactor), 0);
    return reactor;
}

static void await_int(atomic_int *value, int wanted)
{
    uint64_t end = net_now() + LIMIT_NS;
    while (atomic_load(value) != wanted && net_now() < end)
        sched_yield();
    assert_int_equal(atomic_load(value), wanted);
}

static void call_waits_for_its_reply(void **state)
{
    struct desk desk;
    struct ior_reactor *reactor = open_desk(&desk);
    struct ior_controller *ctl = ior_reactor_controller(reactor);
    struct ior_command command = {.kind = ANSWER};
    (void)state;
    for (int i = 0; i < 100; i++) {
        command.is_reply = false;
        assert_int_equal(ior_controller_call(ctl, &command, LIMIT_NS), 0);
        assert_true(command.is_reply);
        assert_int_equal(command.status, -ANSWER);
        assert_null(command.reply_to);
    }
    ior_reactor_free(reactor);
}

static void call_times_out_and_its_command_is_dropped_later(void **state)
{
    struct desk desk;
    struct ior_reactor *reactor = open_desk(&desk);
    struct ior_controller *ctl = ior_reactor_controller(reactor);
    struct ior_command release = {.kind = RELEASE};
    uint64_t began = net_now();
    (void)state;
    assert_int_equal(ior_controller_call(ctl, &new_note(&desk, KEEP)->command, 20 * IOR_NS_PER_MS), -ETIMEDOUT);
    assert_true(net_now() - began >= 20 * IOR_NS_PER_MS);
    assert_int_equal(atomic_load(&desk.dropped), 0); /* the service still has it */
    assert_int_equal(ior_controller_call(ctl, &release, LIMIT_NS), 0);
    await_int(&desk.dropped, 1); /* its reply found nobody */
    assert_int_equal(atomic_load(&desk.dropped_inside), 0);
    ior_reactor_free(reactor);
    assert_int_equal(atomic_load(&desk.dropped), 1);
}

static void reply_without_anybody_waiting_is_dropped_from_the_loop(void **state)
{
    struct desk desk;
    struct ior_reactor *reactor = open_desk(&desk);
    (void)state;
    for (int i = 0; i < 10; i++)
        assert_int_equal(ior_controller_send(ior_reactor_controller(reactor), &new_note(&desk, DROP_IT)->command), 0);
    await_int(&desk.dropped, 10);
    assert_int_equal(atomic_load(&desk.dropped_inside), 0);
    ior_reactor_free(reactor);
}

static void call_on_its_own_loop_is_refused(void **state)
{
    struct desk desk;
    struct ior_reactor *reactor = open_desk(&desk);
    struct ior_command command = {.kind = CALL_SELF};
    (void)state;
    assert_int_equal(ior_controller_call(ior_reactor_controller(reactor), &command, LIMIT_NS), 0);
    assert_int_equal(atomic_load(&desk.self_call), -EDEADLK);
    ior_reactor_free(reactor);
}

/* A note from one service to another comes back to the first as a reply; where that is gone, it is dropped. */
static void note_reply(struct probe *p, struct ior_command *command)
{
    struct mailbox *box = p->arg;
    box->delivered += command->is_reply && command->status == -ANSWER;
    free(command);
}

static void replies_come_back_to_the_asking_service(void **state)
{
    struct desk desk;
    struct ior_reactor *reactor = open_desk(&desk);
    struct ior_controller *ctl = ior_reactor_controller(reactor), *mine;
    struct mailbox box = {.delivered = 0};
    struct probe *p = probe_new(NULL);
    (void)state;
    p->arg = &box;
    p->on_command = note_reply;
    mine = ior_controller_of(p->cx);
    for (int i = 0; i < 100; i++) {
        struct note *note = new_note(&desk, ANSWER);
        note->command.reply_to = mine;
        assert_int_equal(ior_controller_send(ctl, &note->command), 0);
    }
    probe_until(p, box.delivered == 100);
    assert_int_equal(atomic_load(&desk.dropped), 0);
    probe_free(p); /* the asking service is gone, its controller is not */
    for (int i = 0; i < 10; i++) {
        struct note *note = new_note(&desk, ANSWER);
        note->command.reply_to = mine;
        assert_int_equal(ior_controller_send(ctl, &note->command), 0);
    }
    await_int(&desk.dropped, 10);
    assert_int_equal(atomic_load(&desk.dropped_inside), 0);
    ior_controller_unref(mine);
    ior_reactor_free(reactor);
}

static void a_controller_outlives_its_runtime(void **state)
{
    struct desk desk = {.kept = NULL};
    struct ior_command command = {.kind = ANSWER};
    struct ior_controller *ctl, *twin;
    struct probe *p = probe_new(NULL);
    (void)state;
    ctl = ior_controller_of(p->cx);
    twin = ior_controller_ref(ctl);
    for (int i = 0; i < 5; i++)
        assert_int_equal(ior_controller_send(ctl, &new_note(&desk, ANSWER)->command), 0);
    probe_free(p); /* it never ran: what was queued comes back through drop */
    assert_int_equal(atomic_load(&desk.dropped), 5);
    ior_controller_unref(ctl);
    assert_int_equal(ior_controller_send(twin, &command), -EPIPE);
    assert_int_equal(ior_controller_call(twin, &command, LIMIT_NS), -EPIPE);
    assert_null(command.reply_to);
    assert_int_equal(ior_controller_shutdown(twin, 0), 0);
    ior_controller_unref(twin);
    ior_controller_unref(NULL);
}

static void an_attached_service_has_its_own_door(void **state)
{
    struct probe *p = probe_new(NULL), *second = probe_bare();
    struct ior_controller *ctl;
    struct ior_context *cx = NULL;
    struct ior_command commands[2] = {{.kind = 1}, {.kind = 2}};
    (void)state;
    assert_int_equal(ior_attach(p->cx, &probe_handler, second, &cx), 0);
    ctl = ior_controller_of(cx);
    assert_int_equal(ior_controller_send(ctl, &commands[0]), 0);
    probe_until(p, second->commands == 1);
    assert_int_equal(p->commands, 0);
    assert_int_equal(second->starts, 1);
    assert_int_equal(ior_detach(p->cx, 0), -EINVAL);
    assert_int_equal(ior_detach(cx, 0), 0);
    probe_turns(p, 5);
    assert_int_equal(second->stops, 1);
    assert_int_equal(ior_controller_send(ctl, &commands[1]), -EPIPE); /* the service is gone, the runtime lives */
    assert_int_equal(p->stops, 0);
    ior_controller_unref(ctl);
    probe_free(second);
    probe_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_senders_each_command_once_and_in_order),
        cmocka_unit_test(a_burst_needs_one_wake),
        cmocka_unit_test(shutdown_is_a_line_that_every_command_is_on_one_side_of),
        cmocka_unit_test(call_waits_for_its_reply),
        cmocka_unit_test(call_times_out_and_its_command_is_dropped_later),
        cmocka_unit_test(reply_without_anybody_waiting_is_dropped_from_the_loop),
        cmocka_unit_test(call_on_its_own_loop_is_refused),
        cmocka_unit_test(replies_come_back_to_the_asking_service),
        cmocka_unit_test(a_controller_outlives_its_runtime),
        cmocka_unit_test(an_attached_service_has_its_own_door),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
