"""The section `selector.sola` of the config."""

from pydantic import Field

from stages.core.config.section import NonNegative, Positive, PositiveFloat, Section, Unit


class SolaModel(Section):
    """What shapes the network."""

    hidden_dim: Positive = Field(description="Width of the motion encoder")
    n_layers: Positive = Field(description="Alignment layers")
    n_heads: Positive = Field(description="Attention heads")
    n_groups: Positive = Field(description="Groups of every GroupNorm")
    n_negatives: Positive = Field(description="Learned negative tokens")
    dropout: Unit = Field(description="Dropout of the motion encoder")
    attention_dropout: Unit = Field(description="Dropout inside attention")


class SolaSettings(SolaModel):
    """The network, and how it learns."""

    learning_rate: PositiveFloat = Field(description="Of AdamW")
    alignment_weight: NonNegative = Field(description="Weight of the alignment loss")
    temperature: float = Field(description="τ of the alignment loss, used as exp(τ)")
