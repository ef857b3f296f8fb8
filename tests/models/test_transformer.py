"""The small transformer: causal, blind to padding, seeded, and the same after a save."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from entropilot.errors import ConfigurationError, InputError, ModelError
from entropilot.models.transformer import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    SmallTransformer,
    TransformerConfig,
)

SMALL = TransformerConfig(11, width=16, layers=2, heads=4, context=12)


def tokens(batch: int, length: int, seed: int = 0) -> Tensor:
    return torch.randint(11, (batch, length), generator=torch.Generator().manual_seed(seed))


def plain_forward(model: SmallTransformer, row: Tensor) -> Tensor:
    """Logits [L, V] of one sequence by the equations, without any fused call."""
    x = model.embedding.weight[row] + model.position.weight[: len(row)]
    for block in model.blocks:
        assert isinstance(block.norm1, nn.LayerNorm)
        q, k, v = block.qkv(block.norm1(x)).chunk(3, -1)
        heads = []
        for part in range(model.config.heads):
            d = model.config.width // model.config.heads
            mine = slice(part * d, (part + 1) * d)
            score = q[:, mine] @ k[:, mine].T / d**0.5
            score = score.masked_fill(torch.ones_like(score).triu(1).bool(), -torch.inf)
            heads.append(score.softmax(-1) @ v[:, mine])
        x = x + block.out(torch.cat(heads, -1))
        h = block.up(block.norm2(x))
        x = x + block.down(h * 0.5 * (1 + torch.erf(h / 2**0.5)))
    return model.head(model.norm(x))


def test_it_computes_the_equations() -> None:
    model, row = SmallTransformer.seeded(SMALL, 1).double(), tokens(1, 9)
    torch.testing.assert_close(model(row)[0], plain_forward(model, row[0]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(side: str) -> None:
    model, row = SmallTransformer.seeded(SMALL, 1).double(), tokens(2, 6)
    pad = tokens(2, 3, seed=9)
    padded = torch.cat([pad, row] if side == "left" else [row, pad], -1)
    valid = torch.ones(2, 9, dtype=torch.bool)
    mine = slice(3, None) if side == "left" else slice(6)
    valid[:, :3] = side == "right"
    valid[:, 6:] = side == "left"
    torch.testing.assert_close(model(padded, valid)[:, mine], model(row), rtol=0, atol=1e-12)


def test_a_row_without_valid_tokens_stays_finite() -> None:
    model = SmallTransformer.seeded(SMALL, 1)
    assert model(tokens(1, 4), torch.zeros(1, 4, dtype=torch.bool)).isfinite().all()


def test_the_parameters_of_the_testbed() -> None:
    def count(config: TransformerConfig) -> int:
        return sum(p.numel() for p in SmallTransformer(config).parameters())

    assert count(TransformerConfig(38, context=15, head_bias=True)) == 105_958
    assert count(TransformerConfig(38, context=15)) == 105_958 - 38


def test_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(4)
    before = torch.get_rng_state()
    one, same, other = (SmallTransformer.seeded(SMALL, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    for (name, a), b, c in zip(
        one.state_dict().items(), same.state_dict().values(), other.state_dict().values(),
        strict=True,
    ):  # fmt: skip
        assert torch.equal(a, b), name
        assert torch.equal(a, c) == ("norm" in name), name


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    model = SmallTransformer.seeded(SMALL, 1)
    model.save(tmp_path / "new" / "folder")
    again = SmallTransformer.load(tmp_path / "new" / "folder")
    assert again.config == SMALL
    assert torch.equal(again(tokens(2, 5)), model(tokens(2, 5)))
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == [
        CONFIG_NAME,
        WEIGHTS_NAME,
    ]


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"can't be loaded.*transformer\.json"):
        SmallTransformer.load(tmp_path)
    SmallTransformer.seeded(SMALL, 1).save(tmp_path)
    sizes = json.loads((tmp_path / CONFIG_NAME).read_text())
    (tmp_path / CONFIG_NAME).write_text(json.dumps(sizes | {"context": 5}))
    with pytest.raises(ModelError, match="size mismatch"):
        SmallTransformer.load(tmp_path)
    (tmp_path / CONFIG_NAME).write_text(json.dumps(sizes | {"depth": 5}))
    with pytest.raises(ModelError, match="the sizes must be an object with the names"):
        SmallTransformer.load(tmp_path)


def test_sizes_out_of_range() -> None:
    with pytest.raises(ConfigurationError, match="width 10 can't be split into 4 heads"):
        TransformerConfig(11, width=10)
    with pytest.raises(ConfigurationError, match="n_vocab is 1"):
        TransformerConfig(1)
    with pytest.raises(ConfigurationError, match="context is 0"):
        TransformerConfig(11, context=0)
    with pytest.raises(InputError, match=r"13 tokens, the context of this transformer has 12"):
        SmallTransformer(SMALL).hidden(tokens(1, 13))
