"""The score of a student in the layout of sentence-transformers, there and here.

sentence-transformers 6.2.0 is installed with the extra ``dev``; the student is a tiny one with random weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import colbert_lab
from colbert_lab.model.formats.known import save_checkpoint
from tests.tiny import sentences
from tests.toy import new_student

pytest.importorskip("sentence_transformers")
QUERIES, DOCUMENTS = sentences(3, seed=9, high=7), sentences(8)


@pytest.mark.parity
@pytest.mark.parametrize("expansion", ["none", "unattended"])
def test_the_score_is_the_one_that_the_folder_says(
    expansion: str, student_settings: dict[str, Any], tmp_path: Path
) -> None:
    from sentence_transformers.multi_vector_encoder import MultiVectorEncoder

    found = {}
    for score, theirs in (("maxsim", "maxsim"), ("mean_maxsim", "meanmaxsim")):
        torch.manual_seed(0)
        folder = tmp_path / score
        folder.mkdir()
        student = new_student(**student_settings | {"expansion": expansion, "score": score})
        save_checkpoint(student, "sentence_transformers", folder)
        peer = MultiVectorEncoder(str(folder), device="cpu")
        assert peer.similarity_fn_name == theirs
        expected = peer.similarity(peer.encode_query(QUERIES), peer.encode_document(DOCUMENTS))
        ours = colbert_lab.load(folder, device="cpu", precision="32-true")
        scores = torch.zeros(len(QUERIES), len(DOCUMENTS))
        for row, query in enumerate(QUERIES):
            for hit in ours.rerank(query, DOCUMENTS):
                scores[row, int(hit.document_id)] = hit.score
        torch.testing.assert_close(scores, expected.float(), atol=1e-5, rtol=1e-5)
        found[score] = scores
    assert float((found["maxsim"] / found["mean_maxsim"]).min()) > 2
