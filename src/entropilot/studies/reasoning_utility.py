"""Study: does the entropy of the answer fall step by step in right chains, and less in wrong ones?

Paper: Measuring Reasoning Utility in LLMs via Conditional Entropy Reduction, arXiv 2508.20395.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np

from entropilot.models.inspector import NaiveInspector, TreeInspector
from entropilot.models.loaders import load_model
from entropilot.policy.tasks.word_problems import OPERATIONS, word_problems
from entropilot.studies.chain_lengths import length_row
from entropilot.studies.reasoning_chains import (
    FILE_NAME,
    SOURCES,
    Chain,
    balanced_pairs,
    chain,
    chains_file,
    read_rows,
)
from entropilot.studies.reasoning_full import measure_full
from entropilot.studies.reasoning_utility_figure import draw
from entropilot.studies.reasoning_utility_judge import judge
from entropilot.studies.study import Measurement, Progress, Scale, Study
from entropilot.traces.inspection import entropy_trajectory
from entropilot.traces.utility import Trajectory

PAIRS: Final[dict[Scale, int]] = {"smoke": 12, "quick": 60}
INSPECTOR: Final[dict[Scale, str]] = {"smoke": "tiny", "quick": "smollm2"}
COMPARED: Final = 3  # chains that are read the naive way too


def measure(scale: Scale, seed: int, progress: Progress) -> Measurement:
    """Trajectories of right and wrong chains; lengths of all chains of each source.

    Args:
        scale: "smoke" (made-up chains, random inspector), "quick", or "full" (see
            ``measure_full``).
        seed: of the choice of pairs.
        progress: called after each chain.

    Returns:
        ``chains``: one entry a chain; ``lengths``: words of all chains by source; ``tree_error``:
        largest difference between the tree and the naive reading, nats; ``missing``: what could not
        be run, and why.
    """
    if scale == "full":
        return measure_full(progress)
    rng = np.random.default_rng(seed)
    lengths: list[dict[str, Any]] = []
    if scale == "smoke":
        pairs = _made_up_pairs(PAIRS[scale], rng)
    else:
        path = chains_file()
        if path is None:
            return {
                "inspector": INSPECTOR[scale],
                "chains": [],
                "lengths": [],
                "tree_error": None,
                "missing": f"the chains are not part of the package: put {FILE_NAME} (from the "
                "public repository openai/grade-school-math) into the folder that "
                "ENTROPILOT_TEST_DATA names",
            }
        rows = read_rows(path)
        lengths = _lengths(rows)
        pairs = balanced_pairs(rows, PAIRS[scale], rng)
    model = load_model(INSPECTOR[scale], progress=lambda doing: progress(0.0, doing))
    tree, naive = TreeInspector(model), NaiveInspector(model)
    flat = [one for pair in pairs for one in pair]
    entries, errors = [], []
    for i, one in enumerate(flat):
        gold = entropy_trajectory(tree, one.question, one.steps, one.gold)
        own = gold
        if one.answer != one.gold:
            own = entropy_trajectory(
                tree, one.question, one.steps, one.answer, which="own", chain=_plain(one.text)
            )
        if i < COMPARED:
            again = entropy_trajectory(naive, one.question, one.steps, one.gold)
            errors.append(float(np.abs(again.per_token - gold.per_token).max()))
        entries.append(_entry(one, gold, own))
        progress((i + 1) / len(flat), f"{i + 1}/{len(flat)} chains")
    return {
        "inspector": model.name,
        "chains": entries,
        "lengths": lengths,
        "tree_error": max(errors),
        "missing": None,
    }


def _plain(text: str) -> str:
    return text.replace(",", "")


def _entry(one: Chain, gold: Trajectory, own: Trajectory) -> dict[str, Any]:
    return {
        "problem": one.problem,
        "source": one.source,
        "right": one.right,
        "n_words": one.n_words,
        "n_tokens": sum(gold.step_tokens),
        "leak_step": gold.leak_step,
        "gold": np.round(gold.h, 5).tolist(),
        "gold_nll": np.round(gold.nll, 5).tolist(),
        "own": np.round(own.h, 5).tolist(),
        "own_nll": np.round(own.nll, 5).tolist(),
    }


def _lengths(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Words and steps of every chain, by source; the chains need no numeric answer here."""
    found = []
    for source in SOURCES:
        lines = [_lines(row[source]["solution"]) for row in rows]
        words = np.array([sum(len(line.split()) for line in chain) for chain in lines])
        steps = np.array([len(chain) for chain in lines])
        wrong = np.array([not row[source]["is_correct"] for row in rows])
        found.append(length_row(source, words, steps, wrong))
    return found


def _lines(solution: str) -> list[str]:
    row = {"question": "", "ground_truth": "A: 0", "s": {"is_correct": True, "solution": solution}}
    whole = chain(row, 0, "s")
    return list(whole.steps) if whole else solution.split("\n")[:-1]


def _made_up_pairs(n: int, rng: np.random.Generator) -> list[tuple[Chain, Chain]]:
    """Short chains on generated problems; the wrong one ends in another number."""
    pairs = []
    for i, problem in enumerate(word_problems(n, seed=int(rng.integers(1 << 20)))):
        sign = dict(zip(OPERATIONS, "+-x", strict=True))[problem.operation]
        opening = (f"The numbers are {problem.a} and {problem.b}.", "We read the question again.")
        body = (opening * 2)[: 1 + i % 3]
        line = f"So {problem.a} {sign} {problem.b} = "
        source = SOURCES[i % len(SOURCES)]
        right = Chain(
            i,
            problem.question,
            str(problem.answer),
            source,
            True,
            (*body, f"{line}{problem.answer}."),
            f"{line}{problem.answer}.",
            str(problem.answer),
        )
        said = str(problem.answer + 1 + int(rng.integers(9)))
        wrong = replace(
            right, right=False, steps=(*body, f"{line}{said}."), text=f"{line}{said}.", answer=said
        )
        pairs.append((right, wrong))
    return pairs


STUDY: Final = Study(
    slug="reasoning-utility",
    title="Reasoning utility: the answer's entropy after every step",
    paper="2508.20395",
    claim=(
        "The conditional entropy of the reference answer, read by an inspector model after each "
        "step of a chain, falls steadily in right chains and stays flat or rises in wrong ones; "
        "wrong chains are longer."
    ),
    scales={
        "smoke": "12 made-up pairs and a random inspector; seconds",
        "quick": "60 pairs of GSM8K chains a seed, inspector SmolLM2-135M-Instruct; about 3 "
        "minutes a seed on two cores",
        "full": "the paper's size: chains of the file in ENTROPILOT_CHAINS (20,000 MATH chains), "
        "inspector of ENTROPILOT_INSPECTOR (Qwen/Qwen3-8B); about 4 hours on one 80 GB GPU "
        "(estimated, not run)",
    },
    measure=measure,
    judge=judge,
    draw=draw,
    seeds={"smoke": 1, "quick": 3, "full": 1},  # full takes every chain: no choice to repeat
    notes=(
        "The paper reads MATH chains of Qwen2.5-32B and GPT-4o with Qwen3-8B; here the chains are "
        "published GSM8K solutions of 6B and 175B models and the inspector has 135M parameters. "
        "Each pair is one problem with a right and a wrong chain, and every source of chains is "
        "right as often as wrong, so that neither problem nor source explains a difference. The "
        "connector is '\\nThe answer is '. A small inspector can't do the arithmetic, so it may "
        "learn the answer only by reading it: the leak control removes the step that states it. "
        "A larger inspector is the real test of the claim; scale full runs it where chains and a "
        "GPU are at hand, and was not run."
    ),
)
