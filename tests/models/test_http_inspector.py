"""An inspector behind HTTP, against a loopback server that speaks both dialects exactly."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from entropilot.errors import ConfigurationError, InputError, LimitError, ModelError
from entropilot.models.http_inspector import HttpInspector, connect
from entropilot.models.http_server import Server, open_server
from entropilot.models.open_inspector import open_inspector
from entropilot.traces.inspection import entropy_trajectory
from entropilot.traces.inspectors import ListingInspector
from entropilot.traces.utility import Trajectory

LETTERS = [*map(chr, range(32, 127)), "\n", " 1"]  # " 1" crosses a border
V = len(LETTERS)
QUESTION, STEPS, ANSWER = "HOW MUCH?", ["1 + 2 = 3", "SO IT IS 18."], "18"


class Table:
    """A Markov chain over a few tokens: the next one depends on the last one and on the length."""

    def __init__(self) -> None:
        self.logits_of = np.random.default_rng(3).normal(0, 2, (V, V))

    def tokenize(self, text: str) -> list[int]:
        """Longest match, so that " 1" is one token where it can be."""
        ids = []
        while text:
            token = " 1" if text.startswith(" 1") else text[0]
            ids.append(LETTERS.index(token))
            text = text[len(token) :]
        return ids

    def logits(self, ids: list[int], last: int) -> Any:
        return np.array(
            [self.logits_of[ids[i]] * (1 + 0.02 * i) for i in range(len(ids) - last, len(ids))]
        )

    def top(self, ids: list[int], k: int) -> list[list[tuple[int, float, int]] | None]:
        """(token, log-probability, rank) at each position: its own token, then the k likeliest."""
        found: list[list[tuple[int, float, int]] | None] = [None]
        for i, row in enumerate(self.logits(ids, len(ids))[:-1]):
            logp = row - np.log(np.exp(row).sum())
            order = np.argsort(-logp)
            rank = {int(token): r for r, token in enumerate(order, 1)}
            listed = [ids[i + 1], *(int(t) for t in order[:k] if t != ids[i + 1])]
            found.append([(token, float(logp[token]), rank[token]) for token in listed])
        return found


@dataclass
class Behaviour:
    """What the server does, and what it was asked."""

    dialect: str = "vllm"
    fail_first: int = 0  # requests that get status 503
    context: int = 4096
    key: str | None = None
    models: tuple[str, ...] = ("table",)
    cut: int | None = None  # characters of a prompt that the echo keeps
    shows_prompt: bool = True
    seen: list[tuple[str, Any]] = field(default_factory=list)


TABLE = Table()


def handler(behaviour: Behaviour) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def reply(self, status: int, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def stopped(self) -> bool:
            if behaviour.fail_first > 0:
                behaviour.fail_first -= 1
                self.reply(503, {"error": {"message": "loading"}})
                return True
            if behaviour.key and self.headers.get("Authorization") != f"Bearer {behaviour.key}":
                self.reply(401, {"error": {"message": "no key"}})
                return True
            return False

        def do_GET(self) -> None:
            if not self.stopped():
                models = [
                    {"id": name, "max_model_len": behaviour.context} for name in behaviour.models
                ]
                self.reply(200, {"data": models})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            behaviour.seen.append((self.path, asked))
            if self.stopped():
                return
            if self.path == "/tokenize" and behaviour.dialect == "vllm":
                ids = TABLE.tokenize(asked["prompt"])
                self.reply(200, {"tokens": ids, "count": len(ids)})
            elif self.path == "/v1/completions":
                choices = [self.choice(i, p, asked) for i, p in enumerate(asked["prompt"])]
                self.reply(200, {"choices": choices[::-1]})  # the index counts, not the order
            else:
                self.reply(404, {"detail": "Not Found"})

        def choice(self, index: int, prompt: Any, asked: dict[str, Any]) -> dict[str, Any]:
            found: dict[str, Any] = {"index": index, "text": "x", "logprobs": None}
            if not behaviour.shows_prompt:
                found["logprobs"] = {"tokens": ["x"], "token_logprobs": [0], "top_logprobs": [{}]}
            elif "prompt_logprobs" in asked and behaviour.dialect == "vllm":
                found["prompt_logprobs"] = [
                    row
                    and {
                        str(t): {"logprob": lp, "rank": r, "decoded_token": LETTERS[t]}
                        for t, lp, r in row
                    }
                    for row in TABLE.top(prompt, asked["prompt_logprobs"])
                ]
            elif asked.get("echo"):
                ids = TABLE.tokenize(prompt[-behaviour.cut :] if behaviour.cut else prompt)
                rows = TABLE.top(ids, asked["logprobs"])
                found["logprobs"] = {
                    "tokens": [*(LETTERS[i] for i in ids), "x"],
                    "token_logprobs": [*(row and row[0][1] for row in rows), -1.0],
                    # the token's own entry is there only where it is among the likeliest
                    "top_logprobs": [
                        *(
                            row and {LETTERS[t]: lp for t, lp, r in row if r <= asked["logprobs"]}
                            for row in rows
                        ),
                        {"x": -1.0},
                    ],
                }
            return found

    return Handler


@pytest.fixture
def behaviour() -> Behaviour:
    return Behaviour()


@pytest.fixture
def url(behaviour: Behaviour) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(behaviour))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def read(inspector: Any, **options: Any) -> Trajectory:
    return entropy_trajectory(
        inspector, QUESTION, STEPS, ANSWER, **({"connector": "\nIT IS "} | options)
    )


def exact() -> Trajectory:
    return read(TABLE)


@pytest.mark.parametrize("dialect", ["vllm", "echo"])
def test_with_all_tokens_listed_the_values_are_exact(
    url: str, behaviour: Behaviour, dialect: str
) -> None:
    behaviour.dialect = dialect
    found = connect(url, listed=V, vocab_size=V)
    assert isinstance(found, ListingInspector)
    assert found.dialect == dialect  # found out by asking
    whole, truth = read(found), exact()
    # log-probabilities travel as decimal digits that give the same double
    np.testing.assert_allclose(whole.per_token, truth.per_token, atol=1e-9)
    np.testing.assert_allclose(whole.nll, truth.nll, atol=1e-9)
    np.testing.assert_allclose(whole.lower, truth.h, atol=1e-6)
    np.testing.assert_allclose(whole.upper, truth.h, atol=1e-6)
    assert whole.step_tokens == truth.step_tokens
    found.close()


@pytest.mark.parametrize("dialect", ["vllm", "echo"])
@pytest.mark.parametrize("k", [2, 5, 20])
def test_truncated_lists_bound_the_truth(
    url: str, behaviour: Behaviour, dialect: str, k: int
) -> None:
    behaviour.dialect = dialect
    found = connect(url, listed=k, vocab_size=V)
    few, truth = read(found), exact()
    assert (few.lower <= truth.h + 1e-9).all()
    assert (few.upper >= truth.h - 1e-9).all()
    assert (few.h <= truth.h + 1e-9).all()  # lumping never overestimates
    low, high = few.utility_bounds
    assert (low <= truth.utility).all()
    assert (truth.utility <= high).all()
    np.testing.assert_allclose(few.nll, truth.nll, atol=1e-9)  # the own token is always told
    middle = read(found, estimate="bounds")
    np.testing.assert_allclose(middle.h, (few.lower + few.upper) / 2)
    found.close()


def test_an_appended_token_bounds_nothing(url: str) -> None:
    """A token beyond the k likeliest is known; unlisted ones may well be likelier than it."""
    found = connect(url, listed=2, vocab_size=V)
    rows, target, _ = found.answer_lists(["HOW?"], "\nIT IS ", "18")
    [top] = rows
    prompt = TABLE.tokenize("HOW?\nIT IS 18")
    logits = TABLE.logits(prompt, len(target) + 1)[:-1]
    ranks = (logits > logits[np.arange(len(target)), target][:, None]).sum(-1) + 1
    assert ranks.max() > 3  # the third likeliest would be a list of three
    assert top.n_top.tolist() == np.where(ranks > 3, 2, np.maximum(ranks, 2)).tolist()
    assert (top.ids[ranks > 3, 2] == target[ranks > 3]).all()
    found.close()


def test_a_token_across_the_border_belongs_to_the_answer(url: str, behaviour: Behaviour) -> None:
    for dialect in ("vllm", "echo"):
        behaviour.dialect = dialect
        found = connect(url, listed=V)
        _, target, _ = found.answer_lists(["HOW?"], "\nIT IS ", "18")
        assert len(target) == 2  # " 1", "8"
        found.close()


def test_without_the_vocabulary_size_there_is_no_upper_bound(url: str) -> None:
    found = connect(url, listed=3)
    assert np.isinf(read(found).upper).all()
    with pytest.raises(ConfigurationError, match="Give the vocabulary size"):
        read(found, estimate="bounds")
    found.close()


def test_prompts_that_are_long_go_in_several_requests(
    url: str, behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("entropilot.models.http_inspector.REQUEST_TOKENS", 20)
    for dialect in ("vllm", "echo"):
        behaviour.dialect = dialect
        found = connect(url, listed=V)
        behaviour.seen.clear()
        np.testing.assert_allclose(read(found).h, exact().h, atol=1e-9)
        sizes = [len(asked["prompt"]) for path, asked in behaviour.seen if "completions" in path]
        assert len(sizes) > 1
        assert sum(sizes) == 3
        found.close()


@pytest.mark.parametrize("dialect", ["vllm", "echo"])
def test_a_server_without_prompt_logprobs_is_named(
    url: str, behaviour: Behaviour, dialect: str
) -> None:
    behaviour.dialect, behaviour.shows_prompt = dialect, False
    with pytest.raises(ModelError, match=r"no log-probabilities of the prompt: asked for echo"):
        connect(url)
    if dialect == "vllm":
        with pytest.raises(ModelError, match=r"asked for prompt_logprobs.*--max-logprobs"):
            connect(url, dialect="vllm")


def test_a_prompt_that_is_cut_is_an_error(url: str, behaviour: Behaviour) -> None:
    behaviour.dialect = "echo"
    found = connect(url)
    behaviour.cut = 20
    with pytest.raises(ModelError, match="does not echo the whole prompt"):
        read(found)
    found.close()


def test_a_chain_that_does_not_fit_is_told_with_its_tokens(url: str, behaviour: Behaviour) -> None:
    n = len(TABLE.tokenize("\n".join([QUESTION, *STEPS, "IT IS 18"])))
    behaviour.context = n
    found = connect(url)
    with pytest.raises(LimitError, match=rf"are {n} tokens to .*context of {n} tokens of table"):
        read(found)
    assert issubclass(LimitError, InputError)
    found.close()


def test_a_busy_server_is_asked_again_a_few_times(url: str, behaviour: Behaviour) -> None:
    waits: list[float] = []
    opened = open_server(url, retries=3)
    server = Server(opened.client, opened.url, 3, waits.append)
    found = HttpInspector(server, "table", "vllm", None)
    behaviour.fail_first = 3
    assert found.tokenize("18") == TABLE.tokenize("18")
    assert waits == [0.5, 1.0, 2.0]
    behaviour.fail_first = 4
    with pytest.raises(ModelError, match="after 4 attempts: status 503: loading"):
        found.tokenize("18")
    found.close()


def test_a_refused_key_is_not_tried_again(url: str, behaviour: Behaviour) -> None:
    behaviour.key = "s3cret"
    with pytest.raises(ModelError, match="ENTROPILOT_API_KEY"):
        connect(url, api_key="other")
    connect(url, api_key="s3cret").close()


def test_a_server_with_several_models_wants_a_name(url: str, behaviour: Behaviour) -> None:
    behaviour.models = ("table", "chair")
    with pytest.raises(ModelError, match=r"lists 2 models \(table, chair"):
        connect(url)
    with pytest.raises(ModelError, match="did you mean 'chair'"):
        connect(url, model="chai")
    found = connect(url, model="chair")
    assert found.model == "chair"
    found.close()


def test_nobody_there() -> None:
    with pytest.raises(ModelError, match="does not answer after 1 attempts: ConnectError"):
        connect("http://127.0.0.1:9/v1", retries=0)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/v1", "none of a server"),
        ("http:///v1", "none of a server"),
        ("http://me:secret@host/v1", "holds a name or password"),
    ],
)
def test_bad_addresses(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as told:
        open_server(url)
    assert "secret" not in str(told.value)


def test_bad_numbers() -> None:
    with pytest.raises(ConfigurationError, match="timeout = 0"):
        open_server("http://localhost/v1", timeout=0)
    with pytest.raises(ConfigurationError, match="listed = 1"):
        connect("http://localhost/v1", listed=1)
    with pytest.raises(ConfigurationError, match="did you mean 'vllm'"):
        connect("http://localhost/v1", dialect="vlm")  # type: ignore[arg-type]


def test_an_address_is_an_inspector(
    url: str, behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    behaviour.key = "s3cret"
    monkeypatch.setenv("ENTROPILOT_API_KEY", "s3cret")
    found = open_inspector(url, listed=V, vocab_size=V)
    assert (found.name, found.listed) == (f"table at {url}", V)
    assert "s3cret" not in found.identity
    np.testing.assert_allclose(read(found.inspector).h, exact().h, atol=1e-9)
    assert found.identity != open_inspector(url, listed=5).identity
