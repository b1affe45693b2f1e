"""Where a person is who names classes, and which of the words that the browser sends are new.

The App sends what was typed more than once, and what it sends meanwhile knows nothing of answers that are on
their way: names that are typed faster than the server answers would fall on the wrong cards. So the server
keeps what was taken of every sitting, in order; the browser says how much of that it had been told of.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import astuple, dataclass, field
from typing import Any

from fiftyone_plugin.runs.name_sheet import BACKGROUND, ClusterCard

__all__ = [
    "ALIKE",
    "BACK",
    "NOTHING",
    "SAME",
    "SIGNS",
    "SKIP",
    "Naming",
    "Sitting",
    "new_words",
    "sit",
    "sitting",
]

LONGEST = 100  # characters of a name
SITTINGS = 200  # that are kept; the browser's state stands in for one that is not
SIGNS = SAME, ALIKE, NOTHING, SKIP, BACK = "=", "~", "-", ">", "<"


@dataclass
class Naming:
    """The cards in order, the number of the one to name, the names so far.

    Attributes:
        run: key of the run.
        cards: in the order of the dendrogram.
        at: number of the card; one after the last when all were seen.
        known: names to choose from.
        sitting: what the server knows this by, see :class:`Sitting`.
        turn: how many words and other steps were taken.
    """

    run: str
    cards: list[ClusterCard]
    at: int = 0
    known: list[str] = field(default_factory=list)
    sitting: str = field(default_factory=lambda: secrets.token_hex(8))
    turn: int = 0

    @classmethod
    def of_state(cls, state: Any) -> Naming | None:
        """Return what the panel's state holds, which the browser sends; ``None`` where it is not sound."""
        try:
            found = [ClusterCard(*row) for row in state["cards"]]
            known = [str(name) for name in state["known"]]
            at, turn = int(state["at"]), int(state["turn"])
            made = cls(str(state["run"]), found, at, known, str(state["sitting"]), turn)
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        sound = all(type(card.cluster) is int and isinstance(card.name, str) for card in made.cards)
        return made if sound and made.cards and 0 <= made.at <= len(made.cards) and turn >= 0 else None

    def to_state(self) -> dict[str, object]:
        """Return what :meth:`of_state` takes."""
        return vars(self) | {"cards": [astuple(card) for card in self.cards]}

    @property
    def names(self) -> dict[int, str]:
        """Class id -> name so far."""
        return {card.cluster: card.name for card in self.cards if card.name}

    def before(self) -> str:
        """Return the last name given before this card."""
        return next((card.name for card in self.cards[: self.at][::-1] if card.name), "")

    def alike(self) -> str:
        """Return the name of the class most like this one."""
        return self.names.get(self.cards[self.at].nearest, "") if self.at < len(self.cards) else ""

    def take(self, word: str) -> str | None:
        """Do what a person typed for this card; returns what is wrong with it."""
        word = " ".join(word.split())
        if word == BACK:
            self.at = max(0, self.at - 1)
            return None
        if self.at >= len(self.cards):
            return "all classes were seen: write the names, or go back"
        name = {SAME: self.before(), ALIKE: self.alike(), NOTHING: BACKGROUND[0]}.get(word, word)
        if word in (SAME, ALIKE) and not name:
            return "that class has no name yet"
        if len(name) > LONGEST:
            return f"a name has at most {LONGEST} characters"
        if word != SKIP and name:
            card = self.cards[self.at]
            self.cards[self.at] = ClusterCard(card.cluster, name, *astuple(card)[2:])
            if name not in (BACKGROUND[0], *self.known):
                self.known.insert(0, name)
        self.at += 1
        return None


@dataclass
class Sitting:
    """What the server knows of one person at the cards.

    Attributes:
        naming: where the person is.
        taken: every word that was typed, in order; ``None`` for a step that was taken otherwise.
        since: how many steps were taken before the first of these.
    """

    naming: Naming
    taken: list[str | None] = field(default_factory=list)
    since: int = 0

    def typed(self, words: Sequence[str], told: int) -> list[str | None]:
        """Take the words of the input that are new since the turn that the browser was told of.

        Returns:
            What is wrong with each of these.
        """
        new = new_words(words, self.taken, max(0, told - self.since))
        return [self.step(word) for word in new]

    def step(self, word: str, *, typed: bool = True) -> str | None:
        """Take one word; returns what is wrong with it."""
        self.taken.append(word if typed else None)
        self.naming.turn += 1
        return self.naming.take(word)

    def go_to(self, number: int) -> None:
        """Go to another card."""
        self.taken.append(None)
        self.naming.turn += 1
        self.naming.at = number


def new_words(words: Sequence[str], taken: Sequence[str | None], told: int) -> list[str]:
    """Return the words of an event that were not taken yet.

    The input holds what was typed since one of the answers emptied it, and it is not known which: it is the
    first that makes the words and what was taken since agree.

    Args:
        words: of the input, in order.
        taken: all words so far, in order.
        told: how many of these the browser knew of at least.
    """
    words = list(words)
    for start in range(min(told, len(taken)), len(taken) + 1):
        known = list(taken[start : start + len(words)])
        if known == words[: len(known)]:
            return words[len(known) :]
    return words


_sittings: OrderedDict[str, Sitting] = OrderedDict()
_lock = threading.RLock()


def sit(naming: Naming) -> Sitting:
    """Begin a sitting."""
    with _lock:
        made = _sittings[naming.sitting] = Sitting(naming, since=naming.turn)
        while len(_sittings) > SITTINGS:
            _sittings.popitem(last=False)
        return made


def sitting(state: Naming) -> Sitting:
    """Return the sitting that the browser's state is of; where none is kept, it begins with that state."""
    with _lock:
        kept = _sittings.get(state.sitting)
        if kept is None or kept.naming.run != state.run:
            return sit(deepcopy(state))
        _sittings.move_to_end(state.sitting)
        return kept
