"""Steps, probes and the engines that run them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from entropilot.errors import ConfigurationError, InputError
from entropilot.models.loaders import load_model
from entropilot.models.transformer import SmallTransformer, TransformerConfig
from entropilot.models.tree_attention import (
    TreeForward,
    language_model_forward,
    small_transformer_forward,
)
from entropilot.policy.exact_probe import exact_probe
from entropilot.policy.probe_engines import SeparateProbes, TreeProbes
from entropilot.policy.probing import (
    SUFFIX,
    ProbeItem,
    Probes,
    confidence,
    correctness,
    delimiter_ids,
    encode_answers,
    probe_request,
    probe_steps,
    reference_code_probe,
    split_steps,
)
from entropilot.policy.step_potential import step_potential

THINK_END = 9


def test_the_reference_script_is_reproduced(golden: Any) -> None:
    g = golden("spae")
    assert g["probe_suffix"] == SUFFIX
    phi = []
    for k, step in enumerate(g["steps"]):
        right, sure = reference_code_probe(g["top_logprobs"][k], g["answer_tokens"])
        assert right == pytest.approx(g["per_sample_acc"][k], abs=1e-12)
        assert sure == pytest.approx(g["per_sample_conf"][k], abs=1e-12)
        acc, conf = (torch.tensor(x, dtype=torch.float64).mean() for x in (right, sure))
        phi.append(step_potential(acc, conf).item())
        assert phi[-1] == pytest.approx(step["phi"], abs=1e-12)
    assert (
        max(phi) <= 0.25
    )  # 0.5 / 2, at acc 1/2 and conf 0: its own threshold of 0.9 is out of reach


def test_confidence_and_correctness_equal_forty_digit_arithmetic(golden: Any) -> None:
    g = golden("spae")["paper_mode"]
    rows = [
        [-sum(p * math.log(p) for p in position) for position in continuation]
        for continuation in g["continuation_distributions"]
    ]
    entropies = torch.full((2, 3), math.nan, dtype=torch.float64)
    for i, row in enumerate(rows):
        entropies[i, : len(row)] = torch.tensor(row, dtype=torch.float64)
    conf = confidence(entropies, torch.tensor([len(row) for row in rows]))
    forced = torch.tensor([*g["forced_answer_token_probs"], math.nan], dtype=torch.float64).log()
    acc = correctness(forced, torch.tensor([True, True, False]))
    assert conf.item() == pytest.approx(g["conf"], abs=1e-10)
    assert acc.item() == pytest.approx(g["acc"], abs=1e-10)
    assert step_potential(acc, conf).item() == pytest.approx(g["phi"], abs=1e-10)


def test_steps_end_where_the_reference_script_ends_them(golden: Any) -> None:
    g = golden("spae")
    pieces = ["a", "b", ".\n\n", "c", "1", ".\n\n", "2", "a", ".\n\n", "b", "2", "4", ".\n\n"]
    pieces += ["2", "4", ".\n\n", "</think>", " ", "2", "4"]
    assert "".join(pieces) == g["main_text"]
    texts = sorted(set(pieces))
    tokens = torch.tensor([[texts.index(p) for p in pieces]])
    mask = torch.ones_like(tokens).bool()
    split = split_steps(tokens, mask, delimiter_ids(texts), texts.index("</think>"))
    assert split.boundaries[0].tolist() == g["step_end_token_index"]
    assert split.step_id[0].tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 4 + [4] * 3 + [-1] * 4


def test_tails_summaries_padding_and_rows_without_steps() -> None:
    tokens = torch.tensor(
        [[1, 2, 1, THINK_END, 2, 0], [1, 1, 2, 1, 2, 1], [1, 1, THINK_END, 2, 2, 2]]
    )
    mask = torch.ones_like(tokens).bool()
    mask[0, 5] = False
    split = split_steps(tokens, mask, [2], THINK_END)
    assert split.step_id.tolist() == [
        [0, 0, 1, -1, -1, -2],
        [0, 0, 0, 1, 1, 2],
        [0, 0, -1, -1, -1, -1],
    ]
    assert split.boundaries.tolist() == [[1, -1], [2, 4], [-1, -1]]


def test_probes_are_thinned_evenly_and_the_last_stays() -> None:
    tokens = torch.tensor([[2] * 9, [1] * 9])
    split = split_steps(tokens, torch.ones(2, 9).bool(), [2], THINK_END)
    items = probe_request([[5], [5]], tokens, split.boundaries, [7], [[4], [4]], max_probes=3)
    assert [item.step for item in items] == [0, 4, 8]
    assert items[1].context == (5, *[2] * 5, 7)
    one = probe_request([[5], [5]], tokens, split.boundaries, [7], [[4], [4]], max_probes=1)
    assert [item.step for item in one] == [8]


def models() -> dict[str, tuple[TreeForward, int]]:
    network = SmallTransformer.seeded(TransformerConfig(12, context=40), 0)
    return {
        "small": (small_transformer_forward(network), 12),
        "transformers": (language_model_forward(load_model("tiny")), 257),
    }


def request(n_vocab: int) -> list[ProbeItem]:
    draw = np.random.default_rng(0)
    chains = [tuple(draw.integers(0, n_vocab, 12).tolist()) for _ in range(2)]
    return [
        ProbeItem(row, step, chains[row], end, (7, 3), answer)
        for row in range(2)
        for step, end in enumerate((1, 4, 12))
        for answer in ((5,), (5, 6, 2))
    ]


@pytest.mark.parametrize("name", ["small", "transformers"])
def test_one_tree_equals_separate_passes(name: str) -> None:
    forward, n_vocab = models()[name]
    items = request(n_vocab)
    for suffixed in (
        items,
        [ProbeItem(i.row, i.step, i.chain, i.end, (), i.answer) for i in items],
    ):
        one, many = (kind(forward).forced(suffixed) for kind in (TreeProbes, SeparateProbes))
        for a, b in zip(one, many, strict=True):
            assert torch.allclose(a.logprob, b.logprob, rtol=0, atol=1e-5)
            assert torch.allclose(a.entropy, b.entropy, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["small", "transformers"])
def test_sampled_continuations_agree_and_stop_at_the_end_token(name: str) -> None:
    forward, n_vocab = models()[name]
    items, ends = request(n_vocab)[::2], tuple(range(n_vocab // 2))
    found = [
        kind(forward, end=ends).sampled_entropies(items, 3, 4, torch.Generator().manual_seed(1))
        for kind in (TreeProbes, SeparateProbes)
    ]
    lengths = [[len(e) for e in entropies] for entropies in found[0]]
    assert lengths == [[len(e) for e in entropies] for entropies in found[1]]
    assert {len(row) for row in lengths} == {3}
    assert len({n for row in lengths for n in row}) > 1
    for a, b in zip(*found, strict=True):
        for x, y in zip(a, b, strict=True):
            assert torch.allclose(x, y, rtol=0, atol=1e-5)


def test_an_exact_probe_of_one_token_gives_the_potential() -> None:
    """With the answer one token long, accuracy is its probability, confidence exp(-entropy)."""
    probability = np.array([0.7, 0.2, 0.1], dtype=np.float32)

    def forward(ids: Any, rows: Any, position: Any, seen: Any) -> Any:
        return np.tile(np.log(probability), (len(rows), 1))

    boundaries = torch.tensor([[0, -1], [0, 1]])
    tokens = torch.tensor([[1, 1], [1, 1]])
    items = probe_request([[2], [2]], tokens, boundaries, [2], [[0], [1]])
    probes = probe_steps(TreeProbes(forward), items, boundaries, kind="forced")
    assert probes.valid.tolist() == [[True, False], [True, True]]
    assert probes.accuracy[0, 0].item() == pytest.approx(0.7)
    sure = math.exp(float((probability * np.log(probability)).sum()))
    assert probes.confidence[1].tolist() == pytest.approx([sure, sure])
    assert probes.potential[0].tolist() == pytest.approx([1.5 * 0.7 * sure + 0.35 - sure, 0])
    alone = probe_steps(TreeProbes(forward), items, boundaries, kind="forced", use_confidence=False)
    assert alone.potential[1].tolist() == pytest.approx([0.2, 0.2])
    # a second form of the answer: the more probable one counts
    forms = items + probe_request([[2], [2]], tokens, boundaries, [2], [[1], [0]])
    best = probe_steps(TreeProbes(forward), forms, boundaries, kind="forced")
    assert best.accuracy[1].tolist() == pytest.approx([0.7, 0.7])
    sampled = probe_steps(
        TreeProbes(forward), items, boundaries, generator=torch.Generator().manual_seed(0)
    )
    assert torch.allclose(sampled.confidence, probes.confidence)


def test_bad_input_is_named() -> None:
    tokens, mask = torch.tensor([[1, 1]]), torch.ones(1, 2).bool()
    with pytest.raises(ConfigurationError, match="token id"):
        split_steps(tokens, mask, [2], -1)
    with pytest.raises(ConfigurationError, match="ends is empty"):
        split_steps(tokens, mask, [], 9)
    with pytest.raises(ConfigurationError, match=r"no token ends with.*a\\n"):
        delimiter_ids(["x", "a\n"])
    with pytest.warns(UserWarning, match=r"no token of the batch ends a step.*b\\n"):
        split_steps(tokens, mask, [2], 9, texts=["x", "b\n", ".\n\n"])
    for answer, message in ((3, "expected a text"), (" ", "expected a text"), ("4}", "brace")):
        with pytest.raises(InputError, match=message):
            encode_answers(lambda text: [1], [answer])  # type: ignore[list-item]
    with pytest.raises(InputError, match="has no tokens"):
        encode_answers(lambda text: [], ["4"])
    args: Any = ([[1]], tokens, torch.tensor([[0]]), [3])
    with pytest.raises(InputError, match="has no tokens"):
        probe_request(*args, [[]])
    with pytest.raises(InputError, match="expected one of each"):
        probe_request(*args, [[4], [4]])
    with pytest.raises(ConfigurationError, match="max_probes is 0"):
        probe_request(*args, [[4]], max_probes=0)
    with pytest.raises(InputError, match="no token; sample"):
        confidence(torch.zeros(1, 2), torch.tensor([0]))
    with pytest.raises(InputError, match="below 0 or nan"):
        confidence(torch.tensor([[-1.0]]), torch.tensor([1]))
    with pytest.raises(InputError, match="has no tokens"):
        correctness(torch.zeros(2), torch.zeros(2).bool())
    with pytest.raises(ConfigurationError, match="did you mean 'forced'"):
        probe_steps(TreeProbes(lambda *a: np.zeros((1, 1))), [], args[2], kind="force")  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("use_confidence", [True, False])
def test_the_batched_probe_of_one_token_equals_separate_passes(use_confidence: bool) -> None:
    network = SmallTransformer.seeded(TransformerConfig(12, context=14), 0)
    draw = torch.Generator().manual_seed(0)
    prompts = torch.randint(0, 12, (600, 3), generator=draw)
    tokens = torch.randint(0, 12, (600, 10), generator=draw)
    split = split_steps(tokens, torch.ones_like(tokens).bool(), [2, 5], THINK_END)
    answers = torch.randint(0, 12, (600,), generator=draw)
    found = exact_probe(
        network,
        prompts,
        tokens,
        split.boundaries,
        THINK_END,
        answers,
        use_confidence=use_confidence,
    )
    assert torch.equal(found.valid, split.boundaries >= 0)
    rows = [3, 590]  # in two chunks
    items = probe_request(
        prompts[rows].tolist(),
        tokens[rows],
        split.boundaries[rows],
        [THINK_END],
        answers[rows, None].tolist(),
    )
    engine = SeparateProbes(small_transformer_forward(network))
    slow = probe_steps(
        engine, items, split.boundaries[rows], kind="forced", use_confidence=use_confidence
    )
    for name in Probes._fields:
        assert torch.allclose(getattr(found, name)[rows], getattr(slow, name), rtol=0, atol=1e-5)
    with pytest.raises(InputError, match="expected \\[B, P\\]"):
        exact_probe(network, prompts, tokens, split.boundaries, THINK_END, answers[:3])
    with pytest.raises(InputError, match="context"):
        exact_probe(network, prompts.repeat(1, 2), tokens, split.boundaries, THINK_END, answers)
