"""Find and load a backbone: hub id, local folder, or a model inside an installed package."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import AutoConfig, AutoModel, AutoTokenizer

from colbert_lab.base.errors import Diverged, InputError, some_ids
from colbert_lab.model.architecture import architecture_config, keep_first_layers, not_built, set_dropout
from colbert_lab.model.attention import NAME, can_be_chosen, pick_attention
from colbert_lab.model.model_files import (
    TOKENIZER_FILES,
    WANTS_CODE,
    brings_code,
    check_no_pointer,
    locate,
    read_json,
    weight_files,
)
from colbert_lab.model.packing import NAME as PACKED
from colbert_lab.model.unread import TOKENIZER_ADVICE, check_vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)
KEY = "student.backbone"


def load_tokenizer(model: str, trust_remote_code: bool = False, key: str = KEY) -> PreTrainedTokenizerBase:
    """Load a fast tokenizer; ``model`` and ``key`` as for :func:`locate`.

    Raises:
        InputError: it cannot be found, or its files are missing or damaged.
    """
    with quiet_transformers():
        tokenizer: PreTrainedTokenizerBase = _from_pretrained(AutoTokenizer, model, trust_remote_code, key)
    check_vocabulary(tokenizer, f"{key}={model}")
    return tokenizer


def load_backbone(
    model: str,
    *,
    dropout: float | None = None,
    attention: str = "sdpa",
    layers: int | None = None,
    trust_remote_code: bool = False,
    key: str = KEY,
) -> PreTrainedModel:
    """Load pretrained weights in float32, without a pooler.

    Args:
        model: as for :func:`locate`.
        dropout: every dropout rate of the backbone; None keeps the backbone's own.
        attention: the attention implementation of transformers (``sdpa``, ``eager``, ``flash_attention_2``),
            ``matmul`` (:mod:`colbert_lab.model.attention`), ``packed`` (:mod:`colbert_lab.model.packing`), or
            ``auto``: ``sdpa`` with a GPU, ``matmul`` without (or ``eager`` for backbones that have only their own).
        layers: number of first layers to keep, see :func:`keep_first_layers`; None keeps all.
        trust_remote_code: run Python code that comes with the model; off unless asked for.
        key: the config key to name in errors.

    Raises:
        InputError: the model cannot be found, wants remote code, has no dropout to set, lacks weights, or has fewer
            layers.
    """
    config = _from_pretrained(AutoConfig, model, trust_remote_code, key)
    if brings_code(config) and not trust_remote_code:
        log.warning(
            "%s=%s: the Python code that comes with it (auto_map in config.json) is not run; transformers' own %s is "
            "taken, which may be another model: see student.trust_remote_code",
            key, model, config.model_type,
        )  # fmt: skip
    if dropout is not None:
        set_dropout(config, dropout, model)
    if layers is not None:
        keep_first_layers(config, layers, model)
    with quiet_transformers():
        backbone, loaded = _from_pretrained(
            AutoModel,
            model,
            trust_remote_code,
            key,
            config=config,
            attn_implementation=pick_attention(attention),
            dtype="float32",
            output_loading_info=True,
        )
    missing = sorted(name for name in loaded["missing_keys"] if "pooler" not in name)
    if missing:
        raise InputError(
            f"{key}={model}: {len(missing)} weights of {type(backbone).__name__} are not in its files "
            f"({', '.join(missing[:3])}); they would be random"
        )
    check_finite(backbone, f"{key}={model}")
    return _ready(backbone, attention)


def not_finite(weights: Mapping[str, Tensor]) -> list[str]:
    """Names of the weights that have NaN or infinity in them; of a spread one, in the part that is here."""
    found = []
    for name, weight in weights.items():
        value = weight.to_local() if isinstance(weight, DTensor) else weight
        if value.is_floating_point() and value.numel():
            found += [] if all(bool(x.isfinite()) for x in value.aminmax()) else [name]
    return found


def check_finite(
    model: nn.Module, where: str, gather: Callable[[list[str]], list[list[str]]] | None = None
) -> None:
    """Whether all weights of a model are numbers to compute with: one NaN makes every score NaN.

    Args:
        model: the model.
        where: what to name in the error.
        gather: brings what each process finds to all, where they check together: all raise, or none.

    Raises:
        Diverged: some are NaN or infinite; they are named.
    """
    here = not_finite({name: value.detach() for name, value in model.named_parameters()})
    if bad := sorted({name for names in (gather(here) if gather else [here]) for name in names}):
        raise Diverged(
            f"{where}: weights with NaN or infinity in them: {some_ids(bad)}; they are damaged, or training diverged; "
            "take others"
        )


def random_backbone(
    architecture: Mapping[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    *,
    dropout: float | None = None,
    attention: str = "sdpa",
) -> PreTrainedModel:
    """A backbone to train from scratch, in float32, without a pooler.

    Its weights are drawn from torch's global generator: seed it first.

    Args:
        architecture: see :func:`architecture_config`.
        tokenizer: see there.
        dropout: every dropout rate of the backbone; None keeps those of ``architecture``.
        attention: as for :func:`load_backbone`.

    Raises:
        InputError: transformers does not know or cannot build the architecture.
    """
    config = architecture_config(architecture, tokenizer)
    if dropout is not None:
        set_dropout(config, dropout, config.model_type)
    try:
        with quiet_transformers():
            backbone = AutoModel.from_config(config, attn_implementation=pick_attention(attention))
    except (TypeError, ValueError, AssertionError) as error:
        raise not_built(error) from error
    return _ready(backbone, attention)


def backbone_from_config(
    shape: Path | PreTrainedConfig, attention: str, trust_remote_code: bool = False, key: str = KEY
) -> PreTrainedModel:
    """A backbone with weights yet to be loaded.

    One that code of its folder builds is never on the meta device: what such code computes when it builds a model,
    such as tables of rotary positions, is in no file.

    Args:
        shape: its configuration, or the folder with it as ``config.json``.
        attention: as for :func:`load_backbone`.
        trust_remote_code: run Python code that comes with the model; off unless asked for.
        key: the config key to name in errors.

    Raises:
        InputError: the configuration cannot be read, or wants code that comes with the model.
    """
    with quiet_transformers():
        config: PreTrainedConfig = (
            _from_pretrained(AutoConfig, str(shape.resolve()), trust_remote_code, key)
            if isinstance(shape, Path)
            else shape
        )
        code = brings_code(config)
        if code and not trust_remote_code:
            raise InputError(
                f"{key}={shape}: {WANTS_CODE}{key.rpartition('.')[0]}.trust_remote_code=true; where transformers' own "
                f"{config.model_type} is the same model, take auto_map out of its config.json"
            )
        chosen = None if code and attention in ("auto", "sdpa") else pick_attention(attention)
        try:
            with torch.device("cpu") if code else nullcontext():
                model = AutoModel.from_config(
                    config,
                    attn_implementation=chosen,
                    dtype=torch.float32,
                    trust_remote_code=trust_remote_code,
                )
        except ImportError as error:
            raise InputError(
                f"student.attention={attention}: {str(error).strip().splitlines()[0]}"
            ) from error
        except Exception as error:  # what a damaged configuration leads transformers to
            raise InputError(
                f"{key}={shape if isinstance(shape, Path) else shape.model_type}: transformers cannot build its "
                f"config.json ({' '.join(str(error).split())[:200] or type(error).__name__})"
            ) from error
    return _ready(model, attention)


def _ready(backbone: PreTrainedModel, attention: str) -> PreTrainedModel:
    """The backbone without pooler and, for ``auto`` without a GPU, with the attention that is fast there.

    Raises:
        InputError: ``matmul`` or ``packed`` for a backbone that has only its own attention.
    """
    if not can_be_chosen(backbone):
        if attention in (NAME, PACKED):
            raise InputError(
                f"student.attention={attention}: {type(backbone).__name__} has only its own; set it to auto or eager"
            )
    elif attention == "auto" and pick_attention(attention) == "eager":
        backbone.set_attn_implementation(NAME)
    return without_pooler(backbone)


def without_pooler(backbone: PreTrainedModel) -> PreTrainedModel:
    """Drop the sentence pooler that late interaction never uses (its weights would get no gradient)."""
    if getattr(backbone, "pooler", None) is not None:
        backbone.pooler = None
    return backbone


def positions(network: PreTrainedModel) -> int | None:
    """Most tokens of a text that a network can read; None where its configuration names no limit.

    RoBERTa and its family count positions from the one after the padding token's, so that the first ones of their
    table are never used (``create_position_ids_from_input_ids`` in transformers' modeling_roberta.py): a table of 514
    rows with padding token 1 reads 512 tokens. Their table says so by a padding row, which BERT's has not.
    """
    longest: int | None = getattr(network.config, "max_position_embeddings", None)
    for name, module in network.named_modules():
        padding: int | None = getattr(module, "padding_idx", None)
        if longest is not None and name.endswith("position_embeddings") and padding is not None:
            return longest - padding - 1
    return longest


def _from_pretrained(cls: Any, model: str, trust_remote_code: bool, key: str, **kwargs: Any) -> Any:
    path = locate(model, key)
    folder = Path(path)
    if (folder / "config.json").is_file():
        read_json(folder / "config.json", key)
    if folder.is_dir() and cls is AutoTokenizer:
        for pattern in TOKENIZER_FILES:
            for file in folder.glob(pattern):
                check_no_pointer(file, key)
    elif folder.is_dir() and cls is AutoModel:
        weight_files(folder, key)
    try:
        return cls.from_pretrained(path, trust_remote_code=trust_remote_code, **kwargs)
    except ImportError as error:
        raise InputError(f"student.attention: {str(error).strip().splitlines()[0]}") from error
    except Exception as error:  # transformers and tokenizers raise what damaged files lead them to
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if "trust_remote_code" in str(error):
            raise InputError(
                f"{key}={model}: {WANTS_CODE}{key.rpartition('.')[0]}.trust_remote_code=true"
            ) from error
        told = f"cannot be loaded ({first.rstrip(' :')})"
        if not folder.is_dir():
            advice = "; give a hub id that can be reached, a local folder, or package:NAME/FOLDER"
        elif cls is AutoTokenizer:
            told, advice = f"its tokenizer {told}", f": {TOKENIZER_ADVICE}"
        else:
            advice = "; give a folder with all files of a model"
        raise InputError(f"{key}={model}: {told}{advice}") from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' own progress bars and load reports."""
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(verbosity)
        transformers.logging.enable_progress_bar()
