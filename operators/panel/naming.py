"""The part of the panel "Pseudo-masks" in which a person names the classes of a run, one card after another.

The name is typed into an input of several values, the only one of the App's that tells when Enter is pressed
and keeps the cursor: the answer leaves out what was typed. (To an empty list the App would answer with the
state of the time before.) Typed faster than the server answers, it holds several names, which are those of
the cards one after the other; which of them are new, :mod:`.naming_state` finds out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fiftyone.operators import ExecutionContext, types

from fiftyone_plugin.common.text import plain_markdown
from fiftyone_plugin.dataset.cluster_names import cards, names_used
from fiftyone_plugin.dataset.name_drafts import ideas_of, keep_draft
from fiftyone_plugin.dataset.record import RunRecord
from fiftyone_plugin.dataset.summary import class_view
from fiftyone_plugin.runs.exemplars import exemplar_uri
from fiftyone_plugin.runs.likeness import DENDROGRAM
from fiftyone_plugin.runs.name_sheet import ClusterCard

from ..forms.fields import count_of, show_name
from ..running import show_colours
from . import parts
from .guard import GuardedPanel, row_of
from .naming_state import ALIKE, BACK, NOTHING, SAME, SIGNS, SKIP, Naming, Sitting, sit, sitting

__all__ = ["NamingSection"]

AROUND = 2  # cards shown before and after
SUGGESTED = 200  # names
IDEAS = 3  # suggestions on a card
HINTS = (
    f"Type a name, Enter: the next class. `{SAME}` the name before, `{ALIKE}` that of the most similar "
    f"class, `{NOTHING}` background, `{SKIP}` leave it, `{BACK}` back; arrow down: names used before."
)


class NamingSection(GuardedPanel):
    """Events and layout of the cards; a part of the panel, whose state and hooks it shares."""

    def start_naming(self, ctx: ExecutionContext) -> None:
        """Show the cards of the chosen run, from the first one without a name on."""
        run = parts.chosen(ctx)
        if run is None or not run.is_complete:
            return
        found = cards(ctx.dataset, run.field)
        if not found:
            ctx.ops.notify("No image shows a class of this run", variant="warning")
            return
        ctx.ops.set_active_fields([run.field])
        show_colours(ctx)
        first = next((number for number, card in enumerate(found) if not card.name), len(found))
        self._show(ctx, run, sit(Naming(run.key, found, first, names_used(ctx.dataset)[:SUGGESTED])).naming)

    def leave_naming(self, ctx: ExecutionContext) -> None:
        """Go back to the figures of the run; the names so far are kept."""
        self.refresh(ctx)

    def name_card(self, ctx: ExecutionContext) -> None:
        """Take what was typed, one word a card."""
        told, value = Naming.of_state(ctx.panel.state.naming), ctx.params.get("value")
        words = [word for word in value if isinstance(word, str)] if isinstance(value, list) else []
        self._take(ctx, lambda person: person.typed(words, told.turn if told else 0))

    def press(self, ctx: ExecutionContext) -> None:
        """Do what the button of a sign does."""
        word = ctx.params.get("word")
        self._take(ctx, lambda person: [person.step(word, typed=False)] if word in SIGNS else [])

    def take_idea(self, ctx: ExecutionContext) -> None:
        """Take a name that a model has suggested for the card on which it stands."""
        run, naming = _naming(ctx)
        if run and naming and naming.at < len(naming.cards):
            ideas = ideas_of(ctx.dataset, run).get(naming.cards[naming.at].cluster, [])
            name = ctx.params.get("name")
            known = name in [idea for idea, _ in ideas] and ctx.params.get("card") == naming.at
            known = known and name not in SIGNS
            self._take(ctx, lambda person: [person.step(name, typed=False)] if known else [])

    def ask_ideas(self, ctx: ExecutionContext) -> None:
        """Open the form that lets a model suggest names."""
        run, _ = _naming(ctx)
        if run:
            self._prompt(ctx, "suggest_names", {"field": run.field}, self.start_naming)

    def go_to_card(self, ctx: ExecutionContext) -> None:
        """Go to another card."""
        run, naming = _naming(ctx)
        number = row_of(ctx.params.get("card"), naming.cards if naming else ())
        if run and naming and number is not None:
            sitting(naming).go_to(number)
            self._show(ctx, run, naming)

    def show_card(self, ctx: ExecutionContext) -> None:
        """Show the images of the class of this card in the grid."""
        run, naming = _naming(ctx)
        if run and naming and naming.at < len(naming.cards):
            targets = ctx.dataset.mask_targets.get(run.field) or {}
            name = str(targets.get(naming.cards[naming.at].cluster, ""))
            parts.show(ctx, run, class_view(ctx.dataset, run.field, name))

    def split_card(self, ctx: ExecutionContext) -> None:
        """Open the form that splits the class of this card."""
        run, naming = _naming(ctx)
        if run and naming and naming.at < len(naming.cards):
            params = {"field": run.field, "class_id": str(naming.cards[naming.at].cluster)}
            self._prompt(ctx, "split_class", params, self.start_naming)

    def write_names(self, ctx: ExecutionContext) -> None:
        """Open the form that writes the masks with names."""
        run, _ = _naming(ctx)
        if run:
            self._prompt(ctx, "name_classes", {"field": run.field}, self.show_named)

    def show_named(self, ctx: ExecutionContext) -> None:
        """Show the run that has been made of the names, the newest one."""
        ctx.panel.state.run = None
        self.refresh(ctx)

    def _take(self, ctx: ExecutionContext, step: Callable[[Sitting], list[str | None]]) -> None:
        """Take a step, which returns what is wrong with each of its words, and show where that leads."""
        run, naming = _naming(ctx)
        if run is None or naming is None:
            self.refresh(ctx)
            return
        old = naming.names
        problems = [problem for problem in step(sitting(naming)) if problem]
        changed = {id_: name for id_, name in naming.names.items() if old.get(id_) != name}
        if changed:
            keep_draft(ctx.dataset, run, changed)
        for problem in problems[:1]:
            ctx.ops.notify(problem.capitalize(), variant="warning")
        self._show(ctx, run, naming)

    def _show(self, ctx: ExecutionContext, run: RunRecord, naming: Naming) -> None:
        """Send the state and the pictures of the cards in sight, each in one message."""
        # without what was typed, which ends it; with what was seen, so that a run that appears is shown
        stamp = ctx.panel.state.stamp
        parts.send_state(ctx, {"run": run.key, "naming": naming.to_state(), "stamp": stamp})
        out = Path(run.out)
        classes = {key: naming.cards[number].cluster for key, number in _in_sight(naming).items()}
        if naming.at < len(naming.cards):
            classes["nearest"] = naming.cards[naming.at].nearest
        uris = {key: exemplar_uri(out, id_) for key, id_ in classes.items()}
        data = {key: {"picture": uri} for key, uri in uris.items() if uri}
        ctx.ops.set_panel_data({**data, "tree": parts.picture_uri(out / DENDROGRAM) or ""})

    # ------------------------------------------------------------------ layout

    def render_naming(self, ctx: ExecutionContext, panel: types.Object) -> bool:
        """Lay the cards out, if a person is naming; returns whether that is so."""
        run, naming = _naming(ctx)
        if run is None or naming is None:
            return False
        total = len(naming.cards)
        text = f"**{len(naming.names)} of {total}** classes of `{run.field}` have a name"
        panel.md(text, name="naming_head")
        sight = _in_sight(naming)
        for key, number in sight.items():
            if number < naming.at:
                self._neighbour(panel, key, naming.cards[number], number)
        if naming.at < total:
            self._card(panel, naming)
            self._ideas(ctx, panel, run, naming)
        else:
            panel.md("All classes were seen. **Write the names**, or go back to a card", name="all_seen")
        for key, number in sight.items():
            if number > naming.at:
                self._neighbour(panel, key, naming.cards[number], number)
        row = panel.h_stack("naming_end", gap=2, align_y="center")
        row.btn("write_names", label="Write the names", on_click=self.write_names, variant="contained")
        label = "Leave (names are kept)"
        row.btn("leave_naming", label=label, on_click=self.leave_naming, variant="outlined")
        if (Path(run.out) / DENDROGRAM).is_file():
            panel.img("tree", alt_text="Dendrogram: which classes are alike", width="100%")
        return True

    def _card(self, panel: types.Object, naming: Naming) -> None:
        card = naming.cards[naming.at]
        row = panel.h_stack("card", gap=2, align_y="center")
        row.img("picture", height="108px", alt_text=f"Crops of class {card.cluster}", on_click=self.show_card)
        about = f"**Class {card.cluster}**, {naming.at + 1} of {len(naming.cards)}"
        about += f"  \n{count_of(card.images)}, {card.share:.1%} of the area"
        about += f"  \nnow: {plain_markdown(show_name(card.name))}" if card.name else ""
        row.md(about, name="about")
        choices = types.AutocompleteView(
            label="Name",
            # Enter takes what is typed, not the first suggestion; what is typed before the answer stays
            componentsProps={"autocomplete": {"autoHighlight": False, "clearOnBlur": False}},
        )
        for name in naming.known:
            choices.add_choice(name, label=show_name(name))
        panel.list("typed", types.String(), view=choices, on_change=self.name_card)
        panel.md(HINTS, name="hints")
        self._signs(panel, naming)
        near = next((each for each in naming.cards if each.cluster == card.nearest), None)
        if near is not None:
            row = panel.h_stack("nearest", gap=2, align_y="center")
            row.img("picture", height="60px", alt_text=f"Crops of class {near.cluster}")
            name = plain_markdown(show_name(near.name)) if near.name else "no name yet"
            text = f"Most like it: class {near.cluster}, **{name}**, similarity {card.similarity:.2f}"
            row.md(text, name="who")
            if near.name:
                self._sign(row, ALIKE, "The same name")

    def _ideas(self, ctx: ExecutionContext, panel: types.Object, run: RunRecord, naming: Naming) -> None:
        """Offer what a model suggests for this card; nothing of it is taken unasked."""
        row = parts.flow(panel, "ideas")
        known = ideas_of(ctx.dataset, run)
        for number, (name, score) in enumerate(known.get(naming.cards[naming.at].cluster, [])[:IDEAS]):
            label = f"{show_name(name)} ({score:.2f})"
            parts.button(row, f"idea_{number}", label, self.take_idea, {"name": name, "card": naming.at})
        label = "Suggest again" if known else "Suggest names"
        parts.button(row, "ask_ideas", label, self.ask_ideas)

    def _signs(self, panel: types.Object, naming: Naming) -> None:
        row = panel.h_stack("signs", gap=1, align_y="center")
        if naming.before():
            self._sign(row, SAME, f"Same: {show_name(naming.before())}")
        self._sign(row, NOTHING, "Background")
        self._sign(row, SKIP, "Leave it")
        if naming.at:
            self._sign(row, BACK, "Back")
        row.btn("split_card", label="Split it", on_click=self.split_card, variant="outlined")

    def _sign(self, row: types.Object, word: str, label: str) -> None:
        name = {SAME: "same", ALIKE: "alike", NOTHING: "nothing", SKIP: "skip", BACK: "back"}[word]
        label, params = f"{label} ({word})", {"word": word}
        row.btn(name, label=label, on_click=self.press, params=params, variant="outlined")

    def _neighbour(self, panel: types.Object, key: str, card: ClusterCard, number: int) -> None:
        row = panel.h_stack(key, gap=2, align_y="center")
        alt = f"Crops of class {card.cluster}"
        row.img("picture", height="48px", alt_text=alt, on_click=self.go_to_card, params={"card": number})
        name = f"**{plain_markdown(show_name(card.name))}**, " if card.name else ""
        row.md(f"{name}class {card.cluster}", name="who")


def _in_sight(naming: Naming) -> dict[str, int]:
    """Return the key of a card in the panel's data -> its number, of those that are shown."""
    first = naming.at - AROUND
    numbers = range(max(0, first), min(len(naming.cards), naming.at + AROUND + 1))
    return {"card" if number == naming.at else f"around_{number - first}": number for number in numbers}


def _naming(ctx: ExecutionContext) -> tuple[RunRecord | None, Naming | None]:
    """Return the run whose classes are being named, and where the person is, as the server has it."""
    told = Naming.of_state(ctx.panel.state.naming)
    if told is None:
        return None, None
    naming = sitting(told).naming
    run = next((each for each in parts.runs_of(ctx) if each.key == naming.run), None)
    return (run, naming) if run is not None and run.is_complete else (None, None)
