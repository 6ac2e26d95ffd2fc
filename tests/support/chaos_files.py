"""Broken files of data sets and of the cache: pictures, videos, indices, ids, HDF5, JSON."""

import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image
from support.chaos_inputs import Input, mixed, remover, replacer, writer
from support.chaos_plan import FILES
from support.chaos_runs import Command
from support.damage import damage_bytes, damages
from support.trees import TREES
from support.video_files import make_video

CLIPS = Path("data/media")
# Format → its data set in config.yaml.
SETS = {name: name for name in ("mevis", "revos", "long_rvos", "a2d", "jhmdb", "own")}
SETS |= {"folder": "clips", "ytvos": "ref_youtube_vos", "davis17": "ref_davis17"}
IDS = (
    *(
        "../up",
        "/tmp/abs",
        "a/../../b",
        "..",
        ".",
        "",
        " ",
        ".hidden",
        "a\\..\\b",
        "a\x00b",
        "a\nb",
        "x" * 300,
        "é" * 200,
    ),
    *(
        "a/b",
        "con",
        "a.",
        "a ",
        "-rf",
        "--config",
        "$(touch executed)",
        "`touch executed`",
        "a;touch executed",
        "~",
        "~root",
    ),
    *(
        "\ud800",
        "\u202egnp",
        "*",
        "a{b}",
        "{pid}",
        "a'b",
        'a"b',
        "%s",
        "a|b",
        "file:///etc/passwd",
        "a//b",
        "/",
        "a/./b",
    ),
)


# ---------------------------------------------------------------- media


def media(random: Random) -> Iterator[Input]:
    """Odd things where a video or a frame should be, and endless broken ones; each is a data set of its own."""
    made = [_clip(what, plant) for what, plant in _odd_places().items()]
    return mixed(random, made, _broken_media(random))


def _broken_media(random: Random) -> Iterator[Input]:
    folder = Path("scratch-media")
    folder.mkdir(exist_ok=True)
    videos = [make_video(folder / f"v{suffix}").read_bytes() for suffix in (".mp4", ".mkv", ".webm", ".gif")]
    suffixes = (".mp4", ".mkv", ".webm", ".gif")
    pictures = {s: _picture(folder / f"p{s}") for s in (".png", ".jpg", ".tif", ".webp", ".bmp")}
    remover(folder)()
    while True:
        if random.random() < 0.5:
            number = random.randrange(4)
            what, content = damage_bytes(random, videos[number])
            yield _clip(f"{suffixes[number]}: {what}", _file(f"bad{suffixes[number]}", content or b""))
        else:
            suffix = random.choice(list(pictures))
            what, content = damage_bytes(random, pictures[suffix])
            yield _clip(f"{suffix}: {what}", _frames(suffix, pictures[suffix], content or b""))


def _picture(path: Path) -> bytes:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)).save(path)
    return path.read_bytes()


def _clip(what: str, plant: Callable[[], None]) -> Input:
    def whole() -> None:
        CLIPS.mkdir(parents=True)
        plant()
        (CLIPS / "expressions.json").write_text(json.dumps({"bad": ["a dog"]}))

    command = Command(
        "stages.extract_frames",
        ("--config", "config.yaml", "--config", "media.yaml", "--dataset", "clips", "--split", "all"),
    )
    return Input("media", what, command, whole, ("bad",), remover(CLIPS))


def _file(name: str, content: bytes) -> Callable[[], None]:
    return writer(CLIPS / name, content)


def _frames(suffix: str, sound: bytes, broken: bytes) -> Callable[[], None]:
    def plant() -> None:
        for number, content in enumerate((sound, broken, sound)):
            writer(CLIPS / "bad" / f"{number}{suffix}", content)()

    return plant


def _odd_places() -> Mapping[str, Callable[[], None]]:
    bad = CLIPS / "bad.mp4"
    return {
        "a folder named as a video": bad.mkdir,
        "a link to itself": lambda: bad.symlink_to("bad.mp4"),
        "a link to nothing": lambda: bad.symlink_to("nowhere"),
        "a link to a device": lambda: bad.symlink_to("/dev/zero"),
        "a pipe": lambda: os.mkfifo(bad),
        "empty": _file("bad.mp4", b""),
        "a page of a server": _file("bad.mp4", b"<!DOCTYPE html><html>404</html>"),
        "a script": _file("bad.mp4", b"#!/bin/sh\ntouch executed\n"),
        "a playlist": _file("bad.mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
        "a list of ffmpeg": _file("bad.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n"),
        "a picture of a billion pixels": _frames(".png", _bomb(60_000, 60_000), _bomb(60_000, 60_000)),
        "a picture of no pixels": _frames(".png", _bomb(0, 0), _bomb(0, 5)),
        "a pipe among frames": lambda: ((CLIPS / "bad").mkdir(), os.mkfifo(CLIPS / "bad/0.png")),  # type: ignore[return-value]
        "a folder among frames": lambda: (CLIPS / "bad/0.png").mkdir(parents=True),
        "a link to a device among frames": lambda: (
            (CLIPS / "bad").mkdir(),
            (CLIPS / "bad/0.png").symlink_to("/dev/zero"),
        ),  # type: ignore[return-value]
        "a folder without frames": (CLIPS / "bad").mkdir,
        "only a hidden file": _file("bad/.0.png", b"x"),
    }


def _bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


# ---------------------------------------------------------------- indices and ids


def indices(random: Random) -> Iterator[Input]:
    """Endless damages of the index and mask files of every format."""
    planted = [(name, tree, _plant(name)) for name, tree in TREES.items() if SETS[name] != "tiny"]
    while True:
        name, tree, root = random.choice(planted)
        path = random.choice([p for pattern in tree.targets for p in sorted(root.glob(pattern))])
        what, content = next(damages(random, path, may_go=any(path.match(p) for p in tree.optional)))
        change, restore = replacer(path, content)
        stage = random.choice(["extract_frames", "tools.check_dataset", "encode_text"])
        words = ("--config", "config.yaml", "--dataset", SETS[name], "--split", tree.split)
        also = (path.name, path.stem, str(path.parent.name), "video")
        # It reads no mask, and comes to models that are not here.
        also += ("no weights for text of preset",) if stage == "encode_text" else ()
        command = Command(f"stages.{stage}", words)
        yield Input("index", f"{name}: {path.name}: {what}", command, change, also, restore)


def _plant(name: str) -> Path:
    root = Path("data", SETS[name])
    TREES[name].plant(root)
    return root


def ids(random: Random) -> Iterator[Input]:
    """Names that a data set gives to videos, sentences, frames and objects."""
    index = Path("data/tiny/valid_u/meta_expressions.json")
    sound = json.loads(index.read_text())
    for name in random.sample(IDS, len(IDS)):
        videos = dict(sound["videos"])
        first = next(iter(videos))
        entry = videos[first]
        sentences = dict(entry["expressions"])
        other = {
            "video": {**videos, name: entry},
            "sentence": {
                **videos,
                first: {**entry, "expressions": {**sentences, name: next(iter(sentences.values()))}},
            },
            "frame": {**videos, first: {**entry, "frames": [*entry["frames"][:-1], name]}},
        }
        for what, document in other.items():
            content = json.dumps({"videos": document}).encode()
            change, restore = replacer(index, content)
            command = Command("stages.extract_frames", (*FILES, "--dataset", "tiny", "--split", "valid_u"))
            names = ("meta_expressions.json", "video")
            yield Input("ids", f"{what} {name!r:.40}", command, change, names, restore)
