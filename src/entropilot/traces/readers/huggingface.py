"""Scores that Hugging Face ``generate`` returned, saved as safetensors: full distributions.

Tensors: ``scores`` or ``logits``, [T, V], [B, T, V] or [T, B, V], or one ``scores.{t}``, [V] or
[B, V], a step; ``sequences`` [T'] or [B, T'], token ids, of which the last T are generated.
The 20 most likely tokens are kept; entropy and divergence are exact, over all V.

    out = model.generate(..., output_scores=True, return_dict_in_generate=True)
    save_file({"scores": torch.stack(out.scores, 1), "sequences": out.sequences}, "run.safetensors")

``scores`` are what sampling saw; save ``logits`` (output_logits=True) for the model's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import FormatError, InputError
from entropilot.traces.builder import Record, TokenLists
from entropilot.traces.reading import ReadOptions

NAME: Final = "Hugging Face generate (safetensors)"
KEPT: Final = 20
MAX_HEADER: Final = 100 << 20
DTYPES: Final = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2",
}  # fmt: skip
BFLOAT16: Final = "BF16"


class Tensor(NamedTuple):
    """One tensor of a file, mapped into memory and not yet read."""

    values: NDArray[Any]
    is_bfloat16: bool

    def float64(self, index: Any) -> NDArray[np.float64]:
        """The indexed part as float64."""
        part = self.values[index]
        if self.is_bfloat16:
            part = (part.astype(np.uint32) << 16).view(np.float32)
        return np.asarray(part, dtype=np.float64)


def open_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; nothing but numbers is ever loaded from it.

    Raises:
        FormatError: the header is damaged, or a tensor reaches beyond the file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, MAX_HEADER):
            raise FormatError(f"{path} is not a whole safetensors file: its header is cut off")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{path} is no safetensors file: its header is not JSON") from error
    if not isinstance(header, dict):
        raise FormatError(f"{path} is no safetensors file: its header is no object")
    metadata = header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        try:
            kind, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
            dtype = np.dtype("<u2" if kind == BFLOAT16 else DTYPES[kind])
            n = int(np.prod([int(d) for d in shape], dtype=object)) if shape else 1
            good = 0 <= start <= stop <= size - 8 - length and stop - start == n * dtype.itemsize
        except (KeyError, TypeError, ValueError):
            good = False
        if not good or any(d < 0 for d in shape):
            raise FormatError(f"{path}: tensor {name[:60]!r} has a bad header or an unknown type")
        if n == 0:
            values: NDArray[Any] = np.zeros(shape, dtype)
        else:
            values = np.memmap(path, dtype, "r", 8 + length + start, tuple(shape))
        tensors[name] = Tensor(values, kind == BFLOAT16)
    return tensors, metadata if isinstance(metadata, dict) else {}


def read_scores(path: Path, options: ReadOptions) -> Iterator[Record]:
    """One record a sequence.

    Raises:
        FormatError: tensors are missing or do not fit together.
        InputError: a row of scores has no finite value, or holds NaN.
    """
    tensors, metadata = open_tensors(path)
    steps, kind = _steps(tensors, path)
    n_sequences, n_steps = len(steps[0]), len(steps)
    sequences = tensors.get("sequences")
    if sequences is None or sequences.values.dtype.kind != "i" or sequences.values.size == 0:
        raise FormatError(
            f"{path} has no integer tensor 'sequences'; save out.sequences beside the scores"
        )
    ids = sequences.values.reshape(-1, sequences.values.shape[-1])
    if ids.shape[0] != n_sequences or ids.shape[1] < n_steps:
        raise FormatError(
            f"{path}: sequences {list(sequences.values.shape)} do not fit {n_steps} steps of "
            f"{n_sequences} sequences"
        )
    texts = _token_texts(path)
    for b in range(n_sequences):
        row = {
            "id": path.stem if n_sequences == 1 else f"{path.stem}/{b}",
            "logprobs_kind": options.logprob_space or kind,
            "model": metadata.get("model"),
            "text": None,
        }
        yield Record(row, _tokens(steps, ids[b, ids.shape[1] - n_steps :], b, texts, path), KEPT)


def _steps(tensors: dict[str, Tensor], path: Path) -> tuple[list[list[Tensor]], str]:
    """[T][B] rows of V scores, and what kind of scores they are."""
    for name, kind in (("logits", "raw"), ("scores", "sampling")):
        whole = tensors.get(name)
        if whole is not None:
            values = whole.values
            if values.ndim == 2:
                values = values[None]
            if values.ndim != 3 or values.size == 0:
                raise FormatError(
                    f"{path}: {name} is {list(values.shape)}; [T, V] or [B, T, V] is expected"
                )
            ids = tensors.get("sequences")
            n = 1 if ids is None or ids.values.ndim == 1 else ids.values.shape[0]
            if values.shape[0] != n and values.shape[1] == n:
                values = values.transpose(1, 0, 2)  # generate's own order: step, sequence
            return [
                [Tensor(values[b, t], whole.is_bfloat16) for b in range(values.shape[0])]
                for t in range(values.shape[1])
            ], kind
        numbered = {
            int(m[1]): t
            for k, t in tensors.items()
            if (m := re.fullmatch(rf"{name}\.(\d{{1,8}})", k))
        }
        if numbered:
            if sorted(numbered) != list(range(len(numbered))):
                raise FormatError(f"{path}: {name}.0 to {name}.{max(numbered)} have gaps")
            rows = [numbered[t].values for t in range(len(numbered))]
            rows = [r[None] if r.ndim == 1 else r for r in rows]
            if any(r.ndim != 2 or r.shape != rows[0].shape or r.size == 0 for r in rows):
                raise FormatError(f"{path}: {name}.t differ in shape; [V] or [B, V] is expected")
            return [
                [Tensor(r[b], numbered[t].is_bfloat16) for b in range(len(r))]
                for t, r in enumerate(rows)
            ], kind
    found = ", ".join(list(tensors)[:20]) or "none"
    raise FormatError(f"{path} has no tensor scores, logits or scores.0; tensors found: {found}")


def _tokens(
    steps: list[list[Tensor]], ids: NDArray[Any], b: int, texts: dict[int, bytes], path: Path
) -> TokenLists:
    tokens = TokenLists()
    previous: NDArray[np.float64] | None = None
    for t, token_id in enumerate(ids.tolist()):
        scores = steps[t][b].float64(...)
        if not 0 <= token_id < len(scores):
            raise InputError(
                f"{path}: token id {token_id} at step {t} is outside 0..{len(scores) - 1}"
            )
        logprob = log_softmax(scores, f"{path}, sequence {b}, step {t}")
        k = min(KEPT, len(logprob))
        top = np.argpartition(-logprob, k - 1)[:k]
        top = top[np.lexsort((top, -logprob[top]))]
        tokens.add(
            texts.get(token_id, b"token_id:%d" % token_id),
            token_id,
            float(logprob[token_id]),
            [(texts.get(i, b"token_id:%d" % i), i, float(logprob[i])) for i in top.tolist()],
            entropy(logprob),
            np.nan if previous is None else divergence(previous, logprob),
        )
        previous = logprob
    return tokens


def log_softmax(scores: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    """Scores [V] minus their log-sum-exp; -inf stays -inf."""
    highest = scores.max()
    if not np.isfinite(highest):
        raise InputError(
            f"{where}: the scores hold NaN or +inf, or are all -inf; a finite one is expected. "
            "Find the step of generate that wrote them"
        )
    shifted = scores - highest
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))


def entropy(logprob: NDArray[np.float64]) -> float:
    """H = -sum p ln p, nats, over log-probabilities [V]; -inf counts 0."""
    finite = logprob[logprob > -np.inf]
    return float(max(0.0, -(np.exp(finite) * finite).sum()))


def divergence(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Jensen-Shannon divergence, nats, of log-probabilities [V]: mean KL to M = (p + q)/2."""
    middle = np.logaddexp(a, b) - np.log(2.0)
    total = 0.0
    for side in (a, b):
        seen = side > -np.inf
        total += float((np.exp(side[seen]) * (side[seen] - middle[seen])).sum())
    return min(max(total / 2, 0.0), float(np.log(2.0)))


def _token_texts(path: Path) -> dict[int, bytes]:
    """Texts by id from a tokenizer.json in the same folder, where there is one."""
    file = path.with_name("tokenizer.json")
    if not file.is_file() or file.stat().st_size > MAX_HEADER:
        return {}
    try:
        tokenizer = json.loads(file.read_bytes())
        vocabulary = tokenizer["model"]["vocab"]
        added = {entry["content"]: entry["id"] for entry in tokenizer.get("added_tokens", [])}
        byte_level = "ByteLevel" in json.dumps(tokenizer.get("decoder"))
        texts = {int(i): _piece(text, byte_level) for text, i in vocabulary.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"{file} is no tokenizer that can be read: {error}") from error
    return texts | {int(i): str(text).encode() for text, i in added.items()}


def _byte_level_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-ins for the 256 bytes."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {
        chr(256 + i): byte for i, byte in enumerate(hidden)
    }


_ALPHABET: Final = _byte_level_alphabet()


def _piece(text: str, byte_level: bool) -> bytes:
    if byte_level and all(character in _ALPHABET for character in text):
        return bytes(_ALPHABET[character] for character in text)
    found = re.fullmatch(r"<0x([0-9A-F]{2})>", text)
    return bytes.fromhex(found[1]) if found else text.replace("▁", " ").encode()
