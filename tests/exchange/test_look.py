"""Mask PNGs looked at run by run: what is accepted is what a decoder sees, and damage is left to the decoder."""

import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.pngs import runs_of

from benchmarks.masks import blob
from stages.core.media import masks
from stages.exchange import judge
from stages.exchange.check import png_defect
from stages.exchange.deflate import zlib_stream
from stages.exchange.png import MAX_PIXELS, SIGNATURE, Shown, label_png, look, mask_png

SIZE = (48, 64)


def mask_of(mask_HW: NDArray[np.bool_]) -> bytes:
    rle = masks.encode(mask_HW)
    return mask_png(tuple(rle["size"]), rle["counts"])


def png(chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    return SIGNATURE + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


def grey(stream: bytes, size: tuple[int, int] = SIZE, more: bytes = bytes((8, 0, 0, 0, 0))) -> bytes:
    header = struct.pack(">II", size[1], size[0]) + more
    return png([(b"IHDR", header), (b"IDAT", stream), (b"IEND", b"")])


def stream_of(data: bytes) -> bytes:
    at = data.index(b"IDAT")
    return data[at + 4 : at + 4 + int.from_bytes(data[at - 4 : at], "big")]


def lines(image_HW: NDArray[np.uint8], filters: int = 0) -> bytes:
    return np.pad(image_HW, ((0, 0), (1, 0)), constant_values=filters).tobytes()


def decoded(data: bytes) -> Shown | None:
    """What a decoder sees."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            pixels_HW = np.asarray(image)
            return Shown(image.mode, pixels_HW.shape, tuple(np.setdiff1d(pixels_HW, 0).tolist()))
    except judge.BROKEN:
        return None


def test_masks_and_label_maps_are_seen_as_a_decoder_sees_them() -> None:
    rng = np.random.default_rng(0)
    for size in [(1, 1), (1, 700), (700, 1), (480, 854), *(tuple(rng.integers(1, 70, 2).tolist()) for _ in range(40))]:
        noise_HW, few_HW = rng.random(size) < rng.random(), rng.integers(0, 4, size).astype(np.uint8)
        any_HW = rng.integers(0, 256, size).astype(np.uint8)
        files = [mask_of(m) for m in (blob(rng, *size), noise_HW, np.zeros(size, bool), np.ones(size, bool))]
        for data in [*files, *(label_png(runs_of(image_HW)) for image_HW in (few_HW, any_HW))]:
            assert look(data) == decoded(data) != None  # noqa: E711


def test_nothing_is_decoded_that_we_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "judge", lambda *_: pytest.fail("was decoded"))
    few_HW = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
    assert png_defect(mask_of(np.eye(7, 9) > 0), (7, 9), "L", (255,)) is None
    assert png_defect(mask_of(np.eye(7, 9) > 0), None, "L", (255,)) is None
    assert png_defect(label_png(runs_of(few_HW)), (3, 4), "P", (1, 2)) is None


def test_what_is_sound_but_wrong_is_named_as_ever() -> None:
    data, labels = mask_of(np.eye(7, 9) > 0), label_png(runs_of(np.full((7, 9), 3, np.uint8)))
    assert png_defect(data, (9, 7), "L", (255,)) == ("size", "is 7×9 (height×width), its frame is 9×7")
    assert png_defect(data, (7, 9), "P", (1,)) == ("mode", "is of mode L instead of P")
    assert png_defect(labels, (7, 9), "P", (1, 2)) == ("values", "holds values 3; allowed are 0 and 1, 2")
    assert png_defect(labels, (7, 9), "L", (255,)) == ("mode", "is of mode P instead of L")


def test_streams_of_zlib_with_any_filter_are_right_or_left_to_the_decoder() -> None:
    """Blocks of every kind, many blocks, matches from afar, and bytes before the lines that are not of filter 0."""
    rng = np.random.default_rng(1)
    seen = 0
    for _ in range(150):
        image_HW = np.where(blob(rng, *SIZE) if rng.random() < 0.7 else rng.random(SIZE) < 0.1, 255, 0).astype(np.uint8)
        strategy = int(rng.choice([zlib.Z_RLE, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY, zlib.Z_DEFAULT_STRATEGY]))
        packer = zlib.compressobj(int(rng.integers(0, 10)), zlib.DEFLATED, 15, 8, strategy)
        raw = lines(image_HW, int(rng.choice([0, 0, 0, 1, 2, 4, 5])))
        parts, step = b"", int(rng.choice([200, 5000]))
        for at in range(0, len(raw), step):
            parts += packer.compress(raw[at : at + step]) + packer.flush(zlib.Z_BLOCK)
        data = grey(parts + packer.flush())
        shown = look(data)
        assert shown is None or shown == decoded(data)
        seen += shown is not None
    assert 20 < seen < 130


def test_damage_with_right_checksums_is_never_taken_for_sound() -> None:
    """Bytes of the stream are changed, cut and added, and the chunk's checksum is made anew; often the stream's too."""
    rng = np.random.default_rng(2)
    survived = 0
    for n in range(2000):
        mask_HW = blob(rng, *SIZE) if n % 2 else rng.random(SIZE) < 0.03
        stream = bytearray(stream_of(mask_of(mask_HW)))
        for _ in range(int(rng.integers(1, 3))):
            at = int(rng.integers(0, len(stream)))
            if rng.random() < 0.8:
                stream[at] ^= 1 << int(rng.integers(0, 8))
            elif rng.random() < 0.5:
                del stream[at]
            else:
                stream.insert(at, int(rng.integers(0, 256)))
        packed = zlib.decompressobj(-15)
        try:
            raw = packed.decompress(bytes(stream[2:-4]))
            stream[-4:] = zlib.adler32(raw).to_bytes(4, "big")
        except zlib.error:
            raw = b""
        data = grey(bytes(stream))
        shown = look(data)
        if shown is not None:
            survived += 1
            assert zlib.decompress(bytes(stream)) == raw and len(raw) == SIZE[0] * (SIZE[1] + 1)
            assert shown == decoded(data)
    assert survived > 10


def test_any_damage_is_left_to_the_decoder() -> None:
    rng = np.random.default_rng(3)
    sound = mask_of(blob(rng, *SIZE))
    for at in range(len(sound)):
        for bit in range(8):
            spoiled = bytearray(sound)
            spoiled[at] ^= 1 << bit
            assert look(bytes(spoiled)) is None
        assert look(sound[:at]) is None
    assert look(sound + b"\0") is None and look(b"") is None and look(sound) is not None


def test_what_is_unusual_is_left_to_the_decoder() -> None:
    image_HW = np.zeros(SIZE, np.uint8)
    stream = zlib_stream(np.zeros(1, np.uint8), np.array([SIZE[0] * (SIZE[1] + 1)]))
    assert look(grey(stream)) == Shown("L", SIZE, ())
    header = struct.pack(">II", SIZE[1], SIZE[0]) + bytes((8, 0, 0, 0, 0))
    whole = [(b"IHDR", header), (b"IDAT", stream), (b"IEND", b"")]
    unusual = {
        "16 bits": grey(stream, more=bytes((16, 0, 0, 0, 0))),
        "RGB": grey(stream, more=bytes((8, 2, 0, 0, 0))),
        "interlaced": grey(stream, more=bytes((8, 0, 0, 0, 1))),
        "other size": grey(stream, (SIZE[0] + 1, SIZE[1])),
        "no pixel": grey(stream, (0, SIZE[1])),
        "huge": grey(stream, (MAX_PIXELS, 2)),
        "two streams": png([*whole[:2], (b"IDAT", b""), whole[2]]),
        "transparent": png([whole[0], (b"tRNS", b"\0\0"), *whole[1:]]),
        "palette": label_png(runs_of(image_HW)).replace(b"PLTE\0\0\0\x80", b"PLTE\0\0\0\x81"),
        "no end": png(whole[:2]),
        "end with content": png([*whole[:2], (b"IEND", b"x")]),
        "tail in the stream": grey(stream + b"\0"),
        "stored": grey(zlib.compress(lines(image_HW), 0)),
        "window": grey(zlib.compress(lines(image_HW))[:1] + b"\x02" + stream[2:]),
    }
    assert [name for name, data in unusual.items() if look(data) is not None] == []
