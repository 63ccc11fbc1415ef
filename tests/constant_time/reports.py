#!/usr/bin/env python3
"""Memcheck's reports against exceptions.json: `reports.py LOG` prints both and exits with 9 if there is another one.

A report belongs to the innermost function of the payload on its stack, found in the source by its line: names of inlined
functions are not in the program.
"""

import json
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parents[2]
exceptions = json.loads((root / "tests/constant_time/exceptions.json").read_text())
kinds = {"Conditional jump": "branches", "Use of uninitialised": "addresses"}
source = re.compile(r"\((/.*):(\d+)\)$")


def function(file, line):
    lines = (root / file).read_text().splitlines()[:line]
    names = (re.search(r"\bfn (\w+)", text) for text in reversed(lines))
    return next((name[1] for name in names if name), "?")


def place(stack):
    for frame in stack:
        found = source.search(frame)
        if found and pathlib.Path(found[1]).is_relative_to(root):
            file = pathlib.Path(found[1]).relative_to(root).as_posix()
            return f"{file} {function(file, int(found[2]))}"
    return "outside the project"


reports = []
for text in pathlib.Path(sys.argv[1]).read_text(errors="replace").splitlines():
    text = re.sub(r"^==\d+== ?", "", text)
    if re.match(r" +(at|by) 0x", text) and reports:
        reports[-1][1].append(text)
    elif text and not text.startswith(" "):
        reports.append((text, []))
reports = [(what, stack) for what, stack in reports if stack]

used, others = {}, 0
for what, stack in reports:
    kind = next((kind for start, kind in kinds.items() if what.startswith(start)), None)
    where = place(stack)
    if kind and exceptions.get(where, {}).get(kind):
        used.setdefault(where, set()).add(kind)
    else:
        others += 1
        print("\n".join([f"{where}: {what}", *stack[:12]]))

if len(sys.argv) > 2:
    # A leak on purpose has to be found where it is.
    sys.exit(9 if others and all(sys.argv[2] in place(stack) for _, stack in reports) else 0)

for name, exception in exceptions.items():
    found = " and ".join(sorted(used.get(name, ["not needed any more"])))
    print(f"exception: {name}: {found}\n  {exception['reason']}")
if set(exceptions) - set(used):
    print("exceptions that nothing needs have to go")
    others += 1
print(f"{others} that are none" if others else "nothing else")
sys.exit(9 if others else 0)
