"""The open table BACKENDS: ways of running the MLLM that kinds of evidence ask. stages/evidence/backends lists them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from stages.core.config.section import Section
from stages.core.table import Table
from stages.core.tables import EvidenceKind, check_settings

if TYPE_CHECKING:
    from stages.core.run.batches import Batches
    from stages.core.state.weights import Weights


def _nothing(settings: Any) -> None:
    pass


@dataclass(frozen=True)
class Backend:
    """A way of running an MLLM.

    Attributes:
        name: what `evidence.<name>.backend` says.
        settings: the model of its own keys of `evidence.<name>`. They stand there whichever backend is chosen, so that
            one key changes it: what means nothing to another backend may be null.
        roles: models it loads here, and so whether it takes a device.
        identity: its settings → what replies depend on beside questions and weights, as JSON values.
        per_pass: (its settings, run.batches.questions) → questions that are asked together.
        load: (its settings, weights by role, device, how much is computed at once) → who answers: a
            `stages.evidence.questions.Judge`. Imports its models itself.
        check_chosen: its settings → ValueError where they are not enough to run it.
        writes: whether it also answers in words (`stages.evidence.questions.Writer`).
    """

    name: str
    settings: type[Section]
    roles: tuple[str, ...]
    identity: Callable[[Any], Mapping[str, Any]]
    per_pass: Callable[[Any, int], int]
    load: Callable[[Any, Mapping[str, "Weights"], str, "Batches"], Any]
    check_chosen: Callable[[Any], None] = _nothing
    writes: bool = False

    def check(self) -> None:
        check_settings("backend", self.name, self.settings)

    def own(self, entry: Section) -> Any:
        """Its settings among the keys of an entry of `evidence`."""
        return self.settings.model_validate({key: getattr(entry, key) for key in self.settings.model_fields})


BACKENDS = Table[Backend]("backend", "stages.evidence.backends:LISTED")


class Backed(Section):
    """Settings of a kind of evidence that asks an MLLM. In the config the keys of every backend are added to them."""

    backend: str = Field(description="Who runs the MLLM")

    @property
    def chosen(self) -> Backend:
        return BACKENDS[self.backend]

    @property
    def own(self) -> Any:
        """The chosen backend's settings."""
        return self.chosen.own(self)

    @model_validator(mode="after")
    def _is_enough(self) -> "Backed":
        self.chosen.check_chosen(self.own)
        return self

    def stamped(self) -> dict[str, Any]:
        """Of the backends' keys only what replies depend on."""
        keys = {key for backend in BACKENDS.values() for key in backend.settings.model_fields}
        return self.model_dump(mode="json", exclude=keys) | dict(self.chosen.identity(self.own))


def writing_entry(entries: Mapping[str, Any], name: str, where: str) -> Backed:
    """The entry of `evidence` whose MLLM is asked for words beside its own work.

    Args:
        where: the section that names it, for messages.

    Raises:
        ValueError: there is no such entry, it asks no MLLM, or its backend answers with single words alone.
    """
    if name not in entries:
        raise ValueError(f"{where}: no {name!r} in `evidence`; there are {sorted(entries)}")
    entry = entries[name]
    if not isinstance(entry, Backed) or not entry.chosen.writes:
        able = sorted(other for other, each in entries.items() if isinstance(each, Backed) and each.chosen.writes)
        raise ValueError(f"{where}: evidence.{name} has no MLLM that writes; {able} have one")
    return entry


def identity_keys(name: str, entry: Backed) -> tuple[str, ...]:
    """The keys of an entry that its MLLM's answers depend on, by dotted name."""

    def below(head: str, values: Mapping[str, Any]) -> list[str]:
        inner = [(f"{head}.{key}", value) for key, value in values.items()]
        return [key for path, value in inner for key in (below(path, value) if isinstance(value, Mapping) else [path])]

    return (f"evidence.{name}.backend", *below(f"evidence.{name}", entry.chosen.identity(entry.own)))


def roles_of(kind: EvidenceKind, settings: Section) -> tuple[str, ...]:
    """The models that an entry of `evidence` loads: its kind's, and its backend's."""
    return kind.roles + (settings.chosen.roles if isinstance(settings, Backed) else ())
