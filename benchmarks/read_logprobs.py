"""How fast is a log of API log-probabilities read, and diagnosed? Against three rivals.

    python benchmarks/read_logprobs.py --megabytes 1024

Each row is a fresh process, on the same generated chat completions (20 alternatives a token,
log-probs of 16 digits, bytes, escapes, accents, CJK, 200 to 1200 tokens). Ours: reading into
columns with token ids; reading, steps and all diagnostics; the same on all cores. Rivals: msgspec's
typed decode alone (it makes objects, no columns), with and without the bytes field, and orjson with
a Python loop into the same columns. Ratios compare CPU time with the diagnosis on one core. The
bound is one pass over the bytes that counts a word.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

K = 20
WORDS = 30_000
LETTERS = "etaoinshrdlucmfwygpbvk"
ODD = ['"', "\\", "\n", "\n\n", "\t", "é", "ü", "ß", "ñ", "中", "文", "推理", "的", "🙂", "—", "’"]


def vocabulary(rng: random.Random) -> list[str]:
    pieces = list(ODD) + [chr(code) for code in range(33, 127)]
    while len(pieces) < WORDS:
        word = "".join(rng.choices(LETTERS, k=rng.choice((1, 2, 3, 3, 4, 4, 5, 6, 7, 9))))
        pieces.append(rng.choice((" ", " ", "")) + word)
        if rng.random() < 0.04:
            pieces.append(pieces[-1] + rng.choice(ODD))
    rng.shuffle(pieces)
    return pieces[:WORDS]


def generate(path: Path, megabytes: int, compact: bool = False, seed: int = 0) -> None:
    """Write completions of about the given size; alternatives hold 0.9 to 0.999 of the mass."""
    rng = random.Random(seed)
    colon, comma = (":", ",") if compact else (": ", ", ")
    pieces = vocabulary(rng)
    heads = [
        f'{{"token"{colon}{json.dumps(p, ensure_ascii=False)}{comma}"logprob"{colon}'
        for p in pieces
    ]
    tails = [
        f'{comma}"bytes"{colon}{json.dumps(list(p.encode()), separators=(comma, colon))}'
        for p in pieces
    ]
    written, number = 0, 0
    with path.open("w", encoding="utf-8") as file:
        while written < megabytes << 20:
            content, text = [], []
            for _ in range(rng.randint(200, 1200)):
                words: list[int] = []
                while len(words) < K:
                    word = min(int(rng.paretovariate(0.35)), WORDS) - 1
                    words.append(word if word not in words else rng.randrange(WORDS))
                gaps = [0.0]
                for _ in range(K - 1):
                    gaps.append(gaps[-1] - rng.expovariate(1.5))
                shift = math.log(sum(map(math.exp, gaps)) / rng.uniform(0.9, 0.999))
                entries = [
                    f"{heads[word]}{gap - shift!r}{tails[word]}"
                    for word, gap in zip(words, gaps, strict=True)
                ]
                own = rng.randrange(3)
                chosen, listed = entries[own], f"}}{comma}".join(entries)
                content.append(f'{chosen}{comma}"top_logprobs"{colon}[{listed}}}]}}')
                text.append(pieces[words[own]])
            message = json.dumps("".join(text), ensure_ascii=False)
            line = (
                f'{{"id": "chatcmpl-{number}", "object": "chat.completion", "created": 1700000000, '
                f'"model": "m", "choices": [{{"index": 0, "message": {{"role": "assistant", '
                f'"content": {message}}}, "logprobs": {{"content": [{comma.join(content)}], '
                f'"refusal": null}}, '
                f'"finish_reason": "stop"}}], "usage": {{"completion_tokens": {len(content)}}}}}\n'
            )
            written += file.write(line)
            number += 1


def read_entropilot(path: Path) -> int:
    from entropilot.traces import read_traces

    return sum(batch.report.tokens for batch in read_traces(path))


def diagnose_one_core(path: Path) -> int:
    from entropilot.traces import summarise_log

    return summarise_log(path).counts["tokens"]


def diagnose_all_cores(path: Path) -> int:
    from entropilot.traces import summarise_logs

    return summarise_logs(path).counts["tokens"]


def touch_every_byte(path: Path) -> int:
    n = 0
    with path.open("rb") as file:
        for line in file:
            n += line.count(b'"top_logprobs"')
    return n


def read_msgspec(path: Path, with_bytes: bool) -> int:
    import msgspec

    fields: list[tuple[str, object]] = [("token", str), ("logprob", float)]
    if with_bytes:
        fields.append(("bytes", list[int] | None))
    top = msgspec.defstruct("Top", fields, gc=False)
    token = msgspec.defstruct("Token", [*fields, ("top_logprobs", list[top])], gc=False)
    logprobs = msgspec.defstruct("Logprobs", [("content", list[token])], gc=False)
    message = msgspec.defstruct("Message", [("content", str)], gc=False)
    choice = msgspec.defstruct("Choice", [("message", message), ("logprobs", logprobs)], gc=False)
    decoder = msgspec.json.Decoder(
        msgspec.defstruct("Body", [("id", str), ("choices", list[choice])])
    )
    n = 0
    with path.open("rb") as file:
        for line in file:
            n += len(decoder.decode(line).choices[0].logprobs.content)
    return n


def read_orjson(path: Path) -> int:
    import numpy as np
    import orjson

    entries: dict[bytes, int] = {}
    n = 0
    with path.open("rb") as file:
        for line in file:
            content = orjson.loads(line)["choices"][0]["logprobs"]["content"]
            np.array(
                [
                    [entries.setdefault(bytes(a["bytes"]), len(entries)) for a in t["top_logprobs"]]
                    for t in content
                ],
                np.int32,
            )
            np.array([[a["logprob"] for a in t["top_logprobs"]] for t in content], np.float32)
            n += len(content)
    return n


READERS = {
    "entropilot, diagnosed": diagnose_one_core,
    "entropilot, diagnosed, all cores": diagnose_all_cores,
    "entropilot, columns only": read_entropilot,
    "msgspec typed, token and log-prob": lambda path: read_msgspec(path, False),
    "msgspec typed, and bytes": lambda path: read_msgspec(path, True),
    "orjson and a loop, columns": read_orjson,
    "every byte touched once (bound)": touch_every_byte,
}


def cpu_seconds() -> float:
    """Of this process and of the children that have ended."""
    own, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def measure(name: str, path: Path, warm: Path) -> None:
    """Run one reader in this process and print its row as JSON."""
    READERS[name](warm)  # imports, compiled code, the file system's cache
    started, start = time.perf_counter(), cpu_seconds()
    n = READERS[name](path)
    seconds, wall = cpu_seconds() - start, time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"name": name, "seconds": seconds, "wall": wall, "tokens": n, "peak": peak}))


def versions() -> str:
    """The rivals, by name and version."""
    return ", ".join(f"{name} {version(name)}" for name in ("msgspec", "orjson", "numba", "numpy"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--compact", action="store_true", help="no blanks after comma and colon")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", default="", help="only readers whose name begins so")
    parser.add_argument("--folder", type=Path, help="keep the generated files here")
    parser.add_argument(
        "--measure", nargs=3, metavar=("NAME", "FILE", "WARM"), help=argparse.SUPPRESS
    )
    options = parser.parse_args()
    if options.measure:
        measure(options.measure[0], Path(options.measure[1]), Path(options.measure[2]))
        return
    os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1", POLARS_MAX_THREADS="1")
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        kind = "compact" if options.compact else "spaced"
        path, warm = folder / f"{kind}-{options.megabytes}.jsonl", folder / f"{kind}-8.jsonl"
        for file, size in ((path, options.megabytes), (warm, 8)):
            if not file.exists():
                generate(file, size, options.compact)
        size = path.stat().st_size
        rows = []
        for name in READERS:
            if not name.startswith(options.only):
                continue
            runs = []
            for _ in range(options.repeat):
                command = [sys.executable, __file__, "--measure", name, str(path), str(warm)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                runs.append(json.loads(done.stdout))
            rows.append(sorted(runs, key=lambda run: run["seconds"])[len(runs) // 2])
        n = rows[0]["tokens"]
        print(f"{size / 2**20:.0f} MiB, {n} tokens, medians of {options.repeat}; {versions()}")
        print(
            f"{'':36s} {'CPU s':>7s} {'wall s':>7s} {'MB/s':>6s} {'k tok/s':>8s} {'peak MiB':>9s} "
            f"{'CPU ratio':>9s}"
        )
        for row in rows:
            print(
                f"{row['name']:36s} {row['seconds']:7.2f} {row['wall']:7.2f} "
                f"{size / 1e6 / row['seconds']:6.0f} "
                f"{row['tokens'] / row['seconds'] / 1e3:8.0f} {row['peak']:9.0f} "
                f"{row['seconds'] / rows[0]['seconds']:9.2f}"
            )


if __name__ == "__main__":
    main()
