"""The section `selector.soc` of the config."""

from pydantic import Field

from stages.core.config.section import NonNegative, Positive, PositiveFloat, Section, Unit


class SocModel(Section):
    """What shapes the network."""

    dim: Positive = Field(description="Width of tokens, words and slots")
    ffn_dim: Positive = Field(description="Inner width of the feed-forward blocks")
    n_heads: Positive = Field(description="Attention heads")
    n_proxies: Positive = Field(description="Learned proxies between tracks and words")
    n_encoder_layers: Positive = Field(description="Layers over the frames of a track")
    n_slots: Positive = Field(description="Slots that a video is gathered in")
    n_slot_layers: Positive = Field(description="Layers of the slots")
    dropout: Unit = Field(description="Dropout after attention and in the feed-forward blocks")
    attention_dropout: Unit = Field(description="Dropout inside attention; 0 is a third faster on a CPU")


class SocSettings(SocModel):
    """The network, and how it learns."""

    learning_rate: PositiveFloat = Field(description="Of AdamW")
    contrastive_weight: NonNegative = Field(description="Weight of the contrastive loss")
    gate_weight: NonNegative = Field(description="Weight of the loss of visibility per frame")
