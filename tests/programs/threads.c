/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A service called from other threads: a bank in a reactor of its own. Its accounts need no lock, because only the
 * loop touches them; other threads hold a controller, send commands, and wait for the replies. Whether a command was
 * served is never in doubt: a reply, or -EPIPE and the command is still the caller's.
 */
#include "program.h"
#include <stdatomic.h>

#define ACCOUNTS 16
#define START_MONEY 1000
#define THREADS 4
#define TRANSFERS 5000

enum { TRANSFER = 1, BALANCE = 2, DONATE = 3 };

/* A command: the library's part is embedded, the rest is the bank's. */
struct order {
    struct ior_command base;
    unsigned from, to;
    long amount;
};

struct bank {
    long accounts[ACCOUNTS];
    unsigned served;
};

static atomic_uint dropped;

/* For commands that were accepted but not delivered: there are none where the shutdown is in order. */
static void order_drop(struct ior_command *command)
{
    (void)command;
    atomic_fetch_add(&dropped, 1);
}

static void bank_command(void *self, struct ior_context *cx, struct ior_command *command)
{
    struct bank *bank = self;
    struct order *order = (struct order *)command; /* the base is its first member */
    int status = 0;
    bank->served++;
    switch (command->kind) {
    case TRANSFER:
        if (bank->accounts[order->from] < order->amount) {
            status = -ERANGE;
            break;
        }
        bank->accounts[order->from] -= order->amount;
        bank->accounts[order->to] += order->amount;
        break;
    case BALANCE:
        order->amount = bank->accounts[order->from];
        break;
    case DONATE: /* Nobody waits for an answer: the order is the service's, which frees it. */
        bank->accounts[order->to] += order->amount;
        free(order);
        return;
    default:
        status = -EINVAL;
    }
    ior_reply(cx, command, status);
}

static const struct ior_handler bank_handler = {
    .struct_size = sizeof(struct ior_handler),
    .command = bank_command,
};

/* The customers. */

struct customer {
    pthread_t thread;
    struct ior_controller *bank;
    unsigned seed;
    unsigned refused;
};

static unsigned customer_random(struct customer *customer)
{
    customer->seed = customer->seed * 1664525 + 1013904223;
    return customer->seed >> 16;
}

static void *customer_main(void *arg)
{
    struct customer *customer = arg;
    for (int i = 0; i < TRANSFERS; i++) {
        struct order order = {.base = {.kind = TRANSFER, .drop = order_drop}};
        order.from = customer_random(customer) % ACCOUNTS;
        order.to = customer_random(customer) % ACCOUNTS;
        order.amount = (long)(customer_random(customer) % 500);
        CHECK(ior_controller_call(customer->bank, &order.base, IOR_NEVER) == 0);
        CHECK(order.base.is_reply && (order.base.status == 0 || order.base.status == -ERANGE));
        customer->refused += order.base.status == -ERANGE;
    }
    ior_controller_unref(customer->bank);
    return NULL;
}

static long bank_total(struct ior_controller *bank)
{
    long total = 0;
    for (unsigned i = 0; i < ACCOUNTS; i++) {
        struct order order = {.base = {.kind = BALANCE, .drop = order_drop}, .from = i};
        CHECK(ior_controller_call(bank, &order.base, IOR_NEVER) == 0 && order.base.status == 0);
        total += order.amount;
    }
    return total;
}

static void donate(struct ior_controller *bank, long amount)
{
    struct order *order = calloc(1, sizeof *order);
    CHECK(order);
    order->base.kind = DONATE;
    order->base.drop = order_drop;
    order->amount = amount;
    CHECK(ior_controller_send(bank, &order->base) == 0);
}

int main(void)
{
    struct ior_config config = program_config();
    struct ior_reactor *reactor;
    struct customer customers[THREADS];
    struct bank bank = {.served = 0};
    struct order late = {.base = {.kind = BALANCE, .drop = order_drop}};

    program_begin();
    config.thread_name = "bank";
    for (unsigned i = 0; i < ACCOUNTS; i++)
        bank.accounts[i] = START_MONEY;
    CHECK(ior_reactor_new(&config, &bank_handler, &bank, &reactor) == 0);
    struct ior_controller *ctl = ior_controller_ref(ior_reactor_controller(reactor));

    for (unsigned i = 0; i < THREADS; i++) {
        customers[i] = (struct customer){.bank = ior_controller_ref(ctl), .seed = i + 1};
        CHECK(pthread_create(&customers[i].thread, NULL, customer_main, &customers[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_join(customers[i].thread, NULL) == 0);
    CHECK(bank_total(ctl) == (long)ACCOUNTS * START_MONEY);

    /* What is sent before the shutdown is served, what is sent after is refused, also when the bank is gone. */
    donate(ctl, 7);
    CHECK(ior_controller_shutdown(ctl, 0) == 0);
    CHECK(ior_controller_call(ctl, &late.base, IOR_NEVER) == -EPIPE);
    CHECK(ior_reactor_join(reactor) == 0);
    ior_reactor_free(reactor);
    CHECK(ior_controller_send(ctl, &late.base) == -EPIPE);
    ior_controller_unref(ctl);

    CHECK(bank.accounts[0] >= 7 && bank.served == THREADS * TRANSFERS + ACCOUNTS + 1);
    CHECK(atomic_load(&dropped) == 0);
    return 0;
}
