"""The recipes of ColBERT-AZ, ColBERTv2, Reason-mxbai and MUVERA nano hold published values, and run on stand-ins."""

from __future__ import annotations

import pytest
from omegaconf import DictConfig, OmegaConf

from colbert_lab.base.errors import InputError
from colbert_lab.settings import checked
from colbert_lab.tasks.composing import CONF
from tests.test_paper import EXPERIMENTS as COLBERT_ZERO
from tests.test_paper import Table, composed, differences

# Where a value is published:
AZ = "model card of LocalDoc/colbert-az"
V2 = "github.com/stanford-futuredata/ColBERT, training configuration"
V2_CODE = "github.com/stanford-futuredata/ColBERT, training.py, amp.py and colbert.py"
REASON = "model card of DataScience-UIBK/Reason-mxbai-colbert-v0-32m"
REASON_SCRIPT = "data scripts of Reason-mxbai's authors"
MUVERA = "model card of NeuML/colbert-muvera-nano"
PYLATE = "defaults of PyLate"
TRAINER = "default of Hugging Face's trainer"

NO_PROMPTS = {"query": "", "document": "", "extend_length": False}
ADAMW: Table = {
    "optimizer._target_": ("torch.optim.AdamW", "all four"),
    "optimizer.betas": ([0.9, 0.999], TRAINER),
    "head_lr": (None, "none has one"),
    "layer_decay": (None, "none has one"),
}
RAW = {"normalisation": "none", "temperature": 1.0}

RUN: dict[str, Table] = {
    "colbert_az": {
        "schedule": (["distill"], AZ),
        "trainer.precision": ("bf16-mixed", AZ),
        "student.backbone": ("LocalDoc/mmBERT-base-en-az", AZ),
        "student.dim": (128, AZ),
        "student.bias": (False, AZ),
        "student.query_length": (32, AZ),
        "student.document_length": (256, AZ),
        "student.query_marker": ("[Q]", f"{AZ}, usage"),
        "student.document_marker": ("[D]", f"{AZ}, usage"),
        "student.expansion": ("attended", f"{AZ}, usage: the attention mask is all ones"),
        "student.skiplist": ("none", f"{AZ}, usage: the mask is the attention mask"),
        "prompts": (NO_PROMPTS | {"query": " ", "document": " "}, f"{AZ}, usage: '[Q] ' + text"),
        "evaluation.measures": (
            [
                *("ndcg@10", "ndcg@5", "mrr@10", "precision@1", "recall@1", "recall@3", "recall@5"),
                *("recall@10", "f1@10"),
            ],
            AZ,
        ),
        "evaluation.splits.held_out.type": ("candidates", AZ),
        "evaluation.splits.az_mirage.name": ("AZ-MIRAGE", AZ),
        "evaluation.means": ({"macro average": ["held_out*"]}, AZ),
    },
    "colbert_v2": {
        "schedule": (["distill"], V2),
        "seed": (12345, V2_CODE),
        "trainer.precision": ("16-mixed", V2_CODE),
        "student.backbone": ("google-bert/bert-base-uncased", V2),
        "student.dim": (128, V2),
        "student.bias": (False, V2_CODE),
        "student.query_length": (32, V2),
        "student.document_length": (180, V2),
        "student.query_marker": ("[unused0]", V2),
        "student.document_marker": ("[unused1]", V2),
        "student.expansion": ("unattended", f"{V2}: attend_to_mask_tokens=False"),
        "student.skiplist": ("punctuation", f"{V2}: mask_punctuation=True"),
        "prompts": (NO_PROMPTS, V2),
    },
    "reason_mxbai": {
        "schedule": (["warmup", "polish"], REASON),
        "student.backbone": ("mixedbread-ai/mxbai-edge-colbert-v0-32m", REASON),
        "student.checkpoint": ("mixedbread-ai/mxbai-edge-colbert-v0-32m", REASON),
        "student.widen": (128, REASON),
        "student.query_length": (256, REASON),
        "student.document_length": (2048, REASON),
        "evaluation.splits.biology.protocol": (
            {
                "query_length": 256,
                "document_length": 2048,
                "query_prompt": "Given a {domain} post, retrieve relevant passages that help answer the post.\nQuery: ",
                "document_prompt": None,
                "domain": "Biology",
                "exclude_same_id": False,
            },
            REASON,
        ),
        "evaluation.splits.pony.protocol.query_length": (32, REASON),
        "evaluation.splits.pony.protocol.document_length": (2048, REASON),
    },
    "muvera_nano": {
        "schedule": (["distill"], MUVERA),
        "seed": (42, MUVERA),
        "trainer.precision": ("16-mixed", MUVERA),
        "student.backbone": ("neuml/bert-hash-nano", MUVERA),
        "student.architecture": (None, MUVERA),
        "student.dim": (128, MUVERA),
        "student.bias": (False, MUVERA),
        "student.query_length": (32, PYLATE),
        "student.document_length": (300, f"{MUVERA}: max_seq_length 299, and PyLate's marker"),
        "student.query_marker": ("[Q] ", PYLATE),
        "student.document_marker": ("[D] ", PYLATE),
        "student.expansion": ("unattended", PYLATE),
        "student.skiplist": ("punctuation", PYLATE),
        "prompts": (NO_PROMPTS, MUVERA),
        "evaluation.mode": (["exact", "muvera_rerank", "muvera"], MUVERA),
        "evaluation.muvera.repetitions": (20, "txtai"),
        "evaluation.muvera.bits": (5, "txtai"),
        "evaluation.muvera.inner_dim": (16, "txtai: 20 x 2^5 x 16 = 10,240"),
        "evaluation.muvera.fill_empty": (False, "txtai"),
        "evaluation.muvera.rerank": (100, MUVERA),
        "evaluation.means": ({"Average": ["nfcorpus", "scidocs", "scifact"]}, MUVERA),
    },
}
CONTRASTIVE_ONLY: Table = {
    "batch_size": (2048, f"{REASON}: global"),
    "accumulation": (1, REASON),
    "epochs": (1, REASON),
    "steps": (None, REASON),
    "n_way": (2, f"{REASON}: triples"),
    "query_length": (256, REASON),
    "document_length": (2048, REASON),
    "recompute": (True, f"{REASON}: CachedContrastive"),
    "objective.contrastive.weight": (1.0, REASON),
    "objective.contrastive.temperature": (1.0, REASON),
    "objective.contrastive.own_negatives": (True, REASON),
    "objective.contrastive.batch_negatives": (True, f"{REASON}: gathered across devices"),
    "objective.distillation.weight": (0.0, REASON),
    "optimizer.weight_decay": (0.0, TRAINER),
    "lr_schedule": ({"name": "linear", "warmup": 0, "decay": None}, TRAINER),
    "gradient_clip": (100.0, REASON),
}
PHASES: dict[str, dict[str, Table]] = {
    "colbert_az": {
        "distill": {
            "data.sources.source_1.positive": ("first", f"{AZ}: triplets"),
            "epochs": (None, AZ),
            "steps": (3_000_000 // 32, f"{AZ}: 3 million triplets, 1 epoch, 32 a step"),
            "batch_size": (16, AZ),
            "accumulation": (2, AZ),
            "n_way": (1 + 8, AZ),
            "query_length": (32, AZ),
            "document_length": (256, AZ),
            "objective.distillation.weight": (0.7, AZ),
            "objective.distillation.direction": ("student_teacher", AZ),
            "objective.distillation.teacher": (RAW, AZ),
            "objective.distillation.student": (RAW, AZ),
            "objective.contrastive.weight": (0.3, AZ),
            "objective.contrastive.temperature": (0.05, AZ),
            "objective.contrastive.learnable": (False, AZ),
            "objective.contrastive.false_negative_ratio": (0.9, AZ),
            "objective.contrastive.own_negatives": (True, AZ),
            "objective.contrastive.batch_negatives": (False, f"{AZ}: over [pos, neg_1, ..., neg_K]"),
            "optimizer.lr": (1e-6, AZ),
            "optimizer.weight_decay": (0.01, AZ),
            "lr_schedule": ({"name": "cosine", "warmup": 0.1, "decay": None}, AZ),
            "gradient_clip": (1.0, TRAINER),
        }
    },
    "colbert_v2": {
        "distill": {
            "data.scores": ("examples.json", V2),
            "data.draw": ("order", V2_CODE),
            "data.positive": ("first", V2_CODE),
            "epochs": (None, V2),
            "steps": (400_000, V2),
            "n_way": (64, V2),
            "query_length": (32, V2),
            "document_length": (180, V2),
            "objective.distillation.weight": (1.0, V2_CODE),
            "objective.distillation.direction": ("teacher_student", V2_CODE),
            "objective.distillation.teacher": (RAW, f"{V2}: distillation_alpha 1.0"),
            "objective.distillation.student": (RAW, V2_CODE),
            "objective.contrastive.weight": (1.0, f"{V2}: use_ib_negatives"),
            "objective.contrastive.temperature": (1.0, V2_CODE),
            "objective.contrastive.own_negatives": (False, V2_CODE),
            "objective.contrastive.batch_negatives": (True, V2_CODE),
            "objective.contrastive.false_negative_ratio": (None, V2_CODE),
            "optimizer.lr": (1e-5, V2),
            "optimizer.weight_decay": (0.0, "default of transformers.AdamW"),
            "optimizer.eps": (1e-8, V2_CODE),
            "lr_schedule": ({"name": "linear", "warmup": 20_000, "decay": None}, V2),
            "gradient_clip": (2.0, V2_CODE),
        }
    },
    "reason_mxbai": {
        "warmup": {
            **CONTRASTIVE_ONLY,
            "data.path": ("reasonir/reasonir-data", REASON),
            "data.config": ("vl", REASON),
            "data.columns": ({"positives": "pos", "negatives": "neg"}, REASON_SCRIPT),
            "optimizer.lr": (1e-5, REASON),
        },
        "polish": {
            **CONTRASTIVE_ONLY,
            "data.sources.bge.path": ("hanhainebula/bge-reasoner-data", REASON),
            "data.sources.bge.files": ("bge-reasoner-data-0904/*.jsonl", REASON_SCRIPT),
            "data.sources.bge.positives": (2, REASON_SCRIPT),
            "data.sources.bge.negatives": (4, REASON_SCRIPT),
            "data.sources.bge.query_format": ("{prompt}\nQuery: {query}", REASON_SCRIPT),
            "data.sources.hq.path": ("reasonir/reasonir-data", REASON),
            "data.sources.hq.config": ("hq", REASON),
            "data.sources.hq.documents": ("xlangai/BRIGHT", REASON_SCRIPT),
            "data.source_weights": (None, f"{REASON}: merged"),
            "optimizer.lr": (5e-6, REASON),
        },
    },
    "muvera_nano": {
        "distill": {
            "data.path": ("lightonai/ms-marco-en-bge-gemma-unnormalized", MUVERA),
            "data.scores": (None, "the data set's own"),
            "epochs": (1, MUVERA),
            "steps": (None, MUVERA),
            "batch_size": (32, MUVERA),
            "accumulation": (1, MUVERA),
            "n_way": (32, "the data set's lists"),
            "document_length": (300, f"{MUVERA}: max_seq_length 299, and PyLate's marker"),
            "objective.distillation.weight": (1.0, MUVERA),
            "objective.distillation.direction": ("teacher_student", PYLATE),
            "objective.distillation.teacher": (RAW, f"{MUVERA}: un-normalized scores"),
            "objective.distillation.student": (RAW, "github.com/lightonai/pylate/issues/142"),
            "objective.contrastive.weight": (0.0, MUVERA),
            "optimizer.lr": (3e-4, MUVERA),
            "optimizer.weight_decay": (0.0, MUVERA),
            "optimizer.eps": (1e-8, MUVERA),
            "optimizer.fused": (True, f"{MUVERA}: adamw_torch_fused"),
            "lr_schedule": ({"name": "linear", "warmup": 0.05, "decay": None}, MUVERA),
            "gradient_clip": (1.0, MUVERA),
        }
    },
}
# What a user has to give.
GIVEN: dict[str, list[str]] = {
    "colbert_az": [
        *(f"data.sources.source_{n}.path=DIR" for n in range(1, 5)),
        *(f"data.source_weights.source_{n}=0.25" for n in range(1, 5)),
        "evaluation.path=DIR",
    ],
    "colbert_v2": ["data.path=DIR"],
    "reason_mxbai": [],
    "muvera_nano": [],
}
# What a twin has from its recipe, at whatever size.
STRUCTURE = (
    *("objective.distillation.weight", "objective.distillation.direction"),
    *("objective.distillation.teacher", "objective.distillation.student", "objective.contrastive.weight"),
    *("objective.contrastive.temperature", "objective.contrastive.false_negative_ratio"),
    *("objective.contrastive.own_negatives", "objective.contrastive.batch_negatives"),
    *("lr_schedule", "gradient_clip", "optimizer.weight_decay", "optimizer._target_"),
)


def paper(name: str) -> DictConfig:
    return checked(composed(f"+experiment=paper/{name}", *GIVEN[name]))


def test_every_paper_experiment_has_a_table_and_a_twin() -> None:
    there = {path.stem for path in (CONF / "experiment" / "paper").glob("*.yaml")}
    assert there == set(COLBERT_ZERO) | set(RUN)
    assert there <= {path.stem for path in (CONF / "experiment").glob("*.yaml")}


@pytest.mark.parametrize("name", RUN)
def test_the_values_are_the_published_ones(name: str) -> None:
    cfg = paper(name)
    assert differences(cfg, RUN[name]) == []
    assert set(PHASES[name]) == set(cfg.schedule)
    for phase, table in PHASES[name].items():
        assert differences(cfg.phases[phase], ADAMW | table) == []


def test_colbert_v2_takes_32_examples_a_step_and_contrasts_8() -> None:
    phase = paper("colbert_v2").phases.distill
    assert phase.batch_size * phase.accumulation == 32  # script: bsize
    assert phase.batch_size == 32 // 4  # script: nranks


def test_the_steps_of_a_recipe_are_those_of_its_warm_up() -> None:
    phase = paper("colbert_v2").phases.distill
    assert phase.lr_schedule.warmup < phase.steps


def test_the_user_is_told_what_colbert_az_needs() -> None:
    with pytest.raises(InputError, match=r"no value for .*data\.source_weights\.source_1"):
        checked(composed("+experiment=paper/colbert_az", "evaluation.path=DIR"))


@pytest.mark.parametrize("name", RUN)
def test_the_laptop_twin_has_the_recipes_structure(name: str) -> None:
    twin, cfg = checked(composed(f"+experiment={name}")), paper(name)
    assert list(twin.schedule)[-len(cfg.schedule) :] == list(cfg.schedule)
    assert twin.name != cfg.name
    for phase in cfg.schedule:
        for key in STRUCTURE:
            ours, theirs = (OmegaConf.select(side.phases[phase], key) for side in (twin, cfg))
            if key == "lr_schedule":
                assert ours.name == theirs.name
                shares = [float(side.warmup) for side in (ours, theirs)]
                steps = cfg.phases[phase].steps
                assert shares[0] == pytest.approx(shares[1] if shares[1] < 1 else shares[1] / steps)
            else:
                assert ours == theirs, (phase, key)
        assert twin.phases[phase].recompute == cfg.phases[phase].recompute
    assert twin.student.expansion == ("none" if name == "reason_mxbai" else cfg.student.expansion)
    assert twin.evaluation.mode == cfg.evaluation.mode
