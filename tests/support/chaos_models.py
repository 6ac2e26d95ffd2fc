"""Broken or hostile checkpoints and archives."""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import save
from support.chaos_inputs import Input, mixed, remover, replacer, writer
from support.chaos_plan import CACHE, FILES
from support.chaos_runs import Command
from support.damage import damage_bytes, damage_json
from support.published_sola import published_state

SPLIT = ("--dataset", "tiny", "--split", "valid_u")


class Payload:
    """A pickle that touches a file when it is read the careless way."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.arguments


def hostile() -> list[tuple[str, bytes]]:
    """Pickles with a payload, plain, in the archives of torch.save, and beside tensors."""
    payloads = [
        Payload(os.system, "touch executed"),
        Payload(os.mknod, "executed"),
        Payload(eval, "open('executed', 'w')"),
        Payload(exec, "open('executed', 'w')"),
    ]
    files: list[tuple[str, bytes]] = []
    for number, payload in enumerate(payloads):
        for protocol in (0, 2, 4):
            files.append((f"pickle {number} of protocol {protocol}", pickle.dumps({"model": payload}, protocol)))
        for legacy in (False, True):
            out = io.BytesIO()
            content = {"model": {"w": torch.zeros(2)}, "extra": payload}
            torch.save(content, out, _use_new_zipfile_serialization=not legacy)
            files.append((f"torch.save {number}{' as it was' * legacy}", out.getvalue()))
    return files


def odd_safetensors() -> list[tuple[str, bytes]]:
    """Headers that lie."""

    def file(header: Any, data: bytes = bytes(16), length: int | None = None) -> bytes:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(text) if length is None else length) + text + data

    one = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    return [
        ("a header of 2⁶³ bytes", file({}, length=2**63)),
        ("a header of a terabyte", file({}, length=2**40)),
        ("no header", b""),
        ("a short header", b"\x01"),
        ("not JSON", file(b"{")),
        ("a list", file([])),
        ("offsets beyond the end", file({"w": {**one, "data_offsets": [0, 10**15]}})),
        ("offsets that go back", file({"w": {**one, "data_offsets": [16, 0]}})),
        ("another size than its shape", file({"w": {**one, "shape": [2**31, 2**31]}})),
        ("a shape below zero", file({"w": {**one, "shape": [-2, -2]}})),
        ("no such type", file({"w": {**one, "dtype": "X"}})),
        ("nested too deeply", file(b"[" * 100_000)),
        ("no tensor", file({})),
        ("metadata alone", file({"__metadata__": {"a": "b"}}, b"")),
        ("not text", file(b"\xff\xfe{}")),
    ]


def checkpoints(random: Random) -> Iterator[Input]:
    """Hostile checkpoints, and endless broken ones, at every command that reads one."""
    made = [
        door(f"hostile: {what}", ".pth", content)
        for what, content in hostile()
        for door in (_import, _given_sam2, _resumed)
    ]
    lying = (_import, _given_sam2, _given_selector)
    made += [door(what, ".safetensors", content) for what, content in odd_safetensors() for door in lying]
    return mixed(random, made, _broken_checkpoints(random))


def _broken_checkpoints(random: Random) -> Iterator[Input]:
    out = io.BytesIO()
    torch.save(published_state(), out)
    sound = {".pth": out.getvalue(), ".safetensors": save({k: v.contiguous() for k, v in published_state().items()})}
    selector = next(Path(CACHE, "tiny/train/selector").glob("*.safetensors")).read_bytes()
    resumed = Path(CACHE, "tiny/train/selector/checkpoint.pt").read_bytes()
    while True:
        suffix = random.choice(list(sound))
        door, whole = random.choice(
            [
                (_import, sound[suffix]),
                (_given_sam2, sound[suffix]),
                (_given_selector, selector),
                (_resumed, resumed),
                (_text, b""),
            ]
        )
        if door is _text:
            yield _text(random)
            continue
        what, content = damage_bytes(random, whole)
        yield door(what, ".safetensors" if door is _given_selector else suffix, content or b"")


def _import(what: str, suffix: str, content: bytes) -> Input:
    path = Path(f"bad{suffix}")
    command = Command("stages.tools.import_checkpoint", (str(path), "--out", "results/made.safetensors"))
    return Input("checkpoint", f"import: {what}", command, writer(path, content), (path.name,), remover(path))


def _given_sam2(what: str, suffix: str, content: bytes) -> Input:
    """As the model of a preset."""
    path, over = Path(f"own/bad{suffix}"), Path("bad.yaml")
    text = f"presets: {{random: {{models: {{sam2: {{path: {path}}}}}}}}}\n"
    words = (*FILES, "--config", str(over), *SPLIT, "--source", "grid", "--overwrite")

    def plant() -> None:
        writer(path, content)()
        over.write_text(text)
        from stages.core.config.loading import load_config
        from stages.weights.fetch import fetch_preset

        with suppress(ValueError):  # what it takes at face value, tracking must not
            fetch_preset(load_config("config.yaml", "tiny.yaml", over), "random", "sam2", overwrite=False, source=None)

    kept = Path("weights/random/sam2")
    aside = Path("own/kept")

    def replace() -> None:
        kept.rename(aside)
        plant()

    def clear() -> None:
        remover(kept)()
        aside.rename(kept)
        remover(path)()
        remover(over)()

    names = (path.name, "weights/random/sam2", "sam2")
    return Input("checkpoint", f"sam2: {what}", Command("stages.build_tracks", words), replace, names, clear)


def _given_selector(what: str, suffix: str, content: bytes) -> Input:
    path, over = Path(f"own/bad{suffix}"), Path("bad.yaml")
    text = f"datasets: {{tiny: {{selector: {{weights: {path}, train: null}}}}}}\n"

    def plant() -> None:
        writer(path, content)()
        over.write_text(text)

    def clear() -> None:
        remover(path)()
        remover(over)()

    words = (*FILES, "--config", str(over), *SPLIT, "--overwrite")
    return Input("checkpoint", f"selector: {what}", Command("stages.score_tracks", words), plant, (path.name,), clear)


def _resumed(what: str, suffix: str, content: bytes) -> Input:
    """As the checkpoint that a training goes on from."""
    folder = Path(CACHE, "tiny/train/selector")

    def plant() -> None:
        (folder / "training.json").unlink()
        (folder / "checkpoint.pt").unlink(missing_ok=True)
        (folder / "checkpoint.pt").write_bytes(content)

    command = Command("stages.train_selector", (*FILES, "--dataset", "tiny", "--split", "train"))
    return Input("checkpoint", f"resumed: {what}", command, plant, ("checkpoint.pt",))


def _text(random: Random) -> Input:
    """A file of a folder of transformers, and code beside it that a config asks for."""
    folder = Path("weights/random/text")
    path = random.choice(
        [p for p in sorted(folder.iterdir()) if p.suffix in (".json", ".safetensors") and p.name != "record.json"]
    )
    code = folder / "hostile.py"
    if path.name == "config.json" and random.random() < 0.5:
        document = json.loads(path.read_text())
        document |= {
            "auto_map": {"AutoModel": "hostile.Model", "AutoConfig": "hostile.Config"},
            "model_type": "hostile",
        }
        what, content = "asks for code", json.dumps(document).encode()
    elif path.suffix == ".json" and random.random() < 0.7:
        what, content = damage_json(random, path.read_bytes())  # type: ignore[assignment]
    else:
        what, content = damage_bytes(random, path.read_bytes())  # type: ignore[assignment]
    replace, restore = replacer(path, content)

    def plant() -> None:
        replace()
        code.write_text("open('executed', 'w')\n")

    def clear() -> None:
        restore()
        code.unlink()

    command = Command("stages.encode_text", (*FILES, *SPLIT, "--overwrite"))
    return Input("checkpoint", f"text/{path.name}: {what}", command, plant, (path.name, str(folder)), clear)


# ---------------------------------------------------------------- zips


def zips(random: Random) -> Iterator[Input]:
    """Hostile submissions, and endless broken ones, to be checked and to be imported."""
    sound = Path("results/tiny/valid_u/submission.zip").read_bytes()
    with zipfile.ZipFile(io.BytesIO(sound)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    made = [one for what, content in _hostile_zips(members) for one in _both(what, content)]
    return mixed(random, made, _broken_zips(random, sound, members))


def _broken_zips(random: Random, sound: bytes, members: dict[str, bytes]) -> Iterator[Input]:
    while True:
        if random.random() < 0.5:
            what, damaged = damage_bytes(random, sound)
            yield from _both(what, damaged or b"")
        else:
            name = random.choice(list(members))
            what, damaged = damage_bytes(random, members[name])
            yield from _both(f"{name}: {what}", _zip({**members, name: damaged or b""}))


def _both(what: str, content: bytes) -> Iterator[Input]:
    path = Path("bad.zip")
    for tool, words in (("check_submission", (str(path),)), ("import_predictions", ("--from", str(path)))):
        command = Command(f"stages.tools.{tool}", (*FILES, *SPLIT, *words))
        yield Input("zip", f"{tool}: {what}", command, writer(path, content), ("bad.zip", "video"), remover(path))


def _zip(members: dict[str, bytes], change: Callable[[zipfile.ZipInfo], None] | None = None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            if change is not None:
                change(info)
            archive.writestr(info, content)
    return out.getvalue()


def _hostile_zips(members: dict[str, bytes]) -> list[tuple[str, bytes]]:
    first, png = next(iter(members.items()))
    names = (
        "../executed",
        "/executed",
        "a/../../executed",
        "C:\\executed",
        "..\\executed",
        "executed\x00.png",
        "x" * 5000,
        "",
    )
    made = [(f"a member {name!r:.30}", _zip({**members, name: png})) for name in names]

    def link(info: zipfile.ZipInfo) -> None:
        info.external_attr = 0o120777 << 16

    def encrypted(content: bytes) -> bytes:
        return content.replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01")

    whole = _zip(members)
    return [
        *made,
        ("links", _zip(dict.fromkeys(members, b"/etc/passwd"), link)),
        ("encrypted", encrypted(whole)),
        ("a bomb", _zip({**members, first: bytes(200 << 20)})),
        ("within a zip", _zip({"bad.zip": whole})),
        ("empty", _zip({})),
        ("no bytes", b""),
        ("not a zip", b"%PDF-1.7"),
        ("masks that are text", _zip(dict.fromkeys(members, b"mask"))),
        ("masks of nothing", _zip(dict.fromkeys(members, b""))),
        ("bytes before it", b"x" * 100 + whole),
        ("two ends", whole + whole),
    ]
