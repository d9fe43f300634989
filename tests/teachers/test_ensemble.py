"""The ensemble against numpy."""

import numpy as np
import pytest
import torch

from colbert_lab.base.errors import InputError
from colbert_lab.teachers.ensemble import Ensemble
from tests.teachers.support import Given, Hashed, make_corpus

A = Given("a", (("q1", (1.0, 2.0, 4.0, 9.0)), ("q2", (-1.0, 0.0, 0.0, 3.0))))
B = Given("b", (("q1", (300.0, 100.0, 250.0, -50.0)), ("q2", (7.0, 8.0, 5.0, 1.0))))
FLAT = Given("flat", (("q1", (0.1, 0.1, 0.1, 0.1)), ("q2", (7.3, 7.3, 7.3, 7.3))))
QUERIES = ["q2", "q1"]


def normalised(member: Given) -> np.ndarray:
    rows = np.array([dict(member.rows)[query] for query in QUERIES], dtype=np.float64)
    means, deviations = np.mean(rows, axis=1, keepdims=True), np.std(rows, axis=1, keepdims=True)
    return np.asarray((rows - means) / deviations)


def test_scores_are_the_mean_of_z_scores() -> None:
    scores = Ensemble({"a": A, "b": B}).index(make_corpus(4)).scores(QUERIES)
    expected = (normalised(A) + normalised(B)) / 2
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_the_scale_of_a_member_does_not_matter() -> None:
    larger = Given("a", tuple((query, tuple(1000 * x + 5 for x in row)) for query, row in A.rows))
    one, two = (Ensemble({"a": a, "b": B}).index(make_corpus(4)).scores(QUERIES) for a in (A, larger))
    torch.testing.assert_close(one, two, atol=1e-4, rtol=0)


def test_a_constant_member_adds_nothing() -> None:
    scores = Ensemble({"a": A, "flat": FLAT}).index(make_corpus(4)).scores(QUERIES)
    np.testing.assert_allclose(scores.numpy(), normalised(A) / 2, rtol=1e-5, atol=1e-6)


def test_fewer_than_two_members_are_refused() -> None:
    for members in ({}, {"a": A}):
        with pytest.raises(InputError, match=r"teacher\.members: an ensemble needs at least two members"):
            Ensemble(members)


def test_tables_name_the_members() -> None:
    name = Ensemble({"bm25": Hashed("x"), "dense": Hashed("y")}).name
    assert name.startswith("ensemble")
    assert name.index("bm25") < name.index("dense")
