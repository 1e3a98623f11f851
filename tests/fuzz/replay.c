/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gives a fuzz target the inputs of its corpus, so that they are tests on every platform and with every compiler:
 *
 *   fuzz_NAME FILE-OR-FOLDER...
 *
 * Folders are read one level deep, in the order of their names.
 */
#include "fuzz.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

static unsigned played;

static void die(const char *what, const char *path)
{
    fprintf(stderr, "%s: %s\n", what, path);
    exit(1);
}

/* The input lies in a block of just its length, so that sanitizers see whoever reads past it. */
static void play_file(const char *path, size_t size)
{
    uint8_t *bytes = malloc(size > 0 ? size : 1);
    FILE *file = fopen(path, "rb");
    if (bytes == NULL || file == NULL || fread(bytes, 1, size, file) != size)
        die("cannot be read", path);
    fclose(file);
    if (LLVMFuzzerTestOneInput(bytes, size) != 0)
        die("is refused", path);
    free(bytes);
    played++;
}

static void play(const char *path, int depth)
{
    struct dirent **entries;
    struct stat st;
    if (stat(path, &st) < 0)
        die("is not there", path);
    if (S_ISREG(st.st_mode)) {
        play_file(path, (size_t)st.st_size);
        return;
    }
    int n = depth == 0 ? scandir(path, &entries, NULL, alphasort) : 0;
    for (int i = 0; i < n; i++) {
        char name[4096];
        int len = snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
        if (len < 0 || (size_t)len >= sizeof(name))
            die("is too long", path);
        if (entries[i]->d_name[0] != '.')
            play(name, 1);
        free(entries[i]);
    }
    if (n > 0)
        free(entries);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        play(argv[i], 0);
    printf("%u inputs\n", played);
    return played > 0 ? 0 : 1;
}
