"""What a person meant who named something that is no service."""

from pathlib import Path

from spanserve.service.bundle.making.sensitive import CONFIG_SUFFIXES, is_config, is_pickle
from spanserve.service.bundle.manifest import listing
from spanserve.service.codecs.problems import nearest


def no_service(target: str) -> str:
    """Say what the target is, or what was probably meant."""
    path = Path(target)
    if path.is_file():
        return f"{target!r} {_of_file(path, target)}"
    folder = path.absolute().parent
    meant = _meant(target)
    hint = f"; did you mean {meant!r}?" if meant else _nearest_in(folder, path.name)
    return (
        f"there is no bundle {target!r} (in {folder}: {listing(folder)}){hint}"
        f"{'' if hint else '; name a .py file, module:Class, or the folder of a bundle'}"
    )


def _of_file(path: Path, target: str) -> str:
    if path.suffix.lower() in CONFIG_SUFFIXES or is_config(path):
        return f"is a configuration, and no service: spanserve serve SERVICE --config {target}"
    if path.suffix == ".ipynb":
        return "is a notebook: write the service to a .py file, and name that"
    if is_pickle(path):
        return "is a model: name a .py file with a class that has @service above it and loads it"
    return "is no Python file: name a .py file, module:Class, or the folder of a bundle"


def _meant(target: str) -> str:
    """Another spelling of the target under which there is something."""
    module, _, attribute = target.rpartition(".")
    place, _, name = target.partition("::")
    spellings = {
        f"{place}:{name}": Path(place),
        f"{target}.py": Path(f"{target}.py"),
        f"{module}:{attribute}": Path(f"{module.replace('.', '/')}.py"),
    }
    return next((each for each, file in spellings.items() if file.is_file()), "")


def _nearest_in(folder: Path, name: str) -> str:
    there = [each.name for each in folder.glob("*") if each.is_dir() or each.suffix == ".py"]
    return nearest(name, there)
