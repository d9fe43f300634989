"""Shapes of backbones: a Hugging Face configuration from settings, or a pretrained one that is changed.

And BERT with hash embeddings, the backbone of the MUVERA nano family (NeuML bert-hash-femto, -pico and -nano), which
this module makes known to transformers. The token table has ``projections`` columns, and one linear map takes them to
the hidden size; all else is BERT.

    table [V, P] -> linear P -> H (with bias) -> positions, LayerNorm, encoder as in BERT

Parameters with a vocabulary of 30,522, 512 positions and 2 layers, heads apart:

    femto  H 50,  P 5     242,560 with BERT's pooler (published: 243K), 240,010 without
    pico   H 80,  P 8     448,336 with BERT's pooler (published: 448K), 441,856 without
    nano   H 128, P 16    969,632 with BERT's pooler (published: 969K), 953,120 without

Late interaction uses no pooler. Names are those of the published folders, which so load without remote code: the model
type ``bert_hash`` and the key ``projections`` are in their config.json; the table's name is in NeuML's commit "Support
resizing token embeddings" (October 2025); with the linear map named ``projections`` and having a bias, the sizes of
both published files of bert-hash-nano (19,633,952 bytes with the language-model head, 3,816,872 without) come out to
the byte. The published weights themselves were not at hand; loading names every weight that is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, BertConfig, BertModel
from transformers import initialization as init
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.bert.modeling_bert import BertEmbeddings, BertEncoder, BertPooler

from colbert_lab.base.errors import InputError

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


class BertHashConfig(BertConfig):  # type: ignore[misc]  # transformers is not typed
    """BERT's configuration and the width of the token table.

    Args:
        projections: columns of the token table.
        kwargs: of ``BertConfig``.
    """

    model_type = "bert_hash"

    def __init__(self, projections: int = 5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.projections = projections


class BertHashTokens(nn.Module):
    """Token embeddings by way of a narrow table: [..., L] ids -> [..., L, P] -> [..., L, H]."""

    def __init__(self, config: BertHashConfig) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(config.vocab_size, config.projections, padding_idx=config.pad_token_id)
        self.projections = nn.Linear(config.projections, config.hidden_size)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Embed token ids."""
        embedded: Tensor = self.projections(self.embeddings(input_ids))
        return embedded


class BertHashEmbeddings(BertEmbeddings):  # type: ignore[misc]
    """BERT's embeddings with another token table."""

    def __init__(self, config: BertHashConfig) -> None:
        super().__init__(config)
        self.word_embeddings = BertHashTokens(config)


class BertHashModel(BertModel):  # type: ignore[misc]
    """BERT with hash embeddings.

    Args:
        config: sizes.
        add_pooling_layer: whether to have BERT's pooler.
    """

    config_class = BertHashConfig

    def __init__(self, config: BertHashConfig, add_pooling_layer: bool = True) -> None:
        super(BertModel, self).__init__(config)  # BertModel's own would draw a table of full width first
        self.config = config
        self.gradient_checkpointing = False
        self.embeddings = BertHashEmbeddings(config)
        self.encoder = BertEncoder(config)
        self.pooler = BertPooler(config) if add_pooling_layer else None
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """The token table, which grows with the vocabulary."""
        table: nn.Embedding = self.embeddings.word_embeddings.embeddings
        return table

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Put another token table of the same width in its place."""
        self.embeddings.word_embeddings.embeddings = value

    def _init_weights(self, module: nn.Module) -> None:
        """As BERT, but for the linear map, which keeps the table's standard deviation.

        With BERT's 0.02 in both, a token's embedding is 12 times smaller (for P = 16) than its position's, and an
        untrained model hardly tells tokens apart.
        """
        super()._init_weights(module)
        if module is self.embeddings.word_embeddings.projections:
            init.normal_(module.weight, std=self.config.projections**-0.5)


AutoConfig.register(BertHashConfig.model_type, BertHashConfig, exist_ok=True)
AutoModel.register(BertHashConfig, BertHashModel, exist_ok=True)
