"""Views with pictures of frames: numbers that can be read back from the picture, highlights, trails, packed pictures."""

from collections.abc import Callable, Sequence
from functools import partial

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from support.scenes import eight_squares, scene_of

from stages.core.media import fonts
from stages.core.media.drawing import badge_size
from stages.evidence.frames.packing import PackedPicture
from stages.evidence.questions import Parts, Picture
from stages.evidence.views.compose import compose
from stages.evidence.views.display import display_size, resize_mask
from stages.evidence.views.highlight import Highlight, draw_highlighted
from stages.evidence.views.numbered import Numbered, draw_outlined, masks_at
from stages.evidence.views.packed import Packed
from stages.evidence.views.plain import Plain
from stages.evidence.views.scene import Scene
from stages.evidence.views.table import VIEWS
from stages.evidence.views.trail import FUTURE, PAST, Trail, draw_trail

DIGITS = "12345678"


def pictures_in(parts: Parts) -> list[Picture]:
    return [part for part in parts if isinstance(part, Picture)]


# ---------------------------------------------------------------- numbers


def template(digit: str, size: int) -> NDArray[np.uint8]:
    """The digit as it is drawn on badges, white on black, with a margin of a pixel."""
    image = Image.new("L", (3 * size, 3 * size))
    ImageDraw.Draw(image).text((1.5 * size, 1.5 * size), digit, 255, fonts.load(None, size), anchor="mm")
    left, top, right, bottom = image.getbbox() or (0, 0, 0, 0)
    return np.asarray(image)[top - 1 : bottom + 1, left - 1 : right + 1]


def read_number(image_HW3: NDArray[np.uint8], size: int) -> str:
    """The digit that a picture of an object shows best, dark or light: normalised correlation with each digit."""
    grey_HW = cv2.cvtColor(image_HW3, cv2.COLOR_RGB2GRAY)

    def fit(digit: str) -> float:
        return float(np.abs(cv2.matchTemplate(grey_HW, template(digit, size), cv2.TM_CCOEFF_NORMED)).max())

    return max(DIGITS, key=fit)


def as_the_model_sees(image_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Resized to whole patches of 32 pixels, as Qwen3-VL's processor does, and back for reading."""
    height, width = image_HW3.shape[:2]
    whole = (max(32, round(width / 32) * 32), max(32, round(height / 32) * 32))
    seen_HW3 = cv2.resize(image_HW3, whole, interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.resize(seen_HW3, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def read_all(
    image_HW3: NDArray[np.uint8],
    scene: Scene,
    t: int,
    to_picture: Callable[[float, float], tuple[float, float]],
    size: int,
) -> str:
    """The numbers on the objects, in the order of the candidates, from the part of the picture that shows each."""
    numbers = []
    for x0, y0, x1, y1 in scene.boxes_NT4[:, t]:
        (top, left), (bottom, right) = to_picture(y0, x0), to_picture(y1, x1)
        margin = size // 3
        rows = slice(max(0, int(top) - margin), int(bottom) + margin)
        numbers.append(read_number(image_HW3[rows, max(0, int(left) - margin) : int(right) + margin], size))
    return "".join(numbers)


@pytest.mark.parametrize(("size", "side"), [((48, 64), 128), ((96, 128), 256), ((432, 768), 768), ((640, 360), 768)])
def test_the_numbers_of_eight_candidates_are_legible_at_the_size_the_model_sees(size, side):
    scene = eight_squares(size, 3)
    [first, _] = pictures_in(Numbered(side).shared(scene, [0, 2]))
    height, width = first.pixels_HW3.shape[:2]
    assert (height, width) == display_size(size, side)
    scale = height / size[0]
    image_HW3 = as_the_model_sees(first.pixels_HW3)
    assert read_all(image_HW3, scene, 0, lambda y, x: (y * scale, x * scale), badge_size((height, width))) == DIGITS


def test_without_numbers_nothing_is_read():
    """The reading itself can fail: a picture without numbers, or with others, does not give them."""
    scene = eight_squares((432, 768), 1)
    plain = pictures_in(Plain(768).shared(scene, [0]))[0].pixels_HW3
    turned = {9 - number: mask for number, mask in masks_at(scene, 0).items()}
    other = draw_outlined(scene.frame(0), turned, 768)
    read = [read_all(image, scene, 0, lambda y, x: (y, x), badge_size((432, 768))) for image in (plain, other)]
    assert read[0] != DIGITS and read[1] == DIGITS[::-1]


@pytest.mark.parametrize("grid", [2, 3])
def test_numbers_and_outlines_are_legible_on_tiles(grid):
    scene = eight_squares((432, 768), 20)
    view = Packed(768, clips=2, grid=grid)
    shown = pictures_in(view.shared(scene, [4, 14]))
    assert [type(picture) for picture in shown] == [Picture, PackedPicture] * 2
    picture = shown[1]
    assert isinstance(picture, PackedPicture) and len(picture.cells) == min(grid**2, 9)
    size = badge_size((432, 768))
    image_HW3 = as_the_model_sees(picture.pixels_HW3)
    for cell in (picture.cells[0], picture.cells[-1]):
        place = partial(picture.from_frame, cell.frame)
        assert read_all(image_HW3, scene, cell.frame, lambda y, x, place=place: place(y, x) or (0, 0), size) == DIGITS
    plain = cv2.resize(scene.frame(picture.cells[0].frame), (picture.cells[0].width, picture.cells[0].height))
    cell = picture.cells[0]
    tile_HW3 = picture.pixels_HW3[cell.top : cell.top + cell.height, cell.left : cell.left + cell.width]
    changed = (np.abs(tile_HW3.astype(int) - plain).max(-1) > 60).mean()
    assert changed > 0.03  # outlines did not vanish with the shrinking


def test_packed_pictures_are_told_in_words_and_an_only_frame_has_no_tiles():
    scene = eight_squares((96, 128), 5)
    *pictures, words = Packed(128, clips=2, grid=2).shared(scene, [1, 4])
    assert "in 2 parts" in str(words) and "2 rows with 2 smaller frames" in str(words) and len(pictures) == 4
    single = eight_squares((96, 128), 1)
    assert [type(part) for part in Packed(128, clips=4, grid=2).shared(single, [0])] == [Picture, str]


def test_images_keep_the_aspect_and_show_outlines_and_numbers():
    assert display_size((720, 1280), 768) == (432, 768) and display_size((1280, 720), 768) == (768, 432)
    assert display_size((48, 64), 128) == (96, 128)
    frame_HW3 = np.full((48, 64, 3), 100, np.uint8)
    mask_HW = np.zeros((48, 64), bool)
    mask_HW[10:40, 20:50] = True
    plain = draw_outlined(frame_HW3, {1: np.zeros_like(mask_HW)}, 128)
    assert plain.shape == (96, 128, 3) and plain.dtype == np.uint8 and (plain == 100).all()
    one, two = draw_outlined(frame_HW3, {1: mask_HW}, 128), draw_outlined(frame_HW3, {2: mask_HW}, 128)
    changed_HW = (one != 100).any(axis=-1)
    assert changed_HW[18:24, 40:100].any() and not changed_HW[:14].any() and not changed_HW[:, :34].any()
    assert (one != two).any()


def test_a_thin_mask_survives_shrinking():
    mask_HW = np.zeros((480, 640), bool)
    mask_HW[101, 200:202] = True
    assert resize_mask(mask_HW, (48, 64)).sum() == 1
    mask_HW[:] = True
    assert resize_mask(mask_HW, (48, 64)).all()


# ---------------------------------------------------------------- highlight


def test_a_highlight_keeps_the_candidate_and_dims_the_rest():
    frame_HW3 = np.full((48, 64, 3), 100, np.uint8)
    mask_HW = np.zeros((48, 64), bool)
    mask_HW[10:40, 20:50] = True
    image_HW3 = draw_highlighted(frame_HW3, mask_HW, 128)
    assert (image_HW3[:10] == 40).all() and (image_HW3[:, :30] == 40).all()
    inside = image_HW3[40:60, 60:80].reshape(-1, 3)
    assert (inside[:, 0] > 100).all() and inside.mean() > 80  # tinted with red, not dimmed


def test_a_highlight_shows_the_frames_in_which_the_candidate_is_seen():
    scene = scene_of(np.full((2, 6, 2), 5), 10, (48, 64), absent=[(0, 1), (1, 1), (1, 3), (1, 5)])
    assert len(pictures_in(Highlight(64).block(scene, 0, 1, [1, 3, 5]))) == 2
    [only] = pictures_in(Highlight(64).block(scene, 1, 2, [1, 3, 5]))  # in none of them: where it is largest
    assert (only.pixels_HW3 == draw_highlighted(scene.frame(0), scene.mask(1, 0), 64)).all()
    assert Highlight(64).shared(scene, [1]) == () and not Highlight(64).in_context


# ---------------------------------------------------------------- trail


def near(image_HW3: NDArray[np.uint8], colour: Sequence[int]) -> NDArray[np.bool_]:
    """Pixels in which this colour is the strongest part."""
    return np.asarray(np.abs(image_HW3.astype(int) - colour).sum(-1) < 150)


def moving(n_frames: int = 11, absent: Sequence[Sequence[int]] = ()) -> Scene:
    """A square that moves to the right, five pixels per frame."""
    corners_T2 = np.stack([np.full(n_frames, 20), 2 + 5 * np.arange(n_frames)], -1)
    return scene_of(corners_T2[None], 8, (48, 64), absent, noise=False)


def test_a_trail_has_the_past_on_one_side_and_the_future_on_the_other():
    image_HW3 = draw_trail(moving(), 0, 5, 256)
    past, future = near(image_HW3, PAST), near(image_HW3, FUTURE)
    x_of = {"past": np.flatnonzero(past.any(0)), "future": np.flatnonzero(future.any(0))}
    now = (2 + 5 * 5 + 4) * 4
    assert x_of["past"].max() <= now + 4 and x_of["future"].min() >= now - 4
    assert x_of["past"].min() < now - 50 and x_of["future"].max() > now + 50


def test_a_trail_fades_with_time_and_ends_in_an_arrow():
    scene = moving()
    image_HW3 = draw_trail(scene, 0, 0, 256).astype(int)
    row = 24 * 4
    red = [image_HW3[row, (2 + 5 * t + 6) * 4, 0] - image_HW3[row, (2 + 5 * t + 6) * 4, 2] for t in (0, 4, 8)]
    assert red[0] > red[1] > red[2] > 0
    widths = near(image_HW3.astype(np.uint8), FUTURE).sum(0)
    assert widths[(2 + 50 + 4) * 4 - 12 :].max() > 2 * np.median(
        widths[widths > 0][:60]
    )  # the head is wider than the line
    turned = draw_trail(scene_of(scene_corners(scene)[:, ::-1], 8, (48, 64), noise=False), 0, 0, 256)
    assert (
        near(turned, FUTURE).sum(0)[: (2 + 4) * 4 + 12].max() > 10
    )  # the same course the other way round: the head is left


def scene_corners(scene: Scene) -> NDArray[np.integer]:
    return np.asarray(scene.boxes_NT4[..., [1, 0]]).astype(int)


def test_a_trail_is_broken_where_the_candidate_is_absent_and_a_still_one_has_no_arrow():
    whole, broken = (draw_trail(moving(absent=a), 0, 0, 256) for a in ((), [(0, 4), (0, 5), (0, 6)]))
    gap = slice((2 + 5 * 4 + 4) * 4, (2 + 5 * 6 + 4) * 4)
    assert near(whole, FUTURE)[:, gap].any(0).all() and not near(broken, FUTURE)[:, gap].any()
    still = scene_of(np.full((1, 5, 2), 20), 8, (48, 64), noise=False)
    assert near(draw_trail(still, 0, 2, 256), FUTURE).sum() < 40
    for n_frames in (1, 11, 12, 22):
        [picture, words] = Trail(64).block(eight_squares((48, 64), n_frames), 3, 4, [0])
        assert isinstance(picture, Picture) and picture.pixels_HW3.shape == (48, 64, 3) and "arrow" in str(words)


# ---------------------------------------------------------------- together


def test_views_go_together_and_only_what_is_in_context_is_shared():
    scene = eight_squares((48, 64), 12).only([0, 1, 2])
    views = [VIEWS[name](64, 32) for name in ("numbered", "highlight", "trail", "card", "facts")]
    shown = compose(views, scene, [2, 9])
    assert len(pictures_in(shown.context)) == 2 + 3  # frames, and a card of each
    for n in range(3):
        assert len(pictures_in(shown.about(n))) == 2 + 1 + 1  # highlights, trail, card
    alone = compose([Numbered(64)], scene, [2, 9])
    assert alone.about(1) == () and len(pictures_in(alone.context)) == 2


@pytest.mark.parametrize("name", list(VIEWS))
@pytest.mark.parametrize("n_frames", [1, 11, 12, 22])
def test_every_view_shows_videos_of_any_length(name, n_frames):
    scene = eight_squares((48, 64), n_frames)
    shown = compose([VIEWS[name](64, 32)], scene, [0])
    for part in (*shown.context, *shown.about(7)):
        assert isinstance(part, str) or (part.pixels_HW3.dtype == np.uint8 and part.pixels_HW3.ndim == 3)
    for words in (part for part in (*shown.context, *shown.about(7)) if isinstance(part, str)):
        assert words.startswith(" ")
