"""
The second watchdog: what the keeper does by the clock, done a second time by the front, since the keeper may be frozen.
Both do the same to the same process.
"""

from __future__ import annotations

from tfguard.guard.front_rules import FrontRules
from tfguard.guard.watchdog import Action
from tfguard.process.front_child import FrontChild
from tfguard.process.keeper_link import KeeperLink


class FrontWatch:
    """Watches the child and the keeper at hand, by the rules that hold now. Instants are boottime."""

    def __init__(self, keeper: KeeperLink, child: FrontChild) -> None:
        self._keeper = keeper
        self._child = child

    def enforce(self, rules: FrontRules, now: float) -> bool:
        """Do to the child what the clock demands; return whether it had to be killed."""
        self._child.keeper = self._keeper.pid
        self.find_child(rules)
        rules.see_safe_until(self._keeper.page.safe_until)
        actions = rules.decide(now) if self._child.pid else []
        for action in actions:
            self._child.act(action)
        return Action.KILL in actions

    def find_child(self, rules: FrontRules) -> None:
        """Look whether there is a child of whose start the keeper has not told yet."""
        if self._child.find():
            rules.find_child()

    def is_keeper_dead(self, rules: FrontRules, now: float) -> bool:
        """Look after the keeper: return whether it has died unheard. One that is frozen is ended, and heard of then."""
        self._see_keeper(rules, now)
        self._keeper.flush()
        if not rules.is_keeper_frozen(now):
            return False
        if self._keeper.is_dead_unheard:
            return True
        self._keeper.kill_frozen()
        return False

    def _see_keeper(self, rules: FrontRules, now: float) -> None:
        """It enters in the page that it goes round its loop; before its first round, that it works has to do."""
        rules.see_keeper(self._keeper.page.keeper_seen)
        if rules.is_keeper_starting and self._keeper.has_worked():
            rules.see_keeper(now)
