"""A verifier may raise, hang, exit or print: the run goes on, and it is counted."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from entropilot.errors import ConfigurationError, InputError, MissingExtraError
from entropilot.policy.tasks.task import Problem, Verdict
from entropilot.policy.verifiers.isolated import IsolatedVerifier
from entropilot.policy.verifiers.matching import LONGEST_TEXT
from entropilot.policy.verifiers.registry import VERIFIERS, named_verifier
from entropilot.policy.verifiers.verifier import Verifier
from entropilot.policy.verifiers.worker import verdict_of

ASK = Problem("q", "1+1?", "2", meta={"hints": [1, None]})

REWARDS = """
import os, subprocess, sys, time
from entropilot.policy.tasks.task import Verdict

def grade(problem, text):
    print("this is not a verdict")
    if text == "raise":
        raise RuntimeError("no such thing")
    if text == "exit":
        sys.exit(3)
    if text == "die":
        os._exit(4)
    if text == "hang":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        with open(problem.meta["file"], "w") as file:
            file.write(str(child.pid))
        time.sleep(60)
    if text == "half":
        return 0.5
    if text == "nan":
        return float("nan")
    if text == "nothing":
        return None
    if text == "full":
        return Verdict(2.0, True, "x" * 10_000, "very right")
    if text == "pid":
        return Verdict(1.0, True, str(os.getpid()), "right")
    return text == problem.answer

number = 3
"""


@pytest.fixture
def rewards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_rewards.py").write_text(REWARDS)
    monkeypatch.chdir(tmp_path)  # where a user's module lies
    return "my_rewards:grade"


@pytest.mark.slow
def test_a_verifier_of_the_user(rewards: str) -> None:
    with Verifier(rewards) as verify:
        assert verify(ASK, "2") == Verdict(1.0, True, None, "right")
        assert verify(ASK, "3") == Verdict(0.0, False, None, "wrong answer")
        assert verify(ASK, "half") == Verdict(0.5, False, None, "wrong answer")
        assert verify(ASK, "full") == Verdict(2.0, True, "x" * 500, "very right")
        first = verify(ASK, "pid").answer
        assert first not in (None, str(os.getpid()))
        assert verify.counts.n_failed == 0
        for text in ("raise", "exit", "nan", "nothing"):
            assert verify(ASK, text) == Verdict(0.0, False, None, "the verifier raised")
        assert verify(ASK, "pid").answer == first  # none of that ended the process
        assert verify(ASK, "die").reason == "the verifier died"
        assert verify(ASK, "pid").answer not in (None, first)
        assert verify(ASK, "\ud800").reason == "wrong answer"
        assert verify(ASK, "x" * (LONGEST_TEXT + 1)).reason == "wrong answer"
    counts = verify.counts
    assert (counts.n_raised, counts.n_died, counts.n_timed_out) == (4, 1, 0)
    assert (counts.n_answers, counts.n_correct, counts.n_truncated) == (14, 5, 1)
    assert counts.first_error == "RuntimeError: no such thing"


@pytest.mark.slow
def test_a_verifier_that_hangs_is_ended_with_its_children(rewards: str, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    ask = Problem("q", "?", "2", meta={"file": str(file)})
    with Verifier(rewards, time_limit=0.5) as verify:
        started = time.monotonic()
        assert verify(ask, "hang") == Verdict(0.0, False, None, "the verifier timed out")
        assert time.monotonic() - started < 30  # the verifier itself would take a minute
        assert verify(ask, "2").correct
        assert verify.counts.n_timed_out == 1
        assert verify.counts.first_error == "my_rewards:grade took more than 0.5 s"
    for _ in range(100):  # the child is nobody's child now; it is gone once it is reaped
        state = Path(f"/proc/{file.read_text()}/stat")
        if not state.exists() or state.read_text().split()[2] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("the child of the verifier outlived it")


@pytest.mark.slow
def test_several_processes_keep_the_order(rewards: str) -> None:
    texts = ["2", "3", "raise", "2", "pid", "pid", "2"] * 3
    with Verifier(rewards, n_workers=3) as verify:
        verdicts = verify.verify_many([ASK] * len(texts), texts)
        wanted = {"2": 1.0, "3": 0.0, "raise": 0.0, "pid": 1.0}
        assert [v.reward for v in verdicts] == [wanted[text] for text in texts]
        assert len({v.answer for v in verdicts if v.answer}) > 1
        assert verify.counts.n_answers == len(texts)
        assert verify.counts.n_raised == 3
        with pytest.raises(InputError, match="2 problems for 1 responses"):
            verify.verify_many([ASK, ASK], ["2"])


def test_it_works_in_a_thread() -> None:
    pytest.importorskip("math_verify")
    found: list[Verdict] = []
    with Verifier("math") as verify:
        ask = Problem("q", "?", "\\frac{\\sqrt{3}}{3}")
        thread = threading.Thread(target=lambda: found.append(verify(ask, "\\boxed{3^{-1/2}}")))
        thread.start()
        thread.join()
        assert verify.counts.first_error is None
    assert [v.correct for v in found] == [True]


@pytest.mark.slow
def test_hostile_mathematics_ends() -> None:
    pytest.importorskip("math_verify")
    texts = [
        "\\boxed{9^{9^{9^{9}}}}",
        "\\boxed{" + "{" * 5000,
        "\\boxed{" + "\\frac{1}{" * 300 + "1" + "}" * 300 + "}",
        "\\boxed{\\prod_{i=1}^{10^9} (x+i)}",
        "\\boxed{10000000!!!}",
        "$" * 100_000,
        "1+" * 50_000,
        "\\boxed{__import__('os').system('false')}",
        "\\boxed{2}",
    ]
    with Verifier("math", time_limit=2) as verify:
        verdicts = verify.verify_many([ASK] * len(texts), texts)
        assert [v.correct for v in verdicts] == [False] * (len(texts) - 1) + [True]


def test_a_function_is_called_in_this_process() -> None:
    def grade(problem: Problem, text: str) -> bool:
        if text == "raise":
            raise KeyError("x")
        return text == problem.answer

    verify = Verifier(grade)
    assert [verify(ASK, text).reward for text in ("2", "3", "raise")] == [1.0, 0.0, 0.0]
    assert verify.counts.first_error == "KeyError: 'x'"
    assert verify.name.endswith("grade")


@pytest.mark.parametrize("name", ["exact", "number", "countdown"])
def test_quick_verifiers_and_their_processes_agree(name: str) -> None:
    ask = Problem("q", "?", "82", meta={"numbers": [3, 7, 25], "target": 82})
    texts = ["82", "The answer is 3*25+7.", "3*25+7", "", "7" * 500, "\x00é\ud800"]
    process = IsolatedVerifier(VERIFIERS[name].entry)
    with Verifier(name) as verify:
        assert [verify(ask, text) for text in texts] == [process(ask, text) for text in texts]
    process.close()


def test_a_problem_that_a_verifier_can_not_judge_is_counted() -> None:
    verify = Verifier("countdown")
    assert verify(ASK, "2").reason == "the verifier raised"
    assert "has no numbers and target" in (verify.counts.first_error or "")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("maths", r"unknown verifier 'maths'; did you mean 'math'\? .* \"module:function\""),
        ("a b:c", "does not name a function"),
        ("a:", "does not name a function"),
        ("no_such_module:grade", "can't be used: the verifier 'no_such_module:grade' can't be imp"),
        ("my_rewards:grad", "the module 'my_rewards' has no function 'grad'"),
        ("my_rewards:number", "'my_rewards:number' is no function but int"),
    ],
)
def test_names_that_are_wrong(rewards: str, name: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Verifier(name)


def test_limits_and_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="the time limit of the verifier is 0"):
        Verifier("number", time_limit=0)
    with pytest.raises(ConfigurationError, match="n_workers is 0; it must be 1 to 256"):
        Verifier("number", n_workers=0)
    monkeypatch.setitem(__import__("sys").modules, "math_verify", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'entropilot\[math\]'"):
        Verifier("math")


def test_named_verifiers_can_be_imported() -> None:
    for name, named in VERIFIERS.items():
        assert named_verifier(name) is named


@pytest.mark.parametrize("returned", ["yes", [], object(), float("inf")])
def test_only_verdicts_count(returned: object) -> None:
    with pytest.raises(InputError, match="the verifier returned"):
        verdict_of(returned)
    with pytest.raises(InputError, match="a reward must be finite"):
        verdict_of(Verdict(float("nan"), True, None, ""))
