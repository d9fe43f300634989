"""The ColBERT model: a backbone, a head that maps its hidden states to embeddings, one unit vector per token.

A head is a stack of layers. The published ColBERT models have one Dense layer without bias; PyLate and
sentence-transformers stack several, with activation, bias and residual. Variants with more layers, wider inner ones,
residuals and gates are compared in Clavie et al. 2025 (Simple Projection Variants Improve ColBERT Performance).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Embeddings, Tokens
from colbert_lab.model.matryoshka import check_dims
from colbert_lab.model.packing import hidden_states

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from colbert_lab.model.projection import ProjectionHead

IDENTITY = "Identity"
ACTIVATIONS = (
    IDENTITY, "CELU", "ELU", "GELU", "Hardsigmoid", "Hardswish", "LeakyReLU", "Mish", "ReLU", "ReLU6", "SELU",
    "SiLU", "Sigmoid", "Softplus", "Softsign", "Tanh",
)  # fmt: skip
"""Classes of ``torch.nn`` without parameters; a name from a folder of unknown origin is never imported."""
WIDEN_STD = 0.1
"""Spread of new rows as a share of the existing rows' (model card of Reason-mxbai-colbert-v0-32m)."""


@dataclass(frozen=True)
class LayerShape:
    """One layer of a head.

    Attributes:
        inputs: width of its input.
        outputs: width of its output.
        bias: whether its linear maps have biases.
        activation: a name of :data:`ACTIVATIONS`.
        residual: add the input, through a linear map without bias where the widths differ.
        gated: multiply the activated map with a second one (a gated linear unit, Shazeer 2020).
    """

    inputs: int
    outputs: int
    bias: bool = False
    activation: str = IDENTITY
    residual: bool = False
    gated: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a JSON file."""
        return asdict(self)


class Layer(nn.Module):
    """``activation(linear(x))``, times ``value(x)`` when gated, plus the residual.

    Without a gate this is PyLate's Dense, under the same names of weights.
    """

    def __init__(self, shape: LayerShape) -> None:
        super().__init__()
        if shape.activation not in ACTIVATIONS:
            raise InputError(
                f"student.head.activation={shape.activation}: must be one of {', '.join(ACTIVATIONS)}"
            )
        self.shape = shape
        self.linear = nn.Linear(shape.inputs, shape.outputs, bias=shape.bias)
        self.value = nn.Linear(shape.inputs, shape.outputs, bias=shape.bias) if shape.gated else None
        self.activation = getattr(nn, shape.activation)()
        mapped = shape.residual and shape.inputs != shape.outputs
        self.residual = nn.Linear(shape.inputs, shape.outputs, bias=False) if mapped else None

    def forward(self, hidden: Tensor) -> Tensor:
        """Map [..., inputs] to [..., outputs]."""
        out: Tensor = self.activation(self.linear(hidden))
        if self.value is not None:
            out = out * self.value(hidden)
        if self.shape.residual:
            out = out + (hidden if self.residual is None else self.residual(hidden))
        return out


class Head(nn.Sequential):
    """The layers of a head, in order; none leaves hidden states as they are.

    New weights are drawn from torch's global generator.

    Args:
        shapes: the layers.

    Raises:
        InputError: widths of layers that follow each other differ, or an unknown activation.
    """

    def __init__(self, shapes: Sequence[LayerShape]) -> None:
        for before, after in pairwise(shapes):
            if before.outputs != after.inputs:
                raise InputError(
                    f"student.head: a layer of width {before.outputs} feeds one of {after.inputs}"
                )
        super().__init__(*(Layer(shape) for shape in shapes))
        self.shapes = tuple(shapes)

    @property
    def out_features(self) -> int | None:
        """Width of the embeddings; None for a head without layers."""
        return self.shapes[-1].outputs if self.shapes else None


def head_shapes(
    hidden: int,
    dim: int | None,
    bias: bool = False,
    depth: int = 1,
    width: float = 1.0,
    activation: str = IDENTITY,
    residual: bool = False,
    gated: bool = False,
) -> list[LayerShape]:
    """The layers of a configured head.

    Args:
        hidden: width of the backbone's hidden states.
        dim: width of the embeddings; None for no head.
        bias: whether linear maps have biases.
        depth: number of layers.
        width: width of the layers between backbone and embedding, as a multiple of ``hidden``.
        activation: of every layer but the last.
        residual: whether every layer adds its input.
        gated: whether every layer but the last is a gated linear unit.

    Raises:
        InputError: a value is not possible, or has no effect.
    """
    idle = {"width": width != 1.0, "activation": activation != IDENTITY, "residual": residual, "gated": gated}
    if dim is None:
        given = {"bias": bias} | {f"head.{key}": used for key, used in ({"depth": depth != 1} | idle).items()}
        for key in (key for key, used in given.items() if used):
            raise InputError(f"student.{key}: has no effect without a head (student.dim=null); leave it out")
        return []
    inner = round(hidden * width)
    if inner < 1:
        raise InputError(f"student.head.width={width}: leaves no width between backbone and embedding")
    if depth == 1:
        for key in (key for key, used in idle.items() if used):
            raise InputError(
                f"student.head.{key}: is for the layers before the last, and student.head.depth=1 has none; set "
                "depth to 2 or more"
            )
    shapes = []
    for number in range(depth):
        last = number == depth - 1
        shapes.append(
            LayerShape(
                inputs=inner if number else hidden,
                outputs=dim if last else inner,
                bias=bias,
                activation=IDENTITY if last else activation,
                residual=residual,
                gated=gated and not last,
            )
        )
    return shapes


@torch.no_grad()
def widen(head: Head, dim: int) -> Head:
    """A head with more outputs: the existing rows of the last layer exactly, then new random ones.

    New rows come from a normal distribution whose standard deviation is a tenth of the existing rows' (model card of
    Reason-mxbai-colbert-v0-32m), from torch's global generator, so that new dimensions get a gradient from the start
    and hardly change the scores.

    Args:
        head: the head to widen; it stays as it is.
        dim: width of the new embeddings.

    Raises:
        InputError: there is no layer to widen, or ``dim`` is not larger.
    """
    if head.out_features is None:
        raise InputError(f"student.widen={dim}: this student has no head to widen; leave it out")
    if dim <= head.out_features:
        raise InputError(f"student.widen={dim}: the student has {head.out_features} dimensions; ask for more")
    last = head.shapes[-1]
    if last.residual and last.inputs == last.outputs:
        raise InputError(
            f"student.widen={dim}: the last layer adds its input as it is, which has only {last.inputs} dimensions"
        )
    wide = Head([*head.shapes[:-1], LayerShape(**last.to_dict() | {"outputs": dim})])
    new, old = wide.state_dict(), head.state_dict()
    for name, value in old.items():
        if new[name].shape == value.shape:
            new[name].copy_(value)
            continue
        rows = len(value)
        new[name][:rows] = value
        # Biases of one value a row have no spread of their own to follow.
        added = torch.randn_like(new[name][rows:]) * WIDEN_STD * value.std() if value.ndim > 1 else 0.0
        new[name][rows:] = added
    return wide


def head_from(layers: Sequence[Mapping[str, Any]]) -> Head:
    """A head from the plain values of its layers.

    Raises:
        InputError: they are no layers of a head.
    """
    try:
        return Head([LayerShape(**layer) for layer in layers])
    except TypeError as error:
        raise InputError(f"head: cannot be read ({error})") from error


class ColBERT(nn.Module):
    """Contextual token embeddings for late interaction (Khattab & Zaharia 2020), or their dense twin.

    The dense twin pools the tokens into one vector; MaxSim of single vectors is their cosine, so it goes through the
    same training, search and tables.

    Args:
        backbone: any Hugging Face encoder with ``last_hidden_state``.
        head: maps hidden states [..., H] to embeddings [..., D].
        pooling: None for one vector a token; ``mean`` over attended tokens or ``cls`` for one vector a text.
        matryoshka: numbers of first dimensions that training makes embeddings of their own, see
            :mod:`colbert_lab.model.matryoshka`; None for the whole embeddings alone.

    Raises:
        InputError: ``matryoshka`` does not fit the embeddings.
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        head: Head | ProjectionHead,
        pooling: str | None = None,
        matryoshka: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.pooling = pooling
        self.matryoshka = None if matryoshka is None else check_dims(matryoshka, self.dim)

    @property
    def dim(self) -> int:
        """Dimensions of an embedding."""
        return self.head.out_features or int(self.backbone.config.hidden_size)

    @property
    def dims(self) -> tuple[int, ...]:
        """The numbers of first dimensions that it is trained at, rising."""
        return self.matryoshka or (self.dim,)

    def forward(self, tokens: Tokens) -> Embeddings:
        """Embed a padded batch.

        Args:
            tokens: ids and masks [N, L].

        Returns:
            Unit-length float32 embeddings [N, L, D] with the tokens' score mask, or [N, 1, D] when pooled. The norm is
            taken in float32 whatever the precision of the encoder.
        """
        hidden_NLH = hidden_states(self.backbone, tokens)
        if self.pooling is None:
            return Embeddings(F.normalize(self.head(hidden_NLH).float(), dim=-1), tokens.score_mask_NL)
        if self.pooling == "mean":
            mask_NL1 = tokens.attention_mask_NL.unsqueeze(-1)
            pooled_NH = (hidden_NLH.float() * mask_NL1).sum(dim=1) / mask_NL1.sum(dim=1)
            if self.head.out_features is not None:
                pooled_NH = pooled_NH.to(hidden_NLH.dtype)
        else:
            pooled_NH = hidden_NLH[:, 0]
        emb_ND = F.normalize(self.head(pooled_NH).float(), dim=-1)
        return Embeddings(emb_ND.unsqueeze(1), tokens.score_mask_NL.any(dim=1, keepdim=True))


def count_parameters(model: nn.Module) -> int:
    """Number of trainable values."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
