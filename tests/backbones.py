"""Tiny backbones other than BERT, made on the spot."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from tests.tiny import make_tiny_bert, sentences

EOS = "<|endoftext|>"
DECODERS = {
    "llama": {"num_key_value_heads": 1},
    "qwen3": {"num_key_value_heads": 1, "head_dim": 16},
}


def make_tiny_decoder(folder: Path, model_type: str = "qwen3") -> Path:
    """A random decoder with a byte-level BPE tokenizer that has an EOS token and no pad, mask or CLS token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=[EOS], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(sentences(200), trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=EOS)
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        model_type,
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        eos_token_id=fast.eos_token_id,
        bos_token_id=None,
        **DECODERS[model_type],
    )
    AutoModel.from_config(config).save_pretrained(folder)
    return folder


def make_tiny_roberta(folder: Path, model_type: str = "roberta") -> Path:
    """A random model of RoBERTa's family with the tiny BERT's tokenizer and 34 rows of positions."""
    make_tiny_bert(folder)
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        model_type,
        vocab_size=len(AutoTokenizer.from_pretrained(folder)),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=34,
        pad_token_id=0,
    )
    AutoModel.from_config(config).save_pretrained(folder)
    return folder


def make_tiny_modernbert(folder: Path) -> Path:
    """A random ModernBERT of full and sliding attention, with the tiny BERT's tokenizer."""
    make_tiny_bert(folder)
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "modernbert",
        vocab_size=len(AutoTokenizer.from_pretrained(folder)),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=64,
        local_attention=4,
        pad_token_id=0,
    )
    AutoModel.from_config(config).save_pretrained(folder)
    return folder
