"""Segments your own videos: files or folders of them, and sentences, to overlays, masks, and what else --format names.

    referee segment dog.mp4 "the dog that turns around"
    referee segment dog.mp4 "the dog that turns around" "the woman" --format overlay,coco
    referee segment videos/ holiday.mov "a red car" --out found --start 0:10 --end 0:25

Runs through the workflow, its stages and its cache: what is there is not made again. Another sentence about the same video
reuses its frames and whatever no sentence enters; only its own prompts, tracks and scores are new. Killed at any moment, it
goes on when it is repeated. The first run shows what is to be fetched, and asks.

Frames are processed as --fps and --max-side say; results are in the size and the times of the source. Folder by video,
name by sentence, in --out. docs/segment.md is a tutorial.
"""

import argparse
import fcntl
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import stages
from stages.core.run.cli import at_least, build_parser, execute

if TYPE_CHECKING:
    from stages.core.config.file import Config
    from stages.core.run.progress import Progress
    from stages.delivery.segmented import Source
    from stages.own.request import Asked, Part

ROOT = Path(stages.__file__).parents[1]


def run(arguments: argparse.Namespace) -> int:
    """Does all of it; 1 where a video failed and others did not.

    Raises:
        ValueError: nothing can be made of what was asked for; in one sentence.
    """
    say("looking at what is asked for")
    from stages.core.run.progress import Progress
    from stages.own import checks, models, request, running

    part = request.Part(arguments.fps, arguments.max_side, arguments.start, arguments.end)
    request.check_part(part)
    paths, texts = request.divided(arguments.words)
    sentences = request.sentences_of(texts)
    out, user = arguments.out.resolve(), [file.resolve() for file in arguments.config or []]
    paths = [path.absolute() for path in paths]
    with in_project():
        config, over = configured(arguments.preset, part, user)
        formats = formats_of(arguments.format or config.segment.formats)
        preset = config.datasets[request.DATASET].models
        checks.check_out(config, out)
        videos = request.asked_of(paths, sentences, part, preset)
        sources, wrong = checks.sources_of(videos, part)
        videos = [video for video in videos if video.id in sources]
        tell_preset(config, preset)
        with alone(Path(config.datasets[request.DATASET].root)) as lock:
            models.ensure(config, preset, models.needed(config, request.DATASET), yes=arguments.yes)
            request.write_request(Path(config.datasets[request.DATASET].root), videos, part)
            with Progress("segment", 1.0, often=1.0) as progress:
                running.answer(config, over, progress, lock)
                return deliver(config, videos, sources, part, formats, out, wrong, progress)


# ---------------------------------------------------------------- what is asked for


def configured(preset: str | None, part: "Part", files: Sequence[Path]) -> "tuple[Config, dict[str, Any]]":
    """The config, and what of it is not in config.yaml."""
    from stages.core.config.loading import merge, parse_config, read_yaml
    from stages.own.request import overlay

    base = read_yaml(Path("config.yaml"))
    user: dict[str, Any] = reduce(merge, map(read_yaml, files), {})
    first = parse_config(merge(base, user), "config.yaml")
    over = overlay(first, preset or first.segment.preset, part, user)
    return parse_config(merge(base, over), "config.yaml"), over


def formats_of(words: Sequence[str]) -> list[str]:
    """The formats that are asked for, each once; raises ValueError where one is unknown."""
    from stages.delivery.format import FORMATS

    names = [name.strip() for word in words for name in word.split(",") if name.strip()]
    return [FORMATS[name].name for name in dict.fromkeys(names)]


def tell_preset(config: "Config", preset: str) -> None:
    """A line where the models know something narrower than the world."""
    if dataset := config.segment.decided_as.get(preset):
        say(f"preset {preset} knows nothing but the drawings of `{dataset}`; --preset small is for real videos")


# ---------------------------------------------------------------- what is given


def deliver(
    config: "Config",
    videos: "Sequence[Asked]",
    sources: "Mapping[str, Source]",
    part: "Part",
    formats: Sequence[str],
    out: Path,
    wrong: Sequence[str],
    progress: "Progress",
) -> int:
    """Writes the outputs of every video that has answers, then says what was found and where it is.

    Args:
        wrong: what is wrong with other videos.
    """
    from stages.core.config.loading import settings_of
    from stages.core.spelling import shown
    from stages.core.state.graph import Layout
    from stages.delivery.writing import write
    from stages.own import answers, request
    from stages.own.checks import told

    layout = Layout.of(config, request.DATASET, request.SPLIT)
    render = settings_of(config, request.DATASET).render
    lines, wrong, left = [], list(wrong), 1.0 - progress.done
    for video in videos:
        failed = answers.failures(layout, video)
        wrong += [f"{shown(video.path)}: {told(video, reason)}" for reason in dict.fromkeys(failed.values())]
        with progress.item(left / len(videos), f"writing {video.name}"):
            if len(failed) < len(video.sentences):
                found = answers.segmented(layout, video, sources[video.id], part)
                files = write(found, formats, out / video.name, render)
                lines += [shown(video.path), *(f"  {answers.described(s, found.frames)}" for s in found.sentences)]
                lines += [f"  → {shown(file)}" for file in files]
    progress.close()
    print(*lines, sep="\n", flush=True)
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    return (1 if lines else 2) if wrong else 0


@contextmanager
def in_project() -> Iterator[None]:
    """Paths of the config are from the project's root: that of this folder, or of the code."""
    before = Path.cwd()
    root = before if (before / "Snakefile").is_file() else ROOT
    if not (root / "Snakefile").is_file():
        raise ValueError(f"{before}: no Snakefile here; cd to the folder of the project")
    os.chdir(root)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def alone(folder: Path) -> Iterator[int]:
    """Waits for another run, also for the workflow of one that was killed, which holds the lock too; yields the lock's file."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another run is at work here; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle.fileno()


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser(__doc__)
    add = parser.add_argument
    add("words", nargs="+", metavar="VIDEO|SENTENCE", help="videos or folders of them, then sentences in quotes")
    add("--out", type=Path, default=Path("segmented"), metavar="DIR", help="folder of the outputs (default: segmented)")
    add("--format", action="append", metavar="NAMES", help="outputs, as overlay,coco (default: segment.formats)")
    add("--preset", help="models: small, large, micro, … (default: segment.preset)")
    add("--fps", type=positive, help="frames per second that are processed (default: all)")
    add(
        "--max-side",
        type=at_least(1),
        metavar="PIXELS",
        help="longest side of frames that are processed (default: as it is)",
    )
    add("--start", type=moment, metavar="TIME", help="from here, in seconds or as 1:30")
    add("--end", type=moment, metavar="TIME", help="up to here")
    add("--yes", action="store_true", help="fetch models that are missing without asking")
    add("--config", action="append", type=Path, metavar="FILE", help="merged over config.yaml; may be given again")
    return execute(parser, argv, run)


def positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"needs a number above 0; got {text!r}")
    return value


def moment(text: str) -> float:
    from stages.own.request import seconds

    try:
        return seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    raise SystemExit(main())
