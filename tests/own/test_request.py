"""What a person asks: words into videos and sentences, parts of a video, names, and what is refused in one sentence."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.project import make_config
from support.video_files import make_video

from stages.core.config.loading import merge, parse_config, read_yaml, settings_of
from stages.core.state.graph import (
    BUILD_TRACKS,
    EXTRACT_FRAMES,
    GENERATE_PROMPTS,
    RERANK_TRACKS,
    Layout,
)
from stages.datasets import open_split
from stages.own import checks, request
from stages.own.request import Part

WHOLE = Part(None, None, None, None)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    (tmp_path / "more").mkdir()
    make_video(tmp_path / "dog.mp4", 6)
    make_video(tmp_path / "more/dog.mp4", 6)
    make_video(tmp_path / "more/cat.mp4", 6)
    return tmp_path


# ---------------------------------------------------------------- words


def test_leading_words_that_name_videos_are_videos_and_the_others_sentences(videos: Path) -> None:
    file, folder = str(videos / "dog.mp4"), str(videos / "more")
    assert request.divided([file, folder, "the dog", "more"]) == ([Path(file), Path(folder)], ["the dog", "more"])
    assert request.divided([file, "it becomes dog.mp4"])[1] == ["it becomes dog.mp4"]
    with pytest.raises(ValueError, match="no sentence is given"):
        request.divided([file, folder])


def test_words_that_name_nothing_are_sentences(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(videos)
    long = "the dog that " + 40 * "turns and " + "sits"
    assert request.divided(["dog.mp4", ""])[1] == [""], "not the folder one is in"
    assert request.divided(["dog.mp4", long])[1] == [long]


def test_what_is_not_there_is_said_with_what_may_be_meant(videos: Path) -> None:
    (videos / "gone.mp4").symlink_to(videos / "nowhere.mp4")
    for name, message in {
        "dig.mp4": "no such file or folder; did you mean 'dog.mp4'?",
        "gone.mp4": f"a link to {videos}/nowhere.mp4, which does not exist",
        f"{300 * 'a'}.mp4": "no such file or folder",
    }.items():
        with pytest.raises(ValueError, match=re.escape(f"{videos / name}: {message}")):
            request.asked_of([videos / name], {"s": "s"}, WHOLE, "micro")


@pytest.mark.parametrize(("text", "value"), [("12.5", 12.5), ("1:30", 90), ("1:00:02.25", 3602.25), ("0", 0)])
def test_times(text: str, value: float) -> None:
    assert request.seconds(text) == value


@pytest.mark.parametrize("text", ["", "-1", "1:2:3:4", "a", "1:"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="needs seconds or"):
        request.seconds(text)


def test_a_sentence_is_asked_once_however_it_is_spaced() -> None:
    named = request.sentences_of(["The dog", " the  dog ", "the dog!"])
    assert sorted(named.values()) == ["The dog", "the dog!"]
    assert len({name.partition("-")[0] for name in named}) == 1


@pytest.mark.parametrize("text", ["", "  ", "?!", "\u200b"])
def test_a_sentence_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"sentence 2: .*; write what to look for"):
        request.sentences_of(["the dog", text])


# ---------------------------------------------------------------- videos


def test_a_folder_stands_for_its_videos_and_each_is_there_once(videos: Path) -> None:
    asked = request.asked_of([videos / "dog.mp4", videos / "more", videos / "dog.mp4"], {"s": "s"}, WHOLE, "micro")
    assert [one.path.relative_to(videos).as_posix() for one in asked] == ["dog.mp4", "more/cat.mp4", "more/dog.mp4"]
    assert len({one.name for one in asked}) == 3 and asked[1].name == "cat"


def test_another_part_or_other_models_are_another_video_of_the_cache(videos: Path) -> None:
    parts = [WHOLE, Part(2, None, None, None), Part(None, None, None, 3)]
    ids = {request.asked_of([videos / "dog.mp4"], {}, part, p)[0].id for part in parts for p in ("micro", "small")}
    assert len(ids) == 6


def test_a_folder_of_pictures_is_a_video(tmp_path: Path) -> None:
    for n in range(3):
        Image.fromarray(np.full((8, 12, 3), n, np.uint8)).save(tmp_path / f"{n}.png")
    (asked,) = request.asked_of([tmp_path], {"s": "s"}, WHOLE, "micro")
    assert asked.path == tmp_path and len(checks.opened(asked, WHOLE)) == 3
    with pytest.raises(ValueError, match="pictures have no times"):
        checks.opened(asked, Part(None, None, 1, None))


def test_what_is_no_video_is_refused(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dgo\.mp4: no such file or folder; did you mean 'dog\.mp4'"):
        request.asked_of([videos / "dgo.mp4"], {}, WHOLE, "micro")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="a folder without videos or frames"):
        request.asked_of([tmp_path / "empty"], {}, WHOLE, "micro")


def test_a_part_that_holds_nothing_is_refused(videos: Path) -> None:
    with pytest.raises(ValueError, match="--start 2 is not before --end 2"):
        request.check_part(Part(None, None, 2, 2))
    (asked,) = request.asked_of([videos / "dog.mp4"], {}, WHOLE, "micro")
    with pytest.raises(ValueError, match="--start 100 is after its end"):
        checks.opened(asked, Part(None, None, 100, None))


def test_of_several_videos_the_others_go_on(videos: Path) -> None:
    (videos / "more/bad.mp4").write_bytes(b"no video")
    asked = request.asked_of([videos / "more"], {}, WHOLE, "micro")
    sources, wrong = checks.sources_of(asked, WHOLE)
    assert len(sources) == 2 and len(wrong) == 1 and "bad.mp4" in wrong[0]
    with pytest.raises(ValueError, match="bad"):
        checks.sources_of([one for one in asked if one.name == "bad"], WHOLE)


ODD = (
    "a\nb",
    "-dash",
    "two  spaces",
    'it\'s "q"',
    "\U0001f415",
    "x" * 251,
    "..",
    ".",
    "$HOME `id` %d",
    "a\x1b[31m",
    "a:b",
)


def test_whatever_a_video_is_called_its_outputs_are_in_a_folder_of_their_own(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    names = [*(f"{name}.mp4" for name in ODD), "-dash.mov", "x" * 251 + ".avi"]
    paths = [tmp_path / "odd" / name for name in names]
    bad = Path(os.fsdecode(os.fsencode(tmp_path / "odd") + b"/\xff.mp4"))
    for path in [*paths, bad]:
        shutil.copy(videos / "dog.mp4", path)
    asked = request.asked_of([*paths, bad], {"s": "s"}, WHOLE, "micro")
    sources, wrong = checks.sources_of(asked, WHOLE)
    assert len(sources) == len(names) and len({one.id for one in asked}) == len(names) + 1
    assert len(wrong) == 1 and wrong[0].isprintable() and "its name is not in UTF-8" in wrong[0]
    for one in asked[:-1]:
        (tmp_path / "out" / one.name).mkdir(parents=True)
        assert one.name.isprintable() and not one.name.startswith(".")
        assert (tmp_path / "out" / one.name).resolve().parent == tmp_path / "out"
    with pytest.raises(ValueError, match=r"a\\nc\.mp4': no such file or folder") as raised:
        request.asked_of([tmp_path / "odd/a\nc.mp4"], {}, WHOLE, "micro")
    assert str(raised.value).isprintable()


def test_outputs_go_nowhere_that_is_taken(videos: Path, tmp_path: Path) -> None:
    config = make_config(tmp_path)
    checks.check_out(config, tmp_path / "found/new")
    with pytest.raises(ValueError, match="is a file, so"):
        checks.check_out(config, videos / "dog.mp4" / "out")
    with pytest.raises(ValueError, match="where stages write and remove"):
        checks.check_out(config, tmp_path / "cache/own/all/out")


# ---------------------------------------------------------------- what the workflow gets


def test_a_preset_with_a_data_set_of_its_own_decides_as_that_one_does() -> None:
    base = read_yaml(Path("config.yaml"))
    config = parse_config(base)
    over = request.overlay(config, "micro", Part(5, 64, None, None), {})
    own = parse_config(merge(base, over))
    ours, theirs = settings_of(own, "own"), settings_of(config, "shapes")
    no_weights = {"weights": {}}  # of a fixed fusion, which this is not
    assert ours.rerank.model_copy(update=no_weights) == theirs.rerank.model_copy(update=no_weights)
    assert (ours.selector, ours.tracks) == (theirs.selector, theirs.tracks)
    assert own.datasets["own"].selector.weights and (ours.frames.fps, ours.frames.max_side) == (5, 64)
    with pytest.raises(ValueError, match="no preset 'smal'; did you mean 'small'"):
        request.overlay(config, "smal", WHOLE, {})


def test_without_a_trained_selector_evidence_with_fixed_weights_decides() -> None:
    settings = settings_of(parse_config(read_yaml(Path("config.yaml"))), "own")
    assert (settings.rerank.fusion, settings.rerank.evidence) == ("fixed", ["detector", "judge"])
    assert settings.evidence["judge"].max_candidates is None


def test_every_sentence_is_a_record_and_what_no_sentence_enters_is_stored_once(videos: Path, tmp_path: Path) -> None:
    config = make_config(tmp_path)
    sentences = request.sentences_of(["The dog", "a cat"])
    asked = request.asked_of([videos / "dog.mp4"], sentences, Part(None, None, 0.1, None), "micro")
    request.write_request(Path(config.datasets["own"].root), asked, Part(None, None, 0.1, None))
    records = open_split(config, "own", "all").videos()
    assert [(r.expressions[0].raw, r.expressions[0].text, r.span) for r in records] == [
        ("The dog", "the dog", (0.1, None)),
        ("a cat", "a cat", (0.1, None)),
    ]
    assert [r.id for r in records] == [asked[0].record(name).id for name in sentences]
    layout = Layout.of(config, "own", "all")

    def files(*stage: object) -> set[Path]:
        return {layout.file(stage[0], record.id, *stage[1:]) for record in records}  # type: ignore[arg-type]

    shared = [(EXTRACT_FRAMES,), (GENERATE_PROMPTS, "grid"), (BUILD_TRACKS, "grid")]
    assert [len(files(*stage)) for stage in shared] == [1, 1, 1]
    apart = [(GENERATE_PROMPTS, "gdino"), (BUILD_TRACKS, "gdino"), (RERANK_TRACKS,)]
    assert [len(files(*stage)) for stage in apart] == [2, 2, 2]


def test_markers_hold_for_the_request_that_ended_well_alone(videos: Path, tmp_path: Path) -> None:
    config = make_config(tmp_path)
    root, layout = Path(config.datasets["own"].root), Layout.of(config, "own", "all")
    marker = layout.verified(RERANK_TRACKS)

    def kept(sentence: str, over: dict[str, object]) -> bool:
        """Whether a marker outlives the begin of a run."""
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        asked = request.asked_of([videos / "dog.mp4"], request.sentences_of([sentence]), WHOLE, "micro")
        request.write_request(root, asked, WHOLE)
        request.forget_markers(layout, root, over)
        return marker.exists()

    assert not kept("the dog", {})
    request.remember(root, {})
    assert kept("the dog", {})
    assert not kept("a cat", {}), "another sentence"
    assert not kept("the dog", {}), "the run in between was not known to end"
    request.remember(root, {})
    assert not kept("the dog", {"segment": {}}), "another config"
