/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A story of tests/sim whose choices (what services and peers do, who comes next, what fails) are the input: two bytes
 * of it for each, as long as there are any, then those of a generator that the first two bytes start.
 */
#include <stdlib.h>
#include "story.h"

#include "fuzz.h"

enum { CHOICES_MOST = 1 << 15 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static uint32_t list[CHOICES_MOST];
    static struct story *story;
    static const struct options options = {.first = 1, .seeds = 1, .shape = -1, .patience = 60, .aborts = true};
    if (!story) {
        story = malloc(sizeof(*story));
        FUZZ_CHECK(story != NULL, "memory");
        bytes_init();
        memory_init();
    }
    size_t n = 0;
    for (; n < CHOICES_MOST && 2 * n + 1 < size; n++)
        list[n] = bytes[2 * n] | (uint32_t)bytes[2 * n + 1] << 8;
    struct choices choices = {.random = n > 0 ? list[0] : 0, .list = list + 1, .list_n = n > 1 ? n - 1 : 0};
    (void)story_play(story, &options, choices.random, &choices);
    return 0;
}
