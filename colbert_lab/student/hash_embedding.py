"""BERT with hash embeddings: the backbone of the MUVERA nano family (NeuML bert-hash-femto, -pico and -nano).

The token table has ``projections`` columns, and one linear map takes them to the hidden size; all else is BERT.

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

Importing this module registers the classes with transformers.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, BertConfig, BertModel
from transformers.models.bert.modeling_bert import BertEmbeddings, BertEncoder, BertPooler


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


AutoConfig.register(BertHashConfig.model_type, BertHashConfig, exist_ok=True)
AutoModel.register(BertHashConfig, BertHashModel, exist_ok=True)
