/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes that are checked by their position: the byte at each position of a flow is known from the number of the flow,
 * which is what its first bytes say. So a receiver finds out whom it hears, and sees what is missing, twice, or another
 * one's, however the bytes are cut.
 */
#include "story.h"

static unsigned char pattern[2 * PERIOD];

void bytes_init(void)
{
    uint32_t x = 2463534242u;
    for (unsigned i = 0; i < PERIOD; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        pattern[i] = pattern[PERIOD + i] = (unsigned char)(x >> 11);
    }
}

struct flow *flow_new(struct story *s)
{
    if (s->flows_n == FLOWS)
        return NULL;
    struct flow *flow = &s->flows[s->flows_n];
    *flow = (struct flow){.number = (uint16_t)s->flows_n++};
    return flow;
}

uint32_t flow_offset(const struct flow *flow, uint64_t pos)
{
    return (uint32_t)((flow->number * 97u + pos) % PERIOD);
}

const unsigned char *pattern_at(uint32_t offset)
{
    return pattern + offset;
}

const unsigned char *flow_bytes(const struct flow *flow, uint64_t pos)
{
    return pattern + flow_offset(flow, pos);
}

static unsigned char head_byte(const struct flow *flow, uint64_t pos)
{
    unsigned high = flow->number >> 8, low = flow->number & 255u;
    const unsigned head[HEAD] = {high, low, high ^ 0xa5u, low ^ 0x5au};
    return (unsigned char)head[pos];
}

void flow_fill(const struct flow *flow, uint64_t pos, unsigned char *to, size_t len)
{
    for (; len > 0 && pos < HEAD; pos++, len--)
        *to++ = head_byte(flow, pos);
    while (len > 0) {
        size_t part = len < PERIOD ? len : PERIOD;
        memcpy(to, flow_bytes(flow, pos), part);
        to += part;
        pos += part;
        len -= part;
    }
}

/* The number of the flow has come. */
static void bind_flow(struct story *s, struct inlet *inlet)
{
    const unsigned char *head = inlet->head;
    unsigned number = (unsigned)head[0] << 8 | head[1];
    CHECK(s, 4, (head[0] ^ head[2]) == 0xa5 && (head[1] ^ head[3]) == 0x5a && number < s->flows_n,
          "a connection begins with bytes that nobody sent");
    struct flow *flow = &s->flows[number];
    CHECK(s, 4, !inlet->flow || inlet->flow == flow, "the bytes of flow %u came where those of flow %u belong", number,
          inlet->flow->number);
    CHECK(s, 4, !flow->receiver || flow->receiver == inlet, "the bytes of flow %u came to two places", number);
    flow->receiver = inlet;
    inlet->flow = flow;
}

void inlet_check(struct story *s, struct inlet *inlet, uint64_t pos, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;
    if (inlet->blind || s->stolen)
        return;
    for (; len > 0 && pos < HEAD; pos++, len--) {
        inlet->head[pos] = *at++;
        if (pos == HEAD - 1)
            bind_flow(s, inlet);
    }
    if (len == 0)
        return;
    const struct flow *flow = inlet->flow;
    CHECK(s, 4, flow != NULL, "bytes at position %llu of a connection whose first bytes never came",
          (unsigned long long)pos);
    CHECK(s, 4, pos + len <= flow->total || flow->loose, "flow %u: %llu bytes came, and only %llu were sent",
          flow->number, (unsigned long long)(pos + len), (unsigned long long)flow->total);
    while (len > 0) {
        size_t part = len < PERIOD ? len : PERIOD;
        CHECK(s, 4, memcmp(at, flow_bytes(flow, pos), part) == 0,
              "flow %u: wrong bytes between positions %llu and %llu", flow->number, (unsigned long long)pos,
              (unsigned long long)(pos + part));
        at += part;
        pos += part;
        len -= part;
    }
}

void inlet_loose(struct inlet *inlet)
{
    if (inlet->flow)
        inlet->flow->loose = true;
}
