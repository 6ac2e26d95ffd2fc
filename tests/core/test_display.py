"""Pixels as a player shows them: odd videos made here, held against what went into them."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from support.video_files import make_video, noise

from stages.core.media.display import Account
from stages.core.media.video import decode

WIDTH, HEIGHT = 96, 64
PATCHES = [(40, 40, 40), (128, 128, 128), (200, 30, 30), (30, 160, 30), (30, 30, 200), (180, 140, 110)]


def patches() -> np.ndarray:
    """Patches side by side, (H, W, 3)."""
    return np.repeat(np.repeat(np.array([PATCHES], np.uint8), WIDTH // len(PATCHES), 1), HEIGHT, 0)


def middles(image_HW3: np.ndarray) -> np.ndarray:
    """The colour in the middle of every patch."""
    step = image_HW3.shape[1] // len(PATCHES)
    return image_HW3[image_HW3.shape[0] // 2, step // 2 :: step].astype(int)


def write(path: Path, frames, codec="libx264", pixels="yuv420p", options=None, sar=None, size=(WIDTH, HEIGHT), **tags):
    with av.open(str(path), "w") as file:
        try:
            stream = file.add_stream(codec, rate=10, options=options or {})
        except av.codec.codec.UnknownCodecError:
            pytest.skip(f"FFmpeg has no encoder {codec} here")
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        if sar:
            stream.codec_context.sample_aspect_ratio = sar
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for frame in frames:
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def plain(image_HW3: np.ndarray, n: int = 3):
    return (av.VideoFrame.from_ndarray(image_HW3, "rgb24") for _ in range(n))


# ---------------------------------------------------------------- ordinary videos


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_an_ordinary_video_goes_through_untouched(tmp_path, suffix):
    path = make_video(tmp_path / f"clip{suffix}", 5, draw=noise)
    account = Account()
    shown = [frame.image_HW3 for frame in decode(path, account=account)]
    with av.open(str(path)) as container:
        stored = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert account.pixels == [] and all(np.array_equal(a, b) for a, b in zip(shown, stored, strict=True))


def test_the_account_knows_when_a_video_starts_and_ends(tmp_path):
    account = Account()
    times = [5000, 5100, 5200, 6000]
    frames = list(decode(make_video(tmp_path / "clip.mkv", 4, times_ms=times), account=account))
    assert account.start == pytest.approx(5.0) and frames[-1].time == pytest.approx(1.0)
    assert account.end is None or account.end > 1.0
    list(decode(make_video(tmp_path / "clip.mp4", 4), account=account))
    assert account.end == pytest.approx(0.4)


# ---------------------------------------------------------------- HDR


def hdr_frames(transfer: str, n: int = 3):
    """The patches as HDR, white at 203 cd/m² (BT.2408), in 10 bits of BT.2020."""
    to_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
    value = patches() / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4) @ to_2020.T * 203
    if transfer == "PQ":  # SMPTE ST 2084
        y = (light / 10_000) ** 0.1593017578125
        signal = ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375
    else:  # BT.2100: the display of 1,000 cd/m² has gamma 1.2
        share = light / 1000
        luma = np.maximum(share @ [0.2627, 0.678, 0.0593], 1e-9)[..., None]
        scene = share * luma ** (1 / 1.2 - 1)
        bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        signal = np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)
    rgb = np.rint(signal * 65535).astype(np.uint16)
    for _ in range(n):
        yield av.VideoFrame.from_ndarray(rgb, "rgb48le").reformat(
            format="yuv420p10le", dst_colorspace=9, dst_color_range=1
        )


@pytest.mark.parametrize(("transfer", "code"), [("PQ", 16), ("HLG", 18)])
def test_hdr_is_tone_mapped(tmp_path, transfer, code):
    name = "smpte2084" if transfer == "PQ" else "arib-std-b67"
    master = ":master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    x265 = f"colorprim=bt2020:transfer={name}:colormatrix=bt2020nc:log-level=none:crf=6"
    path = write(
        tmp_path / "hdr.mp4",
        hdr_frames(transfer),
        "libx265",
        "yuv420p10le",
        {"x265-params": x265 + (master if transfer == "PQ" else "")},
        color_primaries=9,
        color_trc=code,
        colorspace=9,
        color_range=1,
    )
    account = Account()
    shown = middles(next(decode(path, account=account)).image_HW3)
    stored = middles(next(decode(path, as_shown=False)).image_HW3)
    assert account.pixels == [f"tone-mapped from HDR ({transfer}) to BT.709"]
    truth = np.array(PATCHES)
    assert np.ptp(shown[0]) <= 6 and np.ptp(shown[1]) <= 6  # grey stays grey
    for index, main in ((2, 0), (3, 1), (4, 2)):  # and colours are colours
        others = [c for c in range(3) if c != main]
        assert shown[index][main] - shown[index][others].max() > 60
    assert np.abs(shown - truth).mean() < 25
    if transfer == "PQ":  # HLG is made to pass for SDR
        assert np.abs(shown - truth).mean() < np.abs(stored - truth).mean()
    again = middles(next(decode(path, threads=3)).image_HW3)
    assert np.array_equal(shown, again)


# ---------------------------------------------------------------- interlaced


def fields(n: int = 8):
    """A white bar that moves by 4 pixels between the two fields of a frame."""
    for index in range(n):
        image_HW3 = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
        for field in (0, 1):
            x = 8 * index + 4 * field
            image_HW3[field::2, x : x + 16] = 230
        frame = av.VideoFrame.from_ndarray(image_HW3, "rgb24")
        yield frame


def combs(image_HW3: np.ndarray) -> float:
    """How much a line differs from those above and below it, on the average."""
    grey = image_HW3.mean(2)
    return float(np.abs(2 * grey[1:-1] - grey[:-2] - grey[2:]).mean())


def test_interlaced_frames_are_woven(tmp_path):
    options = {"flags": "+ilme+ildct", "x264-params": "tff=1", "crf": "6"}
    path = write(tmp_path / "tape.mkv", fields(), pixels="yuv422p", options=options)
    account = Account()
    shown, stored = list(decode(path, account=account)), list(decode(path, as_shown=False))
    assert account.pixels == ["deinterlaced"]
    assert [frame.time for frame in shown] == [frame.time for frame in stored] and len(shown) == 8
    for a, b in zip(shown, stored):
        assert combs(a.image_HW3) < combs(b.image_HW3) / 4
    assert len(list(decode(path, fps=5))) == 4 and len(list(decode(path, max_frames=3))) == 3


# ---------------------------------------------------------------- pixels that are not square


@pytest.mark.parametrize(
    ("sar", "size", "words"),
    [
        (Fraction(2, 1), (WIDTH * 2, HEIGHT), "pixels of 2:1 scaled to square ones"),
        (Fraction(16, 15), (round(WIDTH * 16 / 15), HEIGHT), "pixels of 16:15 scaled to square ones"),
        (Fraction(8, 9), (WIDTH, round(HEIGHT * 9 / 8)), "pixels of 8:9 scaled to square ones"),
        (Fraction(1, 1), (WIDTH, HEIGHT), None),
    ],
)
def test_pixels_become_square(tmp_path, sar, size, words):
    path = write(tmp_path / "wide.mp4", plain(patches()), sar=sar)
    account = Account()
    image_HW3 = next(decode(path, account=account)).image_HW3
    assert image_HW3.shape == (size[1], size[0], 3)
    assert account.pixels == ([words] if words else [])
    assert np.abs(middles(image_HW3) - PATCHES).max() < 20
    assert next(decode(path, max_side=48)).image_HW3.shape == (round(size[1] * 48 / max(size)), 48, 3)
    assert next(decode(path, as_shown=False)).image_HW3.shape == (HEIGHT, WIDTH, 3)


def test_a_turn_and_square_pixels_go_together(tmp_path):
    with av.open(str(tmp_path / "phone.mp4"), "w") as file:
        stream = file.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        stream.set_display_rotation(90)
        for frame in plain(patches()):
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    account = Account()
    image_HW3 = next(decode(tmp_path / "phone.mp4", account=account)).image_HW3
    assert image_HW3.shape == (2 * WIDTH, HEIGHT, 3)
    assert set(account.pixels) == {"pixels of 2:1 scaled to square ones", "turned upright"}


def test_a_mistaken_aspect_is_warned_of(tmp_path, caplog):
    path = write(tmp_path / "odd.mp4", plain(patches()), sar=Fraction(50, 1))
    assert next(decode(path)).image_HW3.shape == (HEIGHT, WIDTH, 3)
    assert "odd.mp4: pixels of 50:1 are taken for a mistake" in caplog.text


def test_a_slant_is_warned_of(tmp_path, caplog):
    account = Account()
    image_HW3 = next(decode(make_video(tmp_path / "slant.mp4", 2, turn={"degrees": 30}), account=account)).image_HW3
    assert image_HW3.shape == (48, 64, 3) and account.pixels == ["turned to the nearest quarter turn"]
    assert "slant.mp4: is to be shown aslant" in caplog.text


# ---------------------------------------------------------------- transparency


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_the_transparency_of_webm_lies_on_white(tmp_path, codec):
    rgba_HW4 = np.dstack([patches(), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    rgba_HW4[HEIGHT // 2 :] = 0
    frames = (av.VideoFrame.from_ndarray(rgba_HW4, "rgba") for _ in range(4))
    options = {"auto-alt-ref": "0", "deadline": "realtime", "cpu-used": "8", "crf": "4", "b": "2M"}
    path = write(tmp_path / "alpha.webm", frames, codec, "yuva420p", options)
    account = Account()
    images = [frame.image_HW3 for frame in decode(path, account=account)]
    assert len(images) == 4 and account.pixels == ["transparency laid over white"]
    assert (images[2][HEIGHT // 2 + 4 :] > 250).all()
    step = WIDTH // len(PATCHES)
    assert np.abs(images[2][HEIGHT // 4, step // 2 :: step].astype(int) - PATCHES).max() < 30


def test_opaque_video_in_a_transparent_format_is_as_ever(tmp_path):
    rgba_HW4 = np.dstack([patches(), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    path = write(
        tmp_path / "full.mov", (av.VideoFrame.from_ndarray(rgba_HW4, "rgba") for _ in range(2)), "qtrle", "argb"
    )
    account = Account()
    assert np.array_equal(next(decode(path, account=account)).image_HW3, patches()) and account.pixels == []
