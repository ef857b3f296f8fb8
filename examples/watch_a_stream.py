"""An alarm while a model writes: stop when two tokens in a row are unstable.

    python examples/watch_a_stream.py
"""

from entropilot.traces.monitor import InstabilityAlarm, InstabilityMonitor

STREAM = [  # what a server sends, token by token: the alternatives and their log-probabilities
    {" Leo": -0.06, " He": -3.2},
    {" runs": -0.1, " ran": -2.8},
    {" 4": -1.1, " 6": -1.2, " 24": -1.3, " a": -2.9},
    {" *": -1.0, " +": -1.05, " times": -2.0, " and": -2.2},
    {" 6": -0.01, " 4": -5.0},
]

monitor = InstabilityMonitor()
alarm = InstabilityAlarm(threshold=1.5, patience=2)
for position, alternatives in enumerate(STREAM):
    instability = monitor.push(alternatives)
    raised = alarm.update(instability)
    print(f"token {position}: instability {instability:.2f}{'  <- alarm' if raised else ''}")
