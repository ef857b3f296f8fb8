"""My logistic loss explodes: is that wrong? Large steps on two classes of digits.

python examples/logistic_step_size.py
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score

from entropilot.learning.linear_separator import LinearSeparator
from entropilot.learning.logistic_descent import logistic_gd
from entropilot.learning.separation_margin import iteration_bound, margin
from entropilot.learning.step_size_sweep import step_size_sweep

digits = load_digits()
rows = np.isin(digits.target, (1, 8))
x, y = digits.data[rows] / 16, np.where(digits.target[rows] == 1, 1, -1)

gap = margin(x, y, bias=True)
print(f"{len(x)} images; widest margin between {gap.lower:.6f} and {gap.upper:.6f}")

found = logistic_gd(x, y, step_size=100.0, bias=True, record="trace")
print(found.summary())

print("\nWhich step size? Plain descent:")
print(step_size_sweep(x, y, [1, 10, 100, 1e4], bias=True).summary())
print("Normalised by the mean probability of error:")
print(step_size_sweep(x, y, [1, 10, 100, 1e4], normalized=True, bias=True).summary())
bound = iteration_bound(x, y, "normalized_logistic_gd", 1.0, bias=True)
print(f"It needs at most {bound:,.0f} updates with step size 1, whatever the number of samples.")

scores = cross_val_score(LinearSeparator(step_size=10.0), x, y, cv=5)
print(f"\nIn scikit-learn's cross-validation: {scores.mean():.3f} right")
