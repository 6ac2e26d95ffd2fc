"""Training a selector: this project against a plain loop that does what the published code does at every step.

    python -m benchmarks.selector_training [--models micro large] [--rounds 5] [--threads 2]

Both train the same `sola` network on the same expressions with as many threads, in turn (plain, referee, plain, …), each
in a process of its own whose peak memory is stated. `plain` (published_loop.py) trains on one expression per step,
encodes it with the frozen text encoder and reads a JSON and an .npy file per track. `referee` is what stages.train_selector
runs: cached text features, tracks read once per video, 32 expressions per step, 8 per video. A fifteenth of
encoding all texts once is added to its time: published training has 15 epochs. Two sizes: `micro`, the project's micro
preset (text encoder and selector of width 64), and `large`, RoBERTa-large with random weights and the published
selector of 33 M parameters. Prints a table, writes benchmarks/results/selector_training.json.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe

PLAIN, OURS = "plain", "referee"
EPOCHS, TARGET = 15, 20
TOKENS = 131072  # per forward pass: run.batches of config.yaml
C, SIZE = 256, (480, 854)
VIDEOS, TRACKS, FRAMES, EXPRESSIONS = 4, 16, 64, 14  # MeViS: 63 frames and 14 expressions per video
SAID = "the small bird that flies away from other two birds standing on branch while cat moves slowly left"
WORDS = SAID.split()
SAMPLES = {PLAIN: {"micro": 16, "large": 1}, OURS: {"micro": 32, "large": 32}}  # per round
MODELS = ("micro", "large")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--rounds", type=int, default=5, help="times each trains (default: 5)")
    parser.add_argument("--threads", type=int, default=2, help="of torch; more than free cores distort (default: 2)")
    arguments = parser.parse_args(argv)
    document: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.selector_training", *(sys.argv[1:] if argv is None else argv)]),
        "machine": describe("torch", "transformers", "numpy"),
        "data": {"videos": VIDEOS, "tracks": TRACKS, "frames": FRAMES, "expressions_a_video": EXPRESSIONS},
        "results": [],
    }
    target = Path(__file__).parent / "results" / "selector_training.json"
    for size in arguments.models:
        document["results"].append(measure(size, arguments.rounds, arguments.threads))
        target.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def measure(size: str, rounds: int, threads: int) -> dict[str, Any]:
    """Both in turn; the first round warms up and is left out."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build_encoder(size, folder / "text")
        encoding = write_data(folder, threads)
        workers = {contender: Worker(contender, size, folder, threads) for contender in (PLAIN, OURS)}
        times: dict[str, list[tuple[float, float]]] = {contender: [] for contender in workers}
        for i in range(rounds + 1):
            for contender, worker in workers.items():
                seconds_per_expression = worker.round()
                times[contender] += [seconds_per_expression] if i else []
        peaks = {contender: worker.stop() for contender, worker in workers.items()}
    once = tuple(seconds / (VIDEOS * EXPRESSIONS * EPOCHS) for seconds in encoding)
    times[OURS] = [(wall + once[0], cpu + once[1]) for wall, cpu in times[OURS]]
    figures = {contender: summary(times[contender], peaks[contender]) for contender in times}
    factors = {
        f"times_faster_{clock}_{which}": round(figures[PLAIN][clock][which] / figures[OURS][clock][which], 1)
        for clock in ("wall", "cpu")
        for which in ("min", "median")
    }
    result = {
        "model": size,
        "rounds": rounds,
        "threads": threads,
        "encode_once_seconds": round(encoding[1], 2),
        **figures,
        **factors,
    }
    print(json.dumps(result, indent=1), f"target: ≥ {TARGET}", sep="\n", flush=True)
    return result


def summary(times: Sequence[tuple[float, float]], peak: float) -> dict[str, Any]:
    """Seconds per expression, samples per second, memory."""
    walls, cpus = zip(*times)
    clocks = {
        clock: {"min": round(min(values), 5), "median": round(statistics.median(values), 5)}
        for clock, values in (("wall", walls), ("cpu", cpus))
    }
    return {**clocks, "samples_a_second": round(1 / statistics.median(walls), 2), "peak_mib": round(peak)}


class Worker:
    """A contender in a process of its own, which trains on request."""

    def __init__(self, contender: str, size: str, folder: Path, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=work, args=(contender, size, folder, threads, other), daemon=True)
        self.process.start()

    def round(self) -> tuple[float, float]:
        """Seconds per expression: wall-clock and processor time."""
        self.pipe.send("round")
        seconds: tuple[float, float] = self.pipe.recv()
        return seconds

    def stop(self) -> float:
        """The peak of its memory in MiB."""
        self.pipe.send("stop")
        peak: float = self.pipe.recv()
        self.process.join()
        return peak


def work(contender: str, size: str, folder: Path, threads: int, pipe: Any) -> None:
    import torch

    torch.set_num_threads(threads)
    steps = (plain if contender == PLAIN else referee)(size, folder)
    wanted = SAMPLES[contender][size]
    while pipe.recv() == "round":
        wall, cpu, done = time.perf_counter(), time.process_time(), 0
        while done < wanted:
            done += next(steps)
        pipe.send(((time.perf_counter() - wall) / done, (time.process_time() - cpu) / done))
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def plain(size: str, folder: Path, name: str = "sola", device: str = "cpu") -> Iterator[int]:
    """The published loop with the network of a name; yields how many expressions each step has trained on."""
    from benchmarks.published_loop import plain_steps

    encoder, config = load_encoder(folder, device), selector("large", name, batch_size=1)
    model = new_model(size, encoder.model.config.hidden_size, name).train().to(device)
    folders = [folder / "files" / video.id for video in videos()]
    captions = [[expression.text for expression in video.expressions] for video in videos()]
    for _ in plain_steps(folders, captions, encoder, model, config, device):
        yield 1


def referee(size: str, folder: Path, name: str = "sola", device: str = "cpu") -> Iterator[int]:
    """The task's own steps, over and over; yields as `plain`."""
    from stages.core.state.cache import Stamp
    from stages.selectors.samples import open_video
    from stages.selectors.store import Store
    from stages.selectors.training import Data, SelectorTask
    from stages.training.clock import Clock
    from stages.training.processes import World

    config = selector("large", name, batch_size=32, expressions_per_video=8)
    store = Store([open_video(layout(folder), video, ["grid"]) for video in videos()], config.training, None)
    model = new_model(size, store.videos[0].read().text[0].words_WD.shape[1], name).train().to(device)
    data = Data(store, store, lambda *_: (0.0, 0.0))
    header: Any = None  # written at the end of an epoch, which the benchmark never asks for
    task, clock = SelectorTask(folder, Stamp("", 0, {}), header, data, config, TOKENS, model, device, World()), Clock()
    done = 0
    while True:
        task.step(clock, 0.0)
        clock.advance(task.epoch_steps(clock.epoch))
        before, done = done, int(task.epochs.sums["samples"])
        yield done - before


# ------------------------------------------------------------- data


def videos() -> list[Any]:
    from stages.core.records import Expression, Video

    rng = np.random.default_rng(0)
    frames = tuple(f"{t:05d}" for t in range(FRAMES))
    texts = [[" ".join(rng.choice(WORDS, 9)) for _ in range(EXPRESSIONS)] for _ in range(VIDEOS)]
    return [
        Video(
            f"v{v}", frames, Path(), tuple(Expression(str(e), t, (str(e % 4),), t) for e, t in enumerate(row)), FRAMES
        )
        for v, row in enumerate(texts)
    ]


def write_data(folder: Path, threads: int, device: str = "cpu") -> tuple[float, float]:
    """The cache files of every video, and the plain loop's.

    Returns:
        Seconds that encoding all texts once took: wall-clock and processor time.
    """
    import torch

    from benchmarks.published_loop import write_files
    from stages.core.state.cache import Stamp
    from stages.core.state.graph import BUILD_TRACKS, ENCODE_TEXT
    from stages.core.state.text_file import write_text
    from stages.core.state.track_file import Labels, Tracks, write_tracks

    torch.set_num_threads(threads)
    rng, encoder, rles_T = np.random.default_rng(1), load_encoder(folder, device), masks_of_a_track()
    wall = cpu = 0.0
    for video in videos():
        shape = (TRACKS, FRAMES)
        tokens_NTC = rng.normal(size=(*shape, C)).astype(np.float16)
        iou_NA = (rng.random((TRACKS, 4)) < 0.15).astype(np.float32)
        tracks = Tracks(
            size=SIZE,
            tokens_NTC=tokens_NTC,
            score_NT=np.full(shape, 5, np.float16),
            iou_NT=np.ones(shape, np.float16),
            area_NT=np.full(shape, 9000, np.uint32),
            bbox_NT4=np.zeros((*shape, 4), np.uint16),
            prompt_frame_N=np.zeros(TRACKS, np.int16),
            prompt_id_N=np.arange(TRACKS, dtype=np.int32),
            expression_tracks=tuple(np.arange(TRACKS, dtype=np.int32) for _ in video.expressions),
            labels=Labels(tuple("0123"), iou_NA, iou_NA, iou_NA),
        )
        file = layout(folder).file(BUILD_TRACKS, video.id, "grid")
        write_tracks(file, Stamp(BUILD_TRACKS.name, BUILD_TRACKS.version, {}), tracks, [rles_T] * TRACKS)
        write_files(folder / "files" / video.id, tokens_NTC, rles_T, iou_NA[:, np.arange(EXPRESSIONS) % 4])
        start = time.perf_counter(), time.process_time()
        features = [encoder.encode(expression.text, "") for expression in video.expressions]
        wall, cpu = wall + time.perf_counter() - start[0], cpu + time.process_time() - start[1]
        text = layout(folder).file(ENCODE_TEXT, video.id)
        write_text(text, Stamp(ENCODE_TEXT.name, ENCODE_TEXT.version, {}), video, features)
    return wall, cpu


def masks_of_a_track() -> list[Any]:
    from stages.core.media import masks

    y, x = np.ogrid[: SIZE[0], : SIZE[1]]
    return [masks.encode(((y - 240) / 60) ** 2 + ((x - 200 - 5 * t) / 90) ** 2 < 1) for t in range(FRAMES)]


def layout(folder: Path) -> Any:
    from stages.core.state.graph import Layout

    return Layout(folder / "cache", "synthetic", "train")


# ------------------------------------------------------------- models


def build_encoder(size: str, folder: Path) -> None:
    from stages.micro.text import make_text

    model, tokenizer = make_text(0)
    if size == "large":
        from transformers import RobertaConfig, RobertaModel

        model = RobertaModel(  # roberta-large
            RobertaConfig(
                hidden_size=1024,
                num_hidden_layers=24,
                num_attention_heads=16,
                intermediate_size=4096,
                max_position_embeddings=514,
                type_vocab_size=1,
            )
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load_encoder(folder: Path, device: str = "cpu") -> Any:
    from stages.selectors.text_encoder import TransformersTextEncoder

    return TransformersTextEncoder(folder / "text", 128, device)


def selector(size: str, name: str = "sola", **training: int) -> Any:
    """The config's section `selector`, with the micro preset's changes or without, and changes of its training."""
    from stages.core.config.loading import load_config, settings_of

    config = load_config(Path(__file__).parent.parent / "config.yaml")
    settings = settings_of(config, "shapes" if size == "micro" else "mevis").selector
    over = {"name": name, "training": settings.training.model_copy(update=training)}
    return settings.model_copy(update=over)


def new_model(size: str, text_dim: int, name: str = "sola") -> Any:
    from stages.selectors.architectures import Architecture

    return Architecture.of(selector(size, name)).build(C, text_dim, seed=0)


if __name__ == "__main__":
    raise SystemExit(main())
