"""Large runs: the simulation of many GPUs loses and repeats nothing, and jobs do not look at what the head has looked at."""

from pathlib import Path

import numpy as np
import pytest
from support.project import make_config
from support.tiny_mevis import write_tree

from benchmarks.scale import Cluster, Outcome, Site, deal, draw_videos, measured_costs, simulate
from stages.core.records import Video
from stages.core.run.runner import shard
from stages.datasets.listing import split_listing
from workflow.listings import FOLDER, listing_once

CALM = Site(start=60, between=0, away=0, requeue=0)
ROUGH = Site(start=60, between=1800, away=600, requeue=120)


def run(site: Site, gpus: int, shards: list[list[float]]) -> Outcome:
    return Cluster(gpus, site, np.random.default_rng(0)).run([np.array(seconds) for seconds in shards])


def test_without_losses_the_makespan_is_counted_by_hand() -> None:
    assert run(CALM, 1, [[10, 20], [30]]).makespan == 180
    assert run(CALM, 2, [[10, 20], [30]]).makespan == 90
    outcome = run(CALM, 2, [[10], [10], [100]])  # the third waits for the first GPU that is free
    assert outcome.makespan == 70 + 160
    shares = outcome.shares(2)
    assert shares == pytest.approx({"waiting": 160 / 460, "starting": 180 / 460, "lost": 0})


@pytest.mark.parametrize("gpus", [1, 3, 16])
def test_every_video_is_done_once_whatever_is_lost(gpus: int) -> None:
    shards = [list(map(float, range(20 + n, 60 + n))) for n in range(12)]
    outcome = run(ROUGH, gpus, shards)
    assert outcome.useful == pytest.approx(sum(map(sum, shards)))
    assert outcome.lost > 0 and outcome.away > 0
    spent = outcome.useful + outcome.starting + outcome.lost + outcome.away
    assert spent <= gpus * outcome.makespan + 1e-6


def test_shards_are_dealt_as_the_pipeline_deals_them() -> None:
    frames = np.array([5, 9, 1, 7, 7, 3])
    videos = [Video(str(i), (), Path(), (), cost=int(n)) for i, n in enumerate(frames)]
    dealt = deal(frames, np.arange(6.0), 4)
    for pid, seconds in enumerate(dealt):
        assert [str(int(second)) for second in seconds] == [video.id for video in shard(videos, pid, 4)]


def test_costs_are_those_that_were_measured_and_smaller_shards_wait_less() -> None:
    costs = measured_costs()
    assert 0.001 < costs["object_frame"] < costs["encode"] < 0.1
    frames, seconds = draw_videos(500, costs, np.random.default_rng(0))
    assert (seconds > frames * costs["encode"]).all() and 40 < frames.mean() < 85
    rows = [simulate(4000, 64, per_gpu, ROUGH, costs, seed=0) for per_gpu in (1, 4)]
    assert rows[1]["waiting"] < rows[0]["waiting"] and rows[1]["starting"] > rows[0]["starting"]


def test_jobs_read_the_listing_that_the_head_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_tree(tmp_path / "data")
    entry = {
        "format": "mevis",
        "root": "data",
        "generate": False,
        "models": "micro",
        "settings": {},
        "published": False,
    }
    entry["splits"] = {"valid_u": {"role": "evaluate", "limit": None}}
    entry["selector"] = {"weights": "w.safetensors", "train": None, "validate_on": None}
    config = make_config(tmp_path / "project", {"datasets": {"own": entry}})
    alone = listing_once(config, "own", "valid_u", in_head=False)
    assert alone == split_listing(config, "own", "valid_u") and not FOLDER.exists()
    assert listing_once(config, "own", "valid_u", in_head=True) == alone
    (tmp_path / "data/valid_u/meta_expressions.json").unlink()
    assert listing_once(config, "own", "valid_u", in_head=False) == alone
    changed = listing_once(config, "own", "valid_u", in_head=True)
    assert changed != alone and listing_once(config, "own", "valid_u", in_head=False) == changed
