"""Video files in and out, on real files: every container, orientation, timing and kind of damage."""

import os
import tempfile
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.project import CLIPS
from support.video_files import CODECS, NO_CLIPS, OPTIONS, make_audio, make_video, noise, picture

from stages.core.media.display import Decoded, shrink
from stages.core.media.video import decode, nearest_to_ticks
from stages.core.media.video_writer import times_at, write_h264


def grey(frame) -> int:
    """The level that tells a test frame's index, from its bottom-right pixel's neighbourhood."""
    return int(frame.image_HW3[-8:, -8:].mean())


@pytest.mark.parametrize("suffix", CODECS)
def test_every_container_gives_all_frames_in_order(tmp_path, suffix):
    frames = list(decode(make_video(tmp_path / f"clip{suffix}")))
    assert [frame.time for frame in frames] == pytest.approx([i / 10 for i in range(12)], abs=1e-6)
    tolerance = 24 if suffix == ".gif" else 4  # rgb8 has 8 levels of a colour
    assert [grey(f) for f in frames] == pytest.approx([20 + 8 * i for i in range(12)], abs=tolerance)
    assert all(f.image_HW3.shape == (48, 64, 3) and f.image_HW3.dtype == np.uint8 for f in frames)
    assert frames[0].image_HW3[4, 4].tolist() == pytest.approx([250, 0, 0], abs=25)


@pytest.mark.parametrize(("suffix", "pixels"), [(".webm", "yuv420p"), (".mkv", "yuv444p")])
def test_odd_sizes_are_kept(tmp_path, suffix, pixels):
    frames = list(decode(make_video(tmp_path / f"odd{suffix}", 3, (65, 49), pixels=pixels)))
    assert {frame.image_HW3.shape for frame in frames} == {(49, 65, 3)}


@pytest.mark.parametrize(
    ("turn", "corner"),
    [
        ({"degrees": 0}, (0, 0)),
        ({"degrees": 90}, (-1, 0)),  # counter-clockwise: top left goes to bottom left
        ({"degrees": 180}, (-1, -1)),
        ({"degrees": -90}, (0, -1)),
        ({"degrees": 0, "hflip": True}, (0, -1)),
        ({"degrees": 0, "vflip": True}, (-1, 0)),
    ],
)
def test_display_matrix_is_applied(tmp_path, turn, corner):
    path = make_video(tmp_path / "turned.mp4", 2, turn=turn)
    image_HW3 = next(decode(path)).image_HW3
    assert image_HW3.shape == ((64, 48, 3) if turn["degrees"] in (90, -90) else (48, 64, 3))
    reds = {(y, x) for y in (0, -1) for x in (0, -1) if image_HW3[y, x, 0] > 180 and image_HW3[y, x, 1] < 90}
    assert reds == {corner}


def test_rotation_agrees_with_pyav(tmp_path):
    path = make_video(tmp_path / "turned.mp4", 1, draw=noise, turn={"degrees": 90})
    with av.open(str(path)) as container:
        raw = next(container.decode(video=0))
        expected = np.rot90(raw.to_ndarray(format="rgb24"), raw.rotation // 90)
    assert np.array_equal(next(decode(path)).image_HW3, expected)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_variable_frame_rate_keeps_its_times(tmp_path, suffix):
    times_ms = [0, 40, 300, 333, 1000]
    path = make_video(tmp_path / f"vfr{suffix}", 5, times_ms=times_ms)
    assert [f.time for f in decode(path)] == pytest.approx([t / 1000 for t in times_ms], abs=2e-3)


def test_times_count_from_the_first_frame(tmp_path):
    path = make_video(tmp_path / "late.mkv", 3, times_ms=[5000, 5100, 5200])
    assert [f.time for f in decode(path)] == pytest.approx([0, 0.1, 0.2])


def test_fps_takes_the_frame_at_each_tick(tmp_path):
    path = make_video(tmp_path / "clip.mp4", 24, times_ms=[round(i * 1000 / 24) for i in range(24)])
    assert [round(f.time * 24) for f in decode(path, fps=8)] == list(range(0, 24, 3))
    assert len(list(decode(path, fps=24))) == 24  # times rounded to milliseconds lose no frame
    assert len(list(decode(path, fps=60))) == 24  # none is doubled


@given(
    gaps=st.lists(st.integers(1, 400), min_size=1, max_size=60),
    fps=st.floats(0.5, 60, allow_nan=False),
)
def test_resampling_picks_nearest_frames_once(gaps, fps):
    times = np.cumsum([0, *gaps]) / 1000
    kept = [time for _, time in nearest_to_ticks(_decoded(times), fps)]
    ticks = [int(time * fps + 0.5) for time in kept]
    assert kept[0] == 0
    assert ticks == sorted(set(ticks)) and set(kept) <= set(times.tolist())
    last = int(times[-1] * fps + 0.5)
    assert ticks[-1] == last or last / fps > times[-1]  # only a tick past the last frame may go
    for tick in range(ticks[-1] + 1):  # whatever lies in a tick's reach is at best as near as the frame kept
        near = [abs(t * fps - tick) for t in times if int(t * fps + 0.5) == tick]
        assert (tick in ticks) == bool(near)
        assert not near or abs(kept[ticks.index(tick)] * fps - tick) == min(near)


def _decoded(times):
    return (Decoded(None, float(time)) for time in times)


def test_max_side_shrinks_and_never_enlarges(tmp_path):
    path = make_video(tmp_path / "clip.mp4", 2, (64, 48))
    assert next(decode(path, max_side=33)).image_HW3.shape == (25, 33, 3)
    assert next(decode(path, max_side=640)).image_HW3.shape == (48, 64, 3)
    assert shrink(np.zeros((1000, 2, 3), np.uint8), 100).shape == (100, 1, 3)


def test_max_frames_stops_early(tmp_path):
    path = make_video(tmp_path / "clip.mp4")
    assert [grey(f) for f in decode(path, max_frames=3)] == pytest.approx([20, 28, 36], abs=4)


def test_threads_change_nothing(tmp_path):
    path = make_video(tmp_path / "clip.mp4", draw=noise)
    one, four = list(decode(path)), list(decode(path, threads=4))
    assert len(one) == 12 and all(np.array_equal(a.image_HW3, b.image_HW3) for a, b in zip(one, four))


def test_transparent_gif_lies_on_white(tmp_path):
    image = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 16, 32))
    image.save(tmp_path / "alpha.gif", save_all=True, append_images=[image.rotate(180)], duration=100)
    first = next(decode(tmp_path / "alpha.gif")).image_HW3
    assert first[5, 5].tolist() == [0, 0, 255] and first[5, 25].tolist() == [255, 255, 255]


def test_edit_list_hides_frames_without_an_error(tmp_path):
    source = make_video(tmp_path / "whole.mp4")
    with av.open(str(source)) as whole, av.open(str(tmp_path / "cut.mp4"), "w") as cut:
        stream = whole.streams.video[0]
        copy = cut.add_stream_from_template(stream)
        shift = round(0.4 / stream.time_base)
        for packet in whole.demux(stream):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
                cut.mux(packet)
    frames = list(decode(tmp_path / "cut.mp4"))
    assert [grey(f) for f in frames] == pytest.approx([20 + 8 * i for i in range(4, 12)], abs=4)


@pytest.mark.parametrize("sound_first", [True, False])
def test_sound_beside_the_pictures_is_passed_over(tmp_path, sound_first):
    pictures, sound = make_video(tmp_path / "a.mp4"), make_audio(tmp_path / "b.mp4")
    with av.open(str(tmp_path / "both.mp4"), "w") as both:
        sources = [av.open(str(path)) for path in ((sound, pictures) if sound_first else (pictures, sound))]
        copies = [both.add_stream_from_template(source.streams[0]) for source in sources]
        for source, copy in zip(sources, copies):
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = copy
                    both.mux(packet)
            source.close()
    assert [grey(f) for f in decode(tmp_path / "both.mp4")] == pytest.approx([20 + 8 * i for i in range(12)], abs=4)


def test_change_of_size_is_an_error(tmp_path):
    with av.open(str(tmp_path / "grows.webm"), "w") as file:
        stream = file.add_stream("libvpx-vp9", rate=10, options=OPTIONS["libvpx-vp9"])
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        file.mux(stream.encode(av.VideoFrame.from_ndarray(picture(0, (64, 48)), "rgb24")))
        file.mux(stream.encode(None))
        other = make_video(tmp_path / "big.webm", 2, (128, 96))
        with av.open(str(other)) as big:
            for packet in big.demux(video=0):
                if packet.dts is not None:
                    packet.pts, packet.dts, packet.stream = packet.pts + 1000, packet.dts + 1000, stream
                    file.mux(packet)
    with pytest.raises(ValueError, match=r"grows\.webm: changes its size from 64x48 to 128x96"):
        list(decode(tmp_path / "grows.webm"))


# ------------------------------------------------------------------------------------------ what is refused


def test_refuses_what_is_no_video(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is no video at all, only text with a wrong name")
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://localhost/a.ts\n")
    (tmp_path / "page.mp4").write_text("\n<html>404</html>")
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.mp4", "JPEG")
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    for name, reason in [
        ("none.mp4", "does not exist"),
        ("empty.mp4", "is empty"),
        ("text.mp4", "not an MP4"),
        ("list.mp4", "not an MP4"),
        ("page.mp4", r"is text \(HTML or XML\)"),
        ("photo.mp4", r"is a single picture \(JPEG\)"),
        ("gone.mp4", "a link to .*nowhere, which is not there"),
        ("pipe.mp4", "not a file"),
        ("folder.mp4", "not a file"),
    ]:
        with pytest.raises(ValueError, match=rf"{name}: .*{reason}"):
            list(decode(tmp_path / name))


def test_refuses_sound_without_pictures(tmp_path):
    with pytest.raises(ValueError, match=r"sound\.mp4: holds no video stream \(it has: audio\)"):
        list(decode(make_audio(tmp_path / "sound.mp4")))


def test_refuses_a_header_without_frames(tmp_path):
    (tmp_path / "bare.gif").write_bytes(b"GIF89a" + bytes([16, 0, 16, 0, 0, 0, 0]) + b";")
    with pytest.raises(ValueError, match=r"bare\.gif: no frame can be decoded"):
        list(decode(tmp_path / "bare.gif"))
    path = make_video(tmp_path / "clip.mp4", 1)
    with av.open(str(path)) as source, av.open(str(tmp_path / "bare.mp4"), "w") as bare:
        bare.add_stream_from_template(source.streams.video[0])
        bare.start_encoding()
    with pytest.raises(ValueError, match=r"bare\.mp4: holds no video stream"):
        list(decode(tmp_path / "bare.mp4"))


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    paths = [make_video(folder / f"clip{suffix}", 4, (32, 32), draw=noise) for suffix in CODECS]
    paths.append(make_video(folder / "front.mp4", 4, (32, 32), draw=noise, container={"movflags": "faststart"}))
    return {path.name: path.read_bytes() for path in paths}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_file_cut_anywhere_is_an_error(whole_files, data):
    name = data.draw(st.sampled_from(sorted(whole_files)))
    content = whole_files[name]
    end = data.draw(st.integers(0, len(content) - 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match=str(path)):
            list(decode(path))
        path.write_bytes(content)
        assert len(list(decode(path))) == 4


def test_fragmented_mp4_cut_inside_a_fragment(tmp_path):
    path = make_video(tmp_path / "frag.mp4", draw=noise, container={"movflags": "frag_every_frame+empty_moov"})
    assert len(list(decode(path))) == 12
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(ValueError, match=r"frag\.mp4: its '\w+' box ends"):
        list(decode(path))


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_damage_inside_is_an_error_and_not_a_shorter_video(tmp_path, suffix):
    path = make_video(tmp_path / f"hurt{suffix}", draw=noise)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"hurt\{suffix}: .*(replace the file|re-encode)"):
        list(decode(path))


def test_frames_before_the_damage_can_be_had(tmp_path):
    path = make_video(tmp_path / "hurt.mp4", draw=noise)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    path.write_bytes(content)
    assert len(list(decode(path, max_frames=1))) == 1


# ------------------------------------------------------------------------------------------ writing


def test_written_video_comes_back(tmp_path):
    images = [picture(i, (65, 49)) for i in range(6)]
    write_h264(tmp_path / "out.mp4", iter(images), times_at(24000 / 1001, 6), crf=10)
    frames = list(decode(tmp_path / "out.mp4"))
    assert [f.time for f in frames] == pytest.approx([i * 1001 / 24000 for i in range(6)], abs=1e-5)
    for image_HW3, frame in zip(images, frames):
        assert frame.image_HW3.shape == (50, 66, 3)  # even sides, the last row and column repeated
        assert np.abs(frame.image_HW3[:49, :65].astype(int) - image_HW3).mean() < 3
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate) == pytest.approx(24000 / 1001, rel=1e-3)


def test_written_bytes_repeat_and_start_with_the_index(tmp_path):
    images = [np.vstack([picture(i, (64, 48)), noise(0, (64, 40)) // 4]) for i in range(6)]
    contents = set()
    for _ in range(25):  # an encoder that reads stray memory shows it now and then only
        write_h264(tmp_path / "a.mp4", images, times_at(10, 6))
        contents.add((tmp_path / "a.mp4").read_bytes())
    (content,) = contents
    assert content.index(b"moov") < content.index(b"mdat")


def test_uneven_times_are_written(tmp_path):
    times = [2.0, 2.1, 2.5, 2.55]
    write_h264(tmp_path / "vfr.mp4", [picture(i, (64, 48)) for i in range(4)], times)
    assert [f.time for f in decode(tmp_path / "vfr.mp4")] == pytest.approx([0, 0.1, 0.5, 0.55], abs=1e-5)


@pytest.mark.parametrize(
    ("sizes", "times", "reason"),
    [
        ([], [], "at least one frame"),
        ([(64, 48)] * 2, [0.0, 0.0], "must rise"),
        ([(64, 48)] * 2, [0.0], "more frames than the 1 times"),
        ([(64, 48)] * 2, [0.0, 0.1, 0.2], "3 times given for 2 frames"),
        ([(64, 48), (32, 48)], [0.0, 0.1], "frame 1 is 32x48, not 64x48"),
    ],
)
def test_writer_refuses_what_does_not_fit(tmp_path, sizes, times, reason):
    with pytest.raises(ValueError, match=reason):
        write_h264(tmp_path / "out.mp4", [picture(0, size) for size in sizes], times)


# ------------------------------------------------------------------------------------------ real clips


@pytest.mark.skipif(not CLIPS.is_dir(), reason=NO_CLIPS)
@pytest.mark.parametrize(("name", "n_frames", "fps"), [("01_dog.mp4", 289, 30000 / 1001), ("bedroom.mp4", 200, 30)])
def test_real_clips(name, n_frames, fps):
    frames = [(frame.time, frame.image_HW3.shape) for frame in decode(CLIPS / name, threads=2)]
    assert [time for time, _ in frames] == pytest.approx([i / fps for i in range(n_frames)], abs=1e-3)
    assert len({shape for _, shape in frames}) == 1
