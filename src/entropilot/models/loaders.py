"""Loading a causal language model: a fetched one, a folder, a GGUF file or a Hugging Face id.

Weights are read from safetensors or GGUF only, never from pickled files, and no code that comes
with a model is ever run.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from entropilot.errors import ConfigurationError, ModelError, require, unknown_name
from entropilot.models import smollm2
from entropilot.models.tiny import tiny_parts
from entropilot.models.token_bytes import token_bytes

DTYPES: Final = ("float32", "bfloat16", "float16")
KNOWN: Final = ("smollm2", "tiny")


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model in evaluation mode, with what is needed to sample from it.

    Examples:
        >>> model = load_model("tiny")
        >>> model.name, model.eos, model.context
        ('tiny', (256,), 4096)
    """

    model: Any  # a transformers causal LM
    tokenizer: Any  # its fast tokenizer
    name: str
    eos: tuple[int, ...]  # ids that end a text
    n_vocab: int  # outcomes that count; rows of the head beyond it are padding
    context: int  # longest sequence, tokens

    @cached_property
    def token_bytes(self) -> Callable[[int], bytes]:
        """Text of one token id as bytes; a token may be a piece of a UTF-8 character.

        Examples:
            >>> load_model("tiny").token_bytes(65)
            b'A'
        """
        return token_bytes(self.tokenizer)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens.

        Examples:
            >>> load_model("tiny").encode("Hi")
            [72, 105]
        """
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, byte for byte; broken UTF-8 shows as the replacement character.

        Examples:
            >>> load_model("tiny").decode([72, 105])
            'Hi'
        """
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", errors="replace")


def load_model(
    name: str | Path,
    *,
    dtype: str = "float32",
    cache_dir: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> LanguageModel:
    """Load a causal language model and its tokenizer.

    Args:
        name: "smollm2" (fetched on first use), "tiny" (random weights, for trying things out), a
            folder with safetensors, a ``.gguf`` file, or a Hugging Face id ("Qwen/Qwen2.5-0.5B").
        dtype: of the weights; "float32", "bfloat16" or "float16". On a CPU with AVX512-BF16
            bfloat16 takes half the time; SmolLM2's token entropies then move by 0.02 nats on
            average and 0.12 at most.
        cache_dir: of fetched and unpacked models; None means ``smollm2.cache_folder()``.
        progress: called with a sentence before each long step.

    Returns:
        The model in evaluation mode.

    Raises:
        ModelError: it can't be found, downloaded or read.
        ConfigurationError: unknown dtype.
        MissingExtraError: torch or transformers is not installed.

    Examples:
        >>> load_model("tiny").n_vocab
        257
    """
    if dtype not in DTYPES:
        raise ConfigurationError(unknown_name("dtype", dtype, DTYPES))
    # threads that wait must sleep, not spin: with busy neighbours spinning costs a factor of ten.
    # It is read once, when torch starts, and a user's own setting stays.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    torch = require("torch", extra="torch", purpose="loading a language model")
    require("transformers", extra="torch", purpose="loading a language model")
    label, path = str(name), Path(name)
    if label == "tiny":
        model, tokenizer = tiny_parts()
        model = model.to(getattr(torch, dtype))
    elif label == "smollm2":
        label = "SmolLM2-135M-Instruct"
        folder = _unpacked_smollm2(cache_dir, progress)
        model, tokenizer = _from_pretrained(folder, dtype)
    elif path.suffix == ".gguf" and path.is_file():
        label = path.stem
        model, tokenizer = _from_pretrained(path.parent, dtype, gguf_file=path.name)
    elif path.is_dir():
        label = path.resolve().name
        model, tokenizer = _from_folder(path, dtype)
    else:
        model, tokenizer = _from_hub(label, dtype)
    return as_language_model(model, tokenizer, label)


def as_language_model(model: Any, tokenizer: Any, name: str) -> LanguageModel:
    """Wrap a transformers model and fast tokenizer that are loaded already.

    Examples:
        >>> as_language_model(*tiny_parts(), "mine").name
        'mine'
    """
    ends: set[int] = set()
    generation = getattr(model, "generation_config", None)
    for end in (getattr(generation, "eos_token_id", None), tokenizer.eos_token_id):
        ends.update(end if isinstance(end, list) else [] if end is None else [end])
    n_vocab = min(len(tokenizer), model.config.vocab_size)
    context = int(getattr(model.config, "max_position_embeddings", 1 << 20))
    return LanguageModel(model.eval(), tokenizer, name, tuple(sorted(ends)), n_vocab, context)


def _unpacked_smollm2(cache_dir: Path | None, progress: Callable[[str], None]) -> Path:
    """Folder with the weights of SmolLM2 as float32 safetensors; made once.

    Reading the GGUF file takes 15-20 s, reading 540 MB of safetensors about 2 s.
    """
    fetched = smollm2.fetch(cache_dir, progress=progress)
    target = fetched / "float32"
    if (target / "model.safetensors").is_file():
        return target
    progress("unpacking the four-bit weights (once, about 20 s)")
    from safetensors.torch import save_file

    model, tokenizer = _from_pretrained(fetched, "float32", gguf_file=smollm2.GGUF_NAME)
    scratch = Path(tempfile.mkdtemp(dir=fetched, prefix=".unpack-"))
    try:
        tokenizer.save_pretrained(scratch)
        # transformers refuses to save a model that came from GGUF: the two files are written here
        config = model.config.to_dict()
        config.pop("quantization_config", None)
        config["architectures"] = [type(model).__name__]
        (scratch / "config.json").write_text(json.dumps(config, indent=1))
        weights = {k: v.contiguous() for k, v in model.state_dict().items()}
        if model.config.tie_word_embeddings:
            weights.pop("lm_head.weight", None)
        save_file(weights, scratch / "model.safetensors", metadata={"format": "pt"})
        os.replace(scratch, target)
    except OSError as error:
        if not (target / "model.safetensors").is_file():  # another process may have been first
            raise ModelError(
                f"the unpacked weights can't be stored under {fetched}: {error}. They need 540 MB; "
                "name a folder with space in ENTROPILOT_CACHE."
            ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _from_folder(folder: Path, dtype: str) -> tuple[Any, Any]:
    names = sorted(file.name for file in folder.iterdir())
    if any(name.endswith(".safetensors") for name in names):
        return _from_pretrained(folder, dtype)
    packed = [name for name in names if name.endswith(".gguf")]
    if len(packed) == 1:
        return _from_pretrained(folder, dtype, gguf_file=packed[0])
    pickled = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt"))]
    raise ModelError(
        f"the folder {folder} holds no safetensors and {len(packed)} GGUF files"
        + (
            f", only pickled weights ({pickled[0]}), which can run code when read. "
            if pickled
            else ". "
        )
        + "Expected *.safetensors beside config.json and tokenizer.json, or one .gguf file; "
        + ("convert the weights to safetensors." if pickled else "name a GGUF file by its path.")
    )


def _from_hub(name: str, dtype: str) -> tuple[Any, Any]:
    if "/" not in name and get_close_matches(name, KNOWN, cutoff=0.6):
        raise ModelError(unknown_name("model", name, KNOWN))
    if name.endswith(".gguf") or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(
            f"there is no model file or folder {name!r}. Give a folder with safetensors, "
            f"a .gguf file, a Hugging Face id (owner/name) or one of {', '.join(KNOWN)}."
        )
    try:
        return _from_pretrained(name, dtype, local_files_only=True)
    except ModelError:
        if not _hub_is_reachable():  # the hub client would try again for a minute
            raise
    return _from_pretrained(name, dtype)


def _hub_is_reachable() -> bool:
    """False only where it is certain: the hub's name does not resolve and no proxy is set."""
    if os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
        return False
    if urllib.request.getproxies():
        return True
    host = urllib.parse.urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co")).hostname
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True


def _from_pretrained(
    source: str | Path,
    dtype: str,
    *,
    gguf_file: str | None = None,
    local_files_only: bool = False,
) -> tuple[Any, Any]:
    torch = require("torch", extra="torch", purpose="loading a language model")
    if gguf_file is not None:
        require("gguf", extra="torch", purpose="reading a GGUF file")
        require("accelerate", extra="torch", purpose="reading a GGUF file")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    local_files_only = local_files_only or isinstance(source, Path)
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": local_files_only}
    if gguf_file is not None:
        options["gguf_file"] = gguf_file
    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(str(source), **options)
            if gguf_file is None:
                options["use_safetensors"] = True
            model = AutoModelForCausalLM.from_pretrained(
                str(source), dtype=getattr(torch, dtype), **options
            )
    except Exception as error:  # transformers raises many kinds; the user needs one
        said = str(error).strip().splitlines()
        where = "the file is not readable as a causal language model"
        if not isinstance(source, Path):
            where = (
                "it is neither in the local Hugging Face cache nor to be had from the hub "
                "(no network, no such id, no access, or no safetensors)"
            )
        raise ModelError(
            f"the model {str(source)!r} can't be loaded: {where}. {type(error).__name__}: "
            f"{said[0][:300] if said else ''} Expected a causal language model in safetensors "
            "or GGUF; 'smollm2' works without Hugging Face."
        ) from error
    return model, tokenizer


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the progress bars of transformers; the caller shows its own."""
    from transformers.utils import logging

    was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with redirect_stderr(io.StringIO()):  # the GGUF reader's bar has no switch
            yield
    finally:
        if was_on:
            logging.enable_progress_bar()
