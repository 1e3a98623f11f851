# SPDX-License-Identifier: Apache-2.0
#
# Whether the engine on io_uring is built: IOR_HAS_URING. It needs liburing 2.3 or later, and only that: what the running
# kernel can is asked at run time.
set(IOR_HAS_URING OFF)
if(IOR_URING)
    find_package(PkgConfig QUIET)
    if(PkgConfig_FOUND)
        pkg_check_modules(LIBURING QUIET liburing>=2.3)
    endif()
    if(LIBURING_FOUND)
        set(IOR_HAS_URING ON)
    elseif(NOT IOR_URING STREQUAL "AUTO")
        message(FATAL_ERROR "IOR_URING is ${IOR_URING}, and liburing 2.3 or later was not found (Debian: liburing-dev)")
    endif()
endif()
# What a static link of the library needs besides: for ioreactor.pc. Not as Requires.private, which pkg-config wants to
# find also where the shared library is linked.
set(IOR_PC_LIBS_PRIVATE "-pthread")
if(IOR_HAS_URING)
    list(JOIN LIBURING_LDFLAGS " " liburing_flags)
    string(APPEND IOR_PC_LIBS_PRIVATE " ${liburing_flags}")
endif()
message(STATUS "Engine on io_uring: ${IOR_HAS_URING}")
