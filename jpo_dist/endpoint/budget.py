"""A budget: what replies cost, and when to stop asking."""

import threading
from collections.abc import Iterable
from typing import NamedTuple

from jpo_dist.endpoint.config import BudgetConfig, EndpointConfig
from jpo_dist.endpoint.replies import Reply


class Spent(NamedTuple):
    """What a set of replies took; `cost` in the currency of the prices."""

    requests: int
    tokens: int
    cost: float


NOTHING_SPENT = Spent(0, 0, 0.0)


def cost_of(reply: Reply, config: EndpointConfig) -> float:
    """The cost of one reply; prices are those of a million tokens."""
    return (reply.input_tokens * config.input_price + reply.output_tokens * config.output_price) / 1e6


def spent_on(replies: Iterable[Reply], config: EndpointConfig) -> Spent:
    """The sums over some replies."""
    kept = list(replies)
    tokens = sum(a.input_tokens + a.output_tokens for a in kept)
    return Spent(len(kept), tokens, sum(cost_of(a, config) for a in kept))


def spent_since(before: Spent, now: Spent) -> Spent:
    """What was spent between two moments."""
    return Spent(now.requests - before.requests, now.tokens - before.tokens, now.cost - before.cost)


def largest_of(*each: Spent) -> Spent:
    """The largest in every respect: an upper bound of what one request takes, as far as is known."""
    return Spent(1, max(one.tokens for one in each), max(one.cost for one in each))


def reached(limits: BudgetConfig, spent: Spent) -> str | None:
    """The name of a limit of which nothing is left; None while something is left of all."""
    pairs = zip(limits.model_dump().items(), spent, strict=True)
    return next((f"budget.{name}" for (name, limit), used in pairs if limit is not None and used >= limit), None)


def left_of(limits: BudgetConfig, spent: Spent) -> BudgetConfig | None:
    """What is left of every limit; None when nothing is left of one."""
    rest = {
        name: limit - used
        for (name, limit), used in zip(limits.model_dump().items(), spent, strict=True)
        if limit is not None
    }
    return None if any(left <= 0 for left in rest.values()) else BudgetConfig(**rest)


class Budget:
    """Lets requests begin while those under way and the next one stay within the limits. For many threads.

    Each is taken for as large as the largest reply so far: a limit is exceeded only by as much as replies turn out
    larger than all before them.
    """

    def __init__(
        self, limits: BudgetConfig, config: EndpointConfig, largest: Spent, spent: Spent = NOTHING_SPENT
    ) -> None:
        """`spent`: what of the limits is spent already."""
        self._limits, self._config, self._largest, self.spent = limits, config, largest, spent
        self._under_way = 0
        self._changed = threading.Condition()
        self.exhausted: str | None = None
        """The first limit that held a request back."""

    def _over(self) -> str | None:
        """The limit that one more request might exceed."""
        limits = (self._limits.max_requests, self._limits.max_tokens, self._limits.max_cost)
        names = ("max_requests", "max_tokens", "max_cost")
        for name, limit, spent, each in zip(names, limits, self.spent, self._largest, strict=True):
            if limit is not None and (spent + (self._under_way + 1) * each > limit or spent >= limit):
                return f"budget.{name}"
        return None

    def begin(self) -> bool:
        """Wait for leave to send a request. False: the budget is used up."""
        with self._changed:
            while self.exhausted is None:
                over = self._over()
                if over is None:
                    self._under_way += 1
                    return True
                if self._under_way == 0:
                    self.exhausted = over
                    self._changed.notify_all()
                else:  # those under way may turn out small
                    self._changed.wait()
            return False

    def end(self, reply: Reply | None) -> None:
        """After a request that begin() has let through; None: it brought no reply."""
        with self._changed:
            self._under_way -= 1
            if reply is not None:
                added = spent_on([reply], self._config)
                self._largest = largest_of(self._largest, added)
                self.spent = Spent(
                    self.spent.requests + 1, self.spent.tokens + added.tokens, self.spent.cost + added.cost
                )
            self._changed.notify_all()
