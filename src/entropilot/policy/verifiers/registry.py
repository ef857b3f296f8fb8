"""The verifiers that have a name, and those that a user names as "module:function"."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from entropilot.errors import ConfigurationError, unknown_name
from entropilot.policy.tasks.countdown import verify_countdown
from entropilot.policy.tasks.task import Problem, Verdict
from entropilot.policy.verifiers.matching import verify_exact, verify_number

VerifierFunction = Callable[[Problem, str], "bool | float | Verdict"]
GIGABYTE: Final = 2**30


@dataclass(frozen=True)
class NamedVerifier:
    """How a verifier is called.

    Args:
        entry: "module:function".
        function: called in this process; None = in a process of its own under a time limit.
        memory: bytes that the process may use; 0 = no limit.
        needs: package that it needs, to be looked for before a run starts; "" = none.
        extra: extra of this package that brings it.
    """

    entry: str
    function: VerifierFunction | None = None
    memory: int = 0
    needs: str = ""
    extra: str = ""


VERIFIERS: Final[dict[str, NamedVerifier]] = {
    "exact": NamedVerifier("entropilot.policy.verifiers.matching:verify_exact", verify_exact),
    "number": NamedVerifier("entropilot.policy.verifiers.matching:verify_number", verify_number),
    "math": NamedVerifier(
        "entropilot.policy.verifiers.symbolic:verify_math",
        memory=4 * GIGABYTE,
        needs="math_verify",
        extra="math",
    ),
    "countdown": NamedVerifier(
        "entropilot.policy.tasks.countdown:verify_countdown", verify_countdown
    ),
}


def named_verifier(name: str) -> NamedVerifier:
    """The verifier of a name or of an entry point.

    Args:
        name: one of ``VERIFIERS``, or "module:function", the function taking (problem, text) and
            returning True or False, a number, or a Verdict.

    Raises:
        ConfigurationError: neither.

    Examples:
        >>> named_verifier("my_rewards:grade").function is None
        True
    """
    if name in VERIFIERS:
        return VERIFIERS[name]
    module, colon, function = name.partition(":")
    if not colon:
        raise ConfigurationError(
            f"{unknown_name('verifier', name, VERIFIERS)} A function of your own is named "
            '"module:function".'
        )
    if not function.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise ConfigurationError(
            f'{name!r} does not name a function; expected "module:function", for example '
            '"my_rewards:grade"'
        )
    return NamedVerifier(name)


def import_verifier(entry: str) -> VerifierFunction:
    """Import the function of an entry point.

    Raises:
        ConfigurationError: no such module or function, or the module can't be imported.

    Examples:
        >>> import_verifier("entropilot.policy.verifiers.matching:verify_exact") is verify_exact
        True
    """
    module, _, name = entry.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ConfigurationError(
            f"the verifier {entry!r} can't be imported: {error}. Is {module!r} in the working "
            "directory or installed?"
        ) from error
    except AttributeError as error:
        raise ConfigurationError(f"the module {module!r} has no function {name!r}") from error
    if not callable(function):
        raise ConfigurationError(f"{entry!r} is no function but {type(function).__name__}")
    return function  # type: ignore[no-any-return]
