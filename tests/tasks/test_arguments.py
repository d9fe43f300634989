from __future__ import annotations

import shlex
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from colbert_lab.base.errors import InputError
from colbert_lab.tasks.arguments import ordered, quoted, readable
from colbert_lab.tasks.composing import CONF

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


VALUES = [
    "été",
    "a(b)",
    "My Data (1)",
    "/x/[a]/b",
    "a[1]",
    "a=b=c",
    "it's: ",
    'say "é"',
    "both ' and \" é",
    "x{y",
    "50;: ",
]


@pytest.mark.parametrize("value", VALUES)
def test_a_value_that_hydra_refuses_comes_with_what_to_type(value: str) -> None:
    with pytest.raises(InputError) as caught:
        readable(["seed=1", f"data.path={value}"], CONF)
    told, _, typed = str(caught.value).partition("; type ")
    assert told == f"data.path={value}: Hydra does not read this value without quotes"
    (argument,) = shlex.split(typed)  # as a shell reads it
    assert readable([argument], CONF) == [argument]
    assert OverridesParser.create().parse_override(argument).value() == value


def test_a_list_with_such_values_stays_a_list() -> None:
    with pytest.raises(InputError) as caught:
        readable(["tracking.tags=[a b, ü, c=d]"], CONF)
    (argument,) = shlex.split(str(caught.value).partition("; type ")[2])
    assert OverridesParser.create().parse_override(argument).value() == ["a b", "ü", "c=d"]


WRONG: dict[str, tuple[list[str], str]] = {
    "several values": (
        ["seed=1,2"],
        "seed=1,2: several values are a sweep; add -m: python -m colbert_lab -m ...; for one list type 'seed=[1,2]', "
        "for one text 'seed=\"1,2\"'",
    ),
    "a choice": (["seed=choice(1,2)"], "seed=choice(1,2): several values are a sweep; add -m"),
    "a value with a space, out of quotes": (
        ["name=my", "run"],
        "run: a setting is given as key=value, without spaces around =; type run=VALUE; where this belongs to "
        "the value before it, type 'name=my run'",
    ),
    "no value": (["seed"], "seed: a setting is given as key=value, without spaces around =; type seed=VALUE"),
    "spaces around =": (["seed", "=", "1"], "seed: a setting is given as key=value, without spaces around ="),
    "a colon": (["seed:1"], "seed:1: a setting is given as key=value; type seed=1"),
    "dashes": (["--seed=1"], "--seed=1: no such option; a setting is given without dashes: seed=1"),
    "one dash": (["-seed=1"], "-seed=1: no such option; a setting is given without dashes: seed=1"),
    "dashes and a space": (
        ["--seed", "1"],
        "--seed: no such option; a setting is given without dashes: seed=VALUE",
    ),
    "an option with a value that it does not take": (
        ["--multirun=3"],
        "argument --multirun/-m: ignored explicit",
    ),
    "a group that is null": (["student=null"], "student=null: cannot be null; there are "),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_argument_that_is_none(name: str) -> None:
    given, told = WRONG[name]
    with pytest.raises(InputError) as caught:
        readable(given, CONF)
    assert str(caught.value).startswith(told)


def test_options_may_stand_anywhere() -> None:
    given: list[tuple[list[str], tuple[list[str], list[str]]]] = [
        (["seed=1", "-m", "name=a"], (["-m"], ["seed=1", "name=a"])),
        (["seed=1,2", "--cfg", "job", "name=a"], (["--cfg", "job"], ["seed=1,2", "name=a"])),
        (["--config-dir=D", "seed=1", "--info"], (["--config-dir=D", "--info"], ["seed=1"])),
    ]
    for arguments, expected in given:
        assert ordered(arguments) == expected
    sweeps: list[Any] = [
        ["seed=1,2", "-m"],
        ["seed=1,2", "hydra.mode=MULTIRUN"],
        ["--multirun", "seed=range(1,3)"],
    ]
    for arguments in sweeps:
        assert set(readable(arguments, CONF)) == set(arguments)


@pytest.mark.parametrize(
    ("given", "arrives"),
    [
        ("evaluation.path=~/x", "~/x"),
        ("data.path=~/ü b/it.tsv", "~/ü b/it.tsv"),
        ("out=~", "~"),
        ("runs=[~/a,b,~/c]", ["~/a", "b", "~/c"]),
        ('data.path="~/x"', "~/x"),
        ("data.path=a~/x", None),
    ],
)
def test_a_place_below_home_needs_no_quotes(given: str, arrives: object) -> None:
    if arrives is None:
        with pytest.raises(InputError, match="Hydra does not read this value without quotes"):
            readable([given], CONF)
        return
    (argument,) = readable([given], CONF)
    assert OverridesParser.create().parse_override(argument).value() == arrives


def test_a_group_is_taken_out_with_a_tilde_as_before() -> None:
    assert readable(["~data", "~teacher@mine.retrievers.bi_encoder"], CONF) == [
        "~data",
        "~teacher@mine.retrievers.bi_encoder",
    ]
