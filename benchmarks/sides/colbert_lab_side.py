"""colbert_lab's side of the suite: phases, trainer and evaluator as a run of the command line makes them."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import transformers
from colbert_lab_rows import File, InOrder
from hydra import compose, initialize_config_dir
from talk import Suite, dcg, save_embeddings

from colbert_lab.model.backends import pick_maxsim
from colbert_lab.model.formats.known import load_folder
from colbert_lab.model.student import Student, pick_device
from colbert_lab.records.environment import git_state
from colbert_lab.settings import Settings, command_of
from colbert_lab.tasks.composing import CONF, PACKAGE
from colbert_lab.training.callbacks import Points, RandomState
from colbert_lab.training.cost import EncoderFlops, matmul_rate
from colbert_lab.training.data import Batch, PhaseData
from colbert_lab.training.phase import needs_gradcache
from colbert_lab.training.precision import of_this_machine, prepare_torch
from colbert_lab.training.prepare import PreparedPhase, prepare_phase
from colbert_lab.training.trainer import phase_trainer, training_module

STEPS = 1000  # the learning rate falls linearly over so many, on every side
PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}
PHASES = {"distillation": "distill", "cached": "unsupervised", "contrastive": "supervised"}


class Steps(pl.Callback):
    """Waits for a command before each step, and answers after it."""

    def __init__(self, suite: Suite, flops: EncoderFlops) -> None:
        self.suite, self.flops = suite, flops

    def on_train_start(self, *_: Any) -> None:
        self.suite.wait()

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        self.suite.done(
            loss=float(outputs["loss"].detach()),
            flops=self.flops.training(batch.lengths),
            tokens=batch.n_tokens,
            padded=batch.n_padded,
        )
        self.suite.wait()


def config(spec: dict[str, Any]) -> Settings:
    """The config of the phase: the defaults, and where the work is to be the same, what the suite says."""
    name = PHASES[spec.get("loss", "distillation")]
    phase = f"phases.{name}"
    overrides = [
        f"+experiment={'colbert_zero_kd' if name == 'distill' else 'colbert_zero'}",
        "prompts=inherit",
        f"schedule=[{name}]",
        f"trainer.threads={spec['threads']}",
        f"trainer.accelerator={'gpu' if spec['device'] == 'cuda' else 'cpu'}",
        f"{phase}.document_length={spec['document_length']}",
        f"{phase}.epochs=null",
        f"{phase}.steps={STEPS}",
    ]
    if spec["kind"] == "train":
        overrides += [f"{phase}.batch_size={spec['batch_size']}", f"{phase}.n_way={spec['n_way']}"]
    if not spec["defaults"]:
        overrides.append(f"trainer.precision={PRECISIONS[spec['precision']]}")
        if spec["kind"] == "train":
            overrides += [f"{phase}.optimizer.lr={spec['lr']}", f"{phase}.lr_schedule.warmup=0"]
            if name == "distill":
                overrides += [
                    f"{phase}.objective.distillation.teacher={{normalisation:none,temperature:1.0}}"
                ]
            else:
                overrides += [f"{phase}.objective.contrastive.temperature={spec['temperature']}"]
    overrides += [f"{phase}.{key}={value}" for key, value in spec["variant"].items() if key != "attention"]
    if "attention" in spec["variant"]:
        overrides.append(f"student.attention={spec['variant']['attention']}")
    overrides += spec.get("overrides", [])
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", overrides=overrides)
    return command_of(cfg, here=of_this_machine).settings


def ready(suite: Suite, cfg: Settings, **settings: Any) -> None:
    """Say so, with what large matrix products reach here, which is what floors are computed from."""
    device = pick_device(cfg.trainer.accelerator)
    commit, dirty = git_state(PACKAGE)
    versions = {"python": platform.python_version(), "torch": torch.__version__, "lightning": pl.__version__}
    versions |= {
        "transformers": transformers.__version__,
        "commit": f"{commit}{' with changes' if dirty else ''}",
    }
    found = {"precision": cfg.trainer.precision, **settings}
    rate = matmul_rate(device, cfg.trainer.precision)
    suite.tell(ready=True, settings=found, versions=versions, rate=rate)


def prepared(suite: Suite, cfg: Settings, student: Student) -> PreparedPhase:
    """The phase over the suite's rows, in their order."""
    name = PHASES[suite.spec["loss"]]
    phase = prepare_phase(
        name,
        cfg.phases[name],
        [File(suite.texts["batches"])],
        student.tokenizer,
        seed=0,
        allow_flat_teacher=True,
        allow_prompt_mismatch=False,
    )
    trainer = cfg.trainer
    all_pairs = pick_maxsim(trainer.maxsim, pick_device(trainer.accelerator), trainer.deterministic)
    scoring = replace(phase.scoring, all_pairs=all_pairs)
    batches = InOrder.of(phase.batches, suite)
    return replace(phase, batches=batches, scoring=scoring, compile=trainer.compile)


def training(suite: Suite, cfg: Settings) -> None:
    """Steps of a phase by Lightning's Trainer, as ``train_phase`` sets it up, without checkpoints and loggers."""
    student = load_folder(Path(suite.spec["weights"]), cfg.student.attention, False)
    phase = prepared(suite, cfg, student)
    device = pick_device(cfg.trainer.accelerator)
    recompute = needs_gradcache(phase, phase.batches, student.model, cfg.trainer.precision, device)
    pl.seed_everything(0, verbose=False)
    flops = EncoderFlops.of(student.model)
    fit = phase_trainer(
        phase,
        cfg.trainer.arguments,
        max_steps=phase.max_steps,
        logger=False,
        callbacks=[Points(), RandomState(), Steps(suite, flops)],
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    module = training_module(phase, student.model, recompute, cfg.trainer.precision)
    attention = student.model.backbone.config._attn_implementation
    ready(suite, cfg, recompute=recompute, attention=attention, token_budget=phase.settings.token_budget)
    workers = cfg.trainer.num_workers
    fit.fit(module, PhaseData(phase.batches, start=0, total=phase.max_steps, num_workers=workers))


def encoding(suite: Suite, cfg: Settings) -> None:
    """The corpus by ``student.encode``."""
    from colbert_lab.model.encode import encode

    student = evaluated(suite, cfg)
    budget, precision, texts = cfg.evaluation.token_budget, cfg.trainer.precision, suite.texts["documents"]
    lengths = list(map(len, student.tokenizer.ids(texts, "document")))
    flops = EncoderFlops.of(student.model).training(lengths) / 3  # forward alone
    ready(suite, cfg, token_budget=budget)
    first = True
    while True:
        suite.wait()
        found = encode(student, texts, "document", token_budget=budget, precision=precision)
        if first:
            embeddings = found.emb_TD.split(found.lengths_N.tolist())
            save_embeddings(suite.spec, list(embeddings[: suite.spec["compared"]]))
        first = False
        suite.done(flops=flops, tokens=sum(lengths))


def evaluated(suite: Suite, cfg: Settings) -> Student:
    """The student, with the document length of the suite."""
    student = load_folder(Path(suite.spec["weights"]), cfg.student.attention, False)
    tokenizer = student.tokenizer.with_rules(document_length=suite.spec["document_length"])
    return Student(student.model.to(pick_device(cfg.trainer.accelerator)).eval(), tokenizer)


def evaluating(suite: Suite, cfg: Settings) -> None:
    """A whole split by the evaluator."""
    from colbert_lab.evaluation import evaluator as searched
    from colbert_lab.search import corpus as encoded
    from colbert_lab.search.mode import SearchSettings
    from colbert_lab.text.collections.collection import build_corpus, build_split

    searched.encode = encoded.encode = suite.clocked(encoded.encode)  # type: ignore[attr-defined]
    texts, student, evaluation = suite.texts, evaluated(suite, cfg), cfg.evaluation
    corpus = build_corpus(list(texts["corpus"]), list(texts["corpus"].values()))
    split = build_split("suite", "test", corpus, texts["queries"], texts["qrels"], {})
    evaluator = searched.Evaluator(
        {"test": split},
        ["ndcg@10"],
        evaluation.depth,
        evaluation.token_budget,
        cfg.trainer.precision,
        SearchSettings(),
        encoded.Keeping(4 * 2**30, Path(suite.spec["folder"]) / "embeddings", keep=False),
    )
    ready(suite, cfg, token_budget=evaluation.token_budget)
    while True:
        suite.wait()
        (result,) = evaluator.evaluate_student(student, "student", progress=False)
        suite.done(value=result.per_query.mean("ndcg@10"))


def searching(suite: Suite, cfg: Settings) -> None:
    """Exact search alone, over embeddings that are there."""
    from search_given import Given

    from colbert_lab.base.types import PackedEmbeddings
    from colbert_lab.search.exact import search
    from colbert_lab.search.storage import Float
    from colbert_lab.search.store import TokenStore, make_shard

    given, codec = Given(suite.spec), Float("float32")
    count, tokens, dim = given.documents.shape
    shards = []
    for start in range(0, count, 10_000):
        emb = given.documents[start : start + 10_000]
        packed = PackedEmbeddings(emb.reshape(-1, dim), torch.full((len(emb),), tokens))
        shards.append(make_shard(packed, torch.arange(start, start + len(emb)), codec))
    store, ties = TokenStore(codec, shards), torch.arange(count)
    n_queries, query_tokens, _ = given.queries.shape
    queries = PackedEmbeddings(given.queries.reshape(-1, dim), torch.full((n_queries,), query_tokens))
    flops = 2.0 * n_queries * query_tokens * count * tokens * dim
    ready(suite, cfg)
    while True:
        suite.wait()
        _, rows = search(queries, store, ties, cfg.evaluation.depth)
        gains = []
        for n, found in enumerate(rows.tolist()):
            (wanted,) = given.split["qrels"][f"q{n}"]
            place = int(wanted[1:])
            gains.append(dcg(found.index(place) + 1 if place in found else None))
        suite.done(value=sum(gains) / len(gains), flops=flops)


def main() -> None:
    """Do what the spec says."""
    suite = Suite()
    cfg = config(suite.spec)
    prepare_torch(suite.spec["threads"], float32_matmul=cfg.trainer.float32_matmul)
    {"train": training, "encode": encoding, "evaluate": evaluating, "search": searching}[suite.spec["kind"]](
        suite, cfg
    )


if __name__ == "__main__":
    main()
