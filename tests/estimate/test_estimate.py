"""`referee estimate`: what a run will take, counted by hand for a small tree; and what was never counted is said."""

from pathlib import Path

import pytest
from support.jobs import make_job
from support.project import ROOT, config_document, make_config
from support.tiny_mevis import write_tree
from support.video_files import make_video

from stages import extract_frames
from stages.core.config.file import Config
from stages.core.config.loading import merge, parse_config, read_yaml, settings_of
from stages.core.work import CARDS, ENCODINGS, OBJECT_FRAME, Work, milliseconds
from stages.datasets import open_split
from stages.estimate.split import Estimate, estimate
from stages.estimate.words import columns, lines
from stages.tools import estimate as tool

CARD = "80 GB (H100)"
CANDIDATES = 3


def strongest(root: Path, over: dict[str, object] | None = None) -> Config:
    """The project's config below workflow/strongest.yaml, with small pictures."""
    preset = read_yaml(ROOT / "workflow/strongest.yaml")
    small = {"evidence": {name: {"frame_side": 128} for name in ("judge", "agent", "exists")}}
    for entry in preset["datasets"].values():
        entry["settings"] = small
    document = merge(config_document(root), {"datasets": preset["datasets"]})
    return parse_config(merge(document, over or {}))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("estimate")
    write_tree(root / "data/mevis")
    return root


@pytest.fixture(scope="module")
def made(tree: Path) -> Estimate:
    return estimate(strongest(tree, {"datasets": {"mevis": {"published": False}}}), "mevis", "valid_u", CANDIDATES)


def test_questions_are_those_of_every_expression(made: Estimate, tree: Path) -> None:
    videos = open_split(make_config(tree), "mevis", "valid_u").videos()
    spoken = sum(expression.has_word for video in videos for expression in video.expressions)
    assert made.videos == len(videos) and made.frames == sum(len(video.frames) for video in videos)
    judge, agent, exists = (made.bills[name] for name in ("judge", "agent", "exists"))
    assert judge.questions == spoken * CANDIDATES * 2, "for and against"
    assert agent.questions == spoken, "one answer in words has a verdict on each of them"
    assert agent.perhaps == spoken * (2 + 3), "two more rounds, and a repair in each of three"
    assert (exists.questions, exists.perhaps) == (spoken * 2, spoken), "for and against; what contradicts"
    assert made.phrased == ["sam3"]


def test_a_budget_limits_what_is_asked(tree: Path, made: Estimate) -> None:
    over = {"datasets": {"mevis": {"settings": {"evidence": {"agent": {"budget": {"questions": 1}}}}}}}
    agent = estimate(strongest(tree, over), "mevis", "valid_u", CANDIDATES).bills["agent"]
    assert (agent.questions, agent.perhaps) == (made.videos, 0)


def test_hours_of_tracks_are_tracks_times_frames(made: Estimate, tree: Path) -> None:
    config = strongest(tree)
    caps, card = settings_of(config, "mevis").tracks.max_tracks, CARDS[CARD]
    sources = settings_of(config, "mevis").selector.sources.evaluate
    expected = 0.0
    for video in open_split(config, "mevis", "valid_u").videos():
        tracks = sum(caps[source] for source in sources) * len(video.expressions)
        encoded = len(sources) * milliseconds(ENCODINGS["hiera_l"], card)
        expected += len(video.frames) * (tracks * milliseconds(OBJECT_FRAME, card) + encoded) / 3.6e6
    assert made.hours["tracks"][CARD] == pytest.approx(expected)  # type: ignore[index]


def test_everything_that_is_loaded_is_counted(made: Estimate) -> None:
    assert set(made.models) == {"sam2", "grounding_dino", "sam3", "mllm", "seg"}
    assert not any(here for _, here in made.models.values())
    parts = {f"prompts of {source}" for source in ("sam3", "gdino", "seg")}
    assert made.hours.keys() == parts | {"tracks", "evidence judge", "evidence agent", "evidence exists"}
    assert all(not isinstance(hours, str) and min(hours.values()) > 0 for hours in made.hours.values())


def test_words_name_licences_gigabytes_questions_and_cards(made: Estimate) -> None:
    told = "\n".join(lines(made))
    assert "facebook/sam3" in told and "SAM License" in told and "38.3 GB to fetch" in told
    assert "too small for it: 12 GB (RTX 4070)" in told and "computed, not measured" in told
    assert all(card in told for card in CARDS)


def test_prices_of_a_server_are_summed(tree: Path) -> None:
    server = read_yaml(ROOT / "config.yaml")["evidence"]["judge"]["server"] | {
        "prices": {"input": 1000.0, "output": 0.0}
    }
    over = {"datasets": {"mevis": {"settings": {"evidence": {"judge": {"backend": "openai", "server": server}}}}}}
    made = estimate(strongest(tree, over), "mevis", "valid_u", CANDIDATES)
    assert made.bills["judge"].cost == pytest.approx(made.bills["judge"].tokens / 1000)
    assert "evidence judge" not in made.hours, "it takes none of our cards"


def test_what_was_never_counted_is_said(tree: Path) -> None:
    made = estimate(make_config(tree, {"datasets": {"mevis": {"models": "micro"}}}), "mevis", "valid_u", CANDIDATES)
    assert isinstance(made.hours["tracks"], str) and "sam2_micro" in made.hours["tracks"]
    assert "not counted: tracks" in "\n".join(lines(made))
    assert all(here for _, here in made.models.values()), "they are bundled"


def test_more_precision_takes_longer() -> None:
    work = Work(1000.0, 1.0)
    assert milliseconds(work._replace(precision="float32"), CARDS[CARD]) > milliseconds(work, CARDS[CARD])
    assert milliseconds(Work(0.0, 0.0, 200), CARDS[CARD]) == pytest.approx(1.0), "launches take 5 µs each"


def test_columns_are_as_wide_as_their_widest_word() -> None:
    assert columns(("a", "n"), [("long", "1"), ("b", "200")], {1}) == ["a       n", "long    1", "b     200"]


def test_from_the_command_line(tree: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    place = tmp_path / "mine.yaml"
    place.write_text(f"datasets: {{mevis: {{root: {tree}/data/mevis, published: false}}}}\n")
    words = ["--configfile", "workflow/strongest.yaml", str(place), "--candidates", "2"]
    assert tool.main(["results/mevis/valid_u", *words]) == 0
    assert "preset strongest" in capsys.readouterr().out
    assert tool.main(["mevis/valid_x", *words]) != 0
    assert "did you mean 'valid_u'?" in capsys.readouterr().err
    assert tool.main(["mevis", *words]) != 0
    assert "error: " in capsys.readouterr().err


def test_frames_of_video_files_are_counted_once_they_are_extracted(tmp_path: Path) -> None:
    root = tmp_path / "data/clips"
    root.mkdir(parents=True)
    make_video(root / "dog.mp4", 6)
    (root / "expressions.json").write_text('{"dog": ["the dog that turns around", "a box"]}')
    config = strongest(tmp_path)
    with pytest.raises(ValueError, match="run `referee extract-frames` on it first"):
        estimate(config, "clips", "all", CANDIDATES)
    extract_frames.run(make_job(config, "clips", "all"))
    made = estimate(config, "clips", "all", CANDIDATES)
    assert (made.videos, made.unlisted, made.frames) == (1, 0, 6)
    assert made.bills["judge"].questions == 2 * CANDIDATES * 2
