"""Finding out what a checkpoint is, and what is said when it is nothing that is known."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from colbert_lab.base.errors import InputError
from colbert_lab.model.encode import encode
from colbert_lab.model.formats.known import (
    FORMATS,
    folder_of,
    format_of,
    load_checkpoint,
    save_checkpoint,
)
from colbert_lab.text.contents import model_id
from tests.model.formats.conftest import WRITABLE, student_for
from tests.parity import formats_flmr
from tests.tiny import sentences
from tests.toy import new_student


def test_each_layout_is_found_and_loads_as_it_was(
    folders: dict[str, Path], student_settings: dict[str, Any], long_bert: Path
) -> None:
    for target, folder in folders.items():
        assert format_of(folder) == target
        before = student_for(target, student_settings | {"backbone": str(long_bert)})
        again = load_checkpoint(str(folder))
        for role in ("query", "document"):
            a, b = (encode(s, sentences(5), role, token_budget=300) for s in (before, again))
            assert a.lengths_N.tolist() == b.lengths_N.tolist(), target
            torch.testing.assert_close(a.emb_TD, b.emb_TD, atol=1e-6, rtol=0)


def test_a_folder_of_no_known_layout_says_what_was_looked_for(tiny_bert: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_checkpoint(str(tiny_bert))
    for layout in FORMATS.values():
        assert layout.looked_for in str(caught.value)


def test_a_dense_model_is_pointed_to_the_setting_it_is_for(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("[]")
    (tmp_path / "config_sentence_transformers.json").write_text('{"model_type": "SentenceTransformer"}')
    with pytest.raises(InputError, match=r"is a SentenceTransformer: start from it with student.backbone="):
        load_checkpoint(str(tmp_path))


@pytest.mark.parametrize("target", [name for name in WRITABLE if name != "colbert_lab"])
@pytest.mark.parametrize("kind", ["missing", "left over", "of another shape"])
def test_weights_that_do_not_fit_are_named(folders: dict[str, Path], target: str, kind: str) -> None:
    file = folders[target] / "model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if name.endswith("encoder.layer.1.output.dense.bias"))
    if kind == "missing":
        del weights[name]
    elif kind == "left over":
        weights[name.replace("layer.1", "layer.7")] = weights[name].clone()
    else:
        weights[name] = torch.zeros(3)
    save_file(weights, file, metadata={"format": "pt"})
    layer = "layer.7" if kind == "left over" else "layer.1"
    with pytest.raises(InputError, match=f"{layer}.output.dense.bias.*{kind}"):
        load_checkpoint(str(folders[target]))


class Evil:
    """What a pickle can do when it is read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


@pytest.mark.parametrize(
    ("target", "name"), [("colbert_az", "projection.pt"), ("stanford", "pytorch_model.bin")]
)
def test_a_pickle_that_would_run_code_is_refused(
    folders: dict[str, Path], tmp_path: Path, target: str, name: str
) -> None:
    folder, proof = folders[target], tmp_path / "ran"
    torch.save({"weight": Evil(proof)}, folder / name)
    with (tmp_path / "plain.pkl").open("wb") as file:
        pickle.dump(Evil(proof), file)
    if name == "pytorch_model.bin":
        (folder / "model.safetensors").unlink()
    for content in ((folder / name).read_bytes(), (tmp_path / "plain.pkl").read_bytes()):
        (folder / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}.* it is not read|{name} cannot be read"):
            load_checkpoint(str(folder))
        assert not proof.exists()


def test_weights_of_older_stanford_folders_are_read(folders: dict[str, Path]) -> None:
    folder = folders["stanford"]
    expected = encode(load_checkpoint(str(folder)), sentences(3), "query", token_budget=300).emb_TD
    weights = load_file(folder / "model.safetensors")
    weights["bert.embeddings.position_ids"] = torch.arange(4)[None]
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert torch.equal(
        encode(load_checkpoint(str(folder)), sentences(3), "query", token_budget=300).emb_TD, expected
    )


def test_weights_in_parts_are_read(folders: dict[str, Path]) -> None:
    folder = folders["pylate"]
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, own in parts.items():
        save_file({name: weights[name] for name in own}, folder / file, metadata={"format": "pt"})
    places = {name: file for file, own in parts.items() for name in own}
    before = encode(load_checkpoint(str(folder)), sentences(2), "query", token_budget=99).emb_TD
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert torch.equal(
        encode(load_checkpoint(str(folder)), sentences(2), "query", token_budget=99).emb_TD, before
    )


def test_code_that_comes_with_a_model_is_not_run(folders: dict[str, Path], tmp_path: Path) -> None:
    folder, proof = folders["pylate"], tmp_path / "ran"
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "made_up", "auto_map": {"AutoConfig": "code.C", "AutoModel": "code.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(f"open({str(proof)!r}, 'w').close()\n")
    with pytest.raises(InputError, match=r"student.trust_remote_code=true"):
        load_checkpoint(str(folder))
    assert not proof.exists()


def test_consent_to_code_where_there_is_none_is_said(
    folders: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    load_checkpoint(str(folders["pylate"]), trust_remote_code=True)
    assert "trust_remote_code" not in caplog.text
    load_checkpoint(str(folders["colbert_lab"]), trust_remote_code=True)
    assert f"trust_remote_code has no effect on student.checkpoint={folders['colbert_lab']}" in caplog.text


def test_a_damaged_tokenizer_of_flmr_is_named(tmp_path: Path) -> None:
    folder = formats_flmr.make(tmp_path) / "model"
    load_checkpoint(str(folder))
    (folder / "context_tokenizer" / "tokenizer_config.json").write_text("[]")
    (folder / "context_tokenizer" / "vocab.txt").unlink()
    with pytest.raises(
        InputError, match=r"context_tokenizer/tokenizer_config\.json: its content: must be an object"
    ):
        load_checkpoint(str(folder))
    (folder / "context_tokenizer" / "tokenizer_config.json").write_text("{}")
    with pytest.raises(InputError, match="context_tokenizer: its tokenizer knows no word"):
        load_checkpoint(str(folder))


def test_activations_of_unknown_origin_are_not_imported(folders: dict[str, Path]) -> None:
    file = folders["pylate"] / "1_Dense" / "config.json"
    config = json.loads(file.read_text())
    for name in ("os.system", "torch.nn.modules.linear.Linear", "evil.GELU"):
        file.write_text(json.dumps(config | {"activation_function": name}))
        with pytest.raises(InputError, match=f"activation_function={name} is not known"):
            load_checkpoint(str(folders["pylate"]))


def test_a_pooled_model_with_a_dense_layer_is_no_colbert(folders: dict[str, Path]) -> None:
    file = folders["pylate"] / "modules.json"
    pooling = {"idx": 9, "name": "9", "path": "", "type": "sentence_transformers.models.Pooling"}
    file.write_text(json.dumps([*json.loads(file.read_text()), pooling]))
    with pytest.raises(InputError, match=r"Pooling is not of a ColBERT; start .* student\.backbone="):
        load_checkpoint(str(folders["pylate"]))


def test_a_layer_without_its_width_is_named(folders: dict[str, Path]) -> None:
    file = folders["pylate"] / "1_Dense" / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({key: value for key, value in config.items() if key != "in_features"}))
    with pytest.raises(InputError, match=r"1_Dense/config\.json: in_features is missing"):
        load_checkpoint(str(folders["pylate"]))


def test_markers_without_trained_vectors_are_refused(folders: dict[str, Path]) -> None:
    file = folders["pylate"] / "config_sentence_transformers.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"query_prefix": "[NEW] "}))
    with pytest.raises(InputError, match=r"markers \[NEW\] .* never trained would be random"):
        load_checkpoint(str(folders["pylate"]))


def test_expansion_without_mask_or_eos_token(folders: dict[str, Path]) -> None:
    folder = folders["stanford"]
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text())
    file.write_text(
        json.dumps({name: value for name, value in config.items() if name not in ("mask_token", "eos_token")})
    )
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    with pytest.raises(InputError, match="neither a mask nor an EOS token"):
        load_checkpoint(str(folder))


def test_flash_attention_with_unattended_expansion(folders: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="FlashAttention zeroes tokens"):
        load_checkpoint(str(folders["stanford"]), "flash_attention_2")


def test_a_module_outside_the_folder_is_refused(folders: dict[str, Path]) -> None:
    file = folders["pylate"] / "modules.json"
    modules = json.loads(file.read_text())
    modules[1]["path"] = "../elsewhere"
    file.write_text(json.dumps(modules))
    with pytest.raises(InputError, match="points outside the folder"):
        load_checkpoint(str(folders["pylate"]))


def test_a_hub_id_is_found_in_the_hubs_own_layout(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the hub's client keeps it: refs/main names the snapshot."""
    cache, revision = tmp_path / "hub", "0123456789abcdef0123456789abcdef01234567"
    own = cache / "models--someone--a-student"
    shutil.copytree(folders["pylate"], own / "snapshots" / revision)
    (own / "refs").mkdir()
    (own / "refs" / "main").write_text(revision)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    found = folder_of("someone/a-student")
    assert found == own / "snapshots" / revision
    assert format_of(found) == "pylate"
    with pytest.raises(InputError, match="someone/else: no such folder, and the hub has no such model"):
        folder_of("someone/else")


def test_the_folder_of_a_run_names_its_students(folders: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folders["colbert_lab"], run / "distill" / "student")
    (run.parent / "latest").symlink_to(run)
    with pytest.raises(
        InputError, match=rf"^from={run}: is the folder of a run.*: from={run}/distill/student$"
    ):
        format_of(run, "from")
    with pytest.raises(InputError, match=rf"a part of one, and no student; .*: from={run}/distill/student$"):
        format_of(run / "distill", "from")
    shutil.copytree(folders["colbert_lab"], run / "supervised" / "student")
    with pytest.raises(InputError, match=rf"one of 2 \({run}/distill/student, {run}/supervised/student\)"):
        load_checkpoint(str(run))


@pytest.mark.parametrize("name", ["./nowhere", "a/b/c", "/nowhere/at/all"])
def test_a_folder_that_is_not_there(name: str) -> None:
    with pytest.raises(InputError, match="no such folder"):
        folder_of(name)


def test_the_digest_is_of_the_content(folders: dict[str, Path]) -> None:
    before = model_id(str(folders["pylate"]))
    (folders["pylate"] / "README.md").write_text("a card")
    assert model_id(str(folders["pylate"])) == before
    file = folders["pylate"] / "config_sentence_transformers.json"
    file.write_text(file.read_text().replace("12", "13"))
    assert model_id(str(folders["pylate"])) != before


def test_a_layout_says_all_that_a_student_lacks(student_settings: dict[str, Any], tmp_path: Path) -> None:
    for lacking, message in (
        ({"query_marker": None, "expansion": "none"}, r"has markers .*, and queries that are expanded"),
        ({"expansion": "none", "query_prompt": "q: "}, r"has no prompts .*, and queries that are expanded"),
        ({"expansion": "none"}, r"has queries that are expanded \(student\.expansion="),
    ):
        student = new_student(**student_settings | lacking)
        with pytest.raises(InputError, match=rf"^to=stanford: the layout {message}"):
            save_checkpoint(student, "stanford", tmp_path)


def test_a_layout_says_the_score_or_refuses_it(student_settings: dict[str, Any], tmp_path: Path) -> None:
    student = student_for("stanford", student_settings | {"score": "mean_maxsim"})
    for target in WRITABLE:
        folder = tmp_path / target
        folder.mkdir()
        if target in ("colbert_lab", "sentence_transformers"):
            save_checkpoint(student, target, folder)
            assert load_checkpoint(str(folder)).tokenizer.rules.score == "mean_maxsim"
            continue
        with pytest.raises(
            InputError,
            match=f"to={target}: the layout's score is MaxSim, and this student's is mean_maxsim; layouts that can "
            "say so: colbert_lab, sentence_transformers$",
        ):
            save_checkpoint(student, target, folder)
    file = tmp_path / "sentence_transformers" / "config_sentence_transformers.json"
    file.write_text(file.read_text().replace("meanmaxsim", "cosine"))
    with pytest.raises(InputError, match="similarity_fn_name=cosine: only maxsim and meanmaxsim are known"):
        load_checkpoint(str(file.parent))
    file = tmp_path / "colbert_lab" / "colbert_lab.json"
    file.write_text(file.read_text().replace("mean_maxsim", "xtr"))
    with pytest.raises(InputError, match=r"student\.score=xtr: must be one of maxsim, mean_maxsim"):
        load_checkpoint(str(file.parent))
