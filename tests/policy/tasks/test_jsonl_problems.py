"""Problems of a user's file: columns, answers, and a message for everything that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from entropilot.errors import ConfigurationError, FormatError, InputError, LimitError
from entropilot.policy.tasks.jsonl_problems import LONGEST_LINE, JsonlProblems, read_problems
from entropilot.policy.tasks.task import TextTask


def written(folder: Path, *rows: Any, name: str = "mine.jsonl") -> Path:
    path = folder / name
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_columns_are_found_or_named(tmp_path: Path) -> None:
    row = {"question": " 1+1? ", "answer": 2, "hint": "count"}
    [problem] = read_problems(written(tmp_path, row))
    assert (problem.prompt, problem.answer, problem.meta) == ("1+1?", "2", {"hint": "count"})
    assert problem.id == "mine-1"
    file = written(tmp_path, {"a": "1+1?", "b": "Add.", "c": "2.50", "id": 7})
    [problem] = read_problems(file, prompt_column=["b", "a"], answer_column="c")
    assert (problem.prompt, problem.answer, problem.id) == ("Add. 1+1?", "2.50", "7")


def test_a_marked_answer_is_taken_from_its_solution(tmp_path: Path) -> None:
    row = {"prompt": "?", "answer": "One and #### is two.\n#### 1,002 "}
    [problem] = read_problems(written(tmp_path, row))
    assert problem.answer == "1,002"
    assert problem.meta["solution"].startswith("One and")


def test_an_array_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "all.json"
    path.write_text(json.dumps([{"prompt": str(i), "answer": i} for i in range(3)], indent=1))
    assert [p.answer for p in read_problems(path)] == ["0", "1", "2"]
    path.write_text("[1]")
    with pytest.raises(FormatError, match="element 1 is int; expected an object"):
        read_problems(path)


def test_problems_that_come_twice_are_kept_once_and_counted(tmp_path: Path) -> None:
    rows = [{"prompt": p, "answer": "1"} for p in ("a", "b", "a", "a")]
    with pytest.warns(UserWarning, match="2 problems come twice and are kept once"):
        problems = read_problems(written(tmp_path, *rows))
    assert [p.id for p in problems] == ["mine-1", "mine-2"]


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        ([{"q": "x"}], InputError, r"line 1 has no prompt: its columns are 'q'\. Name the one"),
        (
            [{"prompt": "x", "solution": "y"}],
            InputError,
            r"line 1 has no answer: its columns are 'prompt', 'solution'\. Name .*answer_column",
        ),
        (
            [{"prompt": "x", "answer": "1"}, "", {"prompt": "y", "anwser": "2"}],
            InputError,
            r"line 3 has no column 'answer' for the answer: its columns are 'prompt', 'anwser'",
        ),
        ([{}], InputError, "its columns are none"),
        ([{"prompt": ["x"], "answer": "1"}], InputError, r"'prompt' is \[\"x\"\]; expected"),
        ([{"prompt": "x", "answer": None}], InputError, "'answer' is null; expected the answer as"),
        ([{"prompt": "x", "answer": True}], InputError, "'answer' is true"),
        ([{"prompt": "x", "answer": " "}], InputError, "'answer' is empty"),
        ([{"prompt": "", "answer": "1"}], InputError, "'prompt' is empty"),
        ([{"prompt": "x", "answer": "y #### "}], InputError, "nothing follows the last ####"),
        (
            [{"prompt": "x", "answer": "1"}, {"prompt": "x", "answer": "2"}],
            InputError,
            "line 2 asks the same as line 1, but its answer is '2' and not '1'",
        ),
        (
            [{"id": "a", "prompt": "x", "answer": "1"}, {"id": "a", "prompt": "y", "answer": "1"}],
            InputError,
            "line 2 has the id 'a', as line 1 has",
        ),
        (["nonsense"], FormatError, "line 1 is not JSON"),
        (['{"prompt": "x", "answer": 1e999}'], InputError, "'answer' is Infinity"),
        (['"text"'], FormatError, "line 1 is str; expected an object"),
        ([""], InputError, "holds no problems"),
        (['{"prompt": ' + "[" * 100_000], FormatError, "line 1 is not JSON"),
        (["x" * (LONGEST_LINE + 1)], LimitError, "line 1 is longer than 1000000 characters"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, rows: list[Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        read_problems(written(tmp_path, *rows))


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read: No such file"):
        read_problems(tmp_path / "none.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b'{"prompt": "\xff"}')
    with pytest.raises(FormatError, match="is not UTF-8 text"):
        read_problems(tmp_path / "binary.jsonl")


def test_as_a_task(tmp_path: Path) -> None:
    path = written(tmp_path, *({"prompt": f"{i}+1?", "answer": i + 1} for i in range(20)))
    task = JsonlProblems(path, template="Q: {prompt}\nA:")
    assert isinstance(task, TextTask)
    problems = task.problems(20, 3)
    assert problems[:7] == task.problems(7, 3)
    assert problems != task.problems(20, 4)
    assert {p.answer for p in problems} == {str(i + 1) for i in range(20)}
    assert problems[0].prompt.startswith("Q: ")
    assert problems[0].prompt.endswith("?\nA:")
    assert task.verify_text(problems[0], f"#### {problems[0].answer}").correct
    rewards = [v.reward for v in task.verify_texts(problems[:2], [problems[0].answer, "none"])]
    assert rewards == [1.0, 0.0]
    assert task.verify.counts.n_answers == 3
    with pytest.raises(ConfigurationError, match=r"21 problems asked for; .* has 20"):
        task.problems(21)
    with pytest.raises(ConfigurationError, match=r"has no \{prompt\} in it"):
        JsonlProblems(path, template="Q:")
    with pytest.raises(ConfigurationError, match="unknown verifier 'nmber'; did you mean 'number'"):
        JsonlProblems(path, verifier="nmber")


def test_published_files(test_data: Path) -> None:
    sizes = {
        "gsm8k_test.jsonl": 1319,
        "math500.jsonl": 500,
        "aime24.jsonl": 30,
        "aime25.jsonl": 30,
        "amc23.jsonl": 40,
        "hotpotqa_dev_sample300.jsonl": 300,
    }
    for name, size in sizes.items():
        problems = read_problems(test_data / name)
        assert len(problems) == size
        assert len({p.id for p in problems}) == size
        assert not any("####" in p.answer for p in problems)
    svamp = read_problems(test_data / "svamp.json", prompt_column=["Body", "Question"])
    assert len(svamp) == 1000
    assert svamp[0].answer == "51"
