# What all rules share: the validated config, path patterns, and the inputs that depend on it.

from pathlib import Path

from stages.core.config.loading import models_of, parse_config, section_digest, settings_of
from stages.core.state.graph import STAGES, Layout
from stages.core.records import SOURCES
from stages.core.config.resolved import save_config

CONFIG = parse_config(config)
CONFIG_FILE = save_config(CONFIG)
CACHE = CONFIG.paths.cache
RESULTS = CONFIG.paths.results
WEIGHTS = CONFIG.paths.weights
ROLES = ("sam2", "grounding_dino", "text", "mllm")
TARGETS = [
    f"{RESULTS}/{name}/{split}"
    for name, entry in CONFIG.datasets.items()
    for split in entry.splits
]

SPLIT = f"{CACHE}/{{dataset}}/{{split}}"
SHARD = f"{SPLIT}/shards/{{task}}/{{pid}}-of-{{n}}"
VERIFIED = f"{SPLIT}/done/{{task}}.json"
LOGS = f"{SPLIT}/logs"

# Where the formats of stages/datasets keep their indexes, below a data set's root.
INDEX_FILES = {
    "mevis": ["{split}/*.json", "*.json"],
    "folder": ["*"],
    "ytvos": ["meta_expressions/*/*.json", "{split}/*.json"],
    "davis17": ["*.txt", "*.json", "meta_expressions/*/*.json"],
    "a2d": ["text_annotations/*.txt", "Release/*.csv"],
    "jhmdb": ["*.txt"],
}

# What every per-video stage is told; a shard's state is undeclared, see "State" in docs/architecture.md.
# Through the environment: in a rule's text or params, any change of the config would rerun every rule.
shell.prefix(f"set -euo pipefail; export REFEREE_CONFIG={CONFIG_FILE}; ")
JOB = "--config $REFEREE_CONFIG --dataset {wildcards.dataset} --split {wildcards.split}"
SHARDED_JOB = f"{JOB} --pid {{wildcards.pid}} --n-pids {{wildcards.n}}"


wildcard_constraints:
    dataset="|".join(CONFIG.datasets),
    split="[A-Za-z0-9_-]+",
    source="|".join(SOURCES),
    preset="|".join(CONFIG.presets),
    task="[a-z_]+(-[a-z]+)?",
    pid="[0-9]+",
    n="[0-9]+",
    name="[a-z][a-z0-9_]*",
    seed="[0-9]+",


def settings(wildcards):
    return settings_of(CONFIG, wildcards.dataset)


def threads_of(wildcards):
    return settings(wildcards).run.threads


def reads(stage):
    """A digest of the config sections that a stage reads: when one changes, its jobs run again."""

    def value(wildcards):
        names = STAGES[stage].reads(wildcards.get("source"))
        return section_digest(settings(wildcards), names)

    return value


def verified(wildcards, *tasks):
    """The files that say that a task is complete for every video of the split."""
    return [
        VERIFIED.format(dataset=wildcards.dataset, split=wildcards.split, task=task)
        for task in tasks
    ]


def verified_elsewhere(reference, *tasks):
    """The same for another split, given as <dataset>/<split>."""
    dataset, split = reference.split("/")
    return [VERIFIED.format(dataset=dataset, split=split, task=task) for task in tasks]


def shards_of(wildcards):
    """All shards of a task, as many as the config says."""
    n = settings(wildcards).run.n_pids
    return [SHARD.format(**wildcards, pid=pid, n=n) for pid in range(n)]


def dataset_ready(wildcards):
    """The embedded data set is made first. Of others, the index files that are there: when one changes,
    frames are checked again. What is missing, the stage explains."""
    entry = CONFIG.datasets[wildcards.dataset]
    root = Path(entry.root)
    if entry.generate:
        return [str(root / "shapes.json")]
    patterns = INDEX_FILES.get(entry.format, INDEX_FILES["mevis"])
    found = {
        path
        for pattern in patterns
        for path in root.glob(pattern.format(split=wildcards.split))
    }
    return sorted(str(path) for path in found if path.is_file())


def weights(*roles):
    """The records of a data set's models."""

    def records(wildcards):
        preset = CONFIG.datasets[wildcards.dataset].models
        return [f"{WEIGHTS}/{preset}/{role}/record.json" for role in roles]

    return records


def prompt_weights(wildcards):
    return weights(*STAGES["generate_prompts"].roles(wildcards.source))(wildcards)


def rerank_weights(wildcards):
    return weights("mllm")(wildcards) if settings(wildcards).rerank.enabled else []


def tracks(sources):
    return [f"build_tracks-{source}" for source in sources]


def candidate_tracks(wildcards):
    return verified(wildcards, *tracks(settings(wildcards).selector.sources.evaluate))


def selector(wildcards):
    """The selector that scores a data set: a given file, or the end of a training."""
    choice = CONFIG.datasets[wildcards.dataset].selector
    return (
        [choice.weights]
        if choice.weights
        else verified_elsewhere(choice.train, "train_selector")
    )


def training_inputs(wildcards):
    """Tracks and text of the training split and of the split that picks the best epoch."""
    sources = settings(wildcards).selector.sources
    validation = CONFIG.datasets[wildcards.dataset].selector.validate_on
    trained = verified(wildcards, "encode_text", *tracks(sources.train))
    return trained + verified_elsewhere(
        validation, "encode_text", *tracks(sources.evaluate)
    )


def compared_tracks(wildcards):
    """Tracks of every source that methods are compared on."""
    mixes = settings(wildcards).compare.sources
    sources = {source for mix in mixes for source in mix.split("+")}
    return verified(wildcards, *tracks(sorted(sources)))


def compared_selectors(wildcards):
    """What has to be there before the selectors of the config's section `compare` can be (their NAME=PLACE)."""
    found = []
    for asked in settings(wildcards).compare.selectors:
        name, _, place = asked.partition("=")
        if place == "trained":
            found += trainings(wildcards, name)
        elif place == "pipeline":
            found += selector(wildcards)
        elif place in ("scores", "decisions"):
            task = {"scores": "score_tracks", "decisions": "rerank_tracks"}[place]
            found += verified(wildcards, task)
    return found


def trainings(wildcards, name):
    """The ends of an architecture's trainings, one a seed; the configured one serves for its own."""
    train = CONFIG.datasets[wildcards.dataset].selector.train
    said = settings_of(CONFIG, train.split("/")[0]).selector
    own = (said.name, said.training.seed)
    tasks = [
        "train_selector" if (name, seed) == own else f"train_selector-{name}-{seed}"
        for seed in settings(wildcards).compare.seeds
    ]
    return verified_elsewhere(train, *tasks)
