/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader of requests of examples/kv: whatever the pieces in which bytes come, it finds the same requests, and the
 * same error behind them. It never looks past its input, and what it says about the bytes it needs is true. The first
 * byte is the length of the seeds of the pieces, which come next; the rest is the stream.
 */
#include "../../examples/kv/resp.c"

#include "fuzz.h"

/* What a reader has found. */
struct found {
    uint64_t hash;
    unsigned requests;
    bool failed;
    char error[96];
};

static void fold(struct found *found, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < len; i++)
        found->hash = (found->hash ^ at[i]) * UINT64_C(1099511628211);
}

static void note(struct found *found, const struct resp_request *request, const char *bytes, size_t len)
{
    FUZZ_CHECK(request->used > 0 && request->used <= len, "a request is some of the bytes");
    FUZZ_CHECK(request->used <= RESP_REQUEST_MAX_BYTES && request->count <= RESP_ARGS_MAX, "it has its bounds");
    for (size_t i = 0; i < request->count; i++) {
        const struct resp_arg *arg = &request->args[i];
        FUZZ_CHECK(arg->bytes >= bytes && arg->bytes + arg->len <= bytes + request->used, "arguments lie in it");
        fold(found, &i, sizeof(i));
        fold(found, arg->bytes, arg->len);
    }
    found->requests++;
}

/* Reads what is whole of `len` bytes, in a block of just that length. Answers how many bytes were taken. */
static size_t read_some(struct found *found, const uint8_t *data, size_t len, size_t *need)
{
    static struct resp_request request;
    char *bytes = malloc(len > 0 ? len : 1);
    size_t used = 0;
    FUZZ_CHECK(bytes != NULL, "memory");
    memcpy(bytes, data, len);
    while (!found->failed) {
        enum resp_result result = resp_parse(bytes + used, len - used, &request);
        if (result == RESP_REQUEST) {
            note(found, &request, bytes + used, len - used);
            used += request.used;
            continue;
        }
        if (result == RESP_MORE) {
            FUZZ_CHECK(request.need > len - used, "more is needed than there is");
            *need = request.need;
            break;
        }
        FUZZ_CHECK(result == RESP_ERROR && memchr(request.error, 0, sizeof(request.error)), "an error has words");
        found->failed = true;
        memcpy(found->error, request.error, sizeof(found->error));
    }
    free(bytes);
    return used;
}

static struct found read_whole(const uint8_t *data, size_t size)
{
    struct found found = {.hash = 1};
    size_t need = 0;
    read_some(&found, data, size, &need);
    return found;
}

/* As the server does: what is left over comes again in front of the next piece, once enough is there. */
static struct found read_pieces(const uint8_t *data, size_t size, struct fuzz_input pieces)
{
    struct found found = {.hash = 1}, early;
    size_t from = 0, to = 0, need = 1;
    while (to < size && !found.failed) {
        size_t piece = pieces.left > 0 ? (size_t)fuzz_byte(&pieces) + 1 : size - to;
        to += piece < size - to ? piece : size - to;
        if (to - from < need) {
            early = found;
            size_t again = 0;
            FUZZ_CHECK(read_some(&early, data + from, to - from, &again) == 0 && !early.failed, "need is no lie");
            continue;
        }
        need = 1;
        from += read_some(&found, data + from, to - from, &need);
    }
    return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    size_t n = (size_t)fuzz_below(&in, 16);
    struct fuzz_input pieces = {in.at, n < in.left ? n : in.left};
    data = in.at + pieces.left;
    size = in.left - pieces.left;
    struct found whole = read_whole(data, size), parts = read_pieces(data, size, pieces);
    FUZZ_CHECK(whole.requests == parts.requests && whole.hash == parts.hash, "the same requests");
    FUZZ_CHECK(whole.failed == parts.failed && strcmp(whole.error, parts.error) == 0, "the same error");
    return 0;
}
