"""Write the folder layout of FLMR (github.com/LinWeizheDragon/FLMR) for the weights of a Stanford folder.

    python -m tests.parity.formats_flmr OUT

writes the golden case OUT/flmr-layout/bert from the one of Stanford's ColBERT. The package of FLMR is not on
PyPI and was NOT run: the layout is made here from what its repository and its published folders say, and the
numbers of the case are those of Stanford's ColBERT with the same weights. Verified by reading, in that
repository unless said:

- flmr/models/flmr/configuration_flmr.py: the keys of config.json, ``dim`` and ``mask_punctuation`` among them,
  and that text_config and vision_config hold only what differs from their classes' defaults (a BERT base).
  The same in config.json of the published LinWeizheDragon/FLMR and PreFLMR_ViT-L, whose values are used here.
- flmr/models/flmr/modeling_flmr.py: the names of the weights. ``query_mask``, ``mask``, ``query`` and ``doc``
  score text as Stanford's ColBERT does; token id 0 is the padding that does not score, and a
  ``mask_instruction_token`` (":" in PreFLMR, null in FLMR) keeps a query's instruction from scoring.
- flmr/models/flmr/tokenization_flmr.py: queries and documents start with ". ", and the token of the full stop
  is then replaced by [unused0] or [unused1], which is Stanford's insertion of a marker; the lengths count it.
  ``query_maxlen`` and ``attend_to_mask_tokens`` (query_tokenizer/) and ``doc_maxlen`` (context_tokenizer/) are
  keys of tokenizer_config.json. The published query_tokenizer/ of PreFLMR_ViT-L holds vocab.txt,
  special_tokens_map.json and tokenizer_config.json, with the keys written here, and no tokenizer.json.
- tools/convert_flmr_original_checkpoint_to_pytorch.py: ``bert.X`` of a Stanford folder is
  ``context_text_encoder.bert_model.X`` and ``linear.X`` is ``context_text_encoder_linear.X``.
- With ``separate_query_and_context_text_encoder`` false the query's encoder is the same module, named as tied
  weights. Which names safetensors keep was tried with a module of that shape in transformers 4.48.3: only
  ``query_*``; pytorch_model.bin has both. With it true both are there.
- The vision side, which text does not use, always has ``context_vision_projection``, and its tied name.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.parity.formats_backbones import fill
from tests.parity.formats_golden import EXPECTED_FILE, GOLDENS, Golden

SOURCE = GOLDENS / "stanford-0.2.22" / "bert"
PEER, VERSION = "flmr", "layout"
VISION_WIDTH, PREFIX = 4, 2
TEXT_KEYS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
)


def write_folder(source: Path, folder: Path, separate: bool = False) -> None:
    """Write a Stanford folder of a BERT in the layout of FLMR.

    Args:
        source: the Stanford folder, with model.safetensors and vocab.txt.
        folder: is made.
        separate: an encoder for queries and one for documents, as PreFLMR has; they are equal.
    """
    metadata = json.loads((source / "artifact.metadata").read_text(encoding="utf-8"))
    folder.mkdir(parents=True)
    save_file(_weights(source, metadata["dim"], separate), folder / "model.safetensors", {"format": "pt"})
    _write(folder / "config.json", _config(source, metadata, separate))
    for role, length in (
        (
            "query",
            {
                "query_maxlen": metadata["query_maxlen"],
                "attend_to_mask_tokens": metadata["attend_to_mask_tokens"],
            },
        ),
        ("context", {"doc_maxlen": metadata["doc_maxlen"]}),
    ):
        target = folder / f"{role}_tokenizer"
        target.mkdir()
        for name in ("vocab.txt", "special_tokens_map.json"):
            shutil.copyfile(source / name, target / name)
        tokenizer = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
        name = f"FLMR{role.capitalize()}EncoderTokenizer"
        tokenizer |= {
            **length,
            "auto_map": {"AutoTokenizer": [f"tokenization_flmr.{name}", None]},
            "do_basic_tokenize": True,
            "never_split": None,
            "tokenizer_class": name,
        }
        _write(target / "tokenizer_config.json", tokenizer)


def _write(file: Path, content: dict[str, Any]) -> None:
    text = json.dumps(dict(sorted(content.items())), indent=2, ensure_ascii=False)
    file.write_text(text + "\n", encoding="utf-8")


def _weights(source: Path, dim: int, separate: bool) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    sides = ("context", "query") if separate else ("query",)
    for name, value in load_file(source / "model.safetensors").items():
        module, rest = name.split(".", 1)
        for side in sides:
            prefix = {"bert": f"{side}_text_encoder.bert_model", "linear": f"{side}_text_encoder_linear"}
            weights[f"{prefix[module]}.{rest}"] = value.clone()
    widths = (VISION_WIDTH, dim * PREFIX // 2, dim * PREFIX)
    projection = torch.nn.Sequential(
        torch.nn.Linear(*widths[:2]), torch.nn.Tanh(), torch.nn.Linear(*widths[1:])
    )
    fill(projection, "flmr")
    for name, value in projection.state_dict().items():
        weights[f"query_vision_projection.model.{name}"] = value
    return weights


def _config(source: Path, metadata: dict[str, Any], separate: bool) -> dict[str, Any]:
    text = json.loads((source / "config.json").read_text(encoding="utf-8"))
    return {
        "architectures": ["FLMRModelForRetrieval"],
        "auto_map": {
            "AutoConfig": "configuration_flmr.FLMRConfig",
            "AutoModel": "modeling_flmr.FLMRModelForRetrieval",
        },
        "context_concat_output_from_text_encoder": True,
        "context_concat_output_from_vision_encoder": False,
        "dim": metadata["dim"],
        "initializer_range": 0.02,
        "load_cpu_extension": False,
        "mapping_network_prefix_length": PREFIX,
        "mask_instruction_token": None,
        "mask_punctuation": metadata["mask_punctuation"],
        "model_type": "flmr",
        "query_concat_output_from_text_encoder": True,
        "query_concat_output_from_vision_encoder": True,
        "separate_query_and_context_text_encoder": separate,
        "separate_query_and_context_vision_encoder": False,
        "text_config": {"model_type": "flmr_text_model", **{key: text[key] for key in TEXT_KEYS}},
        "torch_dtype": "float32",
        "transformer_mapping_config_base": None,
        "transformer_mapping_cross_attention_length": 32,
        "transformer_mapping_num_hidden_layers": None,
        "transformers_version": "4.37.2",
        "use_transformer_mapping_network": False,
        "use_vision_encoder": False,
        "vision_config": {"hidden_size": VISION_WIDTH, "model_type": "flmr_vision_model"},
        "vision_model_version": "openai/clip-vit-base-patch32",
    }


def make(out: Path) -> Path:
    """Write the golden case under ``out`` and return its folder."""
    source = Golden.load(SOURCE)
    target = out / f"{PEER}-{VERSION}" / source.name
    shutil.rmtree(target, ignore_errors=True)
    write_folder(source.model_folder, target / "model")
    shutil.copyfile(SOURCE / EXPECTED_FILE, target / EXPECTED_FILE)
    note = (
        "made by formats_flmr.py, not by FLMR; the numbers are those of Stanford's ColBERT on these weights"
    )
    replace(source, peer=PEER, version=VERSION, note=note).save(target)
    return target


def main() -> None:
    """Read the command line and write the case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    make(parser.parse_args().out.resolve())


if __name__ == "__main__":
    main()
