"""Requential coding: what a student needs to be told to follow its teacher.

Teacher and student start from the same weights. In each step

    teacher   one update on a real batch (skipped while the student is too far behind)
    average   of the teacher's weights, decay exp(-1 / ema_steps)
    sample    targets from the averaged teacher, inputs kept
    KL        mean over the targets of KL(averaged teacher || student), before the student's update
    student   one update on the sampled targets

and S grows by the KL times the sampled targets: who holds the initial weights can be sent the
samples at that price, and so grows the same student. The student's average is the model that codes
the data; H is its loss on held-out data times the tokens to be coded.

Paper: arXiv 2601.03220, Section 4; reference ``soph/train.py`` of shikaiqiu/epiplexity. Departs
from it: log-softmax of both sides where the reference adds 1e-9 in the logarithm; the overhead
log2(1 + KL) + 4 bits a coded unit is left out, as in the paper.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from entropilot.errors import InputError, ModelError
from entropilot.files import replacing

BITS: Final = 1 / math.log(2)

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class TargetSampler(Protocol):
    """How a batch is scored and how its targets are drawn anew.

    A batch is whatever the methods understand. N targets, V outcomes.
    """

    def log_probs(self, model: nn.Module, batch: Any) -> Tensor:
        """[N, V] natural log-probabilities at the targets."""

    def targets(self, batch: Any) -> Tensor:
        """[N] outcomes, long."""

    def sample(self, model: nn.Module, batch: Any, generator: torch.Generator) -> Any:
        """The batch with its targets drawn from the model at temperature 1."""


class RequentialState(NamedTuple):
    """Sums so far."""

    S_nats: float
    student_tokens: int
    last_kl: float  # nats a token; inf before the first
    steps: int
    teacher_updates: int
    student_updates: int

    @property
    def S_bits(self) -> float:  # noqa: N802 - S is the field's name
        """Structure so far, bits."""
        return self.S_nats * BITS


class RequentialEstimator:
    """Teacher, student and the sum of their divergences.

    Args:
        teacher: model with the initial weights; trained in place.
        student: model with the same initial weights; trained in place.
        sampler: scores and draws targets: ``FactorisedTargets``, ``CausalTargets`` or your own.
        optimizer: makes the optimiser of either model, from its parameters.
        schedule: factor of the learning rate at each update, counted from 0; None keeps it.
        ema_steps: of both averages; 50 in the paper.
        max_kl: nats a token above which the teacher waits; None lets it run (0.005 to 0.1 in the
            paper, by data).
        student_speed: student batches a teacher step; below 1, one in each 1 / speed steps.
        seed: of the samples.

    Raises:
        InputError: the two models differ at the start, or a setting is out of range.

    Examples:
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))
        >>> make = lambda parameters: torch.optim.Adam(parameters, 0.01)
        >>> found = RequentialEstimator(
        ...     net, copy.deepcopy(net), FactorisedTargets(), optimizer=make)
        >>> x = torch.randint(0, 2, (64, 4)).float()
        >>> for _ in range(5):
        ...     state = found.step((x, x))
        >>> state.student_tokens, state.S_nats > 0
        (1280, True)
    """

    def __init__(
        self,
        teacher: nn.Module,
        student: nn.Module,
        sampler: TargetSampler,
        *,
        optimizer: MakeOptimizer,
        schedule: Callable[[int], float] | None = None,
        ema_steps: int = 50,
        max_kl: float | None = None,
        student_speed: float = 1.0,
        seed: int = 0,
    ) -> None:
        _check_start(teacher, student)
        for name, value in (("ema_steps", ema_steps), ("student_speed", student_speed)):
            if not value > 0:
                raise InputError(f"{name} is {value}; expected a number above 0")
        if max_kl is not None and not max_kl > 0:
            raise InputError(f"max_kl is {max_kl} nats a token; expected above 0, or None")
        self.teacher, self.student, self.sampler = teacher, student, sampler
        self.teacher_average = _frozen(teacher)
        self.student_average = _frozen(student)
        self.state = RequentialState(0.0, 0, math.inf, 0, 0, 0)
        self._optimizers = tuple(optimizer(m.parameters()) for m in (teacher, student))
        self._rates = tuple([g["lr"] for g in o.param_groups] for o in self._optimizers)
        self._schedule = schedule
        self._decay = math.exp(-1 / ema_steps)
        self._max_kl, self._speed = max_kl, student_speed
        device = next(teacher.parameters()).device
        self._generator = torch.Generator(device=device).manual_seed(seed)

    def step(self, batch: Any) -> RequentialState:
        """One teacher step on a real batch, and what the student does after it.

        Args:
            batch: fresh data, as the sampler takes it.

        Raises:
            ModelError: a loss or a divergence is not finite.
        """
        s = self.state
        waits = self._max_kl is not None and math.isfinite(s.last_kl) and s.last_kl > self._max_kl
        if not waits:
            loss = self._loss(self.sampler.log_probs(self.teacher, batch), batch)
            self._update(0, loss, s.teacher_updates)
            _average(self.teacher_average, self.teacher, self._decay)
            self.state = self.state._replace(teacher_updates=s.teacher_updates + 1)
        for _ in range(self._student_batches(s.steps)):
            self._student_step(batch)
        self.state = self.state._replace(steps=s.steps + 1)
        return self.state

    @torch.no_grad()
    def held_out_loss(self, batch: Any) -> float:
        """Loss of the averaged student on real data, nats a token: H = D times this."""
        return float(self._loss(self.sampler.log_probs(self.student_average, batch), batch))

    def state_dict(self) -> dict[str, Any]:
        """All that decides the steps to come, as tensors and plain values."""
        models = (self.teacher, self.student, self.teacher_average, self.student_average)
        return {
            "state": list(self.state),
            "models": [m.state_dict() for m in models],
            "optimizers": [o.state_dict() for o in self._optimizers],
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from where a state was taken, to the same numbers.

        Raises:
            InputError: it is of other models.
        """
        models = (self.teacher, self.student, self.teacher_average, self.student_average)
        try:
            for model, tensors in zip(models, saved["models"], strict=True):
                model.load_state_dict(tensors)
            for optimizer, values in zip(self._optimizers, saved["optimizers"], strict=True):
                optimizer.load_state_dict(values)
            self._generator.set_state(saved["generator"].cpu())
            self.state = RequentialState(*saved["state"])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"the saved state is of other models: {error}") from error

    def save(self, path: Path) -> None:
        """Write the state; the file appears whole or not at all."""
        with replacing(path) as temporary:
            torch.save(self.state_dict(), temporary)

    def restore(self, path: Path) -> None:
        """Read a state that ``save`` wrote; nothing but tensors and plain values is loaded.

        Raises:
            InputError: the file can't be read or is of other models.
        """
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds
            raise InputError(f"{path} can't be read as a saved estimator: {error}") from error
        self.load_state_dict(saved)

    def _student_batches(self, step: int) -> int:
        if self._speed >= 1:
            return round(self._speed)
        return int(step % round(1 / self._speed) == 0)

    def _student_step(self, batch: Any) -> None:
        s = self.state
        with torch.no_grad():
            made = self.sampler.sample(self.teacher_average, batch, self._generator)
            log_t = self.sampler.log_probs(self.teacher_average, made)
        log_u = self.sampler.log_probs(self.student, made)
        with torch.no_grad():
            terms = torch.where(log_t > -math.inf, log_t.exp() * (log_t - log_u), 0.0)
            kl = float(terms.sum(-1).mean())
        if not math.isfinite(kl):
            raise ModelError(
                f"the divergence of step {s.steps + 1} is {kl}: the student calls impossible what "
                "the teacher does not, or one of them diverged. Lower the learning rate"
            )
        self._update(1, self._loss(log_u, made), s.student_updates)
        _average(self.student_average, self.student, self._decay)
        n = len(log_u)
        self.state = s._replace(
            S_nats=s.S_nats + max(kl, 0.0) * n,  # rounding may leave -1e-9
            student_tokens=s.student_tokens + n,
            last_kl=kl,
            student_updates=s.student_updates + 1,
        )

    def _loss(self, log_probs: Tensor, batch: Any) -> Tensor:
        return nn.functional.nll_loss(log_probs, self.sampler.targets(batch))

    def _update(self, which: int, loss: Tensor, done: int) -> None:
        if not torch.isfinite(loss):
            who = ("teacher", "student")[which]
            raise ModelError(
                f"the {who}'s loss is {float(loss.detach())} at its update {done + 1}; lower the "
                "learning rate or look at the batch"
            )
        optimizer = self._optimizers[which]
        if self._schedule is not None:
            factor = self._schedule(done)
            for group, rate in zip(optimizer.param_groups, self._rates[which], strict=True):
                group["lr"] = rate * factor
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()


class FactorisedTargets:
    """Targets that are independent given the input: sampling is one forward pass.

    A batch is ``(inputs, targets)``; ``model(inputs)`` gives logits [..., V] over the outcomes of
    targets [...], or [...] where outcomes are 0 and 1.

    Examples:
        >>> sampler = FactorisedTargets()
        >>> batch = (torch.zeros(2, 3), torch.ones(2, 3))
        >>> sampler.log_probs(nn.Identity(), batch).shape, sampler.targets(batch).tolist()
        (torch.Size([6, 2]), [1, 1, 1, 1, 1, 1])
    """

    def log_probs(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """[N, V] natural log-probabilities."""
        inputs, targets = batch
        logits = model(inputs)
        if logits.shape == targets.shape:
            z = logits.reshape(-1)
            both = (nn.functional.logsigmoid(-z), nn.functional.logsigmoid(z))
            return torch.stack(both, dim=-1)
        return torch.log_softmax(logits.reshape(-1, logits.shape[-1]), dim=-1)

    def targets(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """[N] outcomes."""
        return batch[1].reshape(-1).long()

    def sample(
        self, model: nn.Module, batch: tuple[Tensor, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Inputs as they are, targets drawn."""
        drawn = _drawn(self.log_probs(model, batch), generator)
        return batch[0], drawn.reshape(batch[1].shape).to(batch[1].dtype)


class CausalTargets:
    """Targets are the tokens after a prefix; sampling writes them one after the other.

    A batch is [B, T] tokens; ``model(tokens)`` gives logits [B, T, V] of the next token, alone or
    as ``.logits``. Sampling costs T - prefix forward passes of the whole row; give a sampler of
    your own where the model has a key-value cache.

    Args:
        prefix: tokens that are kept, >= 1.

    Examples:
        >>> net = nn.Sequential(nn.Embedding(5, 8), nn.Linear(8, 5))
        >>> batch = torch.randint(0, 5, (2, 6))
        >>> made = CausalTargets(2).sample(net, batch, torch.Generator().manual_seed(0))
        >>> made.shape, bool((made[:, :2] == batch[:, :2]).all())
        (torch.Size([2, 6]), True)
    """

    def __init__(self, prefix: int) -> None:
        if prefix < 1:
            raise InputError(f"prefix is {prefix}; at least one token is needed to predict from")
        self.prefix = prefix

    def log_probs(self, model: nn.Module, batch: Tensor) -> Tensor:
        """[N, V] natural log-probabilities at the tokens after the prefix."""
        logits = self._logits(model, batch[:, :-1])[:, self.prefix - 1 :]
        return torch.log_softmax(logits.reshape(-1, logits.shape[-1]).float(), dim=-1)

    def targets(self, batch: Tensor) -> Tensor:
        """[N] tokens after the prefix."""
        return batch[:, self.prefix :].reshape(-1)

    def sample(self, model: nn.Module, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Prefixes with continuations drawn from the model."""
        tokens = batch.clone()
        for t in range(self.prefix, batch.shape[1]):
            logits = self._logits(model, tokens[:, :t])[:, -1]
            tokens[:, t] = _drawn(torch.log_softmax(logits.float(), dim=-1), generator)
        return tokens

    def _logits(self, model: nn.Module, tokens: Tensor) -> Tensor:
        found: Any = model(tokens)
        logits: Tensor = found if isinstance(found, Tensor) else found.logits
        return logits


def _drawn(log_probs: Tensor, generator: torch.Generator) -> Tensor:
    drawn: Tensor = torch.multinomial(log_probs.exp(), 1, generator=generator)[:, 0]
    return drawn


def _check_start(teacher: nn.Module, student: nn.Module) -> None:
    a, b = teacher.state_dict(), student.state_dict()
    if teacher is student:
        raise InputError("teacher and student are one object; give the student as a deep copy")
    differ = sorted(a.keys() ^ b.keys()) or [k for k in a if not torch.equal(a[k], b[k])]
    if differ:
        raise InputError(
            f"teacher and student differ at the start ({differ[0]!r} and {len(differ) - 1} more); "
            "the code assumes the same weights: copy.deepcopy one from the other"
        )


def _frozen(model: nn.Module) -> nn.Module:
    average = copy.deepcopy(model)
    for parameter in average.parameters():
        parameter.requires_grad_(False)
    return average


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


@torch.no_grad()
def _average(average: nn.Module, model: nn.Module, decay: float) -> None:
    for mean, now in zip(_tensors(average), _tensors(model), strict=True):
        if mean.is_floating_point():
            mean.lerp_(now, 1 - decay)
        else:
            mean.copy_(now)
