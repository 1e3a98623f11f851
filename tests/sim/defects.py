#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plants defects in copies of the library's sources, one at a time, and looks whether the stories of tests/sim see them.

    defects.py --build DIR [--seeds N] [--jobs J] [NAME...]    builds and plays; tells which oracle caught which
    defects.py --check                                         only: each defect fits the sources exactly once

A defect is a text file in tests/sim/defects: the file it is planted in, the number of the bug in docs/regressions.md it
is akin to, a sentence, the exact old text and the new one. The sources themselves stay as they are.
"""
import argparse
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import time

ROOT = os.environ.get("IOR_SOURCE_DIR") or os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
WHERE = os.path.join(ROOT, "tests", "sim", "defects")
CC = os.environ.get("CC", "cc")
# Quick to build; a defect may leave names unused.
FLAGS = ["-std=c11", "-O1", "-w", "-D_GNU_SOURCE", "-I" + os.path.join(ROOT, "include")]
FORM = re.compile(r"file: (\S+)\nbug: (R\d\d)\nsays: (.+)\n--- old\n(.*)\n--- new\n(.*)\n--- end\n", re.S)


class Defect:
    def __init__(self, name):
        self.name = name
        with open(os.path.join(WHERE, name + ".txt"), encoding="utf-8") as file:
            form = FORM.fullmatch(file.read())
        if not form:
            raise ValueError(f"{name}: not the form of a defect")
        self.file, self.bug, self.says, self.old, self.new = form.groups()
        with open(os.path.join(ROOT, self.file), encoding="utf-8") as file:
            self.source = file.read()
        count = self.source.count(self.old)
        if count != 1 or self.old == self.new or not self.file.endswith(".c"):
            raise ValueError(f"{name}: its old text is in {self.file} {count} times")


def names():
    return sorted(name[:-4] for name in os.listdir(WHERE) if name.endswith(".txt"))


def sources(*folders):
    found = []
    for folder in folders:
        for path, _, files in os.walk(os.path.join(ROOT, folder)):
            found += [os.path.join(path, name) for name in sorted(files) if name.endswith(".c")]
    return sorted(found)


def compile_one(source, target, include):
    subprocess.run([CC, *FLAGS, *["-I" + folder for folder in include], "-c", source, "-o", target], check=True)


def build_base(folder, jobs):
    """The objects of everything, by the path of their source."""
    objects = {}
    work = []
    for kind, include in (("src", ["src"]), ("sim/src", ["sim/src"]), ("tests/sim", ["tests/sim"])):
        for source in sources(kind):
            name = os.path.relpath(source, ROOT)
            objects[name] = os.path.join(folder, name.replace("/", "_") + ".o")
            work.append((source, objects[name], [os.path.join(ROOT, path) for path in include]))
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda one: compile_one(*one), work))
    return objects


def play(defect, objects, folder, seeds):
    """What caught it: a sentence, and after how many stories; None: nothing did."""
    here = os.path.join(folder, defect.name)
    os.makedirs(here)
    source = os.path.join(here, os.path.basename(defect.file))
    with open(source, "w", encoding="utf-8") as file:
        file.write(defect.source.replace(defect.old, defect.new))
    changed = os.path.join(here, "changed.o")
    src = os.path.join(ROOT, "src")
    compile_one(source, changed, [os.path.dirname(os.path.join(ROOT, defect.file)), src])
    program = os.path.join(here, "story")
    parts = [changed if name == defect.file else path for name, path in objects.items()]
    subprocess.run([CC, *parts, "-o", program, "-lpthread"], check=True)
    run = subprocess.run([program, "--first", "1", "--seeds", str(seeds), "--patience", "20"], capture_output=True,
                         text=True, check=False)
    shutil.rmtree(here)
    failed = re.search(r"^FAILED (?:oracle (\d+) \([^)]*\)(?:; [^)]*\))?: )?(.*)$", run.stdout, re.M)
    seed = re.search(r"seed (\d+); again", run.stdout)
    if not failed or not seed:
        return None
    return failed.group(1), failed.group(2), int(seed.group(1))


def main():
    parser = argparse.ArgumentParser(description="plants defects and looks who sees them")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--build", default=os.path.join(ROOT, "build", "defects"))
    parser.add_argument("--seeds", type=int, default=20000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    defects = [Defect(name) for name in options.names or names()]
    if options.check:
        print(f"{len(defects)} defects fit the sources")
        return 0
    shutil.rmtree(options.build, ignore_errors=True)
    os.makedirs(options.build)
    began = time.monotonic()
    objects = build_base(options.build, options.jobs)
    missed, by_oracle = [], {}
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for defect, caught in zip(defects, pool.map(lambda one: play(one, objects, options.build, options.seeds), defects)):
            if not caught:
                missed.append(defect.name)
                print(f"{defect.name:28} {defect.bug}  MISSED in {options.seeds} stories: {defect.says}", flush=True)
                continue
            oracle, text, seed = caught
            by_oracle[oracle or "crash"] = by_oracle.get(oracle or "crash", 0) + 1
            told = f"oracle {oracle}" if oracle else "crash"
            print(f"{defect.name:28} {defect.bug}  {told:9} after {seed:5}: {text[:90]}", flush=True)
    shutil.rmtree(options.build, ignore_errors=True)
    summary = ", ".join(f"{key}: {by_oracle[key]}" for key in sorted(by_oracle, key=lambda key: (len(key), key)))
    print(f"{len(defects) - len(missed)} of {len(defects)} defects caught in {time.monotonic() - began:.0f} s"
          f" (by oracle {summary})")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
