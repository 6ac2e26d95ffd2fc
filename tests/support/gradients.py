"""One step of every selector, alone or shared by processes."""

from typing import Any

import torch

from stages.core.config.file import Config
from stages.core.config.loading import settings_of
from stages.core.config.selector_sections import Selector
from stages.core.state.graph import Layout
from stages.datasets import open_split
from stages.selectors.architectures import Architecture
from stages.selectors.batch import collate
from stages.selectors.order import Group, share
from stages.selectors.samples import open_video
from stages.selectors.store import Store
from stages.selectors.training import accumulate
from stages.training.processes import World

# Name → what of the section `selector` is changed; draws of noise differ by process, so there are none.
STILL = {"place_noise": 0.0, "size_noise": 0.0, "missed": 0.0, "detector_missed": 0.0, "dropout": 0.0}
VARIANTS: dict[str, dict[str, Any]] = {
    "sola": {},
    "soc": {},
    "sola with inputs": {"name": "sola", "inputs": ["course", "detector"]},
    "soc with inputs": {"name": "soc", "inputs": ["course", "detector"]},
    "course": STILL,
    "course with detector": {"name": "course", "detector": True, **STILL},
}


def chosen(selector: Selector, name: str, change: dict[str, Any]) -> Selector:
    own = {key: value for key, value in change.items() if key not in ("name", "inputs")}
    architecture = change.get("name", name)
    section = selector[architecture].model_copy(update=own)
    over = {"name": architecture, "inputs": change.get("inputs", []), architecture: section}
    return selector.model_copy(update=over)


def joint_gradients(config: Config, world: World) -> dict[str, list[torch.Tensor]]:
    """Of one step over all expressions, by variant: every parameter's gradient, and the sums of the losses."""
    split, selector = open_split(config, "toy", "train"), settings_of(config, "toy").selector
    layout = Layout.of(config, "toy", "train")
    videos = [open_video(layout, video, ["gt", "gdino"], selector.detector) for video in split.videos()[:3]]
    store = Store(videos, selector.training, split.annotations)
    step: list[Group] = [(v, [e for e in range(5) if len(videos[v].tracks_of(e))]) for v in range(3)]
    n_samples = sum(len(expressions) for _, expressions in step)
    found = {}
    for name, change in VARIANTS.items():
        variant = chosen(selector, name, change)
        model = Architecture.of(variant).build(16, 32, seed=0).train()
        mine = share(step, store.sizes, world.rank, world.size)
        passes = [collate(store.samples(*group)) for group in mine]
        sums = accumulate(model, passes, n_samples, variant, "cpu")
        world.add_up([*world.gradients(list(model.parameters())), sums])
        found[name] = [*(p.grad for p in model.parameters() if p.grad is not None), sums]
    return found
