"""One worker's stages over one store: what a Bytewax worker runs, and what a test runs without Bytewax."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nurt.control.reconcile import STRAYS, decode_strays
from nurt.limits import DUE_PROFILES_MAX
from nurt.model.fence import owed_score
from nurt.model.keys import Keys
from nurt.model.published import PublishedBatch
from nurt.model.state_write import Change
from nurt.model.units import Day
from nurt.normalise.context import FoldContext
from nurt.ports.store import Store
from nurt.profiles.accounts_stage import AccountsStage
from nurt.profiles.from_rows import ProfileVoice
from nurt.profiles.identity_stage import IdentityStage
from nurt.profiles.orders_stage import OrdersStage
from nurt.profiles.profiles_stage import ProfilesStage, Touch, decode_touch, encode_touch
from nurt.rows.contributions import Said, join_said
from nurt.rows.sweeps import Sweep
from nurt.rows.worker import RowsWorker


class Worker(RowsWorker[Said, Day]):
    """Five stages over one store; each is called with what the stage before said."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        context: FoldContext,
        schema: Mapping[str, Any],
        sweeps: Sequence[Sweep] = (),
    ) -> None:
        super().__init__(store, keys, ProfileVoice(context), sweeps, Day)
        self.orders = OrdersStage(store, keys, context)
        self.accounts = AccountsStage(store, keys, context)
        self.identity = IdentityStage(store, keys, context, lambda: self.epoch)
        self.profiles = ProfilesStage(store, keys, context, schema, lambda: self.epoch, lambda: self.as_of)
        self._knows_strays = False

    def owed_touches(self) -> list[Touch]:
        """Return, once a run, what earlier runs owed; it is owed again, by this epoch."""
        return [decode_touch(member) for member in self.owe_again() or ()]

    def owe(self, touches: Sequence[Touch]) -> None:
        """Store touches that wait to be published, so that the next run makes them if this one does not."""
        score = owed_score(self.store.run, self.epoch)
        change = Change()
        for touch in touches:
            change.owed.setdefault(self.keys.place_of(touch[1]), {})[encode_touch(touch)] = score
        self.store.write(change)

    def strays(self) -> Iterator[PublishedBatch]:
        """Publish anew, once all input is read again, what was published and is not what the state knew at start.

        Source: the launch of a run whose state came back older notes them; see `control/launch.py`.
        """
        if self._knows_strays:
            return
        self._knows_strays = True
        names = [place + STRAYS for place in self.store.places]
        touches = [touch for value in self.store.read(names) for touch in decode_strays(value)]
        for at in range(0, len(touches), DUE_PROFILES_MAX):
            yield self.profiles.materialise(touches[at : at + DUE_PROFILES_MAX], owed=True, anew=True)
        if touches:
            self.store.write(Change(drop=names))

    def due_profiles(self) -> PublishedBatch:
        """Recompute some of the profiles that the clock changed; the others wait for the next tick."""
        due = [decode_touch(member) for member in self.store.due(self.as_of, DUE_PROFILES_MAX)]
        return self.profiles.materialise(due, owed=True)


def merged(rows: Said, orders: Said) -> Said:
    """Join what rows and orders say to accounts."""
    return join_said([rows, orders])
