"""Our losses on the scores of sentence-transformers' own, which is installed here: the same loss, the same gradient.

Where its loss is another multiple of ours, the factor is named. Lightning IR's numbers are committed; with it in an
environment of its own, they are made again:

    python3.11 -m venv PEER && PEER/bin/pip install lightning-ir==0.0.6
    COLBERT_LAB_LIGHTNING_IR_PYTHON=PEER/bin/python pytest -m parity tests/parity/test_losses.py
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from colbert_lab.model.maxsim import MEAN
from colbert_lab.settings.groups import TokenPoolingSettings
from colbert_lab.training.objectives.contrastive import Contrastive
from colbert_lab.training.objectives.document_to_query import DocumentToQuery
from colbert_lab.training.objectives.margins import MarginMSE, PairwiseSoftmax
from colbert_lab.training.objectives.objective import Objective
from colbert_lab.training.objectives.ranks import ApproxNDCG, LambdaLoss, Weighting
from colbert_lab.training.objectives.scoring import Scoring
from colbert_lab.training.objectives.term import Side
from colbert_lab.training.objectives.xtr import XTR
from tests.parity import make_losses as lightning_ir
from tests.parity.make_golden import CASES, Case, Table, features, make_inputs, outcome
from tests.parity.ours import contrastive, distillation, trained
from tests.parity.test_golden import check
from tests.parity.test_peers import compare
from tests.training.objectives.support import random_scores

pytest.importorskip("sentence_transformers")
B, K = 4, 6


class Scorer(nn.Module):
    """A cross-encoder for the peer's losses: text ``b k`` has a score of its own."""

    num_labels, device = 1, torch.device("cpu")

    def __init__(self, scores_BK: Tensor) -> None:
        super().__init__()
        self.scores_BK = nn.Parameter(scores_BK.clone())

    def preprocess(self, pairs: list[tuple[str, str]], **_: Any) -> dict[str, Tensor]:
        """The places of pairs of texts."""
        return {"input_ids": torch.tensor([[int(query), int(text)] for query, text in pairs])}

    def forward(self, tokens: dict[str, Tensor]) -> dict[str, Tensor]:
        """Their scores."""
        rows, columns = tokens["input_ids"].unbind(dim=1)
        return {"scores": self.scores_BK[rows, columns]}


def of_the_peer(name: str, scores_BK: Tensor, labels_BK: Tensor, **settings: Any) -> tuple[Tensor, Tensor]:
    """Loss and gradient of a cross-encoder loss of sentence-transformers."""
    model = Scorer(scores_BK)
    loss = getattr(import_module("sentence_transformers.cross_encoder.losses"), name)(model, **settings)
    texts = [[str(b) for b in range(B)], [[str(k) for k in range(K)] for _ in range(B)]]
    value = loss(texts, list(labels_BK))
    value.backward()
    assert model.scores_BK.grad is not None
    return value.detach(), model.scores_BK.grad


def of_ours(term: Any, scores_BK: Tensor, *more: Tensor) -> tuple[Tensor, Tensor]:
    """The same of one of our terms."""
    leaf = scores_BK.clone().requires_grad_()
    value = term(leaf, *more)
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


def same(ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor], factor: float = 1.0) -> None:
    """Theirs is ours by a factor."""
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine * factor, other, rtol=1e-5, atol=1e-6)
        assert bool(other.any())


@pytest.mark.parametrize("case", CASES)
def test_margin_mse_of_the_multi_vector_encoder(case: str) -> None:
    """From token vectors on, through MaxSim."""
    inputs, ways = make_inputs(CASES[case]), CASES[case].ways
    flat = features(inputs.document_ids_NL, inputs.document_mask_NL)
    columns = [{name: value[k::ways] for name, value in flat.items()} for k in range(ways)]
    table = Table(inputs.vectors_TD, unit=True)
    losses = import_module("sentence_transformers.multi_vector_encoder.losses")
    query = features(inputs.query_ids_BQ, inputs.query_mask_BQ)
    loss = losses.MultiVectorMarginMSELoss(table)([query, *columns], inputs.teacher_BK)
    loss.backward()
    assert table.vectors_TD.grad is not None
    ours = trained(inputs, Objective({"margin_mse": MarginMSE()}), recompute=True)
    check(ours, outcome(inputs, loss, table.vectors_TD.grad))


MEANS: dict[str, tuple[Objective, dict[str, Any], float]] = {
    "MultiVectorMultipleNegativesRankingLoss": (contrastive(0.2), {"scale": 1 / 0.2}, 1.0),
    "MultiVectorDistillKLDivLoss": (
        distillation(Side(temperature=1.0), Side(temperature=0.5)),
        {"student_temperature": 0.5, "teacher_temperature": 1.0},
        0.25,  # the square of the student's temperature
    ),
    "MultiVectorMarginMSELoss": (Objective({"margin_mse": MarginMSE()}), {}, 1.0),
}


@pytest.mark.parity
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", MEANS)
def test_mean_maxsim_of_the_multi_vector_encoder(name: str, case: str) -> None:
    """Losses of student.score=mean_maxsim, of lists and of the batch, from token vectors on."""
    objective, settings, factor = MEANS[name]
    inputs, ways = make_inputs(CASES[case]), CASES[case].ways
    flat = features(inputs.document_ids_NL, inputs.document_mask_NL)
    columns = [{key: value[k::ways] for key, value in flat.items()} for k in range(ways)]
    query = features(inputs.query_ids_BQ, inputs.query_mask_BQ)
    scoring = import_module("sentence_transformers.multi_vector_encoder.scoring")
    usual = {
        "MultiVectorMultipleNegativesRankingLoss": scoring.colbert_scores,
        "MultiVectorDistillKLDivLoss": scoring.colbert_kd_scores,
        "MultiVectorMarginMSELoss": scoring.colbert_scores_pairwise,
    }[name]
    table = Table(inputs.vectors_TD, unit=True)
    make = getattr(import_module("sentence_transformers.multi_vector_encoder.losses"), name)
    loss = make(table, similarity_fct=partial(usual, length_normalize=True), **settings)(
        [query, *columns], inputs.teacher_BK
    )
    loss.backward()
    assert table.vectors_TD.grad is not None
    ours = trained(inputs, objective, recompute=True, scoring=Scoring(score=MEAN))
    check(ours, outcome(inputs, loss, table.vectors_TD.grad), loss=factor, gradient=factor)
    assert ours != trained(inputs, objective)


@pytest.mark.parametrize("k", [1, 8, 30, 1000])
@pytest.mark.parametrize("case", CASES)
def test_xtr_of_the_multi_vector_encoder(case: str, k: int) -> None:
    """Its top k of all tokens, its mean over those of a query that retrieved something, from token vectors on."""
    inputs, ways = make_inputs(CASES[case]), CASES[case].ways
    flat = features(inputs.document_ids_NL, inputs.document_mask_NL)
    columns = [{name: value[w::ways] for name, value in flat.items()} for w in range(ways)]
    query = features(inputs.query_ids_BQ, inputs.query_mask_BQ)
    scores = import_module("sentence_transformers.multi_vector_encoder.scoring").XTRScores(top_k=k)
    losses = import_module("sentence_transformers.multi_vector_encoder.losses")
    table = Table(inputs.vectors_TD, unit=True)
    make = losses.MultiVectorMultipleNegativesRankingLoss
    loss = make(table, similarity_fct=scores, scale=1 / 0.2)([query, *columns], inputs.teacher_BK)
    loss.backward()
    assert table.vectors_TD.grad is not None
    ours = trained(inputs, Objective({"xtr": XTR(0.2, k=k)}), recompute=True)
    check(ours, outcome(inputs, loss, table.vectors_TD.grad))
    assert ours != trained(inputs, Objective({"xtr": XTR(0.2, k=k + 5)})) or k == 1000


class Pooling(nn.Module):
    """A table whose documents the peer pools."""

    def __init__(self, table: Table, factor: int) -> None:
        super().__init__()
        self.table = table
        modules = import_module("sentence_transformers.multi_vector_encoder.modules")
        self.pooling = modules.HierarchicalTokenPooling(factor, num_protected_tokens=1)

    def forward(self, tokens: dict[str, Tensor], task: str | None = None) -> dict[str, Tensor]:
        """Vectors and what scores of them."""
        found: dict[str, Tensor] = self.pooling(self.table(tokens, task), task=task)
        return found


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", MEANS)
def test_token_pooling_inside_training(name: str, case: str, factor: int) -> None:
    """Theirs in float32, with the protected token scaled to unit length once more, which it is already."""
    objective, settings, times = MEANS[name]
    inputs, ways = make_inputs(CASES[case]), CASES[case].ways
    flat = features(inputs.document_ids_NL, inputs.document_mask_NL)
    columns = [{key: value[k::ways] for key, value in flat.items()} for k in range(ways)]
    query = features(inputs.query_ids_BQ, inputs.query_mask_BQ)
    table = Table(inputs.vectors_TD, unit=True)
    make = getattr(import_module("sentence_transformers.multi_vector_encoder.losses"), name)
    loss = make(Pooling(table, factor), **settings)([query, *columns], inputs.teacher_BK)
    loss.backward()
    assert table.vectors_TD.grad is not None
    pooling = TokenPoolingSettings(factor=factor)
    ours = trained(inputs, objective, recompute=True, scoring=Scoring(pooling=pooling))
    check(ours, outcome(inputs, loss, table.vectors_TD.grad), loss=times, gradient=times)
    assert ours != trained(inputs, objective)


class Dense(nn.Module):
    """A dense model for the peer: text to vector."""

    def __init__(self, emb_ND: Tensor) -> None:
        super().__init__()
        self.emb_ND = nn.Parameter(emb_ND.clone())

    def get_embedding_dimension(self) -> int:
        """Of a vector."""
        return self.emb_ND.shape[1]

    def forward(self, tokens: dict[str, Tensor]) -> dict[str, Tensor]:
        """Vectors."""
        return {"sentence_embedding": nn.functional.normalize(self.emb_ND[tokens["input_ids"]], dim=-1)}


def test_matryoshka_is_the_peers_weighted_sum_with_equal_weights_that_sum_to_one() -> None:
    """Of texts with one vector each, whose cosine is their MaxSim."""
    inputs = make_inputs(Case(5, queries=4, ways=2, shift=0.0, opposed=False, padded=False))
    ids = [inputs.query_ids_BQ[:, 0], *inputs.document_ids_NL[:, 0].view(4, 2).T]
    dims = [2, 8, 16]
    model = Dense(inputs.vectors_TD)
    losses = import_module("sentence_transformers.sentence_transformer.losses")
    alone = losses.MultipleNegativesRankingLoss(model, scale=1 / 0.2, similarity_fct=lambda q, d: q @ d.T)
    theirs = losses.MatryoshkaLoss(model, alone, dims, matryoshka_weights=[1 / 3] * 3)
    loss = theirs([{"input_ids": each} for each in ids], None)
    loss.backward()
    assert model.emb_ND.grad is not None
    masks = [torch.zeros_like(mask) for mask in (inputs.query_mask_BQ, inputs.document_mask_NL)]
    for mask in masks:
        mask[:, 0] = True
    single = replace(inputs, query_mask_BQ=masks[0], document_mask_NL=masks[1])
    ours = trained(single, contrastive(0.2), dims=dims)
    check(ours, outcome(inputs, loss, model.emb_ND.grad))
    assert ours != trained(single, contrastive(0.2))


def test_the_contrast_of_both_directions() -> None:
    """The symmetric loss is the mean of ours; its similarities are MaxSim, of one token a text."""
    queries, documents = (random_scores(seed, B, K).float().requires_grad_() for seed in (1, 2))
    losses = import_module("sentence_transformers.sentence_transformer.losses")
    theirs = losses.MultipleNegativesRankingLoss(
        nn.Identity(), scale=2.0, similarity_fct=lambda q, d: q @ d.T, partition_mode="per_direction",
        directions=("query_to_doc", "doc_to_query"),
    )  # fmt: skip
    value = theirs.compute_loss_from_embeddings([queries, documents], torch.empty(0))
    expected = torch.autograd.grad(value, [queries, documents])

    scores, own = queries @ documents.T, torch.arange(B)
    none = torch.zeros(B, B, dtype=torch.bool)
    ours = (Contrastive(0.5)(scores, own) + DocumentToQuery(0.5)(scores.T, own, none)) / 2
    torch.testing.assert_close(ours, value)
    torch.testing.assert_close(torch.autograd.grad(ours, [queries, documents]), expected)


def test_the_pairwise_softmax_is_ranknet_of_one_relevant_document() -> None:
    scores = random_scores(1, B, K).float()
    labels = torch.zeros(B, K)
    labels[:, 0] = 1
    theirs = of_the_peer("RankNetLoss", scores, labels, reduction_log="natural", sigma=1 / 0.7)
    same(of_ours(PairwiseSoftmax(0.7), scores), theirs)


SCHEMES = {
    "lambdarank": "LambdaRankScheme",
    "ndcg_loss2": "NDCGLoss2Scheme",
    "ndcg_loss2pp": "NDCGLoss2PPScheme",
}


@pytest.mark.parametrize("weighting", SCHEMES)
def test_lambda_loss(weighting: Weighting) -> None:
    """The peer's is the mean over pairs with an order: 15 of 6 documents."""
    scores, teacher = random_scores(1, B, K).float(), random_scores(2, B, K).float()
    scheme = getattr(import_module("sentence_transformers.cross_encoder.losses"), SCHEMES[weighting])()
    theirs = of_the_peer("LambdaLoss", scores, teacher.relu() + teacher.argsort().argsort() / 100,
                         weighting_scheme=scheme, sigma=1 / 0.7)  # fmt: skip
    grades = teacher.relu() + teacher.argsort().argsort() / 100
    same(of_ours(LambdaLoss("scores", 0.7, weighting), scores, grades), theirs, factor=1 / 15)


@pytest.mark.parametrize("case", lightning_ir.CASES)
def test_lightning_ir(case: str) -> None:
    """On numbers that Lightning IR gave (:mod:`tests.parity.make_losses`)."""
    scores, targets = lightning_ir.inputs(2 if case.startswith("margin") else K)
    ours = {
        "margin_mse": MarginMSE(),
        "approx_ndcg, temperature 1.0": ApproxNDCG("scores", 1.0),
        "approx_ndcg, temperature 0.3": ApproxNDCG("scores", 0.3),
    }[case]
    golden = lightning_ir.read()[case]
    same(of_ours(ours, scores, targets), (torch.tensor(golden["loss"]), torch.tensor(golden["gradient"])))


@pytest.mark.parity
def test_lightning_ir_still_says_so(tmp_path: Path) -> None:
    python = os.environ.get("COLBERT_LAB_LIGHTNING_IR_PYTHON")
    if not python:
        pytest.skip("COLBERT_LAB_LIGHTNING_IR_PYTHON names no Python with lightning-ir 0.0.6")
    file = tmp_path / "golden.json"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([python, lightning_ir.__file__, str(file)], check=True, env=environment)
    compare(lightning_ir.read(file), lightning_ir.read(), "lightning_ir")
