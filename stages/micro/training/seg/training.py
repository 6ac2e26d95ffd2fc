"""The training of the embedded [SEG] model: its stages and its loss.

Legend: V videos, K image tokens of a video, R requests, N frames with a [SEG] each, L tokens of a request, D the MLLM's width, M decoded masks.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn
from torch.nn import functional

from stages.core.config.seg_training_section import Points
from stages.core.state.vouched import vouch
from stages.micro.mllm import SEG, make_mllm
from stages.micro.training.mllm.ahead import Ahead
from stages.micro.training.mllm.initialise import prepare
from stages.micro.training.seg import forward
from stages.micro.training.seg.batches import Batch, Batches
from stages.micro.training.seg.forward import Masks, Read, Reader, decode_many, features_of
from stages.micro.training.seg.heads import CellHeads, TargetHeads
from stages.micro.training.seg.recipe import Recipe
from stages.micro.training.seg.store import SAM2, load_seg_weights
from stages.micro.training.sentences import ASPECT_WORDS
from stages.prompting.seg.checkpoint.loading import text_hidden_fcs
from stages.prompting.seg.training.learning import overlap
from stages.prompting.seg.training.losses import mask_losses
from stages.tracking.sam2_model import build_sam2
from stages.training.clock import Clock, Length
from stages.training.descent import Descent

ENDLESS = Length(minutes=float("inf"))
WEIGHTS = Path(__file__).parents[2] / "weights"
SAM2_FILE = WEIGHTS / "sam2" / "model.safetensors"
CROSS_ATTENTION = ("cross_attn_token_to_image", "cross_attn_image_to_token", "final_attn_token_to_image")
PLACES = 0.4  # deviation of the positions of patches at the start
OVERSAMPLE, UNCERTAIN = 3.0, 0.75


class SegTraining(Descent):
    """A Qwen3-VL that finds objects in frames by sentences, text_hidden_fcs, and SAM2's mask decoder.

    Args:
        folder: where scenes are kept; None = a folder that goes with the process.
        start: folder of a model to go on from (`Recipe.further`); None = from nothing.
        tunes_decoder: the mask decoder's cross-attention is trained too; else text_hidden_fcs learns to speak to it as it is.
        length: of the training, and workers: processes that make scenes and batches ahead; see `Ahead`.
        device: "cpu" or "cuda".
    """

    recipe: Recipe
    beginning: str  # of a command that goes on
    log_every = 10

    def __init__(
        self,
        recipe: Recipe,
        seed: int,
        folder: Path | None = None,
        *,
        start: Path | None = None,
        tunes_decoder: bool = True,
        length: Length = ENDLESS,
        workers: int = 0,
        device: str = "cpu",
    ) -> None:
        mllm, self.processor = untrained(seed)
        self.sam2 = frozen_sam2().to(device)
        self.tunes_decoder, self.beginning = tunes_decoder, f" --start {start.name}" if start else ""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            head = text_hidden_fcs(SEG.hidden, self.sam2.hidden_dim)
            self.cells, self.target = CellHeads(SEG.hidden, self.sam2.hidden_dim), TargetHeads(SEG.hidden)
        model, attentions = nn.ModuleDict({"mllm": mllm, "head": head}), attentions_of(self.sam2.sam_mask_decoder)
        starts = {"sam2": SAM2_FILE}
        if start is not None:
            load_seg_weights(start, mllm, head, attentions)
            starts["model"] = start / "model.safetensors"
        self.starts = {name: vouch(file.read_bytes()).sha256 for name, file in starts.items()}
        if tunes_decoder:
            model["decoder"] = nn.ModuleList(attentions.values()).requires_grad_(True)
        modules: dict[str, nn.Module] = {"model": model, "cells": self.cells, "target": self.target}
        for module in modules.values():
            module.to(device)
        groups = _groups([mllm, head, self.cells, self.target], recipe.weight_decay, 1.0)
        if tunes_decoder:
            groups += _groups([model["decoder"]], recipe.weight_decay, recipe.decoder_share)
        optimiser = torch.optim.AdamW(groups, recipe.learning_rate, recipe.betas, fused=True)
        super().__init__(recipe, seed, modules, optimiser, recipe.ema_decay)
        self.temporary = tempfile.TemporaryDirectory() if folder is None else None
        root = Path(self.temporary.name) if self.temporary else folder
        assert root is not None
        self.device = device
        self.ahead = Ahead(Batches(recipe, seed, root), length, workers)  # type: ignore[arg-type]
        tokenizer = self.processor.tokenizer
        self.reader = Reader(mllm, tokenizer)
        aspects = ASPECT_WORDS.values()
        self.words = [
            torch.tensor([tokenizer.encode(f" {word}")[-1] for word in words], device=device) for words in aspects
        ]
        self.points = Points(count=recipe.points, oversample=OVERSAMPLE, uncertain=UNCERTAIN)

    def attentions(self, model: Any) -> dict[str, nn.Module] | None:
        """Of the mask decoder, by name, where they are trained."""
        names = attentions_of(self.sam2.sam_mask_decoder)
        return dict(zip(names, model["decoder"], strict=True)) if self.tunes_decoder else None

    def identity(self) -> Mapping[str, Any]:
        return {**super().identity(), "starts": self.starts, "tunes_decoder": self.tunes_decoder}

    def step(self, clock: Clock, progress: float) -> Mapping[str, float]:
        self.model.requires_grad_(clock.step >= self.recipe.heads_first)
        return super().step(clock, progress)

    def loss(self, clock: Clock, progress: float) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Of image tokens alone at first, then of masks that sentences ask for."""
        batch: Batch = self.ahead(clock.step, progress).to(self.device)  # type: ignore[assignment]
        if batch.stage == "vision":
            loss, values = self._dense(self._tokens(batch), batch)
            return loss, {f"vision.{name}": value for name, value in values.items()}
        read = self.reader.read(batch.images_VIHW3, batch.ids_RL, batch.begin_R)
        loss, values = self._found(batch, read)
        if batch.stage != "find":
            masks, more = self._masks(batch, read, clock.step)
            loss, values = loss + masks, {**values, **more}
        return loss, {f"{batch.stage}.{name}": value.detach() for name, value in values.items()}

    def _tokens(self, batch: Batch) -> Tensor:
        """(V, K, D) the vision tower's image tokens."""
        images = batch.images_VIHW3
        tokens = features_of(self.model["mllm"], images.flatten(0, 1))
        return tokens.reshape(len(images), -1, tokens.shape[-1])

    def _dense(self, token_VKD: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        vectors = self.model["mllm"].model.language_model.embed_tokens.weight
        words = [vectors[ids] for ids in self.words]
        loss, right = self.cells.losses(token_VKD, batch.shown_VK, batch.looks_VO4, words)
        shown_VIJ = batch.shown_VK.unflatten(1, (batch.images_VIHW3.shape[1], -1))
        v, i, j = (shown_VIJ > 0).nonzero().unbind(1)
        token_BC = self.cells.click(token_VKD.unflatten(1, shown_VIJ.shape[1:])[v, i, j])
        click = click_loss(self.sam2, token_BC, batch.middles_VIO2[v, i, shown_VIJ[v, i, j] - 1])
        return loss + self.recipe.middle * click, {"dense": loss.detach(), "clicks": click.detach(), **right}

    def _found(self, batch: Batch, read: Read) -> tuple[Tensor, dict[str, Tensor]]:
        """What image tokens show, whether it is what is asked for, and what SAM2 would make of a click on it.

        So a [SEG] finds a prompt in every image token of what it means, and has but to take it over.
        """
        recipe = self.recipe
        showing, found = self.target.showing(read.image_RJD, batch.shows_RK, recipe.shows_weight)
        dense, seen = self._dense(read.vision_VJD, batch)
        shows_RIJ = batch.shows_RK.unflatten(1, (batch.middle_RI2.shape[1], -1)) > 0
        where_B3 = shows_RIJ.nonzero()
        token_BC = self.model["head"](read.image_RJD.unflatten(1, shows_RIJ.shape[1:])[shows_RIJ])
        middle = click_loss(self.sam2, token_BC, batch.middle_RI2[where_B3[:, 0], where_B3[:, 1]])
        loss = recipe.showing * showing + recipe.dense * dense + recipe.middle * middle
        return loss, {"showing": showing, "found": found, "middle": middle, **seen}

    def _masks(self, batch: Batch, read: Read, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        recipe = self.recipe
        rows_R = torch.arange(len(batch.ids_RL), device=read.state_RLD.device)
        state_RND = read.state_RLD[rows_R[:, None], batch.seg_RN]
        state_MD = state_RND[batch.row_D, batch.seg_D]
        token_RNC = self.model["head"](state_RND)
        token_MC = token_RNC[batch.row_D, batch.seg_D]
        masks = decode_many(self.sam2, batch.frames_FQQ3, batch.frame_D, token_MC)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        found = mask_losses(masks.logits_Mhw, batch.truth_DHW, self.points, generator)
        quality, iou = quality_loss(masks, batch.truth_DHW)
        pointing, pointed = self.target.pointing(state_MD, read.image_RJD[batch.row_D], batch.pointed_DK)
        place = self.target.places(state_MD, batch.places_D3)
        click = click_loss(self.sam2, token_RNC.flatten(0, 1), batch.middle_RI2.flatten(0, 1))
        words = self._words(batch, read)
        loss = recipe.mask * found.mask_B.mean() + recipe.dice * found.dice_B.mean() + recipe.quality * quality
        loss = loss + recipe.pointing * pointing + recipe.place * place + recipe.words * words
        loss = loss + recipe.click * click
        values = {
            "click": click,
            "mask": found.mask_B.mean(),
            "dice": found.dice_B.mean(),
            "iou": iou,
            "pointing": pointing,
        }
        return loss, {**values, "pointed": pointed, "place": place, "quality": quality, "words": words}

    def _words(self, batch: Batch, read: Read) -> Tensor:
        """How well the answer's tokens are foreseen; answers of a batch are of one length."""
        first_R, stop_R = batch.answer_R2.unbind(1)
        count = int(stop_R[0] - first_R[0])
        at_RA = first_R[:, None] + torch.arange(count, device=first_R.device)
        rows_R1 = torch.arange(len(at_RA), device=at_RA.device)[:, None]
        logits_RAV = self.model["mllm"].lm_head(read.state_RLD[rows_R1, at_RA - 1])
        return functional.cross_entropy(logits_RAV.flatten(0, 1), batch.ids_RL[rows_R1, at_RA].flatten())


def click_loss(sam2: SAM2Base, token_MC: Tensor, click_M2: Tensor) -> Tensor:
    """Mean distance of tokens from what the prompt encoder makes of clicks; of those that have one."""
    known_M = ~click_M2.isnan().any(1)
    pixels_M12 = (click_M2.nan_to_num() * sam2.image_size - 0.5)[:, None]
    labels_M1 = torch.ones(len(click_M2), 1, dtype=torch.int32, device=click_M2.device)
    wanted_MTC, _ = sam2.sam_prompt_encoder(points=(pixels_M12, labels_M1), boxes=None, masks=None)
    error_M = functional.smooth_l1_loss(token_MC, wanted_MTC[:, 0], reduction="none").mean(1)
    return (error_M * known_M).sum() / known_M.sum().clamp(min=1)


def quality_loss(masks: Masks, truth_MHW: Tensor) -> tuple[Tensor, Tensor]:
    """Errors of the predicted IoU and of the object score; and the mean true IoU of masks that have something to find."""
    with torch.no_grad():
        size = (int(truth_MHW.shape[1]), int(truth_MHW.shape[2]))
        whole = functional.interpolate(masks.logits_Mhw[:, None], size, mode="bilinear", align_corners=False)[:, 0]
        iou_M = overlap(whole > 0, truth_MHW)
        there_M = truth_MHW.flatten(1).any(1)
    error = functional.l1_loss(masks.iou_M, iou_M)
    score = functional.binary_cross_entropy_with_logits(masks.score_M, there_M.float())
    return error + score, (iou_M * there_M).sum() / there_M.sum().clamp(min=1)


def untrained(seed: int) -> tuple[Any, Any]:
    """The MLLM at its start, with the attention of equal frames, and its processor."""
    mllm, processor = make_mllm(SEG, seed)
    prepare(mllm, processor.tokenizer)
    with torch.no_grad():
        embedded = mllm.model.visual.pos_embed.weight
        embedded += places(frozen_sam2(), round(len(embedded) ** 0.5), embedded.shape[1])
    forward.register()
    mllm.model.visual.config._attn_implementation = forward.NAME
    return mllm, processor


def places(sam2: SAM2Base, side: int, width: int) -> Tensor:
    """(side², width): what SAM2's prompt encoder makes of places on a grid, in fewer channels: where a patch is can then be
    said in the words that the mask decoder knows, which nothing else in pixels tells."""
    share_S = (torch.arange(side) + 0.5) / side
    y_P, x_P = torch.meshgrid(share_S, share_S, indexing="ij")
    encoded_PC = sam2.sam_prompt_encoder.pe_layer._pe_encoding(torch.stack([x_P, y_P], -1).flatten(0, 1))
    u_PC, s_C, _ = torch.linalg.svd(encoded_PC - encoded_PC.mean(0), full_matrices=False)
    turn_DD = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(5)))[0]
    few_PD = (u_PC[:, :width] * s_C[:width]) @ turn_DD
    return few_PD * (PLACES / few_PD.std())


def attentions_of(decoder: Any) -> dict[str, nn.Module]:
    """A mask decoder's cross-attention by name: a sixth of it, so that the model stays small."""
    return {name: module for name, module in decoder.named_modules() if name.endswith(CROSS_ATTENTION)}


def frozen_sam2() -> SAM2Base:
    """The embedded SAM2."""
    sam2 = build_sam2(SAM2, SAM2Base)
    sam2.load_state_dict({name: tensor.float() for name, tensor in load_file(SAM2_FILE).items()})
    return sam2.eval().requires_grad_(False)


def _groups(modules: Sequence[Any], weight_decay: float, share: float) -> list[dict[str, Any]]:
    """Matrices decay; words, gains and offsets do not."""
    named = [(name, parameter) for module in modules for name, parameter in module.named_parameters()]
    decayed = [p for name, p in named if p.ndim > 1 and "embed" not in name]
    others = [p for name, p in named if not (p.ndim > 1 and "embed" not in name)]
    return [
        {"params": decayed, "weight_decay": weight_decay, "share": share},
        {"params": others, "weight_decay": 0.0, "share": share},
    ]
