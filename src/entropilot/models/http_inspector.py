"""An inspector behind HTTP: a server that shows the likeliest tokens along a prompt.

Two dialects give what is needed, both by ``/completions``:

    vllm    token ids in, ``prompt_logprobs`` out; the text is cut into tokens by ``/tokenize``.
            Question, steps and connector are tokenised one by one, as a local inspector does.
    echo    text in, ``echo`` with ``logprobs`` out (SGLang, llama-cpp-python with logits_all,
            older servers). The server tokenises the whole text and may put a token before it. Two
            alternatives with the same text are one there, so that bounds can be off where a
            server's vocabulary has such tokens.

Chat completions show nothing of the prompt, and neither does llama.cpp's own server.

Legend: K steps of a chain, M tokens of the answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, get_args

import numpy as np

from entropilot.errors import ConfigurationError, LimitError, ModelError, unknown_name
from entropilot.information import TopK
from entropilot.models.http_server import Reply, Server, open_server
from entropilot.traces.inspection import answer_tokens
from entropilot.traces.inspectors import AnswerLists

Dialect = Literal["vllm", "echo"]

LISTED: Final = 20  # alternatives asked for; vLLM allows 20 unless told otherwise
REQUEST_TOKENS: Final = 4096  # of the prompts that share a request: a reply has 1-2 kB a token
_PROBE: Final = "One and two is 3"
_OPTIONS: Final = (
    "An inspector needs them. vLLM gives them by itself (`vllm serve MODEL`, asked with "
    "prompt_logprobs; `--max-logprobs` allows more than 20), SGLang with echo and logprobs, "
    "llama-cpp-python with logits_all=True. Chat completions and llama.cpp's server do not; load "
    "such a model here instead, by its folder or .gguf file"
)


class _Entry(NamedTuple):
    key: Any  # id or text of a token
    logprob: float
    rank: int | None


@dataclass(frozen=True)
class HttpInspector:
    """A model behind an OpenAI-compatible server; made by ``connect``."""

    server: Server
    model: str
    dialect: Dialect
    context: int | None  # longest prompt, tokens; None where the server does not say
    listed: int = LISTED
    vocab_size: int = 0  # 0 = unknown: then there are no upper bounds

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a text, nothing added; only a server of the dialect "vllm" tells them."""
        if not text:
            return []
        payload = {"model": self.model, "prompt": text, "add_special_tokens": False}
        reply = self.server.post(f"{self.server.root}/tokenize", payload)
        tokens = reply.value.get("tokens") if isinstance(reply.value, dict) else None
        if not (reply.is_good and isinstance(tokens, list) and tokens):
            raise ModelError(
                f"{self.server.root}/tokenize gives no tokens ({reply.message}); expected vLLM's "
                "reply to a prompt. Use the dialect 'echo'"
            )
        return [int(token) for token in tokens]

    def answer_lists(self, segments: Sequence[str], connector: str, answer: str) -> AnswerLists:
        """The server's lists at the answer's positions, after 0, 1, ... K steps.

        Args:
            segments: question and steps, each step with its line break before it.
            connector: text between chain and answer.
            answer: what is forced on the model.

        Raises:
            LimitError: the chain does not fit the server's context.
            ModelError: the server fails, cuts the prompt, or gives no log-probabilities of it.
        """
        read = self._by_ids if self.dialect == "vllm" else self._by_text
        return read(segments, connector, answer)

    def close(self) -> None:
        """Close the connections."""
        self.server.close()

    def _by_ids(self, segments: Sequence[str], connector: str, answer: str) -> AnswerLists:
        parts = [self.tokenize(segment) for segment in segments]
        link, target = answer_tokens(self.tokenize, connector, answer)
        prompts = [[*ids, *link, *target] for ids in itertools.accumulate(parts, list.__add__)]
        self._check_context(len(prompts[-1]))
        rows = []
        for group in _groups(prompts, len):
            ask = {"prompt_logprobs": self.listed}
            for prompt, choice in zip(group, self._choices(group, ask), strict=True):
                found = choice.get("prompt_logprobs")
                if not isinstance(found, list) or len(found) != len(prompt):
                    raise self._nothing("prompt_logprobs", found, len(prompt))
                lists = [_by_rank(entry) for entry in found[-len(target) :]]
                rows.append(_top_k(lists, target, self.vocab_size))
        return AnswerLists(tuple(rows), np.array(target), tuple(len(part) for part in parts[1:]))

    def _by_text(self, segments: Sequence[str], connector: str, answer: str) -> AnswerLists:
        prompts = [text + connector + answer for text in itertools.accumulate(segments)]
        numbers: dict[str, int] = {}
        rows, lengths, targets = [], [], set()
        for group in _groups(prompts, lambda prompt: len(prompt) // 3):
            ask = {"echo": True, "logprobs": self.listed}
            for prompt, choice in zip(group, self._choices(group, ask), strict=True):
                tokens, logprobs, tops = self._echoed(choice)
                n = _prompt_tokens(tokens, prompt, connector + answer)
                if n is None:
                    raise ModelError(
                        f"{self.server.url} does not echo the whole prompt: its {len(tokens)} "
                        f"tokens end with {''.join(tokens)[-40:]!r}, expected the prompt, which "
                        f"ends with {prompt[-40:]!r}. Shorten the chain if the server cuts prompts"
                    )
                start = _answer_start(tokens[:n], len(answer))
                lists = [
                    _by_name(tops[i], tokens[i], logprobs[i], numbers) for i in range(start, n)
                ]
                target = [numbers[token] for token in tokens[start:n]]
                rows.append(_top_k(lists, target, self.vocab_size))
                targets.add(tuple(target))
                lengths.append(n)
        if len(targets) != 1:
            raise ModelError(
                f"the server cuts the answer {answer[:40]!r} into other tokens after other steps; "
                "use a connector that ends with a space or a sign"
            )
        return AnswerLists(tuple(rows), np.array(targets.pop()), tuple(np.diff(lengths).tolist()))

    def _choices(self, prompts: Sequence[Any], ask: Mapping[str, Any]) -> list[dict[str, Any]]:
        # one token must be drawn, and the prompt's own distribution is wanted: temperature 1
        payload = {"model": self.model, "prompt": list(prompts), "max_tokens": 1}
        payload |= {"temperature": 1.0, "seed": 0, **ask}
        reply = self.server.post(f"{self.server.url}/completions", payload)
        if not reply.is_good:
            raise self._refused(reply)
        choices = reply.value.get("choices") if isinstance(reply.value, dict) else None
        if not isinstance(choices, list) or len(choices) != len(prompts):
            raise ModelError(
                f"{self.server.url}/completions gives no list of {len(prompts)} choices; expected "
                "an OpenAI-compatible server. Check the address"
            )
        return sorted(choices, key=lambda choice: int(choice.get("index", 0)))

    def _echoed(self, choice: Mapping[str, Any]) -> tuple[list[str], list[Any], list[Any]]:
        found = choice.get("logprobs")
        lists = [
            found.get(name) if isinstance(found, dict) else None
            for name in ("tokens", "token_logprobs", "top_logprobs")
        ]
        tokens, logprobs, tops = lists
        if (
            not isinstance(tokens, list)
            or not isinstance(logprobs, list)
            or not isinstance(tops, list)
            or not len(tokens) == len(logprobs) == len(tops)
            or len(tokens) < 2  # the drawn token alone: the echo was left out
        ):
            raise self._nothing("echo with logprobs", tokens, None)
        return [str(token) for token in tokens], logprobs, tops

    def _check_context(self, n_tokens: int) -> None:
        if self.context is not None and n_tokens + 1 > self.context:
            raise LimitError(
                f"question, steps and answer are {n_tokens} tokens to the inspector, more than the "
                f"context of {self.context} tokens of {self.model} leaves (one is drawn); shorten "
                "the chain or take an inspector with a longer context"
            )

    def _refused(self, reply: Reply) -> Exception:
        text = f"{self.server.url}/completions refuses the request, {reply.message}"
        if reply.status in (400, 413, 422) and "context" in reply.message.lower():
            return LimitError(f"{text}. Shorten the chain or take an inspector with more context")
        return ModelError(
            f"{text}. Expected a completion with {self.listed} log-probabilities of the prompt; "
            "ask for fewer if that is the reason, or name another model"
        )

    def _nothing(self, option: str, found: Any, wanted: int | None) -> ModelError:
        n = len(found) if isinstance(found, list) else 0
        many = f"{n} of {wanted} tokens" if wanted and n else "none"
        return ModelError(
            f"{self.server.url} gives no log-probabilities of the prompt: asked for {option}, got "
            f"{many}. {_OPTIONS}"
        )


def connect(
    url: str,
    *,
    model: str | None = None,
    dialect: Literal["auto", "vllm", "echo"] = "auto",
    listed: int = LISTED,
    vocab_size: int = 0,
    api_key: str | None = None,
    timeout: float = 120.0,
    retries: int = 3,
) -> HttpInspector:
    """Connect to a server, and find out by a short prompt how it shows log-probabilities.

    Args:
        url: up to and with "/v1", for example "http://localhost:8000/v1".
        model: its name there; None where the server has one only.
        dialect: "auto" tries "vllm", then "echo".
        listed: alternatives at each position, >= 2; more make the bounds tighter.
        vocab_size: V of the model, for upper bounds; 0 = unknown.
        api_key: see ``open_server``.
        timeout: seconds for one reply.
        retries: further attempts of a request.

    Raises:
        ModelError: there is no server, it has several models, or it gives no log-probabilities of
            prompts.
        ConfigurationError: the address or a number is wrong.
        MissingExtraError: httpx is not installed.

    Source: arXiv 2508.20395 reads logits; lists and their bounds are ours.
    """
    known = ("auto", *get_args(Dialect))
    if dialect not in known:
        raise ConfigurationError(unknown_name("dialect", dialect, known))
    if listed < 2 or vocab_size < 0:
        raise ConfigurationError(
            f"listed = {listed} and vocab_size = {vocab_size}; expected listed >= 2 and "
            "vocab_size >= 0"
        )
    server = open_server(url, api_key=api_key, timeout=timeout, retries=retries)
    try:
        name, context = _model(server, model)
        tried: list[ModelError] = []
        for one in get_args(Dialect) if dialect == "auto" else (dialect,):
            found = HttpInspector(server, name, one, context, listed, vocab_size)
            try:
                found.answer_lists([_PROBE], "\nThe answer is ", "3")
                return found
            except ModelError as error:
                tried.append(error)
        raise tried[-1]
    except BaseException:
        server.close()
        raise


def _model(server: Server, wanted: str | None) -> tuple[str, int | None]:
    """Name and context of the model to ask."""
    reply = server.get(f"{server.url}/models")
    found = reply.value.get("data") if isinstance(reply.value, dict) else None
    models = [one for one in found or [] if isinstance(one, dict) and "id" in one]
    names = [str(one["id"]) for one in models]
    if wanted is None and len(names) != 1:
        raise ModelError(
            f"{server.url}/models lists {len(names)} models ({', '.join(names[:5]) or 'none'}; "
            f"status {reply.status}); name the one to ask"
        )
    name = names[0] if wanted is None else wanted
    if names and name not in names:
        raise ModelError(unknown_name("model of the server", name, names))
    context = next((one.get("max_model_len") for one in models if str(one["id"]) == name), None)
    return name, int(context) if isinstance(context, int) and context > 0 else None


def _groups(prompts: Sequence[Any], length: Any) -> Iterator[list[Any]]:
    """Prompts in order, as many at once as fit a request."""
    group: list[Any] = []
    for prompt in prompts:
        if group and sum(map(length, group)) + length(prompt) > REQUEST_TOKENS:
            yield group
            group = []
        group.append(prompt)
    if group:
        yield group


def _by_rank(entry: Any) -> list[_Entry]:
    """One position of ``prompt_logprobs``: {id: {logprob, rank, decoded_token}}."""
    if not isinstance(entry, dict):
        raise ModelError("a position of prompt_logprobs is empty; expected a list of tokens")
    return [
        _Entry(int(key), _number(value.get("logprob")), value.get("rank"))
        for key, value in entry.items()
    ]


def _by_name(entry: Any, token: str, logprob: Any, numbers: dict[str, int]) -> list[_Entry]:
    """One position of ``top_logprobs``: {text: logprob}, with the token that stands there."""
    if not isinstance(entry, dict):
        raise ModelError("a position of top_logprobs is empty; expected a list of tokens")
    listed = {**entry, token: entry.get(token, logprob)}
    return [
        _Entry(numbers.setdefault(key, len(numbers)), _number(value), None)
        for key, value in listed.items()
    ]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else -np.inf


def _top_k(lists: Sequence[Sequence[_Entry]], target: Sequence[int], vocab_size: int) -> TopK:
    """Rows, likeliest first. The answer's own token, where it is the last one and its rank is not
    known to follow, may have been appended: it then is known, and bounds no unlisted token.
    """
    width = max(map(len, lists))
    ids = np.full((len(lists), width), -1, dtype=np.int64)
    logprobs = np.full((len(lists), width), -np.inf)
    n_top = np.zeros(len(lists), dtype=np.int64)
    for i, (entries, token) in enumerate(zip(lists, target, strict=True)):
        row = sorted(entries, key=lambda one: (-one.logprob, one.key == token))
        ids[i, : len(row)] = [one.key for one in row]
        logprobs[i, : len(row)] = [one.logprob for one in row]
        last = row[-1]
        is_appended = last.key == token and (last.rank is None or last.rank > len(row))
        n_top[i] = len(row) - is_appended
    return TopK(ids, logprobs, n_top, vocab_size)


def _prompt_tokens(tokens: Sequence[str], prompt: str, tail: str) -> int | None:
    """How many of the echoed tokens are the prompt: all but the drawn one, or all."""
    for n in (len(tokens) - 1, len(tokens)):
        text = "".join(tokens[:n])
        if text.endswith(tail) and len(text) >= len(prompt.lstrip()):
            return n
    return None


def _answer_start(tokens: Sequence[str], n_characters: int) -> int:
    """First token that reaches into the last characters; one across the border counts."""
    start, left = len(tokens), n_characters
    while left > 0:
        start -= 1
        left -= len(tokens[start])
    return start
