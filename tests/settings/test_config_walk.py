"""Every numeric setting has a range, and every value out of it is refused in one line when the config is read."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, get_args, get_type_hints

import pytest
import torch
import yaml
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from torch.optim import Optimizer

from colbert_lab.base.errors import InputError
from colbert_lab.run.evaluating import systems_beside
from colbert_lab.settings import Command, Settings, checked
from colbert_lab.settings.allowed import ALLOWED, FILLED, LIKE, allowed_of
from colbert_lab.settings.checks import check_values, kinds_of, leaves, nearest
from colbert_lab.tasks.composing import CONF
from colbert_lab.training.precision import pick_precision
from tests.command import command
from tests.test_configs import composed

NAN = float("nan")
OPTIMIZER = "phases.distill.optimizer."
# Keys of any type: what stands below is checked where the class it names is declared, or holds no number.
UNTYPED = {
    "phases.objective", "evaluation.own_modes", "evaluation.own_measures", "tracking.loggers",
    "trainer.lightning", "trainer.callbacks",
    "phases.data", "phases.optimizer", "data", "evaluation.baselines", "evaluation.rerank.first_stage",
    "evaluation.splits.layout.corpus.columns", "evaluation.splits.layout.queries.columns",
    "evaluation.splits.layout.qrels.columns", "evaluation.splits.layout.rows.columns", "score.teacher",
    "score.retrievers", "mine.retrievers", "mine.filter.teacher", "student.architecture", "student.skiplist",
}  # fmt: skip


def declared(schema: type, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Key, type and field of every setting."""
    hints = get_type_hints(schema)
    for entry in fields(schema):
        key, hint = prefix + entry.name, hints[entry.name]
        inner = [
            kind for outer in kinds_of(hint) for kind in (outer, *get_args(outer)) for kind in kinds_of(kind)
        ]
        schemas = [kind for kind in inner if is_dataclass(kind)]
        if not schemas:
            yield key, inner, entry
        for below in schemas:
            assert isinstance(below, type)
            yield from declared(below, f"{key}.")


def targets() -> set[str]:
    """What the files of ``conf/`` name by ``_target_``, but for Hydra's own."""
    files = [
        path for path in CONF.rglob("*.yaml") if "hydra" not in path.parts and path.name != "config.yaml"
    ]
    found: set[str] = set()

    def look(node: Any) -> None:
        if isinstance(node, dict):
            found.update(str(value) for name, value in node.items() if name == "_target_")
            for value in node.values():
                look(value)

    for path in files:
        look(yaml.safe_load(path.read_text(encoding="utf-8")))
    return found


def test_every_number_has_a_range() -> None:
    bare = [
        key
        for key, kinds, entry in declared(Settings)
        if {int, float} & set(kinds) and allowed_of(entry.metadata) is None
    ]
    assert bare == []
    untyped = {
        key
        for key, kinds, entry in declared(Settings)
        if Any in kinds and not {ALLOWED, LIKE, FILLED} & {*entry.metadata}
    }
    assert untyped == UNTYPED
    assert len(targets()) > 10
    for target in targets():
        made = resolve_name(target)
        if issubclass(made, Optimizer):
            continue
        hints = get_type_hints(made if is_dataclass(made) else made.__init__)
        numeric = {name for name, hint in hints.items() if {int, float} & set(flat(hint))}
        known = {e.name for e in fields(made) if allowed_of(e.metadata)} if is_dataclass(made) else set()
        assert numeric <= known, f"{target}: {sorted(numeric - known)} have no range"


def flat(hint: Any) -> list[Any]:
    return [each for kind in kinds_of(hint) for each in ([kind] if not get_args(kind) else get_args(kind))]


@pytest.fixture(scope="module")
def config() -> DictConfig:
    """One config with every group, and every class that a config can name somewhere in it."""
    return checked(
        composed(
            "+experiment=colbert_zero",
            "data=mixture",
            "+data@data.sources.lists=scored_lists",
            "+data@data.sources.triples=triples",
            "+data@data.sources.parted=parted_triples",
            "+data@data.sources.docs=installed_docs",
            "+data@data.sources.pairs=installed_docs_pairs",
            *(f"data.sources.{name}.path=DIR" for name in ("lists", "triples", "parted")),
            "data.source_weights={lists: 0.5, triples: 0.5}",
            "teacher@score.teacher=cross_encoder",
            "teacher@mine.filter.teacher=llm_reranker",
            "+teacher@score.retrievers.colbert=colbert",
            "score.retrievers.colbert.checkpoint=DIR",
            "evaluation.rerank.run=FILE",
        )
    )


# Beside numbers that are there: values of keys that are null or missing in that config.
NULL = [
    "student.layers",
    "student.dropout",
    "student.widen",
    "trainer.threads",
    "data.sources.triples.rows",
    "score.teacher.label",
    "evaluation.dim",
    "evaluation.muvera.final_dim",
    "evaluation.splits.test.protocol.query_length",
    "evaluation.splits.test.protocol.document_length",
    "phases.distill.steps",
    "phases.distill.query_length",
    "phases.distill.document_length",
    "phases.distill.head_lr",
    "phases.distill.layer_decay",
    "phases.distill.ema",
    "phases.distill.lr_schedule.decay",
    "phases.distill.evaluate_every",
    "phases.distill.early_stopping.patience",
    "phases.distill.objective.contrastive.false_negative_ratio",
    "mine.filter.max_score",
    "mine.filter.ratio",
    "mine.filter.margin",
    "ledger.limit",
    "plan.memory",
    "phases.unsupervised.epochs",
]


def numeric_keys(config: DictConfig) -> list[str]:
    values: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
    found = {
        leaf.key
        for leaf in leaves(values, Settings)
        if isinstance(leaf.value, int | float) and not isinstance(leaf.value, bool)
    }
    found |= {OPTIMIZER + name for name in ("lr", "weight_decay", "betas[0]", "betas[1]")}
    # Phases are alike: one of them is enough, but for the data.
    return sorted(
        key for key in found | set(NULL) if not key.startswith(("phases.supervised", "phases.unsupervised."))
    )


VALUES: dict[str, Any] = {"-1": -1, "0": 0, "1e30": 1e30, "NaN": NAN, "word": "many", "list": [1]}
WEIGHT, TEMPERATURE = ".weight", ".temperature"
MAY_BE = {
    "-1": {"mine.filter.margin", "mine.filter.max_score", "trainer.devices"},
    "0": {
        "evaluation.muvera.bits", "evaluation.muvera.seed", "evaluation.plaid.seed", "evaluation.pool_protected",
        "explain.heatmap", "mine.filter.margin", "mine.filter.max_score", "phases.distill.early_stopping.min_delta",
        "phases.distill.head_only_steps", "phases.distill.token_pooling.protected", "report.queries", "score.random",
        "score.teacher.label", "seed", "student.dropout", "tracking.wait_seconds", "trainer.num_workers",
    },
    "1e30": {
        "evaluation.memory", "mine.filter.margin", "mine.filter.max_score", "mine.filter.ratio", "plan.memory",
        "phases.distill.gradient_clip", "phases.distill.head_lr", "tracking.wait_seconds",
        "phases.distill.objective.contrastive.false_negative_ratio",
    },
    "NaN": set(),
    "word": set(),
    "list": {"evaluation.dim", "evaluation.pool_factor", "trainer.devices"},
}  # fmt: skip
ENDS = {
    "0": (".weight", ".warmup", ".k1", ".b", OPTIMIZER + "lr", OPTIMIZER + "weight_decay",
          OPTIMIZER + "betas[0]", OPTIMIZER + "betas[1]",
          "docs.seed", "docs.random", "pairs.negatives"),
    "1e30": (".weight", ".temperature", ".k1", OPTIMIZER + "lr", OPTIMIZER + "weight_decay"),
}  # fmt: skip
BELOW = {"1e30": ("certify.tolerance.",)}


def may_be(key: str, name: str) -> bool:
    """Whether a value is in the range of a key."""
    return key in MAY_BE[name] or key.endswith(ENDS.get(name, ())) or key.startswith(BELOW.get(name, ("-",)))


def put(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a key of plain values, such as ``a.b[0]``."""
    node: Any = values
    *parents, last = [
        int(part) if part.isdigit() else part for part in key.replace("[", ".").replace("]", "").split(".")
    ]
    for part in parents:
        node = node[part]
    node[last] = value


def refusal(config: DictConfig, plain: dict[str, Any], key: str, value: Any) -> str | None:
    """What is said of a value, None where it may be used: its type is converted or refused, then its range checked."""
    before = OmegaConf.select(config, key)
    try:
        OmegaConf.update(config, key, value, merge=False)
        value = OmegaConf.select(config, key)
        OmegaConf.update(config, key, before, merge=False)
        top = key.partition(".")[0]
        tried = {top: copy.deepcopy(plain[top])}
        put(tried, key, OmegaConf.to_container(value) if OmegaConf.is_config(value) else value)
        check_values(tried, Settings)
    except OmegaConfBaseException as error:
        return str(error).splitlines()[0]
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", VALUES)
def test_every_number_is_checked(name: str, config: DictConfig) -> None:
    plain: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
    for phase in set(plain["phases"]) - {"distill"}:
        del plain["phases"][phase]
    keys = numeric_keys(config)
    assert len(keys) > 150
    wrong = []
    for key in keys:
        value = VALUES[name]
        error = refusal(config, plain, key, value)
        assert error is None or "\n" not in error
        if (error is None) != may_be(key, name):
            wrong.append(f"{key}={value}: {error}")
    assert wrong == []


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("phases.distill.gradient_clip=-1", "phases.distill.gradient_clip=-1: must be above 0"),
        ("phases.distill.recompute=maybe", "phases.distill.recompute=maybe: must be one of auto, true, false"),
        ("phases.distill.optimizer.lr=abc", "phases.distill.optimizer.lr=abc: must be a number"),
        ("phases.distill.optimizer.betas=[0.9]", "betas=[0.9]: must be a list of 2 numbers"),
        ("phases.distill.optimizer.betas=[0.9,1.5]", "optimizer=AdamW: cannot train a student: Invalid beta"),
        ("phases.distill.optimizer._target_=torch.nn.Linear", "is no optimizer class"),
        ("phases.distill.optimizer._target_=torch.optim.Nonesuch", "Nonesuch: cannot be imported"),
        ("phases.distill.optimizer._target_=torch.optim.SparseAdam", "SparseAdam does not support dense gradients"),
        ("trainer.devices=0", "trainer.devices=0: must be at least 1"),
        ("trainer.devices='0,1'", "trainer.devices='0,1': must be one of auto, -1, a whole number, at least 1, a list"),
        ("trainer.devices='2'", "trainer.devices='2': must be one of auto, -1, a whole number"),
        ("trainer.devices=[]", "trainer.devices=[]: holds nothing; must be one of auto, -1, a whole number"),
        ("evaluation.mode=[]", "evaluation.mode=[]: holds nothing; must be one of exact, rerank"),
        ("evaluation.measures=[]", "evaluation.measures=[]: holds nothing; name one at least"),
        ("evaluation.mode={a: exact}", "evaluation.mode={'a': 'exact'}: must be one of exact, rerank"),
        ("mine.retrievers=bm25", "mine.retrievers=bm25: holds things by name; take one out with mine.retrievers.NAME="),
        ("score.retrievers=bm25", "score.retrievers=bm25: holds things by name"),
        ("evaluation.baselines=[bm25]", "evaluation.baselines=['bm25']: holds things by name"),
        ("data.retrievers=bm25", "data.retrievers=bm25: holds things by name"),
        ("trainer.accelerator=tpu9", "trainer.accelerator=tpu9: must be one of auto, cpu, gpu, cuda, mps"),
        ("trainer.strategy=fsdp9", "trainer.strategy=fsdp9: must be one of auto, ddp"),
        ("trainer.precision=fp8", "trainer.precision=fp8: must be one of auto, 32-true, bf16-mixed, bf16-true"),
        ("data.teacher.members.bm25.k1=-1", "teacher.members.bm25.k1=-1: must be at least 0"),
        ("evaluation.baselines.bm25.b=1.5", "baselines.bm25.b=1.5: must be at least 0 and at most 1"),
        ("+evaluation.baselines.bm25.c=1", "baselines.bm25.c=1: colbert_lab.teachers.bm25.BM25 has no such argument"),
        ("evaluation.baselines.dense.pooling=max", "baselines.dense.pooling=max: must be one of mean, cls"),
        ("data._target_=nowhere.Nothing", "data._target_=nowhere.Nothing: cannot be imported"),
        ("phases.distill.steps=6", "phases.distill: steps=6 and epochs=1 are both set; add phases.distill.epochs=null"),
        ("phases.distill.epochs=null", "phases.distill: steps and epochs are both null; set one of them"),
        ("student.query_marker=[unused0]", "is read as a list; quote it twice: \"student.query_marker='[unused0]'\""),
        ("student.checkpoint={a: 1}", "must be a text, and {a: 1} is read as a mapping; quote it twice"),
        ("+trainer.limit_train_batches=2", "no such key; did you mean trainer.lightning.limit_train_batches?"),
        ("+trainer.max_steps=2", "trainer.max_steps: no such key; did you mean phases.NAME.steps?"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_line(override: str, message: str, kd: DictConfig) -> None:
    cfg = copy.deepcopy(kd)
    key, _, text = override.removeprefix("+").partition("=")
    OmegaConf.update(cfg, key, yaml.safe_load(text), merge=False, force_add=True)
    with pytest.raises(InputError, match=r"^[^\n]+$") as refused:
        checked(cfg)
    assert message in str(refused.value)


@pytest.fixture(scope="module")
def kd() -> DictConfig:
    return composed("+experiment=colbert_zero_kd")


def test_it_comes_before_anything_is_loaded(tmp_path: Path) -> None:
    """The student and the text are not there either, which would be said next."""
    outcome = command(
        "+experiment=colbert_zero_kd",
        "student.backbone=./nothing",
        f"output_dir={tmp_path}",
        f"cache_dir={tmp_path / 'cache'}",
        "phases.distill.gradient_clip=-1",
    )
    assert outcome.status == 2
    assert outcome.err.strip() == "error: phases.distill.gradient_clip=-1: must be above 0"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("key", "value", "same"),
    [
        ("evaluation.measures", "ndcg@10", ["ndcg@10"]),
        ("schedule", "distill", ["distill"]),
        ("runs", "DIR", ["DIR"]),
        ("tracking.tags", "x", ["x"]),
        ("compare.splits", "test", ["test"]),
        ("compare.measures", None, None),
        ("ledger.name", "kd*", ["kd*"]),
        ("push.language", "en", ["en"]),
        ("certify.checks", "maxsim", ["maxsim"]),
        ("evaluation.means", {"all": "test"}, {"all": ["test"]}),
        ("score.files", "a.jsonl", ["a.jsonl"]),
    ],
)
def test_one_value_is_a_list_of_one(key: str, value: Any, same: Any, kd: DictConfig) -> None:
    cfg = copy.deepcopy(kd)
    OmegaConf.update(cfg, key, value, force_add=True)
    found = OmegaConf.select(checked(cfg, targets=False), key)
    assert (OmegaConf.to_container(found) if OmegaConf.is_config(found) else found) == same


@pytest.mark.parametrize("key", ["evaluation.baselines", "mine.retrievers", "score.retrievers"])
def test_null_takes_all_parts_out(key: str, kd: DictConfig) -> None:
    cfg = copy.deepcopy(kd)
    OmegaConf.update(cfg, key, None)
    assert OmegaConf.select(checked(cfg), key) == {}


@pytest.mark.parametrize(
    "key",
    ["evaluation.baselines.dense", "data.retrievers.bm25", "mine.retrievers.bm25", "score.retrievers.bm25"],
)
def test_null_takes_a_part_out(key: str, kd: DictConfig) -> None:
    cfg = copy.deepcopy(kd)
    OmegaConf.update(cfg, key, None)
    parent, _, name = key.rpartition(".")
    config = checked(cfg)
    assert name not in OmegaConf.select(config, parent)
    assert "phases" not in key or name not in OmegaConf.select(config, f"phases.distill.{parent}")
    if key == "evaluation.baselines.dense":
        settings = Command.of(config).settings.evaluation
        assert sorted(systems_beside(settings, [])) == ["bm25"]


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("phases.distill.lr", "phases.distill.optimizer.lr"),
        ("phases.distil.steps", "phases.distill.steps"),
        ("sed", "seed"),
        ("lr", "phases.distill.optimizer.lr"),
        ("trainer.acelerator", "trainer.accelerator"),
        ("zzzzzz", None),
    ],
)
def test_the_nearest_key_is_named(key: str, meant: str | None, kd: DictConfig) -> None:
    assert nearest(key, OmegaConf.to_container(kd)) == meant


def test_a_key_is_named_as_it_is(kd: DictConfig) -> None:
    kd = copy.deepcopy(kd)
    with open_dict(kd):
        kd.phases.from_scratch = copy.deepcopy(kd.phases.distill)
        kd.phases.from_scratch.batch_sizes = 3
    with pytest.raises(InputError, match=r"^phases\.from_scratch\.batch_sizes: no such key"):
        checked(kd)


def test_a_key_is_not_what_it_should_have_been(kd: DictConfig) -> None:
    kd = copy.deepcopy(kd)
    OmegaConf.update(kd, "trainer.acelerator", {"name": "cpu"}, force_add=True)
    assert nearest("trainer.acelerator", OmegaConf.to_container(kd)) == "trainer.accelerator"


def test_an_unknown_key_of_the_command_line_names_the_nearest_one() -> None:
    for plus in ("", "+"):
        outcome = command("+experiment=colbert_zero_kd", f"{plus}phases.distill.lr=1e-4")
        said = "error: phases.distill.lr: no such key; did you mean phases.distill.optimizer.lr?"
        assert (outcome.status, outcome.err.strip()) == (2, said)


@pytest.mark.parametrize("name", ["gpu", "cuda", "mps"])
def test_an_accelerator_that_is_not_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(
        InputError, match=rf"^trainer\.accelerator={name}: PyTorch .* finds no such device here"
    ):
        pick_precision("auto", name)
    assert pick_precision("32-true", "auto") == "32-true"


@pytest.mark.parametrize(
    "key",
    ["evaluation.path", "data.retrievers.bi_encoder.model", "student.checkpoint", "cache_dir", "runs", "score.files"],
)  # fmt: skip
def test_a_path_may_begin_at_home(
    key: str, kd: DictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    cfg = copy.deepcopy(kd)
    OmegaConf.update(cfg, key, "~/a b/c.tsv", force_add=True)
    value = OmegaConf.select(checked(cfg), key)
    assert value in (f"{tmp_path}/a b/c.tsv", [f"{tmp_path}/a b/c.tsv"])


def test_a_text_that_is_no_path_stays(kd: DictConfig) -> None:
    cfg = copy.deepcopy(kd)
    cfg.query, cfg.prompts.query, cfg.out = "~/.bashrc", "~/", "a~/b"
    found = checked(cfg)
    assert (found.query, found.prompts.query, found.out) == ("~/.bashrc", "~/", "a~/b")


def test_a_cache_in_the_environment_may_begin_at_home(
    kd: DictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    cfg = copy.deepcopy(kd)
    cfg.cache_dir = "${oc.env:NOWHERE,'~/cache'}"
    assert checked(cfg).cache_dir == f"{tmp_path}/cache"


def test_a_key_that_was_taken_out_of_what_needs_it_is_named() -> None:
    cfg = composed("+experiment=from_nothing", "phases.supervised.data.path=DIR", "~data.documents")
    with pytest.raises(
        InputError,
        match=r"^data\.documents=\(nothing\): .*DocumentationLists needs it; set it, or to null for none$",
    ):
        checked(cfg)
