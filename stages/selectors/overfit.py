"""A sanity check: can the selector learn a few videos by heart? If not, tokens, texts or labels are broken."""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stages.core.config.sections import Run
from stages.core.config.selector_sections import Selector
from stages.core.run.devices import lease_device
from stages.core.state.cache import Stamp
from stages.selectors.order import trainable
from stages.selectors.quality import Measure, TrackQuality
from stages.selectors.session import Part, check, new_model
from stages.selectors.training import Data, SelectorTask
from stages.training.clock import Length
from stages.training.loop import train
from stages.training.processes import World

log = logging.getLogger(__name__)
LEARNT = 0.99  # F1 over the tracks
EPOCHS, BATCH_SIZE, LEARNING_RATE = 300, 16, 5e-4


def overfit(part: Part, n_videos: int, config: Selector, run: Run, stamp: Stamp, measure: Measure) -> dict[str, Any]:
    """Trains on the first videos that have something to learn and validates on the same, without dropout and decay.

    It has its own schedule, so that it tests the data and not the config's schedule, and it
    writes no file.

    Returns:
        The best entry of the history: `validation.f1` is 1, or nearly, where all is well.

    Raises:
        ValueError: there is nothing to learn from.
    """
    config, videos = undisturbed(config), []
    for tracks, expressions in zip(opened := part.open(), trainable(opened), strict=True):
        if any(tracks.labels_of(e, config.training.positive_iou).any() for e in expressions):
            videos.append(tracks)
    videos = videos[:n_videos]
    check(videos, videos, part, part, config.training.positive_iou)
    with lease_device(run) as device, TemporaryDirectory() as folder:
        model, header = new_model(config, videos, part.inputs(), stamp, device)
        store = part.store(videos, config.training, needs_seen=model.needs_seen)
        data = Data(store, store, TrackQuality(part.layout, part.split, measure))
        where, tokens = Path(folder), run.batches.tokens
        task = SelectorTask(where, stamp, header, data, config, tokens, model, device, World(), stop_at_f1=LEARNT)
        train(task, Length(epochs=EPOCHS), where, trackers=())
    last = task.epochs.history[-1]
    log.info("overfit: F1 %.3f on %d videos after epoch %d", last["validation"]["f1"], len(videos), last["epoch"])
    return last


def undisturbed(config: Selector) -> Selector:
    """The same architecture and losses, and a schedule that learns by heart."""
    training = {
        "epochs": EPOCHS,
        "patience": None,
        "batch_size": BATCH_SIZE,
        "expressions_per_video": BATCH_SIZE,
        "statements": 0,
        "weight_decay": 0.0,
        "plateau_patience": EPOCHS,
    }
    own = {name: 0.0 for name in type(config.own).model_fields if "dropout" in name}
    return config.model_copy(
        update={
            config.name: config.own.model_copy(update={**own, "learning_rate": LEARNING_RATE}),
            "training": config.training.model_copy(update=training),
        }
    )
