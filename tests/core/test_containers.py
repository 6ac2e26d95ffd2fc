"""Containers: what a file is by its first bytes, and whether it holds what it declares. Odd ones are made here."""

import struct
import tempfile
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.video_files import make_video, noise, picture

from stages.core.media.container import check_complete
from stages.core.media.video import decode, measure

# suffix → codec, pixel format, FFmpeg's name of the container, what check_complete calls it
KINDS = {
    ".avi": ("mjpeg", "yuvj420p", "avi", "AVI"),
    ".m4v": ("libx264", "yuv420p", "mp4", "MP4"),
    ".3gp": ("mpeg4", "yuv420p", "3gp", "MP4"),
    ".ts": ("libx264", "yuv420p", "mpegts", "MPEG-TS"),
    ".wmv": ("wmv2", "yuv420p", "asf", "ASF"),
    ".flv": ("flv1", "yuv420p", "flv", "FLV"),
    ".mpg": ("mpeg2video", "yuv420p", "mpeg", "MPEG-PS"),
}
ANIMATIONS = {".webp": "WebP", ".apng": "PNG"}
SURE = (".avi", ".wmv", ".flv", ".webp", ".apng")  # those that declare their ends
N, RATE = 8, 25


def make(path: Path, draw=picture) -> Path:
    """A video of eight frames, 64x48, in the container of the path's suffix."""
    if path.suffix in ANIMATIONS:
        first, *others = [Image.fromarray(draw(i, (64, 48))) for i in range(N)]
        kind = "WEBP" if path.suffix == ".webp" else "PNG"
        lossless = {"lossless": True} if kind == "WEBP" else {}
        first.save(path, kind, save_all=True, append_images=others, duration=40, **lossless)
        return path
    codec, pixels, container, _ = KINDS[path.suffix]
    with av.open(str(path), "w", format=container) as file:
        options = {"strict": "-1"} if codec == "mjpeg" else {"preset": "veryfast"} if codec == "libx264" else {}
        try:
            stream = file.add_stream(codec, rate=RATE, options=options)
        except av.codec.codec.UnknownCodecError:
            pytest.skip(f"FFmpeg has no encoder {codec} here")
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 48, pixels, 4_000_000
        for index in range(N):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(draw(index, (64, 48)), "rgb24")))
        file.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("suffix", [*KINDS, *ANIMATIONS])
@pytest.mark.parametrize("name", ["clip{}", "clip.mp4"])
def test_every_container_is_read_whatever_its_name(tmp_path, suffix, name):
    made = make(tmp_path / f"made{suffix}")
    path = made.rename(tmp_path / name.format(suffix))
    assert check_complete(path) == {**ANIMATIONS, **{k: v[3] for k, v in KINDS.items()}}[suffix]
    frames = list(decode(path))
    assert [frame.time for frame in frames] == pytest.approx([i / RATE for i in range(N)], abs=2e-3)
    levels = [int(frame.image_HW3[-8:, -8:].mean()) for frame in frames]
    assert levels == pytest.approx([20 + 8 * i for i in range(N)], abs=6)
    assert frames[0].image_HW3[4, 4].tolist() == pytest.approx([250, 0, 0], abs=30)
    assert measure(path) == (N, (48, 64))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    return {suffix: make(folder / f"clip{suffix}", noise).read_bytes() for suffix in SURE}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_container_that_declares_its_end_shows_every_cut(whole, data):
    suffix = data.draw(st.sampled_from(SURE))
    content = whole[suffix]
    end = data.draw(st.integers(0, len(content) - 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"clip{suffix}"
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match=str(path)):
            list(decode(path))


def test_a_cut_transport_stream_is_an_error_or_warned_of(tmp_path, caplog):
    path = make(tmp_path / "clip.ts", noise)
    content = path.read_bytes()
    for end in range(len(content) // 2, len(content), 997):
        caplog.clear()
        path.write_bytes(content[:end])
        try:
            list(decode(path))
        except ValueError:
            continue
        assert end % 188 == 0 or "may have been cut short" in caplog.text


@pytest.mark.parametrize("suffix", [".avi", ".flv", ".wmv", ".webp", ".apng"])
def test_bytes_behind_the_end_are_passed_over(tmp_path, suffix):
    if suffix == ".flv":
        pytest.skip("an FLV has no end of its own: what follows is taken for a tag")
    path = make(tmp_path / f"clip{suffix}")
    path.write_bytes(path.read_bytes() + b"\0" * 64)
    assert len(list(decode(path))) == N


# ---------------------------------------------------------------- MP4: what follows the last box

TRAILERS = {
    "json": b'{"gps":[48.1,11.5],"model":"X100"}' + b"\0" * 64,
    "xmp": b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta/>',
    "zeros": bytes(5000),
    "overlong free": struct.pack(">I4s", 1 << 20, b"free") + bytes(100),
    "overlong skip, 64 bits": struct.pack(">I4sQ", 1, b"skip", 1 << 40) + bytes(8),
    "overlong unknown box": struct.pack(">I4s", 1 << 20, b"cam0") + bytes(100),
    "own uuid box": struct.pack(">I4s", 1 << 16, b"uuid") + b"\xbe\x7a\xcf\xcb" * 4,
    "a few bytes": b"\0\0\0",
}


@pytest.mark.parametrize("trailer", TRAILERS)
@pytest.mark.parametrize("front", [False, True])
@pytest.mark.parametrize("fragmented", [False, True])
def test_bytes_behind_the_last_box_are_no_cut(tmp_path, trailer, front, fragmented):
    flags = "frag_keyframe+empty_moov" if fragmented else "faststart" if front else ""
    path = make_video(tmp_path / "clip.mp4", 6, container={"movflags": flags} if flags else None)
    path.write_bytes(path.read_bytes() + TRAILERS[trailer])
    assert len(list(decode(path))) == 6


@pytest.mark.parametrize("box", [b"mdat", b"moof", b"moov"])
def test_a_box_that_a_player_needs_and_overruns_is_a_cut(tmp_path, box):
    path = make_video(tmp_path / "clip.mp4", 6)
    path.write_bytes(path.read_bytes() + struct.pack(">I4s", 5000, box) + bytes(100))
    with pytest.raises(ValueError, match=rf"its {box!r}".replace("b'", "'") + r" box ends at byte \d+, .*cut short"):
        list(decode(path))


# ---------------------------------------------------------------- animations


def test_an_animation_keeps_its_times_and_lies_on_white(tmp_path):
    images = []
    for index in range(3):
        image = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
        image.paste((0, 0, 50 * index + 100, 255), (0, 0, 16, 32))
        images.append(image)
    images[0].save(tmp_path / "a.png", save_all=True, append_images=images[1:], duration=[100, 300, 50])
    frames = list(decode(tmp_path / "a.png"))
    assert [frame.time for frame in frames] == pytest.approx([0, 0.1, 0.4])
    assert [frame.image_HW3[5, 5].tolist() for frame in frames] == [[0, 0, 100], [0, 0, 150], [0, 0, 200]]
    assert all(frame.image_HW3[5, 25].tolist() == [255, 255, 255] for frame in frames)
    assert [frame.time for frame in decode(tmp_path / "a.png", fps=2, max_frames=1)] == [0]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_single_picture_is_no_video(tmp_path, kind):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "one", kind)
    for ask in (lambda path: list(decode(path)), measure):
        with pytest.raises(ValueError, match="one: a single picture, not a video; put it into a folder"):
            ask(tmp_path / "one")
