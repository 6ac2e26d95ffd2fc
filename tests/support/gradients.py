"""One step of both selectors, alone or shared by processes."""

import torch

from stages.core.config.file import Config
from stages.core.config.loading import settings_of
from stages.core.state.graph import Layout
from stages.datasets import open_split
from stages.selectors.architectures import Architecture
from stages.selectors.batch import collate
from stages.selectors.order import Group, share
from stages.selectors.samples import open_video
from stages.selectors.store import Store
from stages.selectors.training import accumulate
from stages.training.processes import World


def joint_gradients(config: Config, world: World) -> dict[str, list[torch.Tensor]]:
    """Of one step over all expressions, by architecture: every parameter's gradient, and the sums of the losses."""
    split, selector = open_split(config, "toy", "train"), settings_of(config, "toy").selector
    layout = Layout.of(config, "toy", "train")
    videos = [open_video(layout, video, ["gt", "gdino"]) for video in split.videos()[:3]]
    store = Store(videos, selector.training, split.annotations)
    step: list[Group] = [(v, [e for e in range(5) if len(videos[v].tracks_of(e))]) for v in range(3)]
    n_samples = sum(len(expressions) for _, expressions in step)
    found = {}
    for name in ("sola", "soc"):
        chosen = selector.model_copy(update={"name": name})
        model = Architecture.of(chosen).build(16, 32, seed=0).train()
        mine = share(step, store.sizes, world.rank, world.size)
        passes = [collate(store.samples(*group)) for group in mine]
        sums = accumulate(model, passes, n_samples, chosen, "cpu")
        world.add_up([*world.gradients(list(model.parameters())), sums])
        found[name] = [*(p.grad for p in model.parameters() if p.grad is not None), sums]
    return found
