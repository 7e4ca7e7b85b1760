"""Why a text is no YAML, in words that hold for any reader and quote nothing of it."""

import re
from typing import Final

import yaml

_QUOTE: Final = "a value that begins with {} stands in quotes"
_WORDS: Final = (
    (r"alias", _QUOTE.format("'*'")),
    (r"anchor", _QUOTE.format("'&'")),
    (r"\btag\b|directive", _QUOTE.format("'!' or '%'")),
    (r"'\\t'", "there is a tab where blanks should be"),
    (r"cannot start any token", _QUOTE.format("'@', '`' or '%'")),
    (r"mapping values are not allowed", "there is a ': ' too many; quote a value that holds one"),
    (r"could not find expected ':'", "a line has no ': ' after its key"),
    (r"flow", "a [ or { is not closed, or a value in it should stand in quotes"),
    (r"block (scalar|end|mapping|collection|sequence)", "the indentation does not fit"),
    (r"quoted scalar", "a quote is not closed"),
    (r"escape", "a \\ in double quotes stands for itself only as \\\\"),
    (r"single document|another document", "there is more than one document"),
    (r"not allowed|unacceptable|invalid|utf", "there is a character that YAML does not allow"),
)


def words_of(error: yaml.YAMLError) -> str:
    """Say what is wrong; the place is the caller's to name."""
    if isinstance(error, yaml.MarkedYAMLError):
        said = f"{error.context or ''} {error.problem or ''}"
    else:
        said = str(error)
    found = (words for pattern, words in _WORDS if re.search(pattern, said))
    return next(found, "this cannot be read")
