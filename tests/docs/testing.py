# SPDX-License-Identifier: Apache-2.0
"""The first test in docs/testing-your-service.md compiles as it stands, without a warning, and passes."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

source = os.environ["IOR_SOURCE_DIR"]
build = os.environ["IOR_BUILD_DIR"]
FRAME = """
#include <assert.h>
#include <ioreactor/sim.h>

static int on_start(void *self, struct ior_context *cx)
{
    struct ior_addr addr;
    ior_id id;
    (void)self;
    return ior_addr_parse(&addr, "0.0.0.0:7000") < 0 ? -1 : ior_listen(cx, &addr, NULL, &id);
}

static void on_listener(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    ior_id id;
    (void)self;
    if (ev->type == IOR_EV_ACCEPTED)
        ior_accept(cx, ev, &id);
}

static void on_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    (void)self;
    if (ev->type == IOR_EV_DATA)
        ior_send(cx, ev->id, ev->data.bytes, ev->data.len);
}

static const struct ior_handler my_handler = {
    .struct_size = sizeof(my_handler), .start = on_start, .listener = on_listener, .transport = on_transport};
static int my_service;

int main(void)
{
%s
    return 0;
}
"""


def fail(why):
    print("FAILED:", why)
    sys.exit(1)


with open(os.path.join(source, "docs", "testing-your-service.md"), encoding="utf-8") as file:
    block = re.search(r"```c\n(.*?)```", file.read(), re.S)
if not block:
    fail("the page has no program")
compilers = [compiler for compiler in ("gcc", "clang") if shutil.which(compiler)]
if not compilers or not os.path.exists(os.path.join(build, "libioreactor-sim.so")):
    print("skipped: no compiler, or built without the simulated world")
    sys.exit(77)
with open(os.path.join(build, "CMakeCache.txt"), encoding="utf-8") as cache:
    if re.search(r"IOR_SANITIZE:\w+=\w", cache.read()):
        print("skipped: the libraries are built with a sanitizer")
        sys.exit(77)
with tempfile.TemporaryDirectory() as folder:
    text, program = os.path.join(folder, "test.c"), os.path.join(folder, "test")
    with open(text, "w", encoding="utf-8") as file:
        file.write(FRAME % block[1])
    for compiler in compilers:
        command = [compiler, "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I",
                   os.path.join(source, "include"), text, "-L", build, "-lioreactor-sim", "-lioreactor",
                   f"-Wl,-rpath,{build}", "-o", program]
        if subprocess.run(command, check=False).returncode != 0:
            fail(f"{compiler} does not take it")
        if subprocess.run([program], check=False).returncode != 0:
            fail(f"built with {compiler}, it does not pass")
        print(f"ok: {compiler}")
