"""Where in a backbone a parameter is: embeddings, layers, and what follows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from colbert_lab.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def layer_list(backbone: PreTrainedModel) -> str:
    """Name of the list of a Hugging Face backbone's layers.

    The list is the outermost one with as many entries as the configuration has layers: ``encoder.layer`` of BERT,
    ``layers`` of ModernBERT and of Llama-like decoders, ``h`` of GPT-2.

    Raises:
        InputError: there is none (a backbone that shares its layers, such as ALBERT).
    """
    wanted = backbone.config.num_hidden_layers
    for name, module in backbone.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == wanted:
            return str(name)
    raise InputError(
        f"layer_decay: {type(backbone).__name__} has no list of its {wanted} layers; set layer_decay to null"
    )


def depths(backbone: PreTrainedModel) -> tuple[dict[str, int], int]:
    """Depth of every parameter of a backbone.

    Args:
        backbone: a Hugging Face encoder or decoder.

    Returns:
        By the parameter's name, 0 for embeddings (whatever is defined before the layers), 1 for the first layer up to L
        for the last, L + 1 for what is defined after them; and L.

    Raises:
        InputError: see :func:`layer_list`.
    """
    prefix = layer_list(backbone) + "."
    layers = int(backbone.config.num_hidden_layers)
    found, reached = {}, False
    for name, _ in backbone.named_parameters():
        if name.startswith(prefix):
            reached = True
            found[name] = 1 + int(name.removeprefix(prefix).partition(".")[0])
        else:
            found[name] = layers + 1 if reached else 0
    return found, layers
