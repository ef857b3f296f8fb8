"""From an OpenAI-style response to a frame of diagnostics, in three lines.

    python examples/from_response.py
"""

import entropilot as ep

ALTERNATIVES = [
    {" 8": -0.2, " 9": -2.2, " 7": -3.0},
    {".": -0.15, " eggs": -2.5, ",": -4.0},
    {" So": -1.0, " The": -1.1, "\n": -1.3},
]
response = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": " 8. So"},
            "logprobs": {
                "content": [
                    {
                        "token": max(listed, key=lambda token: listed[token]),
                        "logprob": max(listed.values()),
                        "top_logprobs": [{"token": t, "logprob": p} for t, p in listed.items()],
                    }
                    for listed in ALTERNATIVES
                ]
            },
        }
    ],
}

traces = ep.load_traces(response)  # also a path, an SDK object, or a list of them
frame = ep.summarise(ep.split_steps(traces)).frame
print(frame.select("id", "n_tokens", "entropy_mean", "instability_peak", "peak_token"))
