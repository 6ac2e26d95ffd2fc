"""GroundingDINO through the authors' package (groundingdino-py), on today's transformers. Legend: Q queries, T tokens.

As installed the package fails: it calls methods that transformers 5 removed from BertModel
(get_head_mask, get_extended_attention_mask, invert_attention_mask), downloads BERT, and builds only two sizes.
The bridge builds the package's own modules from a folder's config.json and puts transformers' BertModel
where the package wraps one: the tensors have the same names, and its public forward takes the package's masks.
Deformable attention is the package's PyTorch one on any device: version 0.4.0 ships no compiled op.
Nothing of either library stays changed: the two names that the constructor looks up are restored after it.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.prompting.grounding_dino.checkpoint import convert, find_checkpoint, is_ignored, read_config, read_state
from stages.prompting.grounding_dino.image import Preprocessing, read_preprocessing
from stages.prompting.grounding_dino.network import Caption
from stages.prompting.grounding_dino.package_architecture import (
    build_image_backbone,
    build_transformer,
    check_architecture,
)

if TYPE_CHECKING:
    import torch

PACKAGE = "groundingdino-py"
KNOWN_PACKAGE = "0.4.0"
KNOWN_TRANSFORMERS = ((5, 17), (6, 0))  # from, and below


def load_network(path: Path, device: str) -> "PackageNetwork":
    """Loads a folder: config.json, preprocessor_config.json, a tokenizer, and weights of either layout.

    Raises:
        ValueError: a version that the bridge does not know; another kind of model, or an architecture that
            the package cannot build; or weights are missing, damaged or of other shapes.
    """
    from transformers import AutoTokenizer

    check_versions()
    folder = path.parent if path.is_file() else path
    config = read_config(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = load_model(find_checkpoint(path), config, tokenizer)
    return PackageNetwork(model.eval().to(device), tokenizer, read_preprocessing(folder), device)


def check_versions() -> None:
    """Raises ValueError unless the installed packages are those that the bridge was written for and tested with."""
    advice = "or set prompts.gdino.backend to 'transformers', which runs the same weights"
    try:
        package = version(PACKAGE)
    except PackageNotFoundError as error:
        raise ValueError(
            f"{PACKAGE} is not installed: install {PACKAGE}=={KNOWN_PACKAGE} with --no-deps, {advice}"
        ) from error
    if package != KNOWN_PACKAGE:
        raise ValueError(
            f"the bridge to {PACKAGE} knows version {KNOWN_PACKAGE}, installed is {package}: install {KNOWN_PACKAGE}, {advice}"
        )
    transformers, (first, end) = version("transformers"), KNOWN_TRANSFORMERS
    if not first <= _numbers(transformers) < end:
        raise ValueError(
            f"the bridge to {PACKAGE} knows transformers from {_dotted(first)} to below {_dotted(end)}, installed is "
            f"{transformers}: install one of those, {advice}"
        )


def load_model(file: Path, config: Any, tokenizer: Any) -> Any:
    """The package's GroundingDINO, float32, with the weights of a file of either layout.

    Raises:
        ValueError: the package cannot build the config's architecture; the file is damaged, or its tensors
            are not those of the config.
    """
    state, layout = read_state(file)
    state = convert(state, layout, "package", config, file)
    model = build_model(config, tokenizer, file.parent)
    try:
        loading = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{file}: its tensors do not have the shapes of its config.json: {reason}") from error
    missing = [name for name in loading.missing_keys if not is_ignored(name)]
    assert not missing and not loading.unexpected_keys, (missing, loading.unexpected_keys)
    return model


def build_model(config: Any, tokenizer: Any, folder: Path) -> Any:
    """The package's GroundingDINO, untrained, from a transformers GroundingDinoConfig.

    Args:
        folder: where the config is stored, for messages.

    Raises:
        ValueError: the config asks for what the package's code cannot do.
    """
    import torch
    from transformers import BertModel

    check_architecture(config, folder)
    with torch.random.fork_rng(devices=[]), _quiet():
        # building draws numbers, all of which the checkpoint replaces
        from groundingdino.models.GroundingDINO import groundingdino as package

        transformer, image = build_transformer(config), build_image_backbone(config)
        with _handing_over(package, tokenizer, BertModel(config.text_config)):
            model = package.GroundingDINO(
                image,
                transformer,
                num_queries=config.num_queries,
                aux_loss=False,
                iter_update=True,
                query_dim=config.query_dim,
                num_feature_levels=config.num_feature_levels,
                nheads=config.encoder_attention_heads,
                dec_pred_bbox_embed_share=config.decoder_bbox_embed_share,
                two_stage_type="standard",
                two_stage_class_embed_share=False,
                two_stage_bbox_embed_share=False,
                dn_number=0,
            )
    model.bert.register_forward_pre_hook(_with_heads, with_kwargs=True)
    model.bert.pooler = None  # neither layout's files need it: the detector reads BERT's token states
    return model


class PackageNetwork:
    """The `Network` over the package's model."""

    def __init__(self, model: Any, tokenizer: Any, preprocessing: Preprocessing, device: str) -> None:
        self.tokenizer, self.device = tokenizer, device
        self.max_tokens = model.max_text_len
        model.tokenizer = _as_read  # captions arrive tokenized
        model.backbone = _remembering(model.backbone)
        self.model, self.transforms = model, _transforms(preprocessing)

    def prepare(self, frame: NDArray[np.uint8]) -> Any:
        """The package's NestedTensor of one frame."""
        from groundingdino.util.misc import nested_tensor_from_tensor_list
        from PIL import Image

        pixels, _ = self.transforms(Image.fromarray(frame), None)
        return nested_tensor_from_tensor_list([pixels]).to(self.device)

    def forward(self, images: Sequence[Any], texts: Sequence[Caption]) -> tuple["torch.Tensor", "torch.Tensor"]:
        """One pair at a time: the package cannot batch captions over shared features."""
        import torch

        with _quiet():
            outputs = [self.model(image, captions=[text]) for image, text in zip(images, texts, strict=True)]
        logits_BQT, boxes_BQ4 = (torch.cat([o[name] for o in outputs]) for name in ("pred_logits", "pred_boxes"))
        return logits_BQT, boxes_BQ4


@contextmanager
def _handing_over(package: Any, tokenizer: Any, bert: Any) -> Iterator[None]:
    """While it is open the package's constructor gets this tokenizer and BertModel, unwrapped, instead of a download."""
    names = {
        "get_tokenlizer": SimpleNamespace(
            get_tokenlizer=lambda _: tokenizer, get_pretrained_language_model=lambda _: bert
        ),
        "BertModelWarper": lambda bert_model: bert_model,
    }
    before = {name: getattr(package, name) for name in names}
    try:
        for name, value in names.items():
            setattr(package, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(package, name, value)


def _with_heads(_: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Gives the package's mask, batch × tokens × tokens, the axis of heads that BertModel wants."""
    return inputs, {**named, "attention_mask": named["attention_mask"][:, None]}


def _as_read(captions: Sequence[Caption], **_: Any) -> Any:
    """Replaces the package's tokenizer; takes one caption, already tokenized."""
    from transformers import BatchEncoding

    (caption,) = captions
    return BatchEncoding(dict(caption.inputs))


def _transforms(preprocessing: Preprocessing) -> Any:
    with _quiet():
        import groundingdino.datasets.transforms as package

    return package.Compose(
        [
            package.RandomResize([preprocessing.shortest], max_size=preprocessing.longest),
            package.ToTensor(),
            package.Normalize(preprocessing.mean, preprocessing.std),
        ]
    )


def _remembering(backbone: Any) -> Any:
    """Wraps the package's image backbone so that calls with the same frame reuse its features."""
    import torch

    class Remembering(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = backbone
            self.image: Any = None

        def __getitem__(self, part: int) -> Any:
            return self.backbone[part]

        def forward(self, image: Any) -> tuple[list[Any], list[Any]]:
            if image is not self.image:
                self.image, self.features = image, self.backbone(image)
            maps, positions = self.features
            return list(maps), list(positions)  # copies: the model appends its lower resolutions

    return Remembering()


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses the package's deprecation warnings (timm.models.layers, torch.cuda.amp, meshgrid)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*meshgrid.*", category=UserWarning)
        yield


def _numbers(text: str) -> tuple[int, int]:
    major, minor = text.split(".")[:2]
    return int(major), int(minor)


def _dotted(numbers: tuple[int, int]) -> str:
    return ".".join(map(str, numbers))
