"""Chat-UniVi's visual tokens (arXiv 2311.08046): an image's patches, merged step by step into fewer clusters.

Density peaks with nearest neighbours choose the centres, and a cluster becomes the mean of its tokens; nothing is learned. The
published code adds noise of 1e-6 to the densities, so that none are equal; here none is added, and equal inputs give equal bytes.

Legend: I images, N tokens, K clusters, C width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

NEIGHBOURS = (5, 3, 3)  # of each step


def merged(tokens_INC: Tensor, clusters: Sequence[int]) -> Tensor:
    """(I, sum of clusters, C): the tokens after each step, one step after the other.

    Args:
        clusters: how many there are after each step.
    """
    steps = []
    for count, neighbours in zip(clusters, NEIGHBOURS, strict=True):
        tokens_INC = merge(tokens_INC, count, neighbours)
        steps.append(tokens_INC)
    return torch.cat(steps, dim=1)


def merge(tokens_INC: Tensor, count: int, neighbours: int) -> Tensor:
    """(I, K, C): one step, into `count` clusters."""
    if neighbours > count:
        neighbours = min(3, max(count // 2, 1))
    cluster_IN = assign(tokens_INC.detach().float(), count, neighbours)
    one_hot_INK = torch.nn.functional.one_hot(cluster_IN, count).to(tokens_INC)
    sizes_I1K = one_hot_INK.sum(dim=1, keepdim=True) + 1e-6
    return (one_hot_INK / sizes_I1K).transpose(1, 2) @ tokens_INC


def assign(tokens_INC: Tensor, count: int, neighbours: int) -> Tensor:
    """(I, N): the cluster of each token.

    A token's density is exp(−mean squared distance to its neighbours), its score that times the distance to the nearest
    denser token; the tokens of highest score are the centres, and every token belongs to the nearest.
    """
    distance_INN = torch.cdist(tokens_INC, tokens_INC) / tokens_INC.shape[-1] ** 0.5
    nearest_INk = distance_INN.topk(neighbours, dim=-1, largest=False).values
    density_IN = nearest_INk.square().mean(dim=-1).neg().exp()
    is_denser_INN = density_IN[:, None, :] > density_IN[:, :, None]
    farthest_I11 = distance_INN.flatten(1).max(dim=-1).values[:, None, None]
    apart_IN = torch.where(is_denser_INN, distance_INN, farthest_I11).min(dim=-1).values
    centre_IK = (apart_IN * density_IN).topk(count, dim=-1).indices
    to_centre_IKN = distance_INN.gather(1, centre_IK[..., None].expand(-1, -1, distance_INN.shape[-1]))
    cluster_IN = to_centre_IKN.argmin(dim=1)
    own_IK = torch.arange(count, device=tokens_INC.device).expand(len(tokens_INC), -1)
    return cluster_IN.scatter(1, centre_IK, own_IK)
