"""What to say where the service's own code fails at the start: its frames, and what to do."""

import linecache
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from spanserve.errors import SpanserveError

MAX_SAID_CHARS: Final = 1000
MAX_FRAMES: Final = 12
MAX_LINE_CHARS: Final = 120

_OF_MAIN: Final = re.compile(r"attribute '(\w+)'")


def explained(what: str, error: BaseException, folder: Path, *, retry: str = "") -> str:
    """Say what failed, by whichever lines of the code in this folder, and what can be done.

    `retry` is a command that fails in the same way on its own.
    """
    said = f"{what}: {named(error)}"
    to_do = advice(error) or (f"to see it fail on its own: {retry}" if retry else "")
    return "\n  ".join([said, *_own_frames(error, folder), *filter(None, [to_do])])


def named(error: BaseException) -> str:
    """The error's type and text on one line, bounded; of an error of spanserve, the text."""
    text = " ".join(str(error).split())
    if isinstance(error, SpanserveError):
        return text
    return _cut(f"{type(error).__name__}: {text}".removesuffix(": "), MAX_SAID_CHARS)


def last_line(error: BaseException, folder: Path) -> str:
    """The last line of the folder's own code on the way to the error, in brackets."""
    places = [f" ({place}, line {line})" for place, line, _, _ in _frames(error, folder)]
    return places[-1] if places else ""


def _own_frames(error: BaseException, folder: Path) -> list[str]:
    frames = [
        _cut(f"{place}, line {line}, in {function}: {text}", MAX_LINE_CHARS)
        for place, line, function, text in _frames(error, folder)
    ]
    if len(frames) > MAX_FRAMES:
        half = MAX_FRAMES // 2
        return [*frames[:half], f"... {len(frames) - MAX_FRAMES} more ...", *frames[-half:]]
    return frames


def _frames(error: BaseException, folder: Path) -> Iterator[tuple[Path, int, str, str]]:
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        file = Path(code.co_filename)
        if file.is_relative_to(folder) and "site-packages" not in file.parts:
            line = linecache.getline(code.co_filename, traceback.tb_lineno).strip()
            yield file.relative_to(folder), traceback.tb_lineno, code.co_name, line
        traceback = traceback.tb_next


def advice(error: BaseException, before: str = "") -> str:
    """Say what to do about an error of a known kind, after these words; or nothing."""
    words = ""
    if isinstance(error, ModuleNotFoundError) and error.name:
        words = f"install what has the module {error.name.partition('.')[0]!r}"
    elif isinstance(error, AttributeError) and "__main__" in str(error):
        found = _OF_MAIN.search(str(error))
        words = _hint_of_main(found[1] if found else "a class")
    elif isinstance(error, FileNotFoundError) and _is_relative(error.filename):
        words = f"for a file of the service write: bundle_path({str(error.filename)!r})"
    return f"{before}{words}" if words else ""


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]} ..."


def _is_relative(name: object) -> bool:
    return isinstance(name, str | os.PathLike) and not Path(name).is_absolute()


def _hint_of_main(name: str) -> str:
    """A pickle says where its classes are, and `__main__` is another program each time."""
    return (
        f"the pickle was made by a program that defines {name} itself, and {name} is not known "
        f"elsewhere: move it to a module beside the service, import it from there, and make the "
        "pickle again"
    )
