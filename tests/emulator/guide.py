"""Reads the first-run guide as a program.

Decides which fenced blocks are commands, which of them the bed runs, and why it leaves one out. It never guesses: a
block of commands that is neither marked nor run is an error, and so is a mark without its reason.

    ```sh          run, as it stands
    ```sh aws      left out: makes sense on AWS alone
    ```sh build    left out: done before, by `make build`; the zips are there

A block that is left out stands below a comment `<!-- not in the bed: REASON -->`.
"""

import re
from dataclasses import dataclass

MARKS = {"sh": "run", "sh aws": "aws", "sh build": "build"}
# Fences of these kinds show what there is to see, or an item; nobody types them.
SHOWN = {"json", "text"}
REASON = re.compile(r"<!-- not in the bed: (\S.*?) -->")


class GuideError(Exception):
    """What is wrong with the guide, and in which line."""


@dataclass(frozen=True)
class Block:
    """One fenced block of commands."""

    section: str
    line: int
    mark: str
    reason: str
    text: str


def read(text):
    """All blocks of commands, in order."""
    blocks, section, above, fence = [], "", "", None
    for number, line in enumerate(text.splitlines(), 1):
        if fence is not None:
            if line.strip() == "```":
                kind, start, body, reason = fence
                if kind not in SHOWN:
                    blocks.append(Block(section, start, MARKS[kind], reason, "\n".join(body) + "\n"))
                fence = None
            else:
                fence[2].append(line)
            continue
        if line.startswith("```"):
            fence = (_kind(line, number), number, [], _reason(line, above, number))
        elif line.startswith("#"):
            section = line.lstrip("#").strip()
        if line.strip():
            above = line.strip()
    if fence is not None:
        raise GuideError(f"line {fence[1]}: the block does not end")
    return blocks


def _kind(line, number):
    kind = line.strip().lstrip("`").strip()
    if kind not in MARKS and kind not in SHOWN:
        known = ", ".join(sorted(MARKS) + sorted(SHOWN))
        raise GuideError(f"line {number}: a block of the kind '{kind}'; there are: {known}")
    return kind


def _reason(line, above, number):
    """Why a marked block is left out; nothing for one that is run."""
    kind = line.strip().lstrip("`").strip()
    told = REASON.fullmatch(above)
    if MARKS.get(kind, "run") == "run":
        if told:
            raise GuideError(f"line {number}: a reason to leave out a block that is run")
        return ""
    if not told:
        raise GuideError(f"line {number}: a block is left out, and no comment above it says why")
    return told[1]
