/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs of public calls, peers, the kernel and time, in the scripted world. The bytes are the choices of a story of
 * tests/test_random.c, in the place of a seed; what must hold in it (each byte once and in order, END once and last,
 * written + unsent = accepted, nothing stuck, nothing leaked) is said there and in tests/support/recorder.h. The first
 * byte chooses the shape of the engine.
 */
int random_main(void);
#define main random_main
#include "../test_random.c"
#undef main

#include "fuzz.h"

static struct fuzz_input input;

static uint64_t choose_by_input(uint64_t below)
{
    return fuzz_below(&input, below);
}

static bool input_is_left(void)
{
    return input.left > 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input = (struct fuzz_input){data, size};
    choose = choose_by_input;
    more_choices = input_is_left;
    setenv("IOR_SCRIPT_SHAPE", fuzz_below(&input, 2) == 1 ? "done" : "ready", 1);
    live_alloc_start();
    story();
    live_alloc_stop();
    return 0;
}
