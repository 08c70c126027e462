"""Checks the kernels' object files: python .ci/objects.py BUILD_DIRECTORY

A kernel source is compiled once per instruction set. A template or inline function that it instantiates
outside of its level's namespace exists in several objects under one name; the linker keeps one copy, and that
could be the one with AVX-512 instructions, called on a machine without. So no weak function may stand there.
"""

import pathlib
import re
import subprocess
import sys


def strangers(objects: list[pathlib.Path], level: str) -> list[str]:
    """The weak functions in these objects that another level could define too."""
    listing = subprocess.run(
        ["nm", "--demangle", "--print-file-name", *map(str, objects)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found = []
    for line in listing.splitlines():
        path, _, symbol = line.rpartition(".o:")
        match = re.match(r"[0-9a-f]+ W (.*)", symbol)
        # A standard template over a type of the level's own is its own too: its name tells them apart.
        if match and f"chainrule::{level}::" not in match[1]:
            found.append(f"{pathlib.Path(path).name}, {level}: {match[1]}")
    return found


def main() -> int:
    build = pathlib.Path(sys.argv[1])
    count = 0
    bad: list[str] = []
    for folder in sorted(build.glob("CMakeFiles/kernels_*.dir")):
        level = folder.name.removeprefix("kernels_").removesuffix(".dir")
        objects = sorted(folder.rglob("*.o"))
        count += len(objects)
        bad += strangers(objects, level) if objects else []
    if count == 0:
        print(f"no kernel objects in {build}")
        return 1
    for line in sorted(set(bad)):
        print(f"weak function outside of the level's namespace: {line}")
    print(f"{count} kernel objects, {len(set(bad))} weak functions outside of their level's namespace")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
