"""The folder of sentence-transformers 6's MultiVectorEncoder: Transformer, Dense modules, MultiVectorMask, Normalize.

config_sentence_transformers.json   model_type MultiVectorEncoder, prompts
sentence_bert_config.json           lengths, query_expansion, do_lower_case
modules.json, 1_Dense/ ...          the head
N_MultiVectorMask/config.json       the skiplist
config.json, model.safetensors, tokenizer files   the backbone

What it does with them (sentence_transformers 6.2.0, base/modules/transformer.py and multi_vector_encoder): a marker is
the beginning of a prompt, written as text, which the tokenizer reads as one special token; prompts are applied by
role. Queries are filled up with the mask token, or the EOS token of a tokenizer that has none: all of them to
``query_expansion.length``, or with the strategy ``min`` the shorter ones, while longer ones are cut at
``query_length``. Words of the skiplist that the vocabulary lacks are passed over. Text keeps its white space.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbert_lab.base.errors import InputError
from colbert_lab.model.formats.modules import (
    CONFIG_FILE,
    TRANSFORMER_FILES,
    Module,
    read_head,
    read_modules,
    read_transformer,
    role_prompts,
    write_head,
    write_json,
    write_modules,
)
from colbert_lab.model.formats.shared import (
    Parts,
    normalised_first,
    refuse,
    stripping,
    tokenizer_in,
    with_special_markers,
    write_backbone,
    write_tokenizer,
)
from colbert_lab.model.maxsim import MAXSIM, MEAN
from colbert_lab.model.model_files import KEY, read_json, read_weights, value
from colbert_lab.model.student import Student
from colbert_lab.model.tokenizer import Expansion, TokenRules

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NAME = "sentence_transformers"
MODEL_TYPE = "MultiVectorEncoder"
KNOWN = ("Transformer", "Dense", "MultiVectorMask", "Normalize")
TRANSFORMER = "sentence_transformers.base.modules.transformer.Transformer"
DENSE = "sentence_transformers.base.modules.dense.Dense"
MASK = "sentence_transformers.multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask"
TOKENS = "token_embeddings"
SIMILARITIES = {MAXSIM: "maxsim", MEAN: "meanmaxsim"}
"""Its names of a student's scores."""
NORMALIZE = "sentence_transformers.base.modules.normalize.Normalize"


def read(folder: Path) -> Parts:
    """Read a folder that a MultiVectorEncoder saved.

    Raises:
        InputError: a part is missing, does not fit or is not known.
    """
    modules = read_modules(folder)
    unknown = [module.type for module in modules if module.kind not in KNOWN]
    if unknown:
        raise InputError(
            f"{KEY}={folder}: its module {unknown[0]} is not known; known are {', '.join(KNOWN)}"
        )
    check_modules(folder, modules)
    config = read_json(folder / CONFIG_FILE)
    similarity = value(config, "similarity_fn_name", str, folder / CONFIG_FILE)
    scores = {theirs: ours for ours, theirs in SIMILARITIES.items()} | {None: MAXSIM}
    if similarity not in scores:
        raise InputError(
            f"{KEY}={folder}: {CONFIG_FILE}: similarity_fn_name={similarity}: only "
            f"{' and '.join(SIMILARITIES.values())} are known"
        )
    transformer = modules[0]
    tokenizer = tokenizer_in(transformer.folder)
    return Parts(
        transformer.folder,
        tokenizer,
        replace(_rules(folder, modules, tokenizer), score=scores[similarity]),
        read_head(folder, modules),
        read_weights(transformer.folder, KEY),
    )


def check_modules(folder: Path, modules: list[Module]) -> None:
    """Whether the modules compute what a student does: the heads on each token, then unit length, and one mask.

    Raises:
        InputError: they do not; MaxSim of embeddings that are not unit length is not known.
    """
    kinds = [module.kind for module in modules]
    if "Normalize" not in kinds:
        raise InputError(
            f"{KEY}={folder}: has no Normalize module; embeddings that are not unit length are not known"
        )
    if "Dense" in kinds[kinds.index("Normalize") :]:
        raise InputError(
            f"{KEY}={folder}: its modules are {', '.join(kinds)}; a Normalize before a Dense is not known, as a "
            "student's embeddings are normalised last"
        )
    if kinds.count("MultiVectorMask") > 1:
        raise InputError(f"{KEY}={folder}: has {kinds.count('MultiVectorMask')} MultiVectorMask modules")
    for module in modules:
        if module.kind in ("Dense", "Normalize"):
            config, file = module.config(), module.folder / "config.json"
            read = value(config, "module_input_name", str, file, "sentence_embedding")
            written = value(config, "module_output_name", str, file, read)
            if (read, written) != (TOKENS, TOKENS):
                raise InputError(
                    f"{KEY}: {file}: a {module.kind} from {read} to {written} is not known, only {TOKENS}"
                )


def _rules(folder: Path, modules: list[Module], tokenizer: PreTrainedTokenizerBase) -> TokenRules:
    settings, file = read_transformer(modules[0]), modules[0].folder / TRANSFORMER_FILES[0]
    lengths = {
        name: value(settings, name, int, file)
        for name in ("max_seq_length", "query_length", "document_length")
    }
    prompts = role_prompts(read_json(folder / CONFIG_FILE))
    (query_marker, query_prompt), (document_marker, document_prompt) = (
        split_marker(prompt, tokenizer) for prompt in prompts
    )
    longest = min(lengths["max_seq_length"] or tokenizer.model_max_length, tokenizer.model_max_length)
    expansion, length, least = _expansion(folder, value(settings, "query_expansion", dict, file), tokenizer)
    skiplist: list[str] = []
    for module in modules:
        if module.kind == "MultiVectorMask":
            skiplist = _skiplist(folder, module.config())
    return TokenRules(
        query_length=length or lengths["query_length"] or longest,
        document_length=lengths["document_length"] or longest,
        query_marker=query_marker,
        document_marker=document_marker,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        extend_length=False,
        expansion=expansion,
        skiplist=skiplist,
        lowercase=value(settings, "do_lower_case", bool, file, False),
        truncation_side=tokenizer.truncation_side,
        expansion_min=least,
    )


def _expansion(
    folder: Path, settings: dict[str, Any] | None, tokenizer: PreTrainedTokenizerBase
) -> tuple[Expansion, int | None, int | None]:
    """How queries are expanded, how many tokens all of them have then, and how many each has at least."""
    if settings is None:
        return "none", None, None
    key = f"{KEY}={folder}: query_expansion"
    strategy = settings.get("strategy")
    if strategy not in ("fixed", "min"):
        raise InputError(f"{key}.strategy={strategy}: only fixed and min are known")
    usual = tokenizer.mask_token or tokenizer.eos_token
    if settings.get("token") not in (None, usual):
        raise InputError(f"{key}.token={settings['token']}: only {usual} (or null) is known")
    length = value(settings, "length", int, key)
    if length is None:
        raise InputError(f"{key}.length is missing")
    expansion: Expansion = "attended" if value(settings, "attend", bool, key, False) else "unattended"
    return (expansion, length, None) if strategy == "fixed" else (expansion, None, length)


def _skiplist(folder: Path, config: dict[str, Any]) -> list[str]:
    if config.get("keep_only_token_ids"):
        raise InputError(f"{KEY}={folder}: MultiVectorMask.keep_only_token_ids is not known")
    words: list[str] = value(config, "skiplist_words", list[str], f"{folder}: MultiVectorMask", [])
    tasks = config.get("skiplist_tasks", ["document"])
    if words and tasks not in (["document"], "document"):
        raise InputError(f"{KEY}={folder}: MultiVectorMask.skiplist_tasks={tasks}: only document is known")
    return words


def split_marker(prompt: str, tokenizer: PreTrainedTokenizerBase) -> tuple[str | None, str]:
    """The marker at the beginning of a prompt, and the rest of it.

    Args:
        prompt: such as ``[Q] search_query: ``.
        tokenizer: a marker is the longest of its added tokens that the prompt begins with.

    Returns:
        The marker, None when there is none; the rest, without white space that the tokenizer does not read anyway.
        Where the tokenizer cuts the beginning of long texts, a marker is a part of the prompt that goes with it.
    """
    if tokenizer.truncation_side == "left":
        return None, prompt
    added = [token for token in tokenizer.get_added_vocab() if prompt.startswith(token)]
    if not added:
        return None, prompt
    marker = max(added, key=len)
    rest = prompt.removeprefix(marker)
    if rest and not rest.strip() and tokenizer.tokenize(f"{rest}a") == tokenizer.tokenize("a"):
        rest = ""
    return marker, rest


def save(student: Student, folder: Path) -> None:
    """Write a student as a MultiVectorEncoder does.

    Args:
        student: the student.
        folder: an empty folder.

    Raises:
        InputError: the layout cannot hold it.
    """
    reading, rules = student.tokenizer, student.tokenizer.rules
    if rules.marker_after is not None and (rules.query_marker or rules.document_marker):
        raise refuse(
            NAME, f"its markers come after the prompt, and this student's after {rules.marker_after} token"
        )
    longest, floor = reading.length("query"), reading.floor("query")
    expansion = None
    if floor:
        strategy, attend = "fixed" if floor == longest else "min", rules.expansion == "attended"
        expansion = {"strategy": strategy, "attend": attend, "token": None, "length": floor}
    write_backbone(student, folder)
    write_tokenizer(normalised_first(with_special_markers(student), *stripping(student)), folder)
    names = {"module_input_name": TOKENS, "module_output_name": TOKENS}
    paths = write_head(student.model.head, folder, NAME, **names)
    mask, norm = f"{len(paths) + 1}_MultiVectorMask", f"{len(paths) + 2}_Normalize"
    for path in (mask, norm):
        (folder / path).mkdir()
    skipped = {"skiplist_words": reading.skipped, "skiplist_tasks": ["document"], "keep_only_token_ids": None}
    write_json(folder / mask / "config.json", skipped)
    write_json(folder / norm / "config.json", names)
    write_modules(
        folder, [(TRANSFORMER, ""), *((DENSE, path) for path in paths), (MASK, mask), (NORMALIZE, norm)]
    )
    write_json(
        folder / "sentence_bert_config.json",
        {
            "transformer_task": "feature-extraction",
            "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
            "module_output_name": "token_embeddings",
            "query_length": None if floor == longest else longest,
            "document_length": reading.length("document"),
            "query_expansion": expansion,
            "do_lower_case": rules.lowercase,
        },
    )
    write_json(
        folder / CONFIG_FILE,
        {
            "model_type": MODEL_TYPE,
            "__version__": {"sentence_transformers": "6.2.0"},
            "prompts": {
                "query": (rules.query_marker or "") + rules.query_prompt,
                "document": (rules.document_marker or "") + rules.document_prompt,
            },
            "default_prompt_name": None,
            "similarity_fn_name": SIMILARITIES[rules.score],
        },
    )
