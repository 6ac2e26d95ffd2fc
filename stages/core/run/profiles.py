"""Snakemake's profiles: where they are, and what stands in them on which line."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stages.core.config.loading import nearest

PROFILES = Path("workflow/profiles")
FILE = "profile.yaml"


@dataclass(frozen=True)
class Profile:
    """A profile's file.

    Attributes:
        file: its path.
        values: what it says, by key.
        lines: key, or a key's entry as "default-resources/slurm_account" → line, from 1.
    """

    file: Path
    values: dict[str, Any]
    lines: dict[str, int]

    @property
    def resources(self) -> dict[str, str]:
        """The entries of default-resources: what a job asks for where its rule says nothing."""
        return dict(entry.split("=", 1) for entry in self.entries("default-resources") if "=" in str(entry))

    @property
    def groups(self) -> dict[str, str]:
        """Rule → group."""
        return dict(entry.split("=", 1) for entry in self.entries("groups") if "=" in str(entry))

    def line(self, key: str) -> int:
        return self.lines.get(key) or self.lines.get(key.partition("/")[0], 1)

    def entries(self, key: str) -> list[str]:
        values = self.values.get(key) or []
        return [str(value) for value in (values if isinstance(values, list) else [values])]


def find_profile(name: str) -> Path:
    """The file of a profile: a name below workflow/profiles, a folder, or a file.

    Raises:
        ValueError: there is none.
    """
    for file in (PROFILES / name / FILE, Path(name) / FILE, Path(name)):
        if file.is_file():
            return file
    known = sorted(file.parent.name for file in PROFILES.glob(f"*/{FILE}"))
    raise ValueError(f"no profile {name!r} in {PROFILES}{nearest(name, known)}")


def read_profile(file: Path) -> Profile:
    """Reads a profile.

    Raises:
        ValueError: it is not YAML of keys and values, or has a key twice.
    """
    text = file.read_text(encoding="utf-8")
    try:
        root = yaml.compose(text)
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, AttributeError, LookupError, TypeError) as error:  # as of `!!timestamp x`
        raise ValueError(f"{file}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(root, yaml.MappingNode):
        raise ValueError(f"{file}: holds no keys; a line is `key: value`, as `executor: slurm`")
    lines: dict[str, int] = {}
    for key, line in _places(root):
        if key in lines:
            raise ValueError(f"{file}:{line}: {key} is there twice, first in line {lines[key]}; keep one of them")
        lines[key] = line
    return Profile(file, values, lines)


def _places(root: yaml.MappingNode) -> Iterator[tuple[str, int]]:
    for key, value in root.value:
        yield key.value, key.start_mark.line + 1
        if isinstance(value, yaml.MappingNode):
            yield from ((f"{key.value}/{inner.value}", inner.start_mark.line + 1) for inner, _ in value.value)
        if isinstance(value, yaml.SequenceNode):
            names = [(str(entry.value).partition("=")[0], entry.start_mark.line + 1) for entry in value.value]
            yield from ((f"{key.value}/{name}", line) for name, line in names)
