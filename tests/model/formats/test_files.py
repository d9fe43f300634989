"""Which files of a folder are read, and what is said when they are not what they should be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from colbert_lab.base.errors import InputError
from colbert_lab.model.backbone import load_backbone, load_tokenizer
from colbert_lab.model.encode import encode
from colbert_lab.model.formats.known import load_checkpoint, save_checkpoint
from colbert_lab.model.model_files import read_weights, weight_files
from tests.command import command
from tests.model.formats.conftest import WRITABLE
from tests.tiny import sentences
from tests.toy import new_student

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0\nsize 231508\n"
INDEX = "model.safetensors.index.json"


def embedded(folder: Path) -> torch.Tensor:
    return encode(load_checkpoint(str(folder)), sentences(2), "query", token_budget=99).emb_TD


def other_weights(folder: Path, file: Path) -> None:
    """The folder's weights, all doubled, as a pickle."""
    torch.save({name: 2 * weight for name, weight in load_file(folder / "model.safetensors").items()}, file)


def test_weights_are_read_in_the_order_of_transformers(folders: dict[str, Path]) -> None:
    folder = folders["pylate"]
    before = embedded(folder)
    other_weights(folder, folder / "old.bin")
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"x": "old.bin"}}))
    assert torch.equal(embedded(folder), before)
    network = load_backbone(str(folder))
    for name, weight in read_weights(folder, "k").items():
        torch.testing.assert_close(network.state_dict()[name], weight)
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": {"x": "part.safetensors"}}))
    shutil.copyfile(folder / "old.bin", folder / "pytorch_model.bin")
    assert torch.equal(embedded(folder), before)
    (folder / INDEX).unlink()
    assert weight_files(folder) == [folder / "pytorch_model.bin"]
    (folder / "pytorch_model.bin").unlink()
    assert weight_files(folder) == [folder / "old.bin"]


def test_an_index_without_its_parts(folders: dict[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    folder = folders["pylate"]
    before = embedded(folder)
    (folder / INDEX).write_text(json.dumps({"weight_map": {"x": "a-1.safetensors", "y": "a-2.safetensors"}}))
    assert torch.equal(embedded(folder), before)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert torch.equal(embedded(folder), before)
    assert (
        "names files that are not there: 2 (a-1.safetensors, a-2.safetensors); pytorch_model.bin is"
        in caplog.text
    )
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(
        InputError, match=rf"^student\.checkpoint: .*{INDEX} names files that are not there: 2"
    ):
        load_checkpoint(str(folder))
    with pytest.raises(InputError, match=rf"^student\.backbone: .*{INDEX} names files that are not there: 2"):
        load_backbone(str(folder))


@pytest.mark.parametrize("name", ["../w.safetensors", "/w.safetensors", "a/../../w.safetensors"])
def test_an_index_that_points_outside_its_folder_is_refused(
    folders: dict[str, Path], tmp_path: Path, name: str
) -> None:
    folder = folders["stanford"]
    (folder / "model.safetensors").rename(folder.parent / "w.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": {"x": name}}))
    for load, key in ((load_checkpoint, "checkpoint"), (load_backbone, "backbone")):
        with pytest.raises(InputError, match=rf"^student\.{key}: .* points outside the folder \("):
            load(str(folder))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "projection.pt", "config.json"])
def test_a_git_lfs_pointer_says_what_it_is(folders: dict[str, Path], name: str) -> None:
    folder = folders["colbert_az"]
    (folder / name).write_text(POINTER)
    with pytest.raises(InputError, match=rf"{name} is a Git LFS pointer .* git -C {folder} lfs pull"):
        load_checkpoint(str(folder))


def test_pointers_in_a_backbone(tiny_bert: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_bert, tmp_path / "bert")
    (tmp_path / "bert" / "model.safetensors").write_text(POINTER)
    with pytest.raises(InputError, match=r"^student\.backbone: .*model\.safetensors is a Git LFS pointer"):
        load_backbone(str(tmp_path / "bert"))
    (tmp_path / "bert" / "tokenizer.json").unlink()
    (tmp_path / "bert" / "tokenizer_config.json").unlink()
    (tmp_path / "bert" / "vocab.txt").write_text(POINTER)  # which transformers reads as three words
    with pytest.raises(InputError, match=r"vocab\.txt is a Git LFS pointer"):
        load_tokenizer(str(tmp_path / "bert"))


def reordered(folder: Path, *kinds: str) -> None:
    """Put the modules of a folder in another order."""
    file = folder / "modules.json"
    modules = {entry["type"].rpartition(".")[2]: entry for entry in json.loads(file.read_text())}
    file.write_text(json.dumps([modules[kind] for kind in kinds]))


def test_modules_in_an_order_that_a_student_cannot_compute_are_refused(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = folders["sentence_transformers"]
    before = embedded(folder)
    reordered(folder, "Transformer", "MultiVectorMask", "Dense", "Normalize")
    assert torch.equal(embedded(folder), before)
    reordered(folder, "Transformer", "Normalize", "Dense", "MultiVectorMask")
    with pytest.raises(InputError, match=r"modules are Transformer, Normalize, Dense, .* normalised last"):
        load_checkpoint(str(folder))
    outcome = command("task=convert", f"from={folder}", "to=pylate", f"out={tmp_path / 'out'}")
    assert outcome.status == 2
    assert outcome.err.startswith(f"error: from={folder}: its modules are Transformer, Normalize, Dense")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("1_Dense", {"module_input_name": "sentence_embedding"}, "a Dense from sentence_embedding to token"),
        (
            "1_Dense",
            {"module_output_name": None, "module_input_name": None},
            "a Dense from sentence_embedding",
        ),
        (
            "3_Normalize",
            {"module_input_name": None},
            "a Normalize from sentence_embedding to token_embeddings",
        ),
    ],
)
def test_modules_that_read_or_write_something_else_are_refused(
    folders: dict[str, Path], file: str, changes: dict[str, Any], message: str
) -> None:
    config = folders["sentence_transformers"] / file / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    with pytest.raises(InputError, match=message):
        load_checkpoint(str(folders["sentence_transformers"]))


@pytest.mark.parametrize("layout", ["pylate", "sentence_transformers"])
def test_modules_of_other_libraries_and_second_transformers_are_refused(
    folders: dict[str, Path], layout: str
) -> None:
    file = folders[layout] / "modules.json"
    modules = json.loads(file.read_text())
    for changed, message in (
        ([modules[0], modules[1] | {"type": "mine.Dense"}, *modules[2:]], r"module mine\.Dense is not known"),
        ([*modules, modules[0]], "has 2 Transformer modules"),
        ([*modules, {"idx": 9}], "a module has no path or no type"),
    ):
        file.write_text(json.dumps(changed))
        with pytest.raises(InputError, match=message):
            load_checkpoint(str(folders[layout]))


def damages(file: Path) -> Iterator[str]:
    """Contents that a JSON file must not have: another kind, cut off, and each value of another type."""
    whole = file.read_text()
    yield from ("{}", "[]", "null", '"x"', "[[]]", whole[: len(whole) // 2])
    config = json.loads(whole)
    if file.name == "tokenizer.json" or not isinstance(config, dict):
        return
    for key in config:
        yield json.dumps(config | {key: "32"})
        yield json.dumps(config | {key: [3.5]})


def said(folder: Path) -> str | None:
    """What is said of a folder that cannot be loaded."""
    try:
        load_checkpoint(str(folder))
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize("layout", WRITABLE)
def test_damaged_json_is_one_line_or_harmless(folders: dict[str, Path], layout: str) -> None:
    folder = folders[layout]
    for file in [*folder.rglob("*.json"), *folder.glob("artifact.metadata")]:
        whole = file.read_text()
        for number, content in enumerate(damages(file)):
            if file.name == "config.json" and file.parent == folder and number > 5 and number % 7:
                continue  # transformers' own, with many keys
            file.write_text(content)
            told = said(folder)
            assert told is None or (str(folder) in told and "\n" not in told), (file, content)
        file.write_text(whole)
    load_checkpoint(str(folder))


@pytest.mark.parametrize(
    ("layout", "file", "key", "value"),
    [
        ("colbert_lab", "colbert_lab.json", "pooling", "sum"),
        ("colbert_lab", "colbert_lab.json", "head", {}),
        ("pylate", "config_sentence_transformers.json", "query_length", "32"),
        ("pylate", "config_sentence_transformers.json", "do_query_expansion", "false"),
        ("pylate", "config_sentence_transformers.json", "skiplist_words", "abc"),
        ("pylate", "sentence_bert_config.json", "do_lower_case", "false"),
        ("sentence_transformers", "sentence_bert_config.json", "document_length", True),
        ("sentence_transformers", "modules.json", None, None),
        ("stanford", "artifact.metadata", "query_maxlen", "32"),
        ("stanford", "artifact.metadata", "mask_punctuation", 0),
    ],
)
def test_values_of_another_type_are_not_guessed(
    folders: dict[str, Path], layout: str, file: str, key: str | None, value: Any
) -> None:
    path = folders[layout] / file
    path.write_text(json.dumps(None if key is None else json.loads(path.read_text()) | {key: value}))
    with pytest.raises(InputError, match=rf"{file}: .*{key or ''}|{file}: its content: must be a list"):
        load_checkpoint(str(folders[layout]))


def test_a_student_of_ours_longer_than_its_backbone_is_refused(
    student_settings: dict[str, Any], tmp_path: Path
) -> None:
    save_checkpoint(new_student(**student_settings), "colbert_lab", tmp_path)
    file = tmp_path / "colbert_lab.json"
    settings = json.loads(file.read_text())
    settings["tokens"]["document_length"] = 65
    file.write_text(json.dumps(settings))
    with pytest.raises(InputError, match=r"document_length=65 is beyond the 64 positions of the backbone"):
        load_checkpoint(str(tmp_path))
