/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands: one function each, and a table of them. Answers and errors have the words Redis has for them, because
 * programs look at these.
 */
#include "kv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define NOT_AN_INTEGER "ERR value is not an integer or out of range"
#define OUT_OF_MEMORY "OOM out of memory"

struct call {
    struct kv *kv;
    struct client *client;
    struct reply *reply;
    const struct command *command;
    size_t count;
    const struct resp_arg *args; /* args[0] is the name of the command */
};

struct command {
    const char *name;
    size_t name_len;
    void (*serve)(struct call *call);
    int arity;          /* with the name; negative: at least so many */
    bool of_subscriber; /* allowed while subscribed */
};

static inline bool arg_is(const struct resp_arg *arg, const char *word)
{
    return arg->len == strlen(word) && strncasecmp(arg->bytes, word, arg->len) == 0;
}

static void wrong_arity(struct call *call)
{
    reply_error(call->reply, "ERR wrong number of arguments for '%s' command", call->command->name);
}

/* A 64-bit integer as Redis writes it: no blanks, no plus, no leading zeros. */
static bool parse_int(const char *bytes, size_t len, int64_t *ret)
{
    bool negative = len > 0 && bytes[0] == '-';
    size_t i = negative ? 1 : 0;
    uint64_t limit = (uint64_t)INT64_MAX + (negative ? 1 : 0);
    uint64_t number = 0;
    if (i == len || (bytes[i] == '0' && len > 1))
        return false;
    for (; i < len; i++) {
        unsigned digit = (unsigned)(bytes[i] - '0');
        if (bytes[i] < '0' || bytes[i] > '9' || number > (limit - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    *ret = negative ? (int64_t)(UINT64_C(0) - number) : (int64_t)number;
    return true;
}

static void cmd_ping(struct call *call)
{
    if (call->count > 2) {
        wrong_arity(call);
    } else if (call->client->subscribed > 0) {
        reply_array(call->reply, 2);
        reply_bulk(call->reply, "pong", 4);
        reply_bulk(call->reply, call->count == 2 ? call->args[1].bytes : "", call->count == 2 ? call->args[1].len : 0);
    } else if (call->count == 2) {
        reply_bulk(call->reply, call->args[1].bytes, call->args[1].len);
    } else {
        reply_status(call->reply, "PONG");
    }
}

static void cmd_echo(struct call *call)
{
    reply_bulk(call->reply, call->args[1].bytes, call->args[1].len);
}

/*
 * A time to live for SET and EXPIRE, in milliseconds; false: the error has been told. `unit_ms` is what it is counted
 * in.
 */
static bool parse_ttl(struct call *call, const struct resp_arg *arg, int64_t unit_ms, int64_t *ret_ms)
{
    int64_t number;
    if (!parse_int(arg->bytes, arg->len, &number)) {
        reply_error(call->reply, NOT_AN_INTEGER);
        return false;
    }
    if (number > INT64_MAX / 4 / unit_ms || number < INT64_MIN / 4 / unit_ms) {
        reply_error(call->reply, "ERR invalid expire time in '%s' command", call->command->name);
        return false;
    }
    *ret_ms = number * unit_ms;
    return true;
}

struct set_options {
    bool nx;
    bool xx;
    int64_t ttl_ms; /* 0: none */
};

/* Reads what follows the value; false: the error has been told. */
static bool parse_set_options(struct call *call, struct set_options *options)
{
    for (size_t i = 3; i < call->count; i++) {
        const struct resp_arg *arg = &call->args[i];
        bool seconds = arg_is(arg, "ex");
        if (arg_is(arg, "nx") && !options->xx) {
            options->nx = true;
        } else if (arg_is(arg, "xx") && !options->nx) {
            options->xx = true;
        } else if ((seconds || arg_is(arg, "px")) && options->ttl_ms == 0 && i + 1 < call->count) {
            if (!parse_ttl(call, &call->args[++i], seconds ? 1000 : 1, &options->ttl_ms))
                return false;
            if (options->ttl_ms <= 0) {
                reply_error(call->reply, "ERR invalid expire time in 'set' command");
                return false;
            }
        } else {
            reply_error(call->reply, "ERR syntax error");
            return false;
        }
    }
    return true;
}

static void cmd_set(struct call *call)
{
    struct set_options options = {0};
    if (!parse_set_options(call, &options))
        return;
    if (options.nx || options.xx) {
        bool exists = db_find(call->kv, &call->args[1]) != NULL;
        if (exists ? options.nx : options.xx) {
            reply_nil(call->reply);
            return;
        }
    }
    struct entry *entry = db_set(call->kv, &call->args[1], call->args[2].bytes, call->args[2].len);
    if (!entry) {
        reply_error(call->reply, OUT_OF_MEMORY);
        return;
    }
    if (options.ttl_ms > 0)
        db_expire(call->kv, entry, (uint64_t)options.ttl_ms);
    reply_status(call->reply, "OK");
}

static void reply_value(struct call *call, const struct resp_arg *key)
{
    const struct entry *entry = db_find(call->kv, key);
    if (entry)
        reply_bulk(call->reply, entry->value, entry->value_len);
    else
        reply_nil(call->reply);
}

static void cmd_get(struct call *call)
{
    reply_value(call, &call->args[1]);
}

static void cmd_mget(struct call *call)
{
    reply_array(call->reply, call->count - 1);
    for (size_t i = 1; i < call->count && !call->reply->failed; i++)
        reply_value(call, &call->args[i]);
}

static void cmd_mset(struct call *call)
{
    if (call->count % 2 == 0) {
        wrong_arity(call);
        return;
    }
    for (size_t i = 1; i < call->count; i += 2) {
        if (!db_set(call->kv, &call->args[i], call->args[i + 1].bytes, call->args[i + 1].len)) {
            reply_error(call->reply, OUT_OF_MEMORY);
            return;
        }
    }
    reply_status(call->reply, "OK");
}

static void cmd_del(struct call *call)
{
    int64_t deleted = 0;
    for (size_t i = 1; i < call->count; i++) {
        struct entry *entry = db_find(call->kv, &call->args[i]);
        if (!entry)
            continue;
        db_delete(call->kv, entry);
        deleted++;
    }
    reply_int(call->reply, deleted);
}

static void cmd_exists(struct call *call)
{
    int64_t found = 0;
    for (size_t i = 1; i < call->count; i++)
        found += db_find(call->kv, &call->args[i]) != NULL;
    reply_int(call->reply, found);
}

static void add(struct call *call, int64_t amount)
{
    char text[24];
    int64_t number = 0;
    struct entry *entry = db_find(call->kv, &call->args[1]);
    if (entry && !parse_int(entry->value, entry->value_len, &number)) {
        reply_error(call->reply, NOT_AN_INTEGER);
        return;
    }
    if (amount > 0 ? number == INT64_MAX : number == INT64_MIN) {
        reply_error(call->reply, "ERR increment or decrement would overflow");
        return;
    }
    number += amount;
    size_t len = (size_t)snprintf(text, sizeof(text), "%" PRId64, number);
    bool done = entry ? db_replace(entry, text, len) : db_set(call->kv, &call->args[1], text, len) != NULL;
    if (done)
        reply_int(call->reply, number);
    else
        reply_error(call->reply, OUT_OF_MEMORY);
}

static void cmd_incr(struct call *call)
{
    add(call, 1);
}

static void cmd_decr(struct call *call)
{
    add(call, -1);
}

static void cmd_expire(struct call *call)
{
    int64_t ttl_ms;
    if (!parse_ttl(call, &call->args[2], 1000, &ttl_ms))
        return;
    struct entry *entry = db_find(call->kv, &call->args[1]);
    if (entry && ttl_ms <= 0)
        db_delete(call->kv, entry);
    else if (entry)
        db_expire(call->kv, entry, (uint64_t)ttl_ms);
    reply_int(call->reply, entry != NULL);
}

static void cmd_ttl(struct call *call)
{
    const struct entry *entry = db_find(call->kv, &call->args[1]);
    uint64_t left_ms = entry ? db_left_ms(call->kv, entry) : 0;
    if (!entry)
        reply_int(call->reply, -2);
    else if (left_ms == IOR_NEVER)
        reply_int(call->reply, -1);
    else
        reply_int(call->reply, (int64_t)((left_ms + 500) / 1000));
}

static void reply_subscription(struct call *call, const char *what, const struct resp_arg *name)
{
    reply_array(call->reply, 3);
    reply_bulk(call->reply, what, strlen(what));
    if (name)
        reply_bulk(call->reply, name->bytes, name->len);
    else
        reply_nil(call->reply);
    reply_int(call->reply, (int64_t)call->client->subscribed);
}

static void cmd_subscribe(struct call *call)
{
    for (size_t i = 1; i < call->count; i++) {
        if (pubsub_subscribe(call->kv, call->client, &call->args[i]) < 0)
            reply_error(call->reply, OUT_OF_MEMORY);
        else
            reply_subscription(call, "subscribe", &call->args[i]);
    }
}

static void cmd_unsubscribe(struct call *call)
{
    for (size_t i = 1; i < call->count; i++) {
        pubsub_unsubscribe(call->kv, call->client, &call->args[i]);
        reply_subscription(call, "unsubscribe", &call->args[i]);
    }
    if (call->count > 1)
        return;
    if (call->client->subscribed == 0)
        reply_subscription(call, "unsubscribe", NULL);
    pubsub_unsubscribe_all(call->kv, call->client, call->reply);
}

static void cmd_publish(struct call *call)
{
    int64_t told = pubsub_publish(call->kv, &call->args[1], &call->args[2]);
    if (told < 0)
        reply_error(call->reply, OUT_OF_MEMORY);
    else
        reply_int(call->reply, told);
}

static void cmd_info(struct call *call)
{
    const struct kv *kv = call->kv;
    char text[1024];
    int len = snprintf(
        text, sizeof(text),
        "# Server\r\nserver:ioreactor kv\r\nlibrary_version:%s\r\nengine:%s\r\nprocess_id:%ld\r\n"
        "uptime_in_seconds:%" PRIu64 "\r\n"
        "\r\n# Clients\r\nconnected_clients:%" PRIu64 "\r\nslow_subscribers_disconnected:%" PRIu64 "\r\n"
        "\r\n# Stats\r\ntotal_connections_received:%" PRIu64 "\r\ntotal_commands_processed:%" PRIu64 "\r\n"
        "expired_keys:%" PRIu64 "\r\npubsub_channels:%zu\r\n"
        "\r\n# Keyspace\r\nkeys:%zu\r\n",
        ior_version(), kv->engine, (long)getpid(), ior_time_to_secs(ior_time_sub(ior_now(kv->cx), kv->started_ns)),
        kv->clients, kv->slow_subscribers, kv->accepted, kv->requests, kv->expired, kv->channels.count, kv->keys.count);
    reply_bulk(call->reply, text, (size_t)len);
}

static void cmd_config(struct call *call)
{
    /* There is nothing to configure, but redis-benchmark asks. */
    if (arg_is(&call->args[1], "get"))
        reply_array(call->reply, 0);
    else
        reply_error(call->reply, "ERR only CONFIG GET is there");
}

static void cmd_quit(struct call *call)
{
    reply_status(call->reply, "OK");
    call->client->closing = true;
}

static void cmd_command(struct call *call);

#define COMMAND(name, serve, arity, of_subscriber)          \
    {                                                       \
        name, sizeof(name) - 1, serve, arity, of_subscriber \
    }

static const struct command commands[] = {
    COMMAND("ping", cmd_ping, -1, true),
    COMMAND("echo", cmd_echo, 2, false),
    COMMAND("set", cmd_set, -3, false),
    COMMAND("get", cmd_get, 2, false),
    COMMAND("del", cmd_del, -2, false),
    COMMAND("exists", cmd_exists, -2, false),
    COMMAND("incr", cmd_incr, 2, false),
    COMMAND("decr", cmd_decr, 2, false),
    COMMAND("mget", cmd_mget, -2, false),
    COMMAND("mset", cmd_mset, -3, false),
    COMMAND("expire", cmd_expire, 3, false),
    COMMAND("ttl", cmd_ttl, 2, false),
    COMMAND("subscribe", cmd_subscribe, -2, true),
    COMMAND("unsubscribe", cmd_unsubscribe, -1, true),
    COMMAND("publish", cmd_publish, 3, false),
    COMMAND("info", cmd_info, -1, false),
    COMMAND("config", cmd_config, -2, false),
    COMMAND("command", cmd_command, -1, false),
    COMMAND("quit", cmd_quit, -1, true),
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void cmd_command(struct call *call)
{
    if (call->count > 1 && arg_is(&call->args[1], "count")) {
        reply_int(call->reply, (int64_t)COMMANDS);
        return;
    }
    if (call->count > 1) {
        reply_array(call->reply, 0); /* no documents: redis-cli asks for them and does without */
        return;
    }
    reply_array(call->reply, COMMANDS);
    for (size_t i = 0; i < COMMANDS; i++) {
        reply_array(call->reply, 6);
        reply_bulk(call->reply, commands[i].name, strlen(commands[i].name));
        reply_int(call->reply, commands[i].arity);
        reply_array(call->reply, 0); /* flags */
        for (int j = 0; j < 3; j++)
            reply_int(call->reply, 0); /* first key, last key, step: not told */
    }
}

static void unknown_command(struct kv *kv, struct client *client)
{
    const struct resp_request *request = &kv->request;
    /* A web page could make its visitor's browser post commands to this port: an HTTP request ends here. */
    if (arg_is(&request->args[0], "post") || arg_is(&request->args[0], "host:")) {
        reply_error(&kv->reply, "ERR this is no web server");
        client->closing = true;
        return;
    }
    char list[200] = "";
    size_t used = 0;
    for (size_t i = 1; i < request->count && used < 128; i++) {
        int len = request->args[i].len > 64 ? 64 : (int)request->args[i].len;
        used += (size_t)snprintf(list + used, sizeof(list) - used, "'%.*s' ", len, request->args[i].bytes);
    }
    int len = request->args[0].len > 128 ? 128 : (int)request->args[0].len;
    reply_error(&kv->reply, "ERR unknown command '%.*s', with args beginning with: %s", len, request->args[0].bytes,
                list);
}

static const struct command *find_command(const struct resp_arg *name)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        if (commands[i].name_len == name->len && strncasecmp(name->bytes, commands[i].name, name->len) == 0)
            return &commands[i];
    }
    return NULL;
}

void commands_serve(struct kv *kv, struct client *client)
{
    struct call call = {
        .kv = kv,
        .client = client,
        .reply = &kv->reply,
        .count = kv->request.count,
        .args = kv->request.args,
    };
    kv->requests++;
    call.command = find_command(&call.args[0]);
    if (!call.command) {
        unknown_command(kv, client);
        return;
    }
    size_t least = (size_t)(call.command->arity < 0 ? -call.command->arity : call.command->arity);
    if (call.count < least || (call.command->arity > 0 && call.count > least)) {
        wrong_arity(&call);
        return;
    }
    if (client->subscribed > 0 && !call.command->of_subscriber) {
        reply_error(
            &kv->reply,
            "ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in "
            "this context",
            call.command->name);
        return;
    }
    call.command->serve(&call);
}
