# What all rules share: the validated config, path patterns, resources, and the inputs that depend on the config.

from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.io import is_flagged
from snakemake.iocontainers import Wildcards
from snakemake.logging import logger
from snakemake_interface_executor_plugins.settings import ExecMode

from stages.core.config.loading import (
    decider,
    fitting_split,
    parse_config,
    section_digest,
    settings_of,
    variant,
)
from stages.core.config.model import roles
from stages.core.config.resolved import save_config
from stages.core.digests import digest, file_sha256
from stages.core.run.needs import NEEDS
from stages.core.state.failures import failed_videos
from stages.core.state.graph import STAGES, Layout
from stages.core.state.marks import refuse_foreign
from stages.core.tables import EVIDENCE, SELECTORS, SOURCES
from stages.selectors import scoring_detector, trained_detector
from workflow.listings import listing_once

CONFIG = parse_config(config)
CONFIG_FILE = save_config(CONFIG)
CACHE = CONFIG.paths.cache
RESULTS = CONFIG.paths.results
WEIGHTS = CONFIG.paths.weights
SPLITS = [
    f"{name}/{split}"
    for name, entry in CONFIG.datasets.items()
    for split in entry.splits
]
TARGETS = [f"{RESULTS}/{place}" for place in SPLITS]
COMPARISONS = [f"{RESULTS}/compare/{place}" for place in SPLITS]
REPORTS = [f"{RESULTS}/report/{place}" for place in SPLITS]
EXAMPLE = next(
    f"{RESULTS}/{name}/{split}"
    for name, entry in CONFIG.datasets.items()
    for split, kind in entry.splits.items()
    if kind.role == "evaluate"
)
HELP = [
    f"Name a result, for example: snakemake --cores 8 {EXAMPLE}",
    *(
        f"  {RESULTS}/{name}/  {'  '.join(entry.splits)}"
        for name, entry in CONFIG.datasets.items()
    ),
    f"  {RESULTS}/report/<dataset>/<split>   a site to look at the results: figures, table, videos, candidates",
    f"  {RESULTS}/compare/<dataset>/<split>  selectors, baselines and the oracle, compared",
    f"Of every job: its log and what it took, {CACHE}/<dataset>/<split>/logs",
]
EVIDENCE_NAMES = sorted(
    {
        name
        for dataset in CONFIG.datasets
        for name in settings_of(CONFIG, dataset).evidence
    }
)

VARIANTS = sorted(
    {
        label
        for dataset in CONFIG.datasets
        for label in settings_of(CONFIG, dataset).compare.variants
    }
)

SPLIT = f"{CACHE}/{{dataset}}/{{split}}"
SHARD = f"{SPLIT}/shards/{{task}}/{{pid}}-of-{{n}}"
VERIFIED = f"{SPLIT}/done/{{task}}.json"
LOGS = f"{SPLIT}/logs"

# The flags of every per-video stage; a shard's state is undeclared, see "State" in docs/architecture.md.
# Through the environment: in a rule's text or params, any change of the config would rerun every rule.
shell.prefix(
    f"set -euo pipefail; export REFEREE_CONFIG={CONFIG_FILE} HF_HUB_DISABLE_PROGRESS_BARS=1; "
)
JOB = "--config $REFEREE_CONFIG --dataset {wildcards.dataset} --split {wildcards.split}"
SHARDED_JOB = f"{JOB} --pid {{wildcards.pid}} --n-pids {{wildcards.n}}"
# The log holds the whole output, the terminal all but plain information. What writes it outlives Ctrl-C and SIGTERM,
# so that the last words of a job get there; a job's exit status is that of its stage (pipefail).
LOGGED = "2>&1 | (trap '' INT TERM; tee {log} | sed -u '\\|^..:..:.. I |d')"
# A job that ended well leaves a marker of other content than every one before it: what is decided by content, rather than by
# times, is that what follows has not been done yet.
MARK = 'printf \'{{"made": "%s-%s"}}\' $$ $(date +%s%N)'
MARKED = f"{LOGGED} && {MARK} > {{output}}"


wildcard_constraints:
    # always followed by the split: one that the data set has
    dataset="|".join(
        f"{name}(?=/({'|'.join(entry.splits)})(/|$))"
        for name, entry in CONFIG.datasets.items()
    ),
    split="[A-Za-z0-9_-]+",
    source="|".join(SOURCES),
    evidence="|".join(EVIDENCE_NAMES) or "none",
    preset="|".join(CONFIG.presets),
    role="|".join(roles()),
    task="[a-z_]+(-[A-Za-z0-9_-]+)?",
    pid="[0-9]+",
    n="[0-9]+",
    name="|".join(SELECTORS),
    variant=f"(-({'|'.join(VARIANTS) or 'none'}))?",
    seed="[0-9]+",


def needs(rule, stage=None):
    """The resources of a rule: its memory and time by attempt, and the devices of its stage."""
    memory, minutes = NEEDS[rule]
    asked = {
        "mem_mb": lambda wildcards, attempt: memory * attempt,
        "runtime": lambda wildcards, attempt: minutes * attempt,
    }
    if stage is not None and STAGES[stage].device is not False:
        asked["gpu"] = lambda wildcards: STAGES[stage].gpus(
            settings(wildcards), branch(wildcards)
        )
    return asked


def settings(wildcards):
    return settings_of(CONFIG, wildcards.dataset)


def branch(wildcards):
    """The prompt source or the name of evidence that a job works for; None where its stage has neither."""
    return wildcards.get("source") or wildcards.get("evidence")


def threads_of(wildcards):
    return settings(wildcards).run.threads


def reads(stage):
    """A digest of the config sections that a stage reads: when one changes, its jobs run again.

    Where videos that fail are left out, also of what failed: each run tries it again.
    """

    return lambda wildcards: read_by(
        stage, wildcards.dataset, wildcards.split, branch(wildcards)
    )


@cache
def read_by(stage, dataset, split, own_branch):
    """What `reads` says of all shards of a split."""
    own = settings_of(CONFIG, dataset)
    read = section_digest(own, STAGES[stage].reads(own, own_branch))
    if own.run.on_failure == "stop":
        return read
    failed = failed_videos(Layout.of(CONFIG, dataset, split))
    return digest([read, failed]) if failed else read


def given(*files):
    """Files of a person, as inputs whose times say nothing: one that is moved over another keeps its own. `contents` decides."""
    return [ancient(file) for file in files]


def contents(inputs):
    """Digests of the files of a person among a rule's inputs: when one changes, its jobs run again."""
    return lambda wildcards: [
        content_of(file) for file in inputs(wildcards) if is_flagged(file, "ancient")
    ]


@cache
def content_of(file):
    """A digest of a file's bytes; None where there is none, which Snakemake says by itself."""
    try:
        return file_sha256(Path(file))
    except OSError:
        return None


def reads_of_variant(wildcards):
    """What `reads` gives for a training with another architecture, seed or other settings than the config's."""
    own = settings_of(varied(wildcards), wildcards.dataset)
    return section_digest(own, STAGES["train_selector"].reads(own, None))


def varied(wildcards):
    """The config of a training beside the configured one."""
    label = wildcards.variant.removeprefix("-") or None
    return varied_config(wildcards.dataset, wildcards.name, int(wildcards.seed), label)


@cache
def varied_config(dataset, name, seed, label):
    return variant(CONFIG, dataset, name, seed, label)


def replaceable(folder):
    """No input: stops before Snakemake removes a declared folder that is not ours, as it does before and after jobs."""
    try:
        refuse_foreign(Path(folder))
    except ValueError as error:
        raise WorkflowError(str(error)) from error
    return []


def verified(wildcards, *tasks):
    """The files that say that a task is complete for every video of the split."""
    return [
        VERIFIED.format(dataset=wildcards.dataset, split=wildcards.split, task=task)
        for task in tasks
    ]


def verified_elsewhere(reference, *tasks):
    """What `verified` gives for another split, given as <dataset>/<split>."""
    dataset, split = reference.split("/")
    return [VERIFIED.format(dataset=dataset, split=split, task=task) for task in tasks]


def shards_of(wildcards):
    """All shards of a task, as many as the config says."""
    n = settings(wildcards).run.n_pids
    return [SHARD.format(**wildcards, pid=pid, n=n) for pid in range(n)]


def dataset_ready(wildcards):
    """The embedded data set is made first; what a person has put there is in `listing`."""
    entry = CONFIG.datasets[wildcards.dataset]
    if entry.generate:
        return [str(Path(entry.root) / "shapes.json")]
    tell_if_missing(entry.root, f"the data set {wildcards.dataset!r}")
    return []


@cache
def tell_if_missing(place, what):
    """One line where a person has yet to bring something; a dry run would say nothing of it, and the stage fails."""
    if not Path(place).exists():
        logger.warning(f"warning: {what} is not there yet: {place}")


@cache
def listing_of(dataset, split):
    in_head = workflow.exec_mode == ExecMode.DEFAULT
    return listing_once(CONFIG, dataset, split, in_head=in_head)


def listing(wildcards):
    """A digest of the files that a split is read from: when one of them changes, its jobs run again. As inputs, these
    files would each cost a look by Snakemake, and their names, which may be anything, would be read for wildcards.
    """
    if CONFIG.datasets[wildcards.dataset].generate:
        return ""
    return listing_of(wildcards.dataset, wildcards.split)


def weights(stage):
    """The records of the models that a stage loads."""

    def records(wildcards):
        preset = CONFIG.datasets[wildcards.dataset].models
        loaded = STAGES[stage].roles(settings(wildcards), branch(wildcards))
        for role in loaded:
            model = CONFIG.presets[preset].models[role]
            if model is not None and model.path is not None:
                tell_if_missing(model.path, f"the model {preset}/{role}")
        return [f"{WEIGHTS}/{preset}/{role}/record.json" for role in loaded]

    return records


def model_entry(wildcards):
    """What the config says about a model, and the state of files that are used in place: when it changes, the model is
    fetched again."""
    model = CONFIG.presets[wildcards.preset].models[wildcards.role]
    if model is None:
        return None
    place = Path(model.path) if model.path else None
    files = (
        sorted(
            place.glob("*") if place.is_dir() else [place] if place.is_file() else []
        )
        if place
        else []
    )
    states = [
        (file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files
    ]
    return digest([model.model_dump_json(), states])


def tracks(sources):
    return [STAGES["build_tracks"].task(source) for source in sources]


def candidate_tracks(wildcards):
    return verified(wildcards, *tracks(settings(wildcards).selector.sources.evaluate))


def judged(wildcards):
    """What a name of evidence is gathered from: scores or tracks, what its kind asks for, and files that it names."""
    own = settings(wildcards)
    entry = own.evidence[wildcards.evidence]
    kind = EVIDENCE[entry.kind]
    if kind.uses_scores(entry):
        about = ["score_tracks"]
    else:
        about = tracks(own.selector.sources.evaluate)
    files = verified(wildcards, *dict.fromkeys([*about, *kind.tasks(entry)]))
    if elsewhere := kind.fitted_to(entry):
        files += verified_elsewhere(
            fitting_split(CONFIG, wildcards.dataset), *elsewhere
        )
    return [*files, *given(*kind.files(entry).values())]


def gathered(wildcards):
    """Scores, and the evidence that decides beside them."""
    names = settings(wildcards).rerank.evidence
    evidence = [STAGES["gather_evidence"].task(name) for name in names]
    return verified(wildcards, "score_tracks", *evidence)


def fusion(wildcards):
    """The fusion that decides: a file, or fitted to another split; none where the config gives its weights."""
    rerank = settings(wildcards).rerank
    if rerank.fusion == "fixed":
        return []
    if rerank.fusion_file is not None:
        if CONFIG.datasets[wildcards.dataset].selector.weights is None:
            raise WorkflowError(
                f"{rerank.fusion_file}: was fitted to the scores of a selector that there is, but "
                f"datasets.{wildcards.dataset}.selector.weights is null, so one is trained; set rerank.fusion_file: null"
            )
        return given(rerank.fusion_file)
    return verified_elsewhere(fitting_split(CONFIG, wildcards.dataset), "fit_fusion")


def selector(wildcards):
    """The selector that scores a data set: a given file, or the finished marker of a training."""
    choice = CONFIG.datasets[wildcards.dataset].selector
    if choice.is_none:
        return []
    return (
        given(choice.weights)
        if choice.weights
        else verified_elsewhere(choice.train, "train_selector")
    )


def words(wildcards):
    """The text features that a selector scores with."""
    has_selector = not CONFIG.datasets[wildcards.dataset].selector.is_none
    return verified(wildcards, "encode_text") if has_selector else []


def detections(detector):
    """The prompts that hold a detector's scores; none where no detector is read."""
    return (
        [] if detector is None else [STAGES["generate_prompts"].task(detector.source)]
    )


def seen_detections(wildcards):
    """What the selector that scores a data set sees of a detector."""
    return verified(wildcards, *detections(scoring_detector(CONFIG, wildcards.dataset)))


def training_inputs(wildcards):
    """Tracks, text and detections of the training split and of the split that picks the best epoch."""
    over = varied(wildcards) if wildcards.get("name") else CONFIG
    own = settings_of(over, wildcards.dataset).selector
    validation = CONFIG.datasets[wildcards.dataset].selector.validate_on
    read = ["encode_text", *detections(trained_detector(own))]
    trained = verified(wildcards, *read, *tracks(own.sources.train))
    return trained + verified_elsewhere(
        validation, *read, *tracks(own.sources.evaluate)
    )


def seg_training_inputs(wildcards):
    """Frames of all splits that the [SEG] model is trained and measured on."""
    own = settings(wildcards).seg_training
    places = [*own.also, *([own.validate_on] if own.validate_on else [])]
    elsewhere = [verified_elsewhere(place, "extract_frames") for place in places]
    return verified(wildcards, "extract_frames") + sum(elsewhere, [])


def compared_tracks(wildcards):
    """Tracks of every source that methods are compared on."""
    mixes = settings(wildcards).compare.sources
    sources = {source for mix in mixes for source in mix.split("+")}
    return verified(wildcards, *tracks(sorted(sources)))


def compared_selectors(wildcards):
    """What has to be there before the selectors of the config's section `compare` can be (their NAME=PLACE)."""
    files = []
    for asked in settings(wildcards).compare.selectors:
        name, _, place = asked.partition("=")
        if place == "trained":
            files += trainings(wildcards, name, settings(wildcards).compare.seeds)
        elif place == "pipeline":
            files += selector(wildcards) + seen_detections(wildcards)
        elif place in ("scores", "decisions"):
            task = {"scores": "score_tracks", "decisions": "rerank_tracks"}[place]
            files += verified(wildcards, task)
    return files


def trainings(wildcards, name, seeds, label=None):
    """The finished markers of an architecture's trainings, one per seed; the configured one serves for its own."""
    train = CONFIG.datasets[wildcards.dataset].selector.train
    dataset = train.split("/")[0]
    configured = settings_of(CONFIG, dataset).selector
    over = varied_config(dataset, name, seeds[0], label)
    seen = detections(trained_detector(settings_of(over, dataset).selector))
    own = (configured.name, configured.training.seed, None)
    beside = f"train_selector-{name}" + (f"-{label}" if label else "")
    tasks = [
        "train_selector" if (name, seed, label) == own else f"{beside}-{seed}"
        for seed in seeds
    ]
    return verified(wildcards, *seen) + verified_elsewhere(train, *tasks)


def compared_decisions(wildcards):
    """What the lines of the config's section `compare.decisions` are decided from: trainings of their selectors; evidence,
    and tracks and text for scores, of this split and of the one that fusions are fitted to.
    """
    own = settings(wildcards)
    files = []
    for name, line in own.compare.decisions.items():
        rerank = decider(own, name)
        evidence = [STAGES["gather_evidence"].task(known) for known in rerank.evidence]
        splits = [f"{wildcards.dataset}/{wildcards.split}"]
        splits += fitted_splits(wildcards) if rerank.fusion == "fitted" else []
        for split in splits:
            place = own_place(split)
            files += verified(
                place, "encode_text", *tracks(own.selector.sources.evaluate), *evidence
            )
            if not line.is_without_selector:
                seeds = own.compare.seeds[: line.seeds]
                selector = line.selector or own.selector.name
                files += trainings(place, selector, seeds, line.variant)
    return list(dict.fromkeys(files))


def own_place(reference):
    """<dataset>/<split> as the wildcards of a job on it."""
    return Wildcards(fromdict=dict(zip(("dataset", "split"), reference.split("/"))))


def fitted_splits(wildcards):
    """The split that fusions are fitted to; an error before any work where that is the compared one."""
    place = fitting_split(CONFIG, wildcards.dataset)
    if place == f"{wildcards.dataset}/{wildcards.split}":
        raise WorkflowError(
            f"{place}: compare.decisions are fitted to this split (rerank.fit_on), so they would be flattered on it"
        )
    return [place]
