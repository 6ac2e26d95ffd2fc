"""workflow/strongest.yaml: one command makes everything that the preset names, and trains nothing."""

from pathlib import Path

import yaml
from support.tiny_mevis import write_tree
from support.workspace import LINKS, jobs_of, snakemake

from stages.core.config.loading import merge, read_yaml

SOURCES, EVIDENCE = 3, 6


def test_one_command_makes_sources_and_evidence_and_trains_nothing(tmp_path: Path) -> None:
    for name in LINKS:
        (tmp_path / name).symlink_to(Path(name).resolve())
    write_tree(tmp_path / "data/mevis")
    small = {"run": {"n_pids": 1}, "datasets": {"mevis": {"published": False}}}
    config = merge(read_yaml(Path("workflow/strongest.yaml")), small)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(tmp_path, "-n", "results/strongest/mevis/valid_u", config="small.yaml")
    jobs = jobs_of(done)
    assert (jobs["generate_prompts"], jobs["build_tracks"]) == (SOURCES, SOURCES)
    assert jobs["gather_evidence"] == EVIDENCE and jobs["rerank_tracks"] == 1
    assert not jobs.keys() & {"train_selector", "fit_fusion", "encode_text"}
    assert jobs["fetch_weights"] == 5, "SAM2, GroundingDINO, SAM3, the [SEG] model and the MLLM; no text encoder"
