"""Track selectors: functions of what is cached of tracks and of text features, that give one logit per track."""

from collections.abc import Mapping
from pathlib import Path

from stages.core.config.file import Config
from stages.core.config.loading import dataset_of, settings_of
from stages.core.config.selector_sections import Detector
from stages.core.config.selector_sections import Selector as SelectorSection
from stages.core.state.graph import TRAIN_SELECTOR, Layout
from stages.core.tables import SELECTORS
from stages.selectors.selector import Selector

BEST = "best.safetensors"
MARKER = f"training{TRAIN_SELECTOR.suffix}"


def load(path: Path, device: str = "cpu", weights: Mapping[str, str] | None = None, where: str = "") -> Selector:
    """A selector's file, ready to score on `device`.

    Args:
        weights: role ("sam2", "text") → id of the weights that made the features to score, which are in `where`.

    Raises:
        ValueError: the file is missing, not ours, of another architecture, or was trained on features of
            other weights.
    """
    from stages.selectors.scoring import TrainedSelector

    return TrainedSelector(path, device, weights or {}, where or "the cache")


def selector_file(config: Config, dataset: str) -> Path:
    """The file of a data set's selector: the one given, or the best of its training split."""
    choice = dataset_of(config, dataset).selector
    if choice.weights is not None:
        return Path(choice.weights)
    if choice.train is None:
        raise ValueError(f"datasets.{dataset}.selector: there is none; give its weights, or train and validate_on")
    return training_folder(config, *choice.train.split("/")) / BEST


def finished_selector(config: Config, dataset: str) -> Path:
    """`selector_file`, once it can be used.

    Raises:
        ValueError: it is missing, or its training is not finished; the message names the command to run.
    """
    path, choice = selector_file(config, dataset), dataset_of(config, dataset).selector
    if choice.weights is not None:
        if not path.is_file():
            raise ValueError(f"{path}: does not exist (datasets.{dataset}.selector.weights)")
        return path
    assert choice.train is not None
    if not path.is_file() or not path.with_name(MARKER).is_file():
        trained_on, split = choice.train.split("/")
        raise ValueError(
            f"{path}: no finished selector; run `python -m stages.train_selector --dataset {trained_on} --split {split}`"
        )
    return path


def trained_detector(selector: SelectorSection) -> Detector | None:
    """The detector whose scores the chosen architecture is trained with; None = of none."""
    kind = SELECTORS[selector.name]
    if not kind.needs_detections(kind.network_of(selector.own), kind.taken(selector.inputs)):
        return None
    return Detector.model_validate(selector.detector.model_dump())


def scoring_detector(config: Config, dataset: str) -> Detector | None:
    """The detector whose scores a data set's selector sees; None where it sees none, or cannot be read (yet)."""
    choice = dataset_of(config, dataset).selector
    if choice.is_none:
        return None
    if choice.weights is None:
        assert choice.train is not None  # the config's models ensure this
        return trained_detector(settings_of(config, choice.train.split("/")[0]).selector)
    return detector_seen_by(Path(choice.weights))


def detector_seen_by(path: Path) -> Detector | None:
    """The detector whose scores the selector of a file sees; None where it sees none, or cannot be read (yet)."""
    from stages.selectors.checkpoint import read_header

    try:
        return read_header(path).seen_detector
    except ValueError:  # the stage that scores with it says what is wrong with it
        return None


def training_folder(config: Config, dataset: str, split: str) -> Path:
    """Where training on a split keeps its state and its best selector."""
    return Layout.of(config, dataset, split).folder(TRAIN_SELECTOR)
