/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of the key-value server and what they share: one struct kv for the service, one struct client for each
 * connection.
 */
#ifndef KV_KV_H
#define KV_KV_H

#include <ioreactor.h>
#include "reply.h"
#include "resp.h"
#include "table.h"

/*
 * The marks of a connection. What does not fit READ_BYTES is given back, so up to a whole request and what one read
 * brought behind it. A reply is only made below the high-water mark and is at most KV_REPLY_MAX_BYTES long, so it fits.
 */
#define KV_READ_BYTES ((size_t)64 * 1024)
#define KV_UNREAD_MAX_BYTES (RESP_REQUEST_MAX_BYTES + KV_READ_BYTES)
#define KV_HIGH_BYTES ((size_t)64 * 1024)
#define KV_CAP_BYTES ((size_t)8 * 1024 * 1024)
#define KV_REPLY_MAX_BYTES (KV_CAP_BYTES - KV_HIGH_BYTES)

struct kv {
    struct ior_context *cx;
    const char *engine;    /* its name, for INFO */
    struct table keys;     /* of struct entry, see db.c */
    struct table channels; /* of struct channel, see pubsub.c */
    uint64_t started_ns;
    uint64_t clients;
    uint64_t requests;
    uint64_t accepted;
    uint64_t expired;
    uint64_t slow_subscribers; /* disconnected, because they did not read */
    struct reply reply;        /* of the request that is being served */
    struct resp_request request;
};

/* The `user` of a connection: zeroed when it is accepted, freed with it. */
struct client {
    ior_id id;
    struct subscription *subscriptions;
    size_t subscribed; /* how many */
    char *held;        /* a reply that did not fit, sent once the queue has drained */
    size_t held_len;
    size_t need;  /* a partial request is not complete with fewer bytes than this */
    bool full;    /* DRAINED is owed: no request is served until then */
    bool closing; /* nothing more is read from it */
};

/* Takes a result of ior_send: false where nothing was sent. */
bool client_sent(struct client *client, int result);

/* db.c: keys and values with their ends of life. */
struct entry {
    struct table_node node;
    struct kv *kv;
    uint64_t expires_ms; /* monotonic; IOR_NEVER: it stays */
    ior_timer_id timer;  /* 0: none is armed */
    size_t value_len;
    char *value;
    char key[];
};

struct entry *db_find(struct kv *kv, const struct resp_arg *key);
/* Sets a value, with no end of life. Answers the entry, NULL: out of memory, and nothing has changed. */
struct entry *db_set(struct kv *kv, const struct resp_arg *key, const char *value, size_t value_len);
/* As db_set, for an entry that is there, whose end of life stays. */
bool db_replace(struct entry *entry, const char *value, size_t value_len);
void db_delete(struct kv *kv, struct entry *entry);
/* after_ms from now; IOR_NEVER: it stays. */
void db_expire(struct kv *kv, struct entry *entry, uint64_t after_ms);
uint64_t db_left_ms(struct kv *kv, const struct entry *entry); /* IOR_NEVER: it stays */
void db_on_timer(struct kv *kv, struct entry *entry);
void db_deinit(struct kv *kv);

/* pubsub.c: channels and who listens to them. */
int pubsub_subscribe(struct kv *kv, struct client *client, const struct resp_arg *name); /* 0 or -ENOMEM */
void pubsub_unsubscribe(struct kv *kv, struct client *client, const struct resp_arg *name);
/* Leaves all; where `reply` is set, it answers for each of them. */
void pubsub_unsubscribe_all(struct kv *kv, struct client *client, struct reply *reply);
/* How many were told, or -ENOMEM. */
int64_t pubsub_publish(struct kv *kv, const struct resp_arg *name, const struct resp_arg *message);
void pubsub_deinit(struct kv *kv);

/* commands.c: serves kv->request, and puts the answer into kv->reply. May set client->closing. */
void commands_serve(struct kv *kv, struct client *client);

#endif
