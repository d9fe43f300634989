"""Turn texts into the token batches a student reads, by role.

A text becomes ``[CLS] marker prompt text [SEP]``, cut to the role's length, which is the total number of
tokens (ColBERTv2's ``query_maxlen`` / ``doc_maxlen`` count the same way). Queries may be expanded with mask
tokens up to their length (ColBERT, Khattab & Zaharia 2020, section 3.2).
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from colbert_lab.base.errors import InputError, NoScoringTokenError
from colbert_lab.base.types import Role, Tokens
from colbert_lab.model.maxsim import MAXSIM, check_score

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Expansion = Literal["none", "attended", "unattended"]


@dataclass(frozen=True)
class TokenRules:
    """How a student reads text and scores its tokens; stored with it and used in training and evaluation alike.

    Attributes:
        query_length: most tokens of a query: special tokens, marker, prompt and text together.
        document_length: the same for a document.
        query_marker: token put before every query, or None. Added to the vocabulary when it is unknown.
        document_marker: the same for documents.
        query_prompt: text put before every query; may be empty.
        document_prompt: the same for documents.
        extend_length: add the prompt's own number of tokens to the lengths, so that a prompt costs no text.
        expansion: ``none``; or pad queries with mask tokens that score and that the encoder attends to
            (``attended``) or does not (``unattended``, ColBERTv2's ``attend_to_mask_tokens: false``).
        expansion_min: tokens to which shorter queries are expanded, while longer ones, of up to ``query_length``, stay
            as they are (the strategy ``min`` of sentence-transformers 6.2); None expands all to ``query_length``.
        skiplist: document tokens that do not score: ``punctuation``, ``none``, or the tokens themselves. Tokens that
            the vocabulary lacks are passed over; the unknown token is skipped only when it is listed itself.
        strip: remove white space around prompt and text together.
        lowercase: lower-case prompt and text (Python's ``str.lower``), whatever the tokenizer does.
        marker_after: number of tokens before the marker; None is after the tokenizer's leading special tokens.
        truncation_side: which end of a text that is too long is cut off, whatever the tokenizer's own setting; with
            ``left`` its beginning goes, and the prompt with it, as PyLate and Stanford's ColBERT do where a folder's
            tokenizer says so.
        score: what a query and a document have, see :data:`colbert_lab.model.maxsim.SCORES`.
        unscored: number of first tokens of every text that do not score, such as BGE-M3's one.
    """

    query_length: int
    document_length: int
    query_marker: str | None
    document_marker: str | None
    query_prompt: str
    document_prompt: str
    extend_length: bool
    expansion: Expansion
    skiplist: str | Sequence[str]
    strip: bool = False
    lowercase: bool = False
    marker_after: int | None = None
    truncation_side: str = "right"
    score: str = MAXSIM
    expansion_min: int | None = None
    unscored: int = 0

    def __post_init__(self) -> None:
        """Check types, as rules also come from JSON files that anyone may have written.

        Raises:
            InputError: a value is of another type.
        """
        for field in fields(self):
            given, kind = getattr(self, field.name), str(field.type)
            if kind.startswith("int") and given is not None:
                right, wanted = type(given) is int and given >= 0, "a whole number"
            elif kind == "bool":
                right, wanted = isinstance(given, bool), "true or false"
            elif field.name == "skiplist" and not isinstance(given, str):
                right = isinstance(given, Sequence) and all(isinstance(token, str) for token in given)
                wanted = "punctuation, none, or a list of tokens"
            else:
                right, wanted = isinstance(given, str) or (given is None and "None" in kind), "a text"
            if not right or (given is None and "None" not in kind):
                raise InputError(f"student.{field.name}={given!r:.40}: must be {wanted}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a JSON file and for hashes; rules of other libraries' layouts only where they differ."""
        values = {
            field.name: value
            for field, value in zip(fields(self), asdict(self).values(), strict=True)
            if field.default is MISSING or value != field.default
        }
        if not isinstance(self.skiplist, str):
            values["skiplist"] = list(self.skiplist)
        return values


class StudentTokenizer:
    """A Hugging Face tokenizer together with the rules of a student.

    Args:
        tokenizer: the backbone's tokenizer; markers that it lacks are added to it as special tokens.
        rules: lengths, markers, prompts, expansion and skiplist.

    Attributes:
        skipped: the tokens of the skiplist that the vocabulary has.

    Raises:
        InputError: a rule cannot be kept (no mask token for expansion, no room for text, unknown value).
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, rules: TokenRules) -> None:
        if rules.expansion not in get_args(Expansion):
            raise InputError(
                f"student.expansion={rules.expansion}: must be one of {', '.join(get_args(Expansion))}"
            )
        check_score(rules.score)
        fillers = (tokenizer.mask_token_id, tokenizer.eos_token_id)
        self._filler = next((int(token) for token in fillers if token is not None), None)
        if rules.expansion != "none" and self._filler is None:
            raise InputError(
                f"student.expansion={rules.expansion}: this tokenizer has neither a mask nor an EOS token to expand "
                "with; set student.expansion=none"
            )
        least = rules.expansion_min
        if least is not None and (rules.expansion == "none" or not 1 <= least <= rules.query_length):
            raise InputError(
                f"student.expansion_min={least}: must be 1 to {rules.query_length}, student.query_length, which cuts "
                "queries, and null with student.expansion=none"
            )
        if tokenizer.pad_token_id is None:
            if tokenizer.eos_token is None:
                raise InputError(
                    "student.backbone: its tokenizer has neither a pad nor an EOS token to pad with"
                )
            tokenizer.pad_token = tokenizer.eos_token
        if rules.truncation_side not in ("right", "left"):
            raise InputError(f"student.truncation_side={rules.truncation_side}: must be right or left")
        tokenizer.truncation_side = rules.truncation_side
        self.tokenizer = tokenizer
        self.rules = rules
        known = tokenizer.get_vocab()
        new = [m for m in (rules.query_marker, rules.document_marker) if m is not None and m not in known]
        if new:
            tokenizer.add_special_tokens({"additional_special_tokens": list(dict.fromkeys(new))})
        self._leading = leading_special(tokenizer) if rules.marker_after is None else rules.marker_after
        self._n_special: int = sum(tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"])
        self._marker: dict[Role, int | None] = {
            "query": self._token_id(rules.query_marker),
            "document": self._token_id(rules.document_marker),
        }
        self._prompt: dict[Role, str] = {"query": rules.query_prompt, "document": rules.document_prompt}
        self._skiplist = torch.tensor(self._skiplist_ids(), dtype=torch.int64)
        for role in get_args(Role):
            self._check_room(role)

    @property
    def cut_side(self) -> str:
        """To say after "are cut", where it is not the end that long texts lose."""
        return " (their beginning, prompt included)" if self.rules.truncation_side == "left" else ""

    @property
    def markers_after(self) -> int:
        """Number of tokens before a marker."""
        return self._leading

    def with_rules(self, **changes: Any) -> StudentTokenizer:
        """The same tokenizer with other rules (None keeps one); phases may differ in lengths and prompts."""
        kept = {name: value for name, value in changes.items() if value is not None}
        return StudentTokenizer(self.tokenizer, replace(self.rules, **kept))

    def _token_id(self, token: str | None) -> int | None:
        return None if token is None else int(self.tokenizer.convert_tokens_to_ids(token))

    def _skiplist_ids(self) -> list[int]:
        skiplist = self.rules.skiplist
        if isinstance(skiplist, str):
            if skiplist not in ("punctuation", "none"):
                raise InputError(
                    f"student.skiplist={skiplist}: must be punctuation, none, or a list of tokens"
                )
            skiplist = list(string.punctuation) if skiplist == "punctuation" else []
        known = self.tokenizer.get_vocab()
        self.skipped = [token for token in skiplist if token in known]
        return sorted({int(known[token]) for token in self.skipped})

    def given(self, text: str) -> str:
        """What the tokenizer is given of a text with its prompt: stripped and lower-cased where the rules say so."""
        text = text.strip() if self.rules.strip else text
        return text.lower() if self.rules.lowercase else text

    def prompt_tokens(self, role: Role) -> int:
        """Number of tokens that the role's prompt takes (4 for ``search_query: `` with BERT's vocabulary)."""
        # With byte-level BPE the prompt's last space joins the first word, so a word is read along.
        alone, prompted = self.tokenizer(
            [self.given("a"), self.given(self._prompt[role] + "a")], add_special_tokens=False
        )["input_ids"]
        return len(prompted) - len(alone)

    def length(self, role: Role) -> int:
        """Most tokens of a text in this role, everything counted."""
        length = self.rules.query_length if role == "query" else self.rules.document_length
        return length + self.prompt_tokens(role) if self.rules.extend_length else length

    def floor(self, role: Role) -> int:
        """Tokens to which shorter texts in this role are expanded; 0 where none are."""
        if role == "document" or self.rules.expansion == "none":
            return 0
        length = self.length(role)
        least = self.rules.expansion_min
        return length if least is None else least + length - self.rules.query_length

    def room(self, role: Role) -> int:
        """Tokens that are left for the text itself."""
        marker = 0 if self._marker[role] is None else 1
        return self.length(role) - self._n_special - marker - self.prompt_tokens(role)

    def _check_room(self, role: Role) -> None:
        marker = 0 if self._marker[role] is None else 1
        taken = self._n_special + marker + self.prompt_tokens(role)
        if self.room(role) < 1:
            raise InputError(
                f"student.{role}_length={self.length(role)} leaves no room for text: special tokens take "
                f"{self._n_special}, the marker {marker}, the prompt {self.prompt_tokens(role)}; "
                f"use at least {taken + 1}"
            )

    def ids(self, texts: Sequence[str], role: Role) -> list[list[int]]:
        """Token ids with prompt and marker, cut to the role's length, without padding or expansion.

        Args:
            texts: the texts, without prompt.
            role: decides marker, prompt and length (never a column's name).
        """
        marker = self._marker[role]
        room = self.length(role) - (marker is not None)
        encoded: list[list[int]] = self.tokenizer(
            [self.given(self._prompt[role] + text) for text in texts],
            truncation=True,
            max_length=room,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
        if marker is None:
            return encoded
        first = self._leading
        return [[*row[:first], marker, *row[first:]] for row in encoded]

    def pad(self, rows: Sequence[Sequence[int]], role: Role) -> Tokens:
        """Pad token ids to the longest row, and expanded queries to no less than :meth:`floor`, and mark what scores.

        Args:
            rows: token ids from :meth:`ids`.
            role: queries are expanded; documents lose the tokens of the skiplist.

        Returns:
            Tokens of shape [N, L].

        Raises:
            InputError: a text has no scoring token; the message names its position in ``rows``.
        """
        floor = self.floor(role)
        width = max([floor, *map(len, rows)])
        real_NL = torch.arange(width) < torch.tensor([len(row) for row in rows]).unsqueeze(1)
        ids_NL = torch.full((len(rows), width), int(self.tokenizer.pad_token_id), dtype=torch.int64)
        ids_NL[real_NL] = torch.tensor([number for row in rows for number in row], dtype=torch.int64)
        attended_NL = score_NL = real_NL
        if floor:
            assert self._filler is not None
            expanded_NL = ~real_NL & (torch.arange(width) < floor)
            ids_NL[expanded_NL] = self._filler
            score_NL = real_NL | expanded_NL
            attended_NL = score_NL if self.rules.expansion == "attended" else real_NL
        if role == "document":
            score_NL = real_NL & ~torch.isin(ids_NL, self._skiplist)
        if self.rules.unscored:
            score_NL = score_NL & (torch.arange(width) >= self.rules.unscored)
        empty = (~score_NL.any(dim=1)).nonzero().flatten().tolist()
        if empty:
            raise NoScoringTokenError(role, empty)
        return Tokens(ids_NL, attended_NL.long(), score_NL)

    def __call__(self, texts: Sequence[str], role: Role) -> Tokens:
        """Tokenize and pad in one go: :meth:`ids` then :meth:`pad`."""
        return self.pad(self.ids(texts, role), role)


def leading_special(tokenizer: PreTrainedTokenizerBase) -> int:
    """Number of special tokens that a tokenizer puts before a text, such as [CLS]."""
    return int(tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"].index(0))
