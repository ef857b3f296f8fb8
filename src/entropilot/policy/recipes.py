"""Recipes: objectives with a name, knobs with ranges, and a word on when they help.

A recipe is what a user types: in ``entropilot run``, in an experiment file, in TRL or verl. The
table is ``RECIPES`` in ``recipe_table``; Python callers may as well compose an ``Objective``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from entropilot.errors import ConfigurationError, unknown_name
from entropilot.policy.objective import Objective

Value = float | int | bool | str | None


@dataclass(frozen=True)
class Knob:
    """One setting of a recipe.

    Args:
        name: as it is typed.
        default: of the paper, unless the meaning says otherwise.
        meaning: what it does, and what raising it does.
        low: least value; None for no limit.
        high: greatest value; None for no limit.
        choices: allowed words, for a setting that is a word.
        optional: None (in a file: "none") switches it off.
        whole: whole numbers only.

    Examples:
        >>> Knob("coef", 0.01, "weight of the bonus", low=0).checked(0.1)
        0.1
    """

    name: str
    default: Value
    meaning: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    optional: bool = False
    whole: bool = False

    @property
    def range(self) -> str:
        """Allowed values in words.

        Examples:
            >>> Knob("p", 0.8, "", low=0, high=1).range
            '0 to 1'
        """
        if isinstance(self.default, bool):
            return "true or false"
        if self.choices:
            words = " or ".join(f'"{word}"' for word in self.choices)
        elif self.low is not None and self.high is not None:
            words = f"{self.low:g} to {self.high:g}"
        elif self.low is not None:
            words = f"at least {self.low:g}"
        elif self.high is not None:
            words = f"at most {self.high:g}"
        else:
            words = "any number"
        return words + (', or "none"' if self.optional else "")

    def checked(self, value: Any) -> Value:
        """The value, if it is allowed.

        Raises:
            ConfigurationError: it is not; the message gives the range.
        """
        if self.optional and value in (None, "none"):
            return None
        if self._allowed(value):
            return int(value) if self.whole else value
        raise ConfigurationError(f"{self.name} is {value!r}; expected {self.range}")

    def _allowed(self, value: Any) -> bool:
        if isinstance(self.default, bool) or isinstance(value, bool):
            return isinstance(self.default, bool) and isinstance(value, bool)
        if self.choices:
            return value in self.choices
        if not isinstance(value, int | float) or not math.isfinite(value):
            return False
        if self.whole and value != int(value):
            return False
        above = self.low is None or value >= self.low
        return above and (self.high is None or value <= self.high)


@dataclass(frozen=True)
class Recipe:
    """A named objective.

    Args:
        name: as it is typed.
        title: a short phrase.
        what: what it changes, in a sentence or two.
        helps: when to reach for it.
        idle: when it does nothing or harms.
        paper: slug of the study it belongs to, or an arXiv id.
        knobs: its settings.
        build: from values of all knobs to the objective.
        updates: least updates a rollout batch for it to act at all.
        probes: steps are probed for the potential of their answer, which costs forward passes.

    Examples:
        >>> Recipe("x", "", "", "", "", "", (), lambda values: Objective()).objective().describe()
        'group-advantage; clipped-ratio(eps_low=0.2, eps_high=0.2); token-mean'
    """

    name: str
    title: str
    what: str
    helps: str
    idle: str
    paper: str
    knobs: tuple[Knob, ...]
    build: Callable[[Mapping[str, Any]], Objective]
    updates: int = 1
    probes: bool = False

    def problems(self, given: Mapping[str, Any]) -> list[str]:
        """All that is wrong with some values of its knobs, a sentence each.

        Examples:
            >>> knobs = (Knob("coef", 0.01, "", low=0), Knob("p", 0.8, "", low=0, high=1))
            >>> recipe = Recipe("x", "", "", "", "", "", knobs, lambda values: Objective())
            >>> recipe.problems({"coef": -1, "p": 2})
            ['recipe x: coef is -1; expected at least 0', 'recipe x: p is 2; expected 0 to 1']
        """
        known = {knob.name: knob for knob in self.knobs}
        found = []
        for name, value in given.items():
            try:
                if name not in known:
                    raise ConfigurationError(unknown_name("knob", name, known or ["(none)"]))
                known[name].checked(value)
            except ConfigurationError as error:
                found.append(f"recipe {self.name}: {error}")
        return found

    def values(self, given: Mapping[str, Any] | None = None) -> dict[str, Value]:
        """Values of all knobs: those given, checked, and defaults for the rest.

        Raises:
            ConfigurationError: unknown knobs, with the near ones, and values out of range: all of
                them.
        """
        given = given or {}
        if problems := self.problems(given):
            raise ConfigurationError("\n".join(problems))
        return {knob.name: knob.checked(given.get(knob.name, knob.default)) for knob in self.knobs}

    def objective(self, given: Mapping[str, Any] | None = None) -> Objective:
        """The objective at some values of its knobs.

        Raises:
            ConfigurationError: see ``values``, or values that do not go together.
        """
        return self.build(self.values(given))

    def to_toml(self, given: Mapping[str, Any] | None = None) -> str:
        """The recipe as a block of an experiment file, each knob with its meaning.

        Examples:
            >>> knob = Knob("coef", 0.01, "weight of the bonus", low=0)
            >>> recipe = Recipe("x", "", "", "", "", "", (knob,), lambda values: Objective())
            >>> print(recipe.to_toml(), end="")
            [[recipes]]
            name = "x"
            coef = 0.01  # weight of the bonus (at least 0)
        """
        values = self.values(given)
        lines = ["[[recipes]]", f'name = "{self.name}"']
        for knob in self.knobs:
            lines.append(
                f"{knob.name} = {_toml(values[knob.name])}  # {knob.meaning} ({knob.range})"
            )
        return "\n".join(lines) + "\n"


def _toml(value: Value) -> str:
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else repr(value)
