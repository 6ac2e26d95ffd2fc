"""The models that a request needs: what is missing is shown with licence, size, memory and time, asked for once, fetched.

An agreement is kept beside the weights (agreed.json), so that a fetch that was cut off goes on without a question.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from stages.core.config.file import Config, Model
from stages.core.config.loading import model_of, settings_of
from stages.core.config.sections import Settings
from stages.core.state.cache import atomic_path
from stages.core.state.graph import BUILD_TRACKS, ENCODE_TEXT, GATHER_EVIDENCE, GENERATE_PROMPTS
from stages.core.state.weights import record_path
from stages.core.tables import EVIDENCE

AGREED = "agreed.json"
MEGABYTES_PER_SECOND = 12.5  # a line of 100 Mbit/s
AT_WORK_GB = 2.3  # beside the weights, at most: docs/models.md
OFFLINE = "HF_HUB_OFFLINE"


def needed(config: Config, dataset: str) -> list[str]:
    """The roles whose models the workflow loads to decide about the data set."""
    settings, entry = settings_of(config, dataset), config.datasets[dataset]
    names = settings.rerank.evidence
    roles = [role for source in prompted_by(settings) for role in GENERATE_PROMPTS.roles(settings, source)]
    for source in settings.selector.sources.evaluate:
        roles += [*GENERATE_PROMPTS.roles(settings, source), *BUILD_TRACKS.roles(settings, source)]
    if not entry.selector.is_none:
        roles += ENCODE_TEXT.roles(settings, None)
    roles += [role for name in names for role in GATHER_EVIDENCE.roles(settings, name)]
    return list(dict.fromkeys(roles))


def prompted_by(settings: Settings) -> list[str]:
    """The sources of prompts that names of `rerank.evidence` read, tracked or not."""
    entries = [settings.evidence[name] for name in settings.rerank.evidence]
    tasks = [task for entry in entries for task in EVIDENCE[entry.kind].tasks(entry)]
    return [task.partition("-")[2] for task in tasks if task.startswith(GENERATE_PROMPTS.name)]


def ensure(config: Config, preset: str, roles: Sequence[str], *, yes: bool) -> None:
    """Brings the models into place, after a yes where something is to be fetched.

    Raises:
        ValueError: they are not here, and there is no network, or no yes.
    """
    from stages.weights.fetch import fetch_preset
    from stages.weights.files import FetchError

    missing = [role for role in roles if not record_path(config, preset, role).is_file()]
    foreign = [role for role in missing if _is_fetched(model_of(config, preset, role))]
    if foreign:
        _agree(config, preset, foreign, yes=yes)
    for role in missing:
        try:
            fetch_preset(config, preset, role, overwrite=False, source=None)
        except FetchError as error:
            reason = str(error).split("\n")[1].partition("; missing of")[0]
            raise ValueError(f"{reason}; {_remedy(preset, role)}") from error


def _is_fetched(model: Model) -> bool:
    return model.path is None and model.seed is None


def _agree(config: Config, preset: str, roles: Sequence[str], *, yes: bool) -> None:
    models = {role: model_of(config, preset, role) for role in roles}
    file = Path(config.paths.weights) / AGREED
    agreed = set(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else set()
    wanted = {f"{model.hub}@{model.revision}" for model in models.values()}
    print("\n".join(described(preset, models)), flush=True)
    if os.environ.get(OFFLINE, "0") not in ("", "0"):
        raise ValueError(f"{OFFLINE} is set, so nothing is fetched; {_remedy(preset)}")
    if wanted <= agreed:
        return
    if not yes and not _says_yes():
        raise ValueError(
            f"models of preset {preset!r} are missing and were not agreed to; give --yes, or --preset micro"
        )
    with atomic_path(file) as temporary:
        temporary.write_text(json.dumps(sorted(agreed | wanted), indent=1) + "\n", encoding="utf-8")


def described(preset: str, models: dict[str, Model]) -> list[str]:
    """A line per model, and one about all of them."""
    lines = [f"preset {preset} needs models that are not here yet:"]
    for role, model in models.items():
        place = model.hub or model.addresses[0]
        lines.append(f"  {role:15} {place:36} {model.license or 'licence unknown':12} {_burden(model.size_gb)}")
    largest = max(model.size_gb or 0.0 for model in models.values())
    lines.append(
        f"  together {_burden(sum(model.size_gb or 0.0 for model in models.values())).partition(',')[0]}; one is loaded at a "
        f"time, so {largest + AT_WORK_GB:.0f} GB of memory of a GPU are enough; a CPU takes minutes per second of video"
    )
    return lines


def _burden(size_gb: float | None) -> str:
    if not size_gb:
        return "size unknown"
    minutes = max(1, round(size_gb * 1000 / MEGABYTES_PER_SECOND / 60))
    return f"{size_gb:{'.2g' if size_gb < 1 else '.1f'}} GB, {size_gb + AT_WORK_GB:.1f} GB of memory, {minutes} min at 100 Mbit/s"


def _says_yes(ask: Callable[[str], str] = input) -> bool:
    if not sys.stdin.isatty():
        return False
    return ask("Fetch them? [y/N] ").strip().lower() in ("y", "yes")


def _remedy(preset: str, role: str | None = None) -> str:
    command = f"referee fetch-weights --preset {preset}{f' --role {role}' if role else ''}"
    return f"run `{command}` where there is a network, or try --preset micro, which needs none"
