"""Removes results and the cache of the config's data sets; data, weights, imports, and what Referee did not make stay.

Removes: results folders that carry Referee's mark; below paths.cache: files of stages, known by their stamps, the frames
         and pictures that their records list, and markers, logs and configs of runs.
Why:     everything it removes can be made again; whatever else is there belongs to somebody and is named.
"""

import argparse
import json
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from stages.core.config.file import Config
from stages.core.run.cli import add_config_flag, build_parser, config_of, execute
from stages.core.run.targets import ABOUT
from stages.core.state.cache import CacheError, read_stamp
from stages.core.state.graph import STAGES, TRAIN_SELECTOR, Layout, Stage
from stages.core.state.marks import is_ours, remove_ours

# Below <cache>/<dataset>/<split>: what runs leave beside the files of stages.
BESIDE = re.compile(
    r"(logs/[\w-]+\.(log|jsonl)|done/[\w-]+\.json|shards/[\w-]+/\d+-of-\d+"
    rf"|{TRAIN_SELECTOR.folder}/([\w-]+/)?(best\.safetensors|checkpoint\.pt|curve\.jsonl|trackers\.json|tensorboard/events\.[^/]+)"
    r"|(errors|runtime)/[\w-]+/.+\.json|evidence/[\w-]+/(.+/)?\.[^/]+\.asked\.json)"
)
# Below <cache>.
OF_RUNS = re.compile(r"(config/[0-9a-f]{16}\.yaml|logs/[\w-]+\.(log|jsonl))")

log = logging.getLogger(__name__)


def run(config: Config, *, dry: bool = False) -> list[Path]:
    """Removes what is ours.

    Args:
        dry: only log what would be removed.

    Returns:
        What is left in the places where our files are: files that Referee did not make, or that are damaged.
    """
    left: list[Path] = []
    for folder in results_of(config):
        if folder.is_symlink() or not is_ours(folder):
            left.append(folder)
            continue
        log.info("%s %s", "would remove" if dry else "removing", folder)
        if not dry:
            remove_ours(folder)
    cache = Path(config.paths.cache)
    splits = [Layout.of(config, name, split) for name, entry in config.datasets.items() for split in entry.splits]
    roots = [layout.root for layout in splits] + [cache / name for name in ("config", "logs")]
    ours = {path for layout in splits for path in files_of(layout)}
    ours |= {path for path in _files(cache / "config") + _files(cache / "logs") if _fits(OF_RUNS, path, cache)}
    for root in roots:
        mine = [path for path in _files(root) if path in ours]
        left += [path for path in _files(root) if path not in ours]
        if mine:
            log.info("%s %d files below %s", "would remove" if dry else "removing", len(mine), root)
        if not dry:
            _remove(mine, root)
    return left


def results_of(config: Config) -> Iterator[Path]:
    """The folders of results, reports and comparisons that exist."""
    for name, entry in config.datasets.items():
        for split in entry.splits:
            for parts in ((name, split), *((what, name, split) for what in ABOUT)):
                folder = Path(config.paths.results).joinpath(*parts)
                if folder.is_symlink() or folder.exists():
                    yield folder


def files_of(layout: Layout) -> Iterator[Path]:
    """Our files and links in the cache of a split."""
    for stage in STAGES.values():
        for record in (path for path in _files(layout.root / stage.folder) if path.suffix == stage.suffix):
            if _is_of(record, stage):
                yield record
                yield from _listed(record)
    yield from (path for path in _files(layout.root) if _fits(BESIDE, path, layout.root))


def _is_of(path: Path, stage: Stage) -> bool:
    try:
        return read_stamp(path, stage.name).stage == stage.name
    except (CacheError, OSError):
        return False


def _listed(record: Path) -> Iterator[Path]:
    """What a record lists of the folder beside it; a video's frames may be one link."""
    folder = record.with_suffix("")
    if record.suffix != ".json" or not (folder.is_symlink() or folder.is_dir()):
        return
    if folder.is_symlink():
        yield folder
        return
    document = json.loads(record.read_text(encoding="utf-8"))
    files = document.get("files", ())
    names = files if isinstance(files, dict) else [f"{name}{document.get('suffix', '')}" for name in document["frames"]]
    yield from (folder / name for name in names)


def _files(folder: Path) -> list[Path]:
    """Everything below a folder that is not itself a folder; links are not followed."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def _fits(pattern: re.Pattern[str], path: Path, root: Path) -> bool:
    return pattern.fullmatch(path.relative_to(root).as_posix()) is not None


def _remove(files: Sequence[Path], root: Path) -> None:
    """Removes files, and the folders that this leaves empty, up to and including `root`."""
    for path in files:
        path.unlink()
    parents = {parent for path in files for parent in path.parents if root in (parent, *parent.parents)}
    for folder in sorted(parents, key=lambda parent: -len(parent.parts)):
        if not any(folder.iterdir()):
            folder.rmdir()


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser(__doc__)
    add_config_flag(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what would be removed, and remove nothing")
    parser.add_argument("--show", type=int, default=10, metavar="N", help="files shown that are left (default: 10)")
    return execute(parser, argv, _clean)


def _clean(arguments: argparse.Namespace) -> None:
    left = run(config_of(arguments), dry=arguments.dry_run)
    for path in left[: arguments.show]:
        log.warning("left: %s", path)
    if left:
        log.warning("%d files and folders are left: Referee did not make them, or they are damaged", len(left))


if __name__ == "__main__":
    raise SystemExit(main())
