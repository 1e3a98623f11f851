#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The library used by other CMake projects: installed and found with find_package, and as a part of the project with
# add_subdirectory and FetchContent. ioreactor::sim comes with it.
. "$IOR_SOURCE_DIR/tests/install/_common.sh"

# project NAME TEXT: a project of C and C++ programs that link what TEXT makes known.
project() {
    mkdir "$work/$1"
    cp "$here/consumer.c" "$work/$1/consumer.c"
    cp "$here/consumer.c" "$work/$1/consumer.cc"
    cp "$here/sim_consumer.c" "$work/$1/sim_consumer.c"
    {
        echo 'cmake_minimum_required(VERSION 3.21)'
        echo 'project(consumer LANGUAGES C CXX)'
        echo "$2"
        echo 'foreach(kind ioreactor static shared)'
        echo '    foreach(language c cc)'
        # shellcheck disable=SC2016 # for CMake
        echo '        add_executable(${kind}_${language} consumer.${language})
        target_link_libraries(${kind}_${language} PRIVATE ioreactor::${kind})
        get_target_property(options ${kind}_${language} COMPILE_OPTIONS)
        if(options)
            message(FATAL_ERROR "flags leaked: ${options}")
        endif()'
        echo '    endforeach()'
        echo 'endforeach()'
        # shellcheck disable=SC2016 # for CMake
        echo 'foreach(kind sim sim_static sim_shared)
            add_executable(${kind}_c sim_consumer.c)
            target_link_libraries(${kind}_c PRIVATE ioreactor::${kind})
        endforeach()'
    } >"$work/$1/CMakeLists.txt"
}

# try NAME [CMAKE-OPTION...]: builds a project and runs its programs.
try() {
    name=$1
    shift
    {
        cmake -S "$work/$name" -B "$work/$name/build" -DCMAKE_BUILD_TYPE=Release "$@" &&
            cmake --build "$work/$name/build" -j 2
    } >"$work/$name/log" 2>&1 || {
        cat "$work/$name/log"
        fail "$name does not build"
    }
    for program in ioreactor_c ioreactor_cc static_c static_cc shared_c shared_cc sim_c sim_static_c sim_shared_c; do
        [ "$("$work/$name/build/$program")" = ok ] || fail "$name: $program does not run"
        linked=$(readelf -d "$work/$name/build/$program" | grep -c 'NEEDED.*libioreactor\.so\.0' || true)
        case $program in
        static_* | sim_static_*) expected=0 ;;
        shared_* | sim_shared_*) expected=1 ;;
        *) expected=$default ;;
        esac
        [ "$linked" = "$expected" ] || fail "$name: $program links the wrong kind of library"
    done
    echo "ok: $name"
}

install_moved
default=1
project find_package 'find_package(ioreactor 0.1 REQUIRED)'
try find_package -DCMAKE_PREFIX_PATH="$prefix"

default=0
project add_subdirectory "add_subdirectory(\"$IOR_SOURCE_DIR\" ioreactor)"
try add_subdirectory
[ ! -e "$work/add_subdirectory/build/ioreactor/tests" ] || fail "add_subdirectory builds the tests"
[ ! -e "$work/add_subdirectory/build/ioreactor/examples" ] || fail "add_subdirectory builds the examples"

default=1
project FetchContent "set(BUILD_SHARED_LIBS ON)
include(FetchContent)
FetchContent_Declare(ioreactor SOURCE_DIR \"$IOR_SOURCE_DIR\")
FetchContent_MakeAvailable(ioreactor)"
try FetchContent
