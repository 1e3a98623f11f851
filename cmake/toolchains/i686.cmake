# SPDX-License-Identifier: Apache-2.0
#
# 32-bit x86: pointers, size_t and long have 32 bits. Most kernels of x86-64 run its programs as they are, with the
# loader of the cross packages; where this one does not, qemu-i386 does.
set(CMAKE_SYSTEM_PROCESSOR i686)
set(IOR_TRIPLE i686-linux-gnu)
set(IOR_QEMU qemu-i386)
include("${CMAKE_CURRENT_LIST_DIR}/debian.cmake")

set(loader "/usr/${IOR_TRIPLE}/lib/ld-linux.so.2")
set(CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,--dynamic-linker=${loader} -Wl,-rpath,/usr/${IOR_TRIPLE}/lib")
# The loader is such a program itself.
execute_process(COMMAND "${loader}" --version RESULT_VARIABLE result OUTPUT_QUIET ERROR_QUIET)
if(result EQUAL 0)
    unset(CMAKE_CROSSCOMPILING_EMULATOR)
endif()
