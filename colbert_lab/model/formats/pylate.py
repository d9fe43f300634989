"""PyLate's folder (1.x; read and run in 1.6.0): Transformer, then Dense modules, and its rules in one JSON file.

config_sentence_transformers.json   markers (query_prefix, document_prefix), lengths, expansion, skiplist, prompts
sentence_bert_config.json           do_lower_case
modules.json, 1_Dense/ ...          the head
config.json, model.safetensors, tokenizer files   the backbone

What PyLate does with them (pylate/models/colbert.py of 1.6.0): white space around prompt and text is removed, the text
is cut to the length less one, and the marker's id is put after the first token, whatever that is. Queries are filled
up with the mask token, or the EOS token of a tokenizer that has none. Words of the skiplist that the vocabulary lacks
become the unknown token, which is then skipped. A prompt is only used when the caller names it.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import normalizers

from colbert_lab.base.errors import InputError
from colbert_lab.model.formats.modules import (
    CONFIG_FILE,
    TRANSFORMER_FILES,
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
    tokenizer_in,
    write_backbone,
    write_tokenizer,
)
from colbert_lab.model.model_files import KEY, read_json, read_weights, value
from colbert_lab.model.student import Student
from colbert_lab.model.tokenizer import Expansion, TokenRules, leading_special

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NAME = "pylate"
KNOWN = ("Transformer", "Dense")
# PyLate's own defaults, for folders that do not say.
PREFIXES, LENGTHS = ("[Q] ", "[D] "), (32, 180)


def read(folder: Path) -> Parts:
    """Read a folder that PyLate saved.

    Raises:
        InputError: a part is missing, does not fit or is not known.
    """
    modules = read_modules(folder)
    unknown = [module.type for module in modules if module.kind not in KNOWN]
    if unknown:
        raise InputError(
            f"{KEY}={folder}: its module {unknown[0]} is not of a ColBERT; start from a dense model with "
            f"student.backbone={folder}"
        )
    transformer = modules[0]
    tokenizer = tokenizer_in(transformer.folder)
    settings = read_transformer(transformer)
    lowercase = value(settings, "do_lower_case", bool, transformer.folder / TRANSFORMER_FILES[0], False)
    return Parts(
        transformer.folder,
        tokenizer,
        _rules(read_json(folder / CONFIG_FILE), tokenizer, lowercase),
        read_head(folder, modules),
        read_weights(transformer.folder, KEY),
    )


def _rules(config: dict[str, Any], tokenizer: PreTrainedTokenizerBase, lowercase: bool) -> TokenRules:
    def given(key: str, kind: Any, default: Any) -> Any:
        return value(config, key, kind, CONFIG_FILE, default)

    expansion: Expansion = "none"
    if given("do_query_expansion", bool, True):
        expansion = "attended" if given("attend_to_expansion_tokens", bool, False) else "unattended"
    query_prompt, document_prompt = role_prompts(config)
    words = list(given("skiplist_words", list[str], list(string.punctuation)))
    unknown = tokenizer.unk_token
    known = tokenizer.get_vocab()
    if unknown is not None and any(word not in known for word in words):
        words.append(unknown)
    if getattr(tokenizer, "padding_side", "right") != "right":
        raise InputError(f"{KEY}: padding on the left, as {tokenizer.name_or_path} has it, is not known")
    return TokenRules(
        query_length=given("query_length", int, LENGTHS[0]),
        document_length=given("document_length", int, LENGTHS[1]),
        query_marker=given("query_prefix", str, PREFIXES[0]) or None,
        document_marker=given("document_prefix", str, PREFIXES[1]) or None,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        extend_length=False,
        expansion=expansion,
        skiplist=words,
        strip=True,
        lowercase=lowercase,
        marker_after=None if leading_special(tokenizer) == 1 else 1,
        truncation_side=tokenizer.truncation_side,
    )


def save(student: Student, folder: Path) -> None:
    """Write a student as PyLate does.

    Args:
        student: the student.
        folder: an empty folder.

    Raises:
        InputError: the layout cannot hold it.
    """
    reading, rules = student.tokenizer, student.tokenizer.rules
    if reading.markers_after != 1 and (rules.query_marker or rules.document_marker):
        raise refuse(
            NAME, f"PyLate puts markers after the first token, and this student after {reading.markers_after}"
        )
    tokenizer, prompts = reading.tokenizer, {"query": rules.query_prompt, "document": rules.document_prompt}
    if any(prompt != prompt.lstrip() for prompt in prompts.values()):
        tokenizer, prompts = leading_space_moved(tokenizer, prompts)
    write_backbone(student, folder)
    write_tokenizer(tokenizer, folder)
    paths = write_head(student.model.head, folder, NAME)
    write_modules(
        folder,
        [
            ("sentence_transformers.models.Transformer", ""),
            *(("pylate.models.Dense.Dense", path) for path in paths),
        ],
    )
    write_json(
        folder / "sentence_bert_config.json",
        {"max_seq_length": reading.length("document"), "do_lower_case": rules.lowercase},
    )
    write_json(
        folder / CONFIG_FILE,
        {
            "model_type": "ColBERT",
            "__version__": {"sentence_transformers": "5.3.0"},
            "prompts": prompts,
            "default_prompt_name": None,
            "similarity_fn_name": "MaxSim",
            "query_prefix": rules.query_marker or "",
            "document_prefix": rules.document_marker or "",
            "query_length": reading.length("query"),
            "document_length": reading.length("document"),
            "do_query_expansion": rules.expansion != "none",
            "attend_to_expansion_tokens": rules.expansion == "attended",
            "skiplist_words": reading.skipped,
        },
    )


def leading_space_moved(
    tokenizer: PreTrainedTokenizerBase, prompts: dict[str, str]
) -> tuple[PreTrainedTokenizerBase, dict[str, str]]:
    """A tokenizer that puts the prompts' leading space before every text itself.

    PyLate removes white space around prompt and text, so a prompt cannot begin with it.

    Args:
        tokenizer: the student's; it stays as it is.
        prompts: prompts by role.

    Raises:
        InputError: the prompts begin with different white space.
    """
    spaces = {prompt[: len(prompt) - len(prompt.lstrip())] for prompt in prompts.values()}
    if len(spaces) != 1:
        raise refuse(NAME, "its prompts begin with different white space, which PyLate would remove")
    moved = normalised_first(tokenizer, normalizers.Prepend(spaces.pop()))
    return moved, {role: prompt.lstrip() for role, prompt in prompts.items()}
