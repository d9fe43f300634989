from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from colbert_lab.arguments import quoted

TEXTS = [
    "plain", "a, b", "where is it?", "don't", 'say "it"', "both ' and \"", "İstanbul ığü 😀", "two\nlines", "x=y",
    "${foo}", r"\${foo}", r"\\${foo} ${bar}", "${foo:1}$", r"back\slash \' q", "end\\", "5", "true", "nullify",
    "(a)", "[a,b]",
    "{a: b}", "", " ", "# no", "<script>alert('1')</script>", "'", "a'b'", "'a' and 'b'",
    "~+@", "a:b", "\ttab", "C:\\new\\",
]  # fmt: skip


@pytest.mark.parametrize("key", ["query", "document"])
@pytest.mark.parametrize("text", TEXTS)
def test_any_text_arrives_as_it_was_given(key: str, text: str) -> None:
    (argument,) = quoted([f"{key}={text}"])
    override = OverridesParser.create().parse_override(argument)
    assert not override.is_sweep_override()
    assert OmegaConf.create({key: override.value()})[key] == text


@pytest.mark.parametrize("text", ['"a, b"', "'a, b'", '"it\'s"', r"'it\'s'"])
def test_text_in_hydras_quotes_stays(text: str) -> None:
    assert quoted([f"query={text}"]) == [f"query={text}"]


def test_other_arguments_stay() -> None:
    others = [
        "-m",
        "task=explain",
        "seed=1,2",
        "query",
        "+query=a, b",
        "query=null",
        "x.query=a, b",
        "--cfg",
        "job",
    ]
    assert quoted(others) == others


@pytest.mark.parametrize(
    ("given", "arrives"),
    [
        ("ledger.where=lr=1e-4", "lr=1e-4"),
        ("ledger.where=test/ndcg@10>0.6 and seed!=1", "test/ndcg@10>0.6 and seed!=1"),
        ("ledger.where=schedule=[a,b]", "schedule=[a,b]"),
        ("ledger.where=[seed=1, lr=1e-4]", ["seed=1", "lr=1e-4"]),
        (
            "ledger.where=[schedule=[a,b],x={c: 1, d: 2},seed>1]",
            ["schedule=[a,b]", "x={c: 1, d: 2}", "seed>1"],
        ),
        ("ledger.where=['seed=1',\"lr=1e-4\"]", ["seed=1", "lr=1e-4"]),
        ("ledger.where=[]", []),
        ("ledger.where=null", None),
        ("ledger.commit=12e4567", "12e4567"),
    ],
)
def test_conditions_arrive_as_text_or_as_a_list_of_texts(given: str, arrives: object) -> None:
    (argument,) = quoted([given])
    override = OverridesParser.create().parse_override(argument)
    assert not override.is_sweep_override()
    assert override.value() == arrives
