"""Cached decoding gives what a full forward pass gives, whatever rows leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from entropilot.errors import InputError
from entropilot.models.attention_kernels import (
    attend_to_cache,
    room_for_keys,
    room_for_values,
)
from entropilot.models.causal_decoding import CausalDecoder, Prefix
from entropilot.models.decoding import Decoder, TransformerDecoder, move_rows
from entropilot.models.tiny import tiny_parts
from entropilot.models.transformer import SmallTransformer, TransformerConfig

CLOSE = {"rtol": 1e-5, "atol": 2e-5}  # float32 with another order of sums; logits up to 10
EQUAL = [[1, 2, 3], [4, 5, 6]]
UNEQUAL = [[1, 2, 3, 4], [5], [6, 7]]
SHARED = [[*range(20), 3, 4], [*range(20), 5], [*range(20), 6, 7]]

Case = tuple[Decoder, Callable[[list[int]], Tensor]]


def small() -> Case:
    model = SmallTransformer.seeded(TransformerConfig(30, width=24, heads=2, context=40), 1)
    return TransformerDecoder(model), lambda row: model(torch.tensor([row]))[0, -1]


def causal() -> Case:
    model, _ = tiny_parts(seed=2)
    return CausalDecoder(model), lambda row: model(torch.tensor([row])).logits[0, -1]


CASES = [pytest.param(make, id=make.__name__) for make in (small, causal)]


def next_tokens(n: int, t: int) -> Tensor:
    return (torch.arange(n) * 7 + t * 3) % 30


@pytest.mark.parametrize("make", CASES)
@pytest.mark.parametrize("prompts", [EQUAL, UNEQUAL, SHARED], ids=["equal", "unequal", "shared"])
@pytest.mark.parametrize("n", [1, 3])
def test_steps_equal_full_passes(
    make: Callable[[], Case], prompts: list[list[int]], n: int
) -> None:
    decoder, full = make()
    with torch.inference_mode():
        first = decoder.prefill(prompts, 6)
        rows = [list(p) for p in prompts for _ in range(n)]
        torch.testing.assert_close(first, torch.stack([full(p) for p in prompts]), **CLOSE)
        decoder.repeat(n)
        for t in range(6):
            token = next_tokens(len(rows), t)
            for row, x in zip(rows, token.tolist(), strict=True):
                row.append(x)
            expected = torch.stack([full(row) for row in rows])
            torch.testing.assert_close(decoder.step(token), expected, **CLOSE)


@pytest.mark.parametrize("make", CASES)
@pytest.mark.parametrize("prompts", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
def test_rows_that_leave_change_nothing(make: Callable[[], Case], prompts: list[list[int]]) -> None:
    decoder, full = make()
    leaving = {0: [0, 5, 2, 3], 2: [3, 1], 3: [1]}  # orders that move rows forward and back
    with torch.inference_mode():
        decoder.prefill(prompts, 6)
        decoder.repeat(3)
        rows = [list(p) for p in prompts for _ in range(3)]
        for t in range(5):
            token = next_tokens(len(rows), t)
            for row, x in zip(rows, token.tolist(), strict=True):
                row.append(x)
            expected = torch.stack([full(row) for row in rows])
            torch.testing.assert_close(decoder.step(token), expected, **CLOSE)
            if t in leaving:
                decoder.keep(torch.tensor(leaving[t]))
                rows = [rows[i] for i in leaving[t]]


@pytest.mark.parametrize("make", CASES)
def test_a_second_prefill_starts_afresh(make: Callable[[], Case]) -> None:
    decoder, full = make()
    with torch.inference_mode():
        for prompts in (UNEQUAL, EQUAL):
            decoder.prefill(prompts, 3)
            decoder.repeat(1)
            found = decoder.step(torch.tensor([9] * len(prompts)))
            torch.testing.assert_close(
                found, torch.stack([full([*p, 9]) for p in prompts]), **CLOSE
            )


def test_a_cache_of_the_plain_kind_serves_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    from entropilot.models import roomy_cache

    monkeypatch.setattr(roomy_cache, "_layer_kinds", lambda: (None, None))
    test_rows_that_leave_change_nothing(causal, UNEQUAL)


def test_a_given_prefix_is_read_once_and_left_alone() -> None:
    model, _ = tiny_parts(seed=2)
    with torch.inference_mode():
        prefix = Prefix.of(model, list(range(20)))
        for _ in range(2):
            decoder = CausalDecoder(model, prefix=prefix)
            first = decoder.prefill(SHARED, 2)
            expected = torch.stack([model(torch.tensor([p])).logits[0, -1] for p in SHARED])
            torch.testing.assert_close(first, expected, **CLOSE)
            decoder.repeat(2)
            decoder.step(torch.zeros(6, dtype=torch.int64))
        assert prefix.cache.get_seq_length() == 20


def test_columns_of_padding_are_left_out() -> None:
    decoder = CausalDecoder(tiny_parts()[0], n_vocab=200)
    with torch.inference_mode():
        assert decoder.prefill([[1]], 1).shape == (1, 200)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [6, 19])  # below and above eight, no multiple of it
@pytest.mark.parametrize("slot", [6, 15, 16, 33])  # in the first, at the edge of, in later blocks
def test_attention_to_the_cache_is_attention(slot: int, size: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    batch, heads, slots = 5, 3, 36

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    before, values = normal(batch, heads, slots, size), normal(batch, heads, slots, size)
    before[:, :, slot + 1 :] = torch.nan  # slots that are not filled yet
    keys = room_for_keys(before, 1, slots)
    qkv, padding = normal(batch, 3 * heads * size), torch.tensor([0, 1, 3, 6, 0])
    y = attend_to_cache(qkv, keys, values, slot=slot, padding=padding)
    q, k, v = qkv.view(batch, 3, heads, size).unbind(1)
    after = keys.transpose(3, 4).flatten(2, 3)
    assert torch.equal(after[:, :, slot], k)
    assert torch.equal(values[:, :, slot], v)
    for b in range(batch):
        seen = slice(int(padding[b]), slot + 1)
        score = torch.einsum("hd,hld->hl", q[b], after[b, :, seen]) / size**0.5
        expected = torch.einsum("hl,hld->hd", score.softmax(-1), values[b, :, seen])
        torch.testing.assert_close(y[b], expected.reshape(-1), rtol=1e-5, atol=1e-6)


def test_room_repeats_rows() -> None:
    keys = torch.randn(2, 3, 18, 4, generator=torch.Generator().manual_seed(0))
    room = room_for_keys(keys, 2, 40)
    assert room.shape == (4, 3, 3, 4, 16)
    plain = room.transpose(3, 4).flatten(2, 3)[:, :, :18]
    assert torch.equal(plain, keys.repeat_interleave(2, 0))
    values = room_for_values(keys, 2, 40)
    assert values.shape == (4, 3, 40, 4)
    assert torch.equal(values[:, :, :18], keys.repeat_interleave(2, 0))


def test_rows_may_move_in_any_order() -> None:
    x: Any = torch.arange(12).view(6, 2)
    expected = x[[5, 0, 1, 4]].clone()
    move_rows(x, torch.tensor([5, 0, 1, 4]))
    assert torch.equal(x[:4], expected)


@pytest.mark.parametrize("make", CASES)
def test_prompts_that_can_not_be_read(make: Callable[[], Case]) -> None:
    decoder, _ = make()
    with pytest.raises(InputError, match="no prompts"):
        decoder.prefill([], 3)
    with pytest.raises(InputError, match="prompt 1 has no tokens"):
        decoder.prefill([[1], []], 3)


def test_no_more_than_the_room() -> None:
    decoder, _ = small()
    with torch.inference_mode():
        with pytest.raises(InputError, match="41 tokens, the context of this transformer has 40"):
            decoder.prefill([[1]], 40)
        decoder.prefill([[1]], 1)
        decoder.step(torch.tensor([1]))
        with pytest.raises(InputError, match="made for 2 tokens, all of them are used"):
            decoder.step(torch.tensor([1]))
