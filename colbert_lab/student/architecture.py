"""Shapes of backbones: a Hugging Face configuration from settings, or a pretrained one that is changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

import colbert_lab.student.hash_embedding  # noqa: F401  # makes bert_hash known to transformers
from colbert_lab.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

KEY = "student.architecture"
# The names under which Hugging Face configurations keep dropout rates of encoders and decoders.
DROPOUT_KEYS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "hidden_dropout",
    "attention_dropout",
    "embedding_dropout",
    "mlp_dropout",
    "resid_pdrop",
    "embd_pdrop",
    "attn_pdrop",
    "dropout",
)
PER_LAYER = ("layer_types", "mlp_layer_types", "no_rope_layers")
"""Lists with one entry a layer in configurations of transformers 5."""


def architecture_config(
    architecture: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase
) -> PreTrainedConfig:
    """The configuration of a backbone to train from scratch.

    Args:
        architecture: ``model_type`` and keys of that type's Hugging Face configuration; what is left out has its
            default there.
        tokenizer: decides the vocabulary's size and the ids of special tokens.

    Raises:
        InputError: an unknown type or key, or a value that the type does not take.
    """
    if not isinstance(architecture, Mapping) or "model_type" not in architecture:
        raise InputError(
            f"{KEY}={architecture}: must be a mapping with model_type, for example "
            "{model_type: bert, hidden_size: 128, num_hidden_layers: 2, num_attention_heads: 2}"
        )
    values = {str(name): value for name, value in architecture.items()}
    model_type = values.pop("model_type")
    if model_type not in CONFIG_MAPPING:
        raise InputError(f"{KEY}.model_type={model_type}: transformers has no such model type")
    if "vocab_size" in values:
        raise InputError(f"{KEY}.vocab_size: is the size of the tokenizer's vocabulary; leave it out")
    try:
        default = CONFIG_MAPPING[model_type]()
        unknown = sorted(name for name in values if not hasattr(default, name))
        if unknown:
            raise InputError(
                f"{KEY}.{unknown[0]}: no key of the Hugging Face configuration of {model_type}; leave it out"
            )
        names = [f"{kind}_token_id" for kind in ("pad", "bos", "eos", "cls", "sep")]
        special = {name: getattr(tokenizer, name) for name in names if hasattr(default, name)}
        if tokenizer.pad_token_id == tokenizer.eos_token_id:
            special["pad_token_id"] = None  # EOS must not become the row of zeros that a pad token has
        return AutoConfig.for_model(model_type, **(special | values), vocab_size=len(tokenizer))
    except (StrictDataclassError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise not_built(error) from error


def not_built(error: Exception) -> InputError:
    """What to tell of a configuration, or of a model of it, that transformers refuses."""
    return InputError(f"{KEY}: transformers cannot build it ({' '.join(str(error).split())})")


def set_dropout(config: PreTrainedConfig, rate: float, name: str) -> None:
    """Set every dropout rate of a configuration.

    Args:
        config: changed in place.
        rate: the rate.
        name: of the backbone, for errors.

    Raises:
        InputError: the configuration has no dropout rate.
    """
    keys = [key for key in DROPOUT_KEYS if hasattr(config, key)]
    if not keys:
        raise InputError(f"student.dropout={rate}: the backbone {name} has no dropout rate; set it to null")
    for key in keys:
        setattr(config, key, rate)


def keep_first_layers(config: PreTrainedConfig, layers: int, name: str) -> None:
    """Cut a configuration to its first layers.

    A model of it takes the weights of those layers and leaves the others; where the architecture has a norm after its
    last layer (ModernBERT, decoders), that norm then follows the last layer that is kept.

    Args:
        config: changed in place.
        layers: number of layers to keep.
        name: of the backbone, for errors.

    Raises:
        InputError: the backbone has fewer layers, or does not say how many it has.
    """
    has = getattr(config, "num_hidden_layers", None)
    if not isinstance(has, int):
        raise InputError(
            f"student.layers={layers}: the configuration of {name} has no num_hidden_layers; set it to null"
        )
    if not 1 <= layers <= has:
        raise InputError(f"student.layers={layers}: must be from 1 to {has}, the layers of {name}, or null")
    config.num_hidden_layers = layers
    for key in PER_LAYER:
        kinds = getattr(config, key, None)
        if kinds is not None:
            setattr(config, key, kinds[:layers])
