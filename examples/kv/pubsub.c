/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Channels. A subscription is a link between a client and a channel, and is in a list of both. A channel is there as
 * long as somebody listens to it.
 *
 * A message is made once, as a shared buffer, and every subscriber's queue holds a reference. A subscriber whose queue
 * is full is disconnected, as Redis does: messages to it would be lost, and it could not know. Its subscriptions go
 * when its END comes, so that the list is never changed while it is walked.
 */
#include "kv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct subscription {
    struct client *client;
    struct channel *channel;
    struct subscription *next;    /* of the same client */
    struct subscription *after;   /* on the same channel */
    struct subscription **before; /* what points to this one on the channel */
};

struct channel {
    struct table_node node;
    struct subscription *first;
    char name[];
};

static struct channel *channel_find(struct kv *kv, const struct resp_arg *name)
{
    return (struct channel *)(void *)table_find(&kv->channels, name->bytes, name->len);
}

static struct channel *channel_get(struct kv *kv, const struct resp_arg *name)
{
    struct channel *channel = channel_find(kv, name);
    if (channel)
        return channel;
    channel = calloc(1, sizeof(*channel) + name->len);
    if (!channel)
        return NULL;
    memcpy(channel->name, name->bytes, name->len);
    channel->node.key = channel->name;
    channel->node.key_len = name->len;
    if (table_insert(&kv->channels, &channel->node) < 0) {
        free(channel);
        return NULL;
    }
    return channel;
}

static void channel_drop_if_empty(struct kv *kv, struct channel *channel)
{
    if (channel->first)
        return;
    table_remove(&kv->channels, &channel->node);
    free(channel);
}

/* What points to the client's subscription to this channel; it points to NULL where there is none. */
static struct subscription **find_link(struct client *client, const struct channel *channel)
{
    struct subscription **link = &client->subscriptions;
    while (*link && (*link)->channel != channel)
        link = &(*link)->next;
    return link;
}

int pubsub_subscribe(struct kv *kv, struct client *client, const struct resp_arg *name)
{
    struct channel *channel = channel_get(kv, name);
    if (!channel)
        return -ENOMEM;
    if (*find_link(client, channel))
        return 0;
    struct subscription *sub = malloc(sizeof(*sub));
    if (!sub) {
        channel_drop_if_empty(kv, channel);
        return -ENOMEM;
    }
    sub->client = client;
    sub->channel = channel;
    sub->next = client->subscriptions;
    client->subscriptions = sub;
    sub->after = channel->first;
    sub->before = &channel->first;
    if (sub->after)
        sub->after->before = &sub->after;
    channel->first = sub;
    client->subscribed++;
    return 0;
}

static void remove_link(struct kv *kv, struct client *client, struct subscription **link)
{
    struct subscription *sub = *link;
    *link = sub->next;
    *sub->before = sub->after;
    if (sub->after)
        sub->after->before = sub->before;
    client->subscribed--;
    channel_drop_if_empty(kv, sub->channel);
    free(sub);
}

void pubsub_unsubscribe(struct kv *kv, struct client *client, const struct resp_arg *name)
{
    struct channel *channel = channel_find(kv, name);
    struct subscription **link = channel ? find_link(client, channel) : NULL;
    if (link && *link)
        remove_link(kv, client, link);
}

void pubsub_unsubscribe_all(struct kv *kv, struct client *client, struct reply *reply)
{
    while (client->subscriptions) {
        if (reply) {
            const struct table_node *node = &client->subscriptions->channel->node;
            reply_array(reply, 3);
            reply_bulk(reply, "unsubscribe", 11);
            reply_bulk(reply, node->key, node->key_len);
            reply_int(reply, (int64_t)client->subscribed - 1);
        }
        remove_link(kv, client, &client->subscriptions);
    }
}

/* Whether the subscriber got the message. */
static bool deliver(struct kv *kv, struct client *client, struct ior_buf *message)
{
    if (client->closing)
        return false;
    /* A reply that waits has to come first. */
    int result = client->held ? -ENOBUFS : ior_send_buf(kv->cx, client->id, message);
    if (client_sent(client, result))
        return true;
    if (result == -ENOBUFS || result == -EMSGSIZE) {
        ior_abort(kv->cx, client->id);
        client->closing = true;
        kv->slow_subscribers++;
    }
    return false;
}

int64_t pubsub_publish(struct kv *kv, const struct resp_arg *name, const struct resp_arg *message)
{
    struct channel *channel = channel_find(kv, name);
    if (!channel)
        return 0;
    struct reply text = {.max = 2 * RESP_REQUEST_MAX_BYTES};
    reply_array(&text, 3);
    reply_bulk(&text, "message", 7);
    reply_bulk(&text, name->bytes, name->len);
    reply_bulk(&text, message->bytes, message->len);
    struct ior_buf *buf = text.failed ? NULL : ior_buf_copy(text.bytes, text.len);
    reply_deinit(&text);
    if (!buf)
        return -ENOMEM;
    int64_t told = 0;
    for (struct subscription *sub = channel->first; sub; sub = sub->after)
        told += deliver(kv, sub->client, buf);
    ior_buf_unref(buf);
    return told;
}

static void channel_free(struct table_node *node)
{
    free(node);
}

void pubsub_deinit(struct kv *kv)
{
    table_deinit(&kv->channels, channel_free);
}
