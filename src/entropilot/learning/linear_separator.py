"""A linear classifier with scikit-learn's estimator protocol over ``logistic_gd``.

Only the protocol is kept (fit, predict, decision_function, get_params, set_params): it works where
scikit-learn isn't installed, and inside its pipelines and searches where it is.
"""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import BrokenNumbersError, ConfigurationError, InputError, unknown_name
from entropilot.learning.logistic_descent import logistic_gd
from entropilot.learning.separation_data import signed_samples, why_inseparable


class LinearSeparator:
    """Two classes, a plane between them, found by logistic descent with any step size.

    Data that no plane separates are fitted by ``max_iter`` updates, with a warning.

    Args:
        step_size: gamma; 100 reaches zero errors soon, 1 leaves a wider margin.
        normalized: divide each step by the sum of the weights.
        max_iter: updates at most.
        fit_intercept: learn an offset.

    Examples:
        >>> model = LinearSeparator().fit([[0.0], [1.0], [3.0]], ["a", "a", "b"])
        >>> model.predict([[0.5], [4.0]]).tolist()
        ['a', 'b']
    """

    classes_: NDArray[Any]  # [2]
    coef_: NDArray[np.float64]  # [1, d]
    intercept_: NDArray[np.float64]  # [1]
    n_iter_: int
    n_features_in_: int
    separated_: bool

    def __init__(
        self,
        step_size: float = 100.0,
        normalized: bool = True,
        max_iter: int = 10_000,
        fit_intercept: bool = True,
    ) -> None:
        self.step_size = step_size
        self.normalized = normalized
        self.max_iter = max_iter
        self.fit_intercept = fit_intercept

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Find a plane between two classes.

        Args:
            X: [n, d].
            y: [n], two values of any kind; the later one in sorted order is the positive class.

        Raises:
            InputError: bad samples, or not two classes.
        """
        a = _features(X)
        labels = _labels(y, len(a))
        classes, place = np.unique(labels, return_inverse=True)
        if len(classes) != 2:
            raise InputError(
                f"y has {len(classes)} class{'es' if len(classes) != 1 else ''}; Only binary "
                "classification is supported: one plane parts two classes"
            )
        reason = why_inseparable(signed_samples(a, place, bias=self.fit_intercept))
        if reason:
            warnings.warn(f"{reason}; fitting them as well as it goes", stacklevel=2)
        found = logistic_gd(
            a,
            place,
            self.step_size,
            normalized=self.normalized,
            max_iter=self.max_iter,
            stop=None if reason else "separated",
            bias=self.fit_intercept,
        )
        theta = found.theta.astype(np.float64)
        d = a.shape[1]
        self.classes_ = classes
        self.coef_ = theta[None, :d]
        self.intercept_ = theta[d:] if self.fit_intercept else np.zeros(1)
        self.n_iter_ = max(found.iterations, 1)
        self.n_features_in_ = d
        self.separated_ = found.separated
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Signed scores [n]; positive means the second class.

        Raises:
            InputError: features of another number than were fitted.
        """
        if not hasattr(self, "coef_"):
            raise _not_fitted(self)
        a = _features(X)
        if a.shape[1] != self.n_features_in_:
            raise InputError(
                f"X has {a.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        scores: NDArray[np.float64] = a @ self.coef_[0] + self.intercept_[0]
        return scores

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The class of each sample [n]."""
        scores = self.decision_function(X)
        found: NDArray[Any] = self.classes_[(scores > 0).astype(np.int64)]
        return found

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """Share of samples that are right."""
        return float(np.mean(self.predict(X) == np.asarray(y)))

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002
        """The settings by name."""
        return {name: getattr(self, name) for name in _NAMES}

    def set_params(self, **params: Any) -> Self:
        """Change settings by name.

        Raises:
            ConfigurationError: an unknown name.
        """
        for name, value in params.items():
            if name not in _NAMES:
                raise ConfigurationError(unknown_name("parameter", name, _NAMES))
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items())
        return f"{type(self).__name__}({settings})"

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks an estimator about itself."""
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(multi_class=False),
            input_tags=InputTags(),
        )


_NAMES = ("step_size", "normalized", "max_iter", "fit_intercept")


def _not_fitted(model: LinearSeparator) -> Exception:
    text = f"this {type(model).__name__} is not fitted yet; call fit(X, y) first"
    try:
        from sklearn.exceptions import NotFittedError
    except ImportError:
        return InputError(text)
    error: Exception = NotFittedError(text)
    return error


def _features(X: ArrayLike) -> NDArray[Any]:
    if hasattr(X, "toarray"):
        raise TypeError("X is a sparse matrix; dense data is required: use X.toarray()")
    a = np.asarray(X)
    if np.iscomplexobj(a):
        raise InputError("Complex data not supported: X has complex numbers; expected real ones")
    if a.ndim != 2:
        raise InputError(
            f"X has shape {a.shape}; expected [n samples, d features]. Reshape your data with "
            "X.reshape(-1, 1) for one feature or X.reshape(1, -1) for one sample"
        )
    if not len(a) or not a.shape[1]:
        empty = "sample" if not len(a) else "feature"
        raise InputError(
            f"Found array with 0 {empty}(s) (shape={a.shape}) while a minimum of 1 is required."
        )
    try:
        a = a if a.dtype in (np.float32, np.float64) else a.astype(np.float64)
    except TypeError as error:
        raise TypeError(f"argument must be a string or a number: {error}") from error
    except ValueError as error:
        raise InputError(f"X holds values that are no numbers: {error}") from error
    if not np.isfinite(a).all():
        i, j = np.argwhere(~np.isfinite(a))[0]
        raise BrokenNumbersError(
            f"X[{i}, {j}] is {a[i, j]}: NaN and inf are not allowed; drop or fill such samples"
        )
    return a


def _labels(y: ArrayLike, n: int) -> NDArray[Any]:
    if y is None:
        raise InputError("LinearSeparator requires y to be passed, but the target y is None")
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        _warn_column()
        labels = labels[:, 0]
    if labels.shape != (n,):
        raise InputError(f"y has shape {labels.shape}; expected one label for each of {n} samples")
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            raise BrokenNumbersError("y holds NaN or inf; labels must be known")
        if (labels != np.round(labels)).any():
            raise InputError("Unknown label type: y is continuous; expected two classes")
    return labels


def _warn_column() -> None:
    text = "A column-vector y was passed when a 1d array was expected; use y.ravel()"
    try:
        from sklearn.exceptions import DataConversionWarning
    except ImportError:
        warnings.warn(text, stacklevel=4)
    else:
        warnings.warn(text, DataConversionWarning, stacklevel=4)
