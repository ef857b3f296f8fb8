"""What reading asks for and what it gives back: options, batches, shards and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from entropilot.errors import ConfigurationError
from entropilot.traces.table import Traces

MAX_EXAMPLES: Final = 100  # skipped lines that a report names; the others are counted

MISSING_LOGPROBS: Final = (
    "carry no log-probabilities, so nothing can be said of their tokens. Ask the server for them: "
    "logprobs=True, top_logprobs=20 (chat completions), logprobs=20 (completions, vLLM), "
    "n_probs=20 (llama.cpp), logprobs=true with top_logprobs=20 (Ollama), return_logprob=True with "
    "top_logprobs_num=20 (SGLang), details=true with top_n_tokens=5 (TGI), openai_logprobs=True "
    "with openai_top_logprobs=20 (pydantic-ai), bind(logprobs=True, top_logprobs=20) (LangChain). "
    "Reasoning models and some frameworks drop the field; answer-level entropy over several "
    "samples of a problem still works without it"
)


@dataclass(frozen=True)
class ReadOptions:
    """How to read traces.

    Args:
        strict: raise at the first line that can't be read; otherwise count it and go on.
        batch_bytes: input bytes a batch, > 0. Larger batches cost memory and save a little time.
        max_line_bytes: longest line, or whole JSON document, that is read into memory.
        max_decompressed_bytes: largest size to which one compressed file may unfold.
        max_ratio: largest decompressed / compressed size, checked once 64 MiB have come out.
        part: "completion", or "prompt": the tokens handed in, where the log scores them, as vLLM's
            prompt_logprobs do.
        logprob_space: "raw" or "sampling" overrides what the log says of its log-probabilities.
        label_field: dotted path of the right-or-wrong label, for example ``"x_correct"``.
        reward_field: likewise for the reward; None tries the usual names, here and below.
        reference_field: likewise for the reference answer.
        answer_field: likewise for the final answer.
        group_field: likewise for the name of the problem.
        prompt_field: likewise for the prompt.

    Examples:
        >>> ReadOptions(label_field="evaluation.passed").strict
        False
    """

    strict: bool = False
    batch_bytes: int = 16 << 20
    max_line_bytes: int = 1 << 30
    max_decompressed_bytes: int = 1 << 38
    max_ratio: float = 1000.0
    part: str = "completion"
    logprob_space: str | None = None
    label_field: str | None = None
    reward_field: str | None = None
    reference_field: str | None = None
    answer_field: str | None = None
    group_field: str | None = None
    prompt_field: str | None = None

    def __post_init__(self) -> None:
        if self.logprob_space not in (None, "raw", "sampling"):
            raise ConfigurationError(
                f"logprob_space is {self.logprob_space!r}; it is 'raw' (of the model itself), "
                "'sampling' (after temperature and truncation) or None (what the log says)"
            )
        if self.part not in ("completion", "prompt"):
            raise ConfigurationError(
                f"part is {self.part!r}; it is 'completion' (what the model wrote) or 'prompt' "
                "(what it was given)"
            )
        for name in ("batch_bytes", "max_line_bytes", "max_decompressed_bytes", "max_ratio"):
            if getattr(self, name) <= 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; it must be positive")


@dataclass(frozen=True)
class Skipped:
    """A line, or another part of a file, that could not be read.

    Examples:
        >>> str(Skipped("log.jsonl", 3, "not JSON"))
        'log.jsonl, line 3: not JSON'
    """

    file: str
    line: int  # from 1; 0 means the file as a whole
    reason: str

    def __str__(self) -> str:
        where = f"{self.file}, line {self.line}" if self.line else self.file
        return f"{where}: {self.reason}"


@dataclass(frozen=True)
class ReadReport:
    """Counts of what was read and of what was not; two reports add up.

    Ids are compared within one call of ``read_traces``, up to the first million.

    Examples:
        >>> total = ReadReport(traces=2, formats={"a": 2}) + ReadReport(traces=1, formats={"a": 1})
        >>> total.traces, dict(total.formats)
        (3, {'a': 3})
    """

    formats: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))  # -> traces
    files: int = 0
    bytes_read: int = 0  # after decompression
    lines: int = 0
    traces: int = 0
    tokens: int = 0
    skipped_lines: int = 0
    skipped: tuple[Skipped, ...] = ()  # the first of them
    impossible_logprobs: int = 0  # -inf and sentinels <= -100, read as probability 0
    rounded_logprobs: int = 0  # in (0, 1e-3], read as 0
    merged_alternatives: int = 0  # alternatives of one token with equal keys, probabilities summed
    duplicate_ids: int = 0
    invalid_utf8: int = 0  # lines in which bytes that are not UTF-8 became U+FFFD
    without_logprobs: int = 0  # traces with a text and no log-probabilities
    prompt_only: int = 0  # traces whose prompt alone has log-probabilities

    def __add__(self, other: ReadReport) -> ReadReport:
        formats = dict(self.formats)
        for name, count in other.formats.items():
            formats[name] = formats.get(name, 0) + count
        counts = {
            name: getattr(self, name) + getattr(other, name)
            for name in self.__dataclass_fields__
            if name not in ("formats", "skipped")
        }
        return ReadReport(
            formats=formats, skipped=(self.skipped + other.skipped)[:MAX_EXAMPLES], **counts
        )

    def found(self) -> str:
        """What was read, and in which formats, as a sentence.

        Examples:
            >>> ReadReport(files=1, traces=2, tokens=7, formats={"OpenAI completions": 2}).found()
            'Read 2 traces, 7 tokens, from 1 file: OpenAI completions.'
        """
        names = list(self.formats)
        if len(names) > 1:
            names = [f"{n} of {name}" for name, n in self.formats.items()]
        parts = [_count(self.traces, "trace"), _count(self.tokens, "token")]
        origin = f", from {_count(self.files, 'file')}" if self.files else ""
        return f"Read {', '.join(parts)}{origin}: {', '.join(names) or 'no known format'}."

    def sentences(self) -> tuple[str, ...]:
        """What a reader of a report must know, each a full sentence; nothing when all went well.

        Examples:
            >>> ReadReport(traces=3, duplicate_ids=1).sentences()
            ('1 trace has an id that an earlier one has.',)
        """
        found = []
        if len(self.formats) > 1:
            parts = ", ".join(f"{count} of {name}" for name, count in self.formats.items())
            found.append(f"The input mixes formats: {parts}.")
        if self.skipped_lines:
            found.append(
                f"{_count(self.skipped_lines, 'line')} could not be read; the first: "
                f"{self.skipped[0]}."
            )
        if self.prompt_only:
            found.append(
                f"{self.prompt_only} of {_count(self.traces, 'trace')} carry log-probabilities of "
                "their prompt and none of their completion. To measure the prompts, read with "
                "--part prompt, in Python ReadOptions(part='prompt')."
            )
        if self.without_logprobs > self.prompt_only:
            found.append(
                f"{self.without_logprobs} of {_count(self.traces, 'trace')} {MISSING_LOGPROBS}."
            )
        if self.impossible_logprobs:
            found.append(
                f"{_count(self.impossible_logprobs, 'log-probability', 'log-probabilities')} at or "
                "below -100 stand for an impossible token and count as probability 0."
            )
        if self.merged_alternatives:
            found.append(
                f"{_count(self.merged_alternatives, 'alternative')} had the same text as another "
                "of the same token; their probabilities were summed."
            )
        if self.rounded_logprobs:
            found.append(
                f"{_count(self.rounded_logprobs, 'log-probability', 'log-probabilities')} between "
                "0 and 0.001 were read as 0."
            )
        if self.invalid_utf8:
            found.append(
                f"{_count(self.invalid_utf8, 'line')} held bytes that are not UTF-8; they were "
                "replaced by U+FFFD."
            )
        if self.duplicate_ids:
            verb = "has an id" if self.duplicate_ids == 1 else "have ids"
            found.append(f"{_count(self.duplicate_ids, 'trace')} {verb} that an earlier one has.")
        return tuple(found)


@dataclass(frozen=True)
class Batch:
    """Some traces and the report on just these.

    Examples:
        >>> from entropilot.traces.table import empty_traces
        >>> Batch(empty_traces(), ReadReport()).report.traces
        0
    """

    traces: Traces
    report: ReadReport


@dataclass(frozen=True)
class Shard:
    """A range of whole lines of an uncompressed file, or a whole file (``stop`` None).

    Examples:
        >>> Shard(Path("log.jsonl"), 0, 4096).first_line
        1
    """

    path: Path
    start: int = 0
    stop: int | None = None
    first_line: int = 1  # number of its first line in the file


def _count(n: int, one: str, many: str | None = None) -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"
