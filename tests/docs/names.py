# SPDX-License-Identifier: Apache-2.0
"""What the documents name is there: links, files, functions, tests.

In `backticks`: a path that begins with one of the project's folders exists (NAME in capitals, * and {a,b} are patterns);
`ior_...` and `IOR_...` occur in the sources; `test_...` occurs in the tests; `src/FILE.c:NAME` occurs in that file; and in
docs/ARCHITECTURE.md each `NAME()` occurs in the sources. Examples of code in fences are checked for ior_ names alone.
"""
import glob
import os
import re
import sys

root = os.environ.get("IOR_SOURCE_DIR", ".")
FOLDERS = ("include", "src", "sim", "tests", "examples", "bench", "docs", "tools", "cmake")
failures = []


def words_of(*folders):
    words = set()
    for folder in folders:
        for path, _, names in os.walk(os.path.join(root, folder)):
            for name in names:
                words.add(name.split(".")[0])
                if name.endswith((".c", ".h", ".py", ".sh", ".txt", ".map")):
                    with open(os.path.join(path, name), encoding="utf-8") as file:
                        words.update(re.findall(r"\w+", file.read()))
    return words


library = words_of("include", "src", "sim", "examples", "cmake")
with open(os.path.join(root, "CMakeLists.txt"), encoding="utf-8") as cmake:
    library.update(re.findall(r"\w+", cmake.read()))
tests = words_of("tests")
everything = library | tests | words_of("bench", "tools")


def is_there(path):
    path = re.sub(r"\b[A-Z]{2,}[A-Z_]*\b", "*", path) if not path.endswith(".md") else path
    alternatives = [path]
    braces = re.search(r"\{([^}]*)\}", path)
    if braces:
        alternatives = [path.replace(braces.group(0), choice, 1) for choice in braces.group(1).split(",")]
    return all(glob.glob(os.path.join(root, choice)) for choice in alternatives)


def check_span(document, line, span):
    def wrong(what):
        failures.append(f"{document}:{line}: {what}: `{span}`")

    if re.match(rf"({'|'.join(FOLDERS)})/\S*$", span):
        path, _, inside = span.partition(":")
        if not is_there(path):
            wrong("no such file")
        elif re.match(r"\w+(\(\))?$", inside):
            with open(os.path.join(root, path), encoding="utf-8") as file:
                if inside.rstrip("()") not in re.findall(r"\w+", file.read()):
                    wrong("not in that file")
        return
    for name in re.findall(r"\b(?:ior|IOR)_\w*[a-zA-Z0-9]\b(?!\*)", span):
        if name not in everything and not re.search(rf"{name}_?(\*|\.\.\.|<|…)", span):
            wrong("no such name")
    for name in re.findall(r"\btest_\w+\b", span):
        if name not in tests and not re.search(rf"{name}(\*|\.\.\.|…)", span):
            wrong("no such test")
    if document == "docs/ARCHITECTURE.md":
        for name in re.findall(r"\b([a-z]\w*)\(\)", span):
            if name not in everything:
                wrong("no such function")


def check_document(document):
    fenced = False
    with open(os.path.join(root, document), encoding="utf-8") as file:
        for line, text in enumerate(file, 1):
            if text.lstrip().startswith("```"):
                fenced = not fenced
                continue
            if fenced:
                for name in re.findall(r"\bior_\w+\b", text):
                    if name not in everything:
                        failures.append(f"{document}:{line}: no such name: {name}")
                continue
            for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text):
                if not re.match(r"\w+:", target) and not os.path.exists(
                        os.path.join(root, os.path.dirname(document), target)):
                    failures.append(f"{document}:{line}: the link leads nowhere: {target}")
            for span in re.findall(r"`([^`]+)`", text):
                check_span(document, line, span)


documents = sorted(
    os.path.relpath(path, root)
    for path in glob.glob(os.path.join(root, "*.md")) + glob.glob(os.path.join(root, "docs", "**", "*.md"), recursive=True))
for one in documents:
    check_document(one)
for failure in failures:
    print("FAILED:", failure)
print(f"{len(documents)} documents, {len(failures)} failures")
sys.exit(1 if failures else 0)
