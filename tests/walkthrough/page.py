"""docs/walkthrough.md as a test reads it. What a block is stands in a comment before it, which readers do not see:

    <!-- run: NAME -->        the next block is run
    <!-- shown: REASON -->    it is not, for this reason
    <!-- prints -->           it is what the block run last prints; … stands for anything, on a line of its own for any lines
    <!-- repeat: NAME ... --> blocks that were run before are run again here, and print the same
    <!-- journey: NAME -->    a cluster of another kind begins
"""

import dataclasses
import pathlib
import re

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "walkthrough.md"
MARK = re.compile(r"<!-- (run|shown|prints|repeat|journey):? ?(.*?) ?-->")
ANYTHING = "…"


@dataclasses.dataclass
class Block:
    line: int
    language: str
    text: str
    kind: str = ""  # run, shown or prints
    about: str = ""  # the name, or the reason
    prints: str | None = None


@dataclasses.dataclass
class Page:
    blocks: list
    journeys: dict  # name: blocks in the order in which they are run


def read(text=None):
    text = PAGE.read_text() if text is None else text
    blocks, journeys, named = [], {}, {}
    mark, fence, journey = None, None, None
    for number, line in enumerate(text.splitlines(), 1):
        if fence:
            if line.strip() == "```":
                mark = _take(fence, mark, blocks, named, journey)
                fence = None
            else:
                fence.text += line + "\n"
        elif line.startswith("```"):
            fence = Block(number, line.strip("`").strip(), "")
        elif found := MARK.fullmatch(line.strip()):
            kind, about = found.groups()
            if kind == "journey":
                journey = journeys.setdefault(about, [])
            elif kind == "repeat":
                journey.extend(named[name] for name in about.split())
            elif mark:
                raise ValueError(f"line {number}: two marks before one block")
            else:
                mark = (kind, about)
        elif mark and line.strip():
            raise ValueError(f"line {number}: a mark is followed by its block")
    return Page(blocks, journeys)


def _take(block, mark, blocks, named, journey):
    block.kind, block.about = mark or ("", "")
    if block.kind == "run":
        if block.about in named:
            raise ValueError(f"line {block.line}: two blocks are called {block.about}")
        named[block.about] = block
        journey.append(block)
    elif block.kind == "prints":
        last = next(b for b in reversed(blocks) if b.kind == "run")
        last.prints = block.text
    blocks.append(block)
    return None


def matches(expected, printed):
    """Whether this is what was to be printed. Blank lines before it are no matter."""
    pattern, printed = "", printed.lstrip("\n")
    for line in expected.splitlines():
        if line.strip() == ANYTHING:
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".+?".join(re.escape(part) for part in line.rstrip().split(ANYTHING)) + r"[ ]*\n"
    return re.fullmatch(pattern, printed if printed.endswith("\n") or not printed else printed + "\n") is not None
