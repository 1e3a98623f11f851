/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compares what was told in two worlds, and knows what may differ. What the kernel's buffers and the order of packets
 * decide is kept out of the programs (program.c); DRAINED, which belongs to the water marks, is not written down.
 */
#include <stdio.h>
#include <string.h>

#include "differ.h"

static bool wrote_to_nobody(const struct conn *c)
{
    return c->hung_up && c->heard < c->accepted;
}

static bool went_on_after_close(const struct conn *c)
{
    return c->closed && c->registered_again;
}

/*
 * All that may differ, between worlds where one engine does the I/O and the other does not: of lines that begin so, what
 * comes behind a word; with `rest`, the lines behind them, too.
 */
static const struct difference {
    const char *begins, *up_to;
    bool (*when)(const struct conn *c);
    bool rest;
    bool also_alike; /* also where the engines of both do it */
    const char *why;
} differences[] = {
    {"end: asked", ", unread ", NULL, false, false,
     "what an engine had received when the end was asked for is unread input"},
    {"end: shutdown", ", unread ", NULL, false, false, "the same"},
    {"handover: ", ", unread ", NULL, false, false, "the same bytes"},
    {"peer: ", ", ", NULL, false, false,
     "what was received is not in the kernel: to close over it is no reset, but an EOF"},
    {"e", "", wrote_to_nobody, true, true,
     "what is sent to a peer that is gone fails, or meets a reset: whether EOF or END is told before that comes back is a "
     "matter of turns, and who waits for a send to be done needs one more"},
    {"", "", went_on_after_close, true, false,
     "close sends a FIN where it is done writing before the peer's has come, and who waits for a send to be done is later: "
     "a stream that is registered again after it was closed may be finished, or not"},
};

static uint64_t used;

uint64_t differences_used(void)
{
    return used;
}

static const struct difference *may_differ(const struct conn *c, const char *a, const char *b, bool alike)
{
    for (size_t i = 0; i < sizeof(differences) / sizeof(differences[0]); i++) {
        const struct difference *d = &differences[i];
        if (alike && !d->also_alike)
            continue;
        size_t begins = strlen(d->begins);
        if (strncmp(a, d->begins, begins) != 0 || strncmp(b, d->begins, begins) != 0 ||
            (d->when != NULL && (c == NULL || !d->when(c))))
            continue;
        const char *end_a = strstr(a + begins, d->up_to), *end_b = strstr(b + begins, d->up_to);
        if (end_a != NULL && end_b != NULL && end_a - a == end_b - b && memcmp(a, b, (size_t)(end_a - a)) == 0)
            return d;
    }
    return NULL;
}

/* The line at *text, without its end, which *text is moved behind. false: there is none. */
static bool next_line(const char **text, char *line, size_t size)
{
    const char *end = *text != NULL ? strchr(*text, '\n') : NULL;
    if (end == NULL)
        return false;
    (void)snprintf(line, size, "%.*s", (int)(end - *text), *text);
    *text = end + 1;
    return true;
}

/* One of them does the I/O in its engine; `alike`: the other, too. */
static bool same(const struct lines *a, const struct lines *b, const struct conn *c, bool does_io, bool alike)
{
    const char *at_a = a->text, *at_b = b->text;
    char line_a[256], line_b[256];
    for (;;) {
        bool more_a = next_line(&at_a, line_a, sizeof(line_a)), more_b = next_line(&at_b, line_b, sizeof(line_b));
        if (!more_a || !more_b)
            return more_a == more_b;
        if (strcmp(line_a, line_b) == 0)
            continue;
        const struct difference *known = does_io ? may_differ(c, line_a, line_b, alike) : NULL;
        used += known != NULL;
        if (known == NULL || known->rest)
            return known != NULL;
    }
}

void lines_print(const char *title, const struct lines *lines)
{
    printf("%s:\n%s", title, lines->text != NULL ? lines->text : "");
}

bool worlds_equal(const struct world *a, const struct world *b)
{
    for (int i = -1; i < a->program->conns_n; i++) {
        const struct lines *of_a = i < 0 ? &a->lines : &a->conns[i].lines;
        const struct lines *of_b = i < 0 ? &b->lines : &b->conns[i].lines;
        if (same(of_a, of_b, i < 0 ? NULL : &a->conns[i], a->does_io || b->does_io, a->does_io == b->does_io))
            continue;
        program_print(a->program);
        if (i >= 0)
            printf("connection %d (%s) differs\n", i, how_name(a->program->conns[i].how));
        lines_print(a->name, of_a);
        lines_print(b->name, of_b);
        return false;
    }
    return true;
}
