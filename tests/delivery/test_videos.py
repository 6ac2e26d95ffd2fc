"""Videos of an answer, read back by PyAV: pixels, transparency, times, sound."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from support.segmented import RENDER, SIZE, TIMES_MS, an_object, box, make_clip, segment, truth
from support.video_files import add_sound, make_video

from stages.core.media.overlays import colour_of
from stages.core.media.video import decode
from stages.delivery.segmented import Segmented, Sentence
from stages.delivery.source import open_source
from stages.delivery.writing import write

VIDEOS = {"overlay": ".overlay.mp4", "matte": ".matte.mp4", "prores": ".prores.mov", "webm": ".alpha.webm"}
NAME = "the-dog-that-turns-around"


@pytest.fixture(scope="module")
def segmented(tmp_path_factory: pytest.TempPathFactory) -> Segmented:
    return segment(make_clip(tmp_path_factory.mktemp("clip")))


@pytest.fixture(scope="module")
def out(segmented: Segmented, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    write(segmented, [*VIDEOS, "gif", "sheet"], folder, RENDER)
    return folder


def packets(path: Path, kind: str = "video") -> list[tuple[float, float, bytes]]:
    """Start and duration in seconds, and the bytes, of every packet of a stream."""
    with av.open(str(path)) as file:
        (stream,) = getattr(file.streams, kind)
        found = [packet for packet in file.demux(stream) if packet.size]
        return [(float(p.pts * p.time_base), float(p.duration * p.time_base), bytes(p)) for p in found]


def rgba(path: Path) -> list[np.ndarray]:
    """(H, W, 4) per frame, with the transparency that FFmpeg's own VP9 decoder leaves aside."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        decoder = stream.codec_context
        if decoder.name == "vp9":
            decoder = av.CodecContext.create("libvpx-vp9", "r")
        return [frame.to_ndarray(format="rgba") for packet in file.demux(stream) for frame in decoder.decode(packet)]


@pytest.mark.parametrize("ending", VIDEOS.values())
def test_every_video_has_the_sources_frames_size_and_times(segmented, out, ending):
    path = out / f"{NAME}{ending}"
    starts = [start for start, *_ in packets(path)]
    assert starts == pytest.approx([time / 1000 for time in TIMES_MS], abs=1e-6)
    ends = [start + duration for start, duration, _ in packets(path)]
    assert ends == pytest.approx([*starts[1:], segmented.source.seconds(10)], abs=1e-6)
    with av.open(str(path)) as file:
        assert (file.streams.video[0].height, file.streams.video[0].width) == SIZE


def test_the_overlay_plays_everywhere_and_marks_each_object_in_its_colour(segmented, out):
    with av.open(str(out / f"{NAME}.overlay.mp4")) as file:
        assert (file.streams.video[0].codec_context.name, file.streams.video[0].pix_fmt) == ("h264", "yuv420p")
    sources = [frame.image_HW3.astype(float) for frame in decode(segmented.source.path)]
    overlays = [frame.image_HW3.astype(float) for frame in decode(out / f"{NAME}.overlay.mp4")]
    for found, (y, x) in zip(segmented.sentences[0].objects, [(34, 24), (50, 88)]):
        tinted = 0.55 * sources[9][y, x] + 0.45 * np.asarray(colour_of(found.id))
        assert np.abs(overlays[9][y, x] - tinted).max() < 30
    assert np.abs(overlays[9][60, 5] - sources[9][60, 5]).max() < 12  # nothing is marked there


def test_sentences_without_an_object_say_so(segmented, out):
    plain, noted = (next(decode(out / f"{name}.overlay.mp4")).image_HW3 for name in ("الكلب-البني", "a-unicorn"))
    assert plain[1, 1, 0] > 200 and noted[1, 1].max() < 40  # a dark strip lies over the red corner
    assert not any(image[..., 3].any() for image in rgba(out / "a-unicorn.prores.mov"))


def test_sound_goes_along_packet_by_packet(segmented, out):
    mine, theirs = packets(out / f"{NAME}.overlay.mp4", "audio"), packets(segmented.source.path, "audio")
    assert [content for *_, content in mine] == [content for *_, content in theirs]
    assert [start for start, *_ in mine] == pytest.approx([start for start, *_ in theirs], abs=1e-3)
    assert packets(out / f"{NAME}.prores.mov", "audio") and not_silent(out / f"{NAME}.alpha.webm")
    with av.open(str(out / f"{NAME}.alpha.webm")) as file:
        assert file.streams.audio[0].codec_context.name == "opus"  # WebM takes no AAC


def not_silent(path: Path) -> bool:
    with av.open(str(path)) as file:
        samples = np.concatenate([frame.to_ndarray() for frame in file.decode(audio=0)], 1)
    return bool(np.abs(samples).max() > 0.2)


@pytest.mark.parametrize("ending", [".prores.mov", ".alpha.webm"])
def test_transparency_is_the_mask_and_what_it_hides_is_gone(segmented, out, ending):
    images = rgba(out / f"{NAME}{ending}")
    sources = [frame.image_HW3.astype(int) for frame in decode(segmented.source.path)]
    for row, (image_HW4, source_HW3) in enumerate(zip(images, sources, strict=True)):
        mask_HW = truth(segmented, 0, row)
        assert np.array_equal(image_HW4[..., 3] > 127, mask_HW)
        assert set(np.unique(image_HW4[..., 3])) <= {0, 255}
        assert np.abs(image_HW4[mask_HW][:, :3] - source_HW3[mask_HW]).mean() < 6
        assert image_HW4[-4:, :8, :3].max() < 12  # far from the objects: black


def test_the_matte_is_the_mask(segmented, out):
    for number, name in enumerate((NAME, "الكلب-البني", "a-unicorn")):
        for row, frame in enumerate(decode(out / f"{name}.matte.mp4")):
            assert np.array_equal(frame.image_HW3[..., 0] > 127, truth(segmented, number, row))


def test_the_gif_repeats_and_keeps_the_time(out):
    with Image.open(out / f"{NAME}.gif") as image:
        assert image.info["loop"] == 0 and image.size == SIZE[::-1]
        durations = []
        for index in range(image.n_frames):
            image.seek(index)
            durations.append(image.info["duration"])
    assert sum(durations) == pytest.approx(600, abs=100) and min(durations) >= 90


def test_the_sheet_shows_frames_and_the_sentence(out):
    for text in (NAME, "الكلب-البني", "a-unicorn"):
        with Image.open(out / f"{text}.sheet.jpg") as image:
            assert image.width == 4 * (SIZE[1] + 4) + 4 and image.height > 3 * SIZE[0]
            grey_HW = np.asarray(image.convert("L"))
            assert (grey_HW[-20:] > 150).any()  # letters below
            assert (grey_HW[4:15, 4:40] > 150).any()  # the time, above the first frame
            # the red corner of the first frame is free, also where a note says why nothing is marked
            assert np.asarray(image)[26, 8, 0] > 180


def test_bytes_repeat(segmented, out, tmp_path):
    for path in write(segmented, [*VIDEOS, "gif", "sheet"], tmp_path, RENDER):
        assert path.read_bytes() == (out / path.name).read_bytes(), path.name


def test_sound_without_a_header_of_its_own_is_encoded_again(tmp_path):
    """MPEG-TS puts one before every packet, which MP4 does not take."""
    clip = make_clip(tmp_path, ".mp4")
    with av.open(str(clip)) as source, av.open(str(tmp_path / "clip.ts"), "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    recorded = segment(tmp_path / "clip.ts")
    path = write(recorded, ["overlay"], tmp_path, RENDER)[0]
    assert recorded.source.start > 0.01 and not_silent(path)
    assert [start for start, *_ in packets(path)] == pytest.approx([time / 1000 for time in TIMES_MS], abs=1e-4)


def test_a_part_of_a_video_starts_at_zero_with_its_own_sound(tmp_path):
    video = make_video(tmp_path / "long.mp4", 30, (SIZE[1], SIZE[0]))
    clip = add_sound(video, tmp_path / "clip.mp4", 3.0)
    source = open_source(clip)
    frames = tuple(range(10, 20, 2))
    dog = an_object(0, "object 1", 0.9, [box(SIZE, 10, 10, 20, 20)] * 5)
    (path,) = write(Segmented(source, range(10, 20), frames, (Sentence("dog", (dog,)),)), ["overlay"], tmp_path, RENDER)
    assert [start for start, *_ in packets(path)] == pytest.approx([i / 10 for i in range(10)], abs=1e-6)
    sound, whole = packets(path, "audio"), packets(clip, "audio")
    first = [content for *_, content in whole].index(sound[0][2])
    assert sound[0][0] == pytest.approx(whole[first][0] - 1.0, abs=1e-3) and -0.2 < sound[0][0] <= 0
    assert 0.9 < sound[-1][0] < 1.0


def test_frames_between_processed_ones_show_the_nearest_ones_masks(tmp_path):
    clip = make_video(tmp_path / "clip.mp4", 9, (SIZE[1], SIZE[0]))
    masks_T = [box(SIZE, 8, 8 + 30 * i, 20, 20) for i in range(3)]
    dog = an_object(0, "object 1", 0.9, masks_T)
    segmented = Segmented(open_source(clip), range(9), (0, 4, 8), (Sentence("dog", (dog,)),))
    (path,) = write(segmented, ["matte"], tmp_path, RENDER)
    shown = [[np.array_equal(f.image_HW3[..., 0] > 127, mask) for mask in masks_T].index(True) for f in decode(path)]
    assert shown == [0, 0, 0, 1, 1, 1, 1, 2, 2]


@pytest.mark.parametrize("size", [(1, 1), (33, 17), (2, 66)])
def test_odd_and_tiny_pictures_grow_to_even_sides_where_they_must(tmp_path, size):
    width, height = size
    (tmp_path / "frames").mkdir()
    for name in ("b", "a"):
        Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(tmp_path / f"frames/{name}.png")
    pictures = sorted((tmp_path / "frames").iterdir())
    dog = an_object(0, "object 1", 0.9, [np.ones((height, width), bool)] * 2)
    source = open_source(tmp_path / "frames", pictures, fps=10)
    paths = write(Segmented(source, range(2), (0, 1), (Sentence("dog", (dog,)),)), [*VIDEOS, "gif"], tmp_path, RENDER)
    for kind, path in zip([*VIDEOS, "gif"], paths, strict=True):
        with av.open(str(path)) as file:
            stream = file.streams.video[0]
            even = kind in ("overlay", "matte", "webm")
            assert (stream.width, stream.height) == ((width + width % 2, height + height % 2) if even else size)


def test_masks_of_fewer_pixels_grow_to_the_sources_size(tmp_path):
    clip = make_video(tmp_path / "clip.mp4", 2, (96, 64))
    dog = an_object(0, "object 1", 0.9, [box((16, 24), 4, 4, 8, 8)] * 2)
    (path,) = write(
        Segmented(open_source(clip), range(2), (0, 1), (Sentence("dog", (dog,)),)), ["masks"], tmp_path, RENDER
    )
    with Image.open(path / "union/frame_000001.png") as image:
        mask_HW = np.asarray(image) > 0
    assert (mask_HW ^ box((64, 96), 16, 16, 32, 32)).sum() <= 12  # corners are rounded


def test_a_turned_video_comes_out_upright(tmp_path):
    clip = make_video(tmp_path / "turned.mp4", 3, (96, 64), turn={"degrees": 90})
    source = open_source(clip)
    assert source.size == (96, 64)
    dog = an_object(0, "object 1", 0.9, [box((96, 64), 60, 30, 20, 20)] * 3)
    (path,) = write(Segmented(source, range(3), (0, 1, 2), (Sentence("dog", (dog,)),)), ["overlay"], tmp_path, RENDER)
    with av.open(str(path)) as file:
        frame = next(file.decode(video=0))
        assert (frame.height, frame.width) == (96, 64) and "DISPLAYMATRIX" not in frame.side_data
        image_HW3 = frame.to_ndarray(format="rgb24")
    assert image_HW3[-3, 3, 0] > 180 and image_HW3[-3, 3, 1] < 90  # the red corner, turned


def test_captions_can_be_left_out(segmented, out, tmp_path):
    bare = write(segmented, ["overlay"], tmp_path, RENDER.model_copy(update={"captions": False}))[0]
    with_label, without = (next(decode(path)).image_HW3.astype(int) for path in (out / bare.name, bare))
    labels = [
        (np.abs(image_HW3[:6, 30:] - np.asarray(colour_of(0))).max(-1) < 30).any()
        for image_HW3 in (with_label, without)
    ]
    assert labels == [True, False]
