"""weights.lock.json: what the bytes of downloaded weights must be.

{hub id: {"requested": revision in the config, "revision": commit it stood for, "files": {name: {size, sha256}}}}
For a file with an https address of its own, that address stands in place of hub id and both revisions.
A file is recorded when it is first fetched and verified from then on; a locked commit is what is fetched,
whatever its branch says later. To move on, delete the entry.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stages.core.config.file import Model
from stages.core.state.cache import write_json
from stages.core.state.temporary import remove_leftovers
from stages.weights.files import FetchError, FileFacts, Files, matching


@dataclass(frozen=True)
class Entry:
    """What is known of one repository of the hub.

    Attributes:
        requested: the revision in the config when it was recorded.
        revision: the commit; or `requested` again while the files only ever came from a folder.
        files: what its files must be.
    """

    requested: str
    revision: str
    files: Files


class Lock:
    """The lock file; callers hold `exclusive` around changes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entry(self, hub: str, revision: str) -> Entry:
        """The entry of a repository; an empty one where nothing is recorded.

        Raises:
            FetchError: the file is damaged, or was made for another revision than the config's.
        """
        raw = self._read().get(hub)
        if raw is None:
            return Entry(revision, revision, {})
        try:
            entry = Entry(raw["requested"], raw["revision"], raw["files"])
        except (KeyError, TypeError) as error:
            raise FetchError(f"{self.path}: the entry {hub!r} is damaged ({error!r}): delete it") from error
        if revision not in (entry.requested, entry.revision):
            raise FetchError(
                f"{self.path}: {hub} is locked at revision {entry.requested!r} ({entry.revision}), the config asks for "
                f"{revision!r}: set the config back, or delete the entry to accept the new one"
            )
        return entry

    def files_of(self, model: Model) -> dict[str, FileFacts]:
        """What is recorded of a model's files, from the hub and from addresses; raises FetchError as `entry` does."""
        recorded: dict[str, FileFacts] = {}
        if model.hub is not None and model.revision is not None:
            files = self.entry(model.hub, model.revision).files
            recorded |= {name: files[name] for name in matching(files, model.patterns)}
        for address in model.addresses:
            recorded |= self.entry(address, address).files
        return recorded

    def record(self, hub: str, entry: Entry) -> None:
        """Replaces a repository's entry, atomically."""
        remove_leftovers(self.path)
        write_json(self.path, dict(sorted({**self._read(), hub: asdict(entry)}.items())))

    def _read(self) -> dict[str, Any]:
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise FetchError(f"{self.path}: not readable as JSON ({error}): restore it from version control") from error
        if not isinstance(document, dict):
            raise FetchError(f"{self.path}: not a JSON object: restore it from version control")
        return document
