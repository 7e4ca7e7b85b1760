"""Which requests are never traced, by their paths."""

import re
from collections.abc import Mapping, Sequence
from typing import Any


class ExcludedPaths:
    """Paths whose requests are not traced; `*` in a pattern stands for anything."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._exact = frozenset(pattern for pattern in patterns if "*" not in pattern)
        globs = [".*".join(map(re.escape, p.split("*"))) for p in patterns if "*" in p]
        self._globs = re.compile("|".join(globs), re.DOTALL) if globs else None

    def __call__(self, scope: Mapping[str, Any]) -> bool:
        """Say whether a request is excluded, by its path without what a proxy in front strips."""
        path: str = scope["path"]
        if root := scope.get("root_path"):
            path = path.removeprefix(root)
        globs = self._globs
        return path in self._exact or (globs is not None and globs.fullmatch(path) is not None)
