"""The signs that a terminal can show, and text that cannot harm it."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Script:
    """The signs that a terminal can show; `blocks[n]` is n eighths of a cell, from the left."""

    encoding: str
    branch: str = "├─ "
    last: str = "└─ "
    through: str = "│  "
    cut: str = "…"
    between: str = " · "
    event: str = "• "
    error: str = "✗ "
    moment: str = "◆"
    blocks: Sequence[str] = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█")
    right_half: str = "▐"
    right_edge: str = "▕"

    def clean(self, text: str, limit: int) -> str:
        """Escape what would move the cursor, change colours or fail to encode; then shorten."""
        bounded = text[: limit + 1]
        if not bounded.isprintable():
            bounded = "".join(c if c.isprintable() else _escaped(c) for c in bounded)
        shown = bounded.encode(self.encoding, "backslashreplace").decode(self.encoding)
        return shown if len(text) <= limit else shown[:limit] + self.cut


def script_for(encoding: str) -> Script:
    """Return the signs for an output of this encoding: plain ASCII unless it is a Unicode one."""
    if encoding.lower().startswith("utf"):
        return Script(encoding)
    return Script(
        encoding,
        branch="|- ",
        last="`- ",
        through="|  ",
        cut="...",
        between="; ",
        event="* ",
        error="x ",
        moment="^",
        blocks=("", "|", "|", "|", "#", "#", "#", "#", "#"),
        right_half="#",
        right_edge="|",
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def draw_bar(start: int, end: int, cells: int, script: Script) -> str:
    """Draw a bar between two places in eighths of a cell, at least one eighth long.

    It begins at a whole or a half cell, since Unicode has no finer blocks from the right.
    """
    start = min(start, cells * 8 - 1)
    end = max(end, start + 1)
    first, into = divmod(start, 8)
    last, left = divmod(end, 8)
    margin = " " * first
    if end <= (first + 1) * 8:
        half = script.right_half if end - start > 2 else script.right_edge  # noqa: PLR2004  # a quarter
        return margin + (script.blocks[end - start] if into < 4 else half)  # noqa: PLR2004  # half a cell
    head = script.blocks[8] if into < 4 else script.right_half  # noqa: PLR2004  # half a cell
    return margin + head + script.blocks[8] * (last - first - 1) + script.blocks[left]
