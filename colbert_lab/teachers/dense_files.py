"""What the files of a dense model say of how it embeds: pooling, length, prompts, in sentence-transformers' layout.

modules.json                          Transformer, Pooling and perhaps Normalize
1_Pooling/config.json                 the pooling: ``pooling_mode``, or a ``pooling_mode_...`` for each kind
sentence_bert_config.json             max_seq_length, do_lower_case
config_sentence_transformers.json     prompts, similarity_fn_name
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colbert_lab.base.errors import InputError
from colbert_lab.model.formats.modules import (
    CONFIG_FILE,
    MODULES_FILE,
    ROLES,
    TRANSFORMER_FILES,
    Module,
    read_modules,
    read_transformer,
    role_prompts,
)
from colbert_lab.model.model_files import locate, read_json, value

KEY = "teacher.model"
POOLINGS = ("mean", "cls")
KNOWN = ("Transformer", "Pooling", "Normalize", "Dropout")
"""Modules that change nothing of a cosine but by their pooling."""
_LEGACY = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True)
class DenseFiles:
    """What a model says of itself; what it says nothing of is None or empty.

    Attributes:
        pooling: ``mean`` or ``cls``.
        pooling_file: where it says so.
        pools_prompt: whether the tokens of a prompt are pooled too.
        max_length: most tokens of a text.
        lowercase: whether texts are made lower case first.
        query_prompt: text before queries.
        document_prompt: text before documents.
        other_prompts: names of prompts that belong to neither.
    """

    pooling: str | None = None
    pooling_file: Path | None = None
    pools_prompt: bool = True
    max_length: int | None = None
    lowercase: bool = False
    query_prompt: str = ""
    document_prompt: str = ""
    other_prompts: tuple[str, ...] = ()


def dense_files(model: str) -> DenseFiles:
    """Read what a dense model says of how it embeds.

    Args:
        model: hub id, local folder or ``package:NAME/FOLDER``.

    Raises:
        InputError: a file is damaged or cannot be fetched, or the model computes what a bi-encoder here does not.
    """
    folder = Path(locate(model, KEY))
    if not folder.is_dir():
        fetched = _fetch(model, MODULES_FILE)
        if fetched is None:
            return DenseFiles()
        folder = fetched.parent
        own = [module.folder.relative_to(folder.resolve()) for module in read_modules(folder, KEY)[1:]]
        for path in own:
            _fetch(model, str(path / "config.json"), needed=False)
        for name in (*TRANSFORMER_FILES, CONFIG_FILE):
            _fetch(model, name, needed=False)
    elif not (folder / MODULES_FILE).is_file():
        return DenseFiles()
    modules = read_modules(folder, KEY)
    unknown = [module.type for module in modules if module.kind not in KNOWN]
    if unknown or sum(module.kind == "Pooling" for module in modules) > 1:
        raise InputError(
            f"{KEY}={model}: its {MODULES_FILE} names {unknown[0] if unknown else 'several Pooling modules'}, which a "
            f"bi_encoder does not compute; known are {', '.join(KNOWN)}; take another model"
        )
    if modules[0].folder != folder.resolve():
        raise InputError(
            f"{KEY}={model}: its weights are in {modules[0].folder.name}, where a bi_encoder does not look; save it "
            "anew with sentence-transformers, which puts them beside modules.json"
        )
    config = read_json(folder / CONFIG_FILE, KEY) if (folder / CONFIG_FILE).is_file() else {}
    _check_cosine(model, config, modules)
    query_prompt, document_prompt = role_prompts(config, KEY)
    transformer, file = read_transformer(modules[0], KEY), modules[0].folder / TRANSFORMER_FILES[0]
    pooling = next((module for module in modules if module.kind == "Pooling"), None)
    pooled = {} if pooling is None else pooling.config(KEY)
    where = None if pooling is None else pooling.folder / "config.json"
    return DenseFiles(
        pooling=None if where is None else _pooling(pooled, where),
        pooling_file=where,
        pools_prompt=value(pooled, "include_prompt", bool, where or "", True, KEY),
        max_length=value(transformer, "max_seq_length", int, file, key=KEY),
        lowercase=value(transformer, "do_lower_case", bool, file, False, KEY),
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        other_prompts=tuple(
            name for name, text in (config.get("prompts") or {}).items() if text and name not in ROLES
        ),
    )


def _pooling(config: dict[str, Any], file: Path) -> str:
    """The one pooling that a file names; sentence-transformers takes the mean where it names none."""
    if not file.is_file():
        raise InputError(f"{KEY}: {file} is not there, which says how the model pools; fetch it")
    named = config.get("pooling_mode")
    if named is None:
        named = [kind for name, kind in _LEGACY.items() if value(config, name, bool, file, False, KEY)]
    kinds = [named] if isinstance(named, str) else named or ["mean"]
    if not isinstance(kinds, list) or len(kinds) != 1 or kinds[0] not in POOLINGS:
        told = " and ".join(map(str, kinds)) if isinstance(kinds, list) else str(kinds)
        raise InputError(
            f"{KEY}: {file} names the pooling {told}, which a bi_encoder does not compute; known are "
            f"{' and '.join(POOLINGS)}, one of them; take another model"
        )
    return str(kinds[0])


def _check_cosine(model: str, config: dict[str, Any], modules: list[Module]) -> None:
    """Whether a model's own score is the cosine."""
    similarity = value(config, "similarity_fn_name", str, CONFIG_FILE, "cosine", KEY)
    unit = any(module.kind == "Normalize" for module in modules)
    if similarity != "cosine" and not (similarity == "dot" and unit):
        raise InputError(
            f"{KEY}={model}: its {CONFIG_FILE} says similarity_fn_name={similarity}"
            f"{'' if unit else ' and it has no Normalize module'}, and a bi_encoder takes cosines; take another model"
        )


def _fetch(model: str, name: str, needed: bool = True) -> Path | None:
    """A file of a model on the hub; None where the model has none.

    Args:
        model: its hub id.
        name: of the file.
        needed: whether the local cache has to say that there is none, where the hub cannot be reached: a copy that was
            fetched as a whole says nothing of files that the model lacks.

    Raises:
        InputError: the hub cannot be reached, and its local cache does not say.
    """
    from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(model, name))
    except LocalEntryNotFoundError as error:
        if not needed or try_to_load_from_cache(model, name) is _CACHED_NO_EXIST:
            return None
        raise InputError(
            f"{KEY}={model}: the hub's local cache does not say whether it has a {name}, which says how it pools, and "
            f"the hub cannot be reached; fetch the whole model where it can be: hf download {model}"
        ) from error
    except EntryNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{KEY}={model}: its {name} cannot be fetched ({str(error).strip().splitlines()[0]})"
        ) from error
