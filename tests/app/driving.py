"""What a person does in the App, each act tried again until the App shows that it was heard.

A click that falls before a panel listens, or while it is drawn anew, is lost without a word, most often where
other work uses the machine. So no test clicks and hopes, and none sleeps: an act names what it leads to.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from playwright.sync_api import Locator, Page, TimeoutError

ARTIFACTS = Path(__file__).resolve().parents[2] / "test-artifacts"
SECONDS = 180.0  # how long anything may take on a machine that is busy with other work

#: Nothing is asked of the server, nothing moves, every picture and every tile in sight is there.
SETTLED = """
() => window.unanswered === 0 && performance.now() - window.lastAnswer > 150
  && document.getAnimations().every(
    a => a.playState !== 'running' || a.effect.getTiming().iterations === Infinity)
  && [...document.images].every(i => i.complete)
  && [...document.querySelectorAll('[data-cy=looker] canvas')].every(
    c => c.getAttribute('canvas-loaded') === 'true')
"""

#: it is to be seen, or was in a message that has faded since
SAID = """
text => [document.body.innerText, ...window.told].some(
  each => each.replace(/\\s+/g, ' ').toLowerCase().includes(text.toLowerCase()))
"""

RELOAD_AFTER, COMES_BACK = 10_000.0, 3_000.0  # milliseconds


def act(
    do: Callable[[float], object], heard: Locator, state: str = "visible", *, stays: bool = False
) -> None:
    """Call ``do(milliseconds)`` until ``heard`` is in that state (as in ``Locator.wait_for``).

    The second try comes after two seconds, each further one after twice as long: what is only late is not
    done twice. What is to go away has gone only once the act was possible. ``stays``: it is still so when all
    is answered, which matters where a second click takes the first one back.
    """
    end, patience, done, changes = time.monotonic() + SECONDS, 2000.0, False, False
    while True:
        try:
            changes = changes or heard.is_visible() != (state == "visible")
            if not (done and heard.is_visible() == (state == "visible")):
                do(patience)
                done = True
            heard.wait_for(state=state, timeout=patience)
            if stays:
                settle(heard.page)
            if not stays or heard.is_visible() == (state == "visible"):
                return
            if time.monotonic() > end:
                raise TimeoutError(f"{heard} does not stay {state}")
        except TimeoutError:  # of a click, perhaps, that was heard: its button has gone with it
            done = done or (changes and heard.is_visible() == (state == "visible"))
            if time.monotonic() > end:
                raise
        patience = min(2 * patience, 30_000.0)


def click(button: Locator, heard: Locator, state: str = "visible", *, stays: bool = False) -> None:
    """Click a button until it is heard."""
    act(lambda wait: button.click(timeout=wait), heard, state, stays=stays)


def open_dataset(page: Page, dataset, view: str = "") -> None:
    """Open a dataset, and wait for all of its tiles in sight."""
    page.goto(f"/datasets/{dataset.name}{view}")
    page.locator("[data-cy=looker]").first.wait_for()
    settle(page)


def open_panel(page: Page, name: str) -> Locator:
    """Open a panel from the menu beside the tabs."""
    option = page.locator(f"[data-cy=new-panel-option-{name}]")
    panel = page.locator(f"[data-cy=panel-content-{name}]")
    click(page.locator("[data-cy=new-panel-btn]").first, option)
    click(option, panel)
    return panel


def open_pseudomasks(page: Page, dataset) -> Locator:
    """Open a dataset and the panel "Pseudo-masks", and wait for the figures of its run."""
    open_dataset(page, dataset)
    panel = page.locator("[data-cy=panel-content-pseudomasks]")
    if not panel.is_visible():  # the server remembers that it was open
        open_panel(page, "pseudomasks")
    panel.locator(".js-plotly-plot").last.wait_for()
    settle(page)
    return panel


def open_more(page: Page, panel: Locator, heard: Locator) -> Locator:
    """Open what is behind *More* in the panel, unless it is open; returns ``heard``, which is there."""
    if not heard.is_visible():
        click(panel.get_by_role("button", name="More"), heard, stays=True)
    return heard


def modal(page: Page) -> Locator:
    """The window of an operator: its form, its progress, what it says at the end."""
    return page.locator("[data-cy=operators-prompt-modal]")


def open_form(page: Page, button: Locator, shows: str = "") -> Locator:
    """Click what opens the form of an operator; ``shows`` is text that the form has when it is complete."""
    click(button, modal(page))
    return _complete(page, shows)


def call(page: Page, label: str, shows: str = "") -> Locator:
    """Open the form of an operator by its label in the list of all operators."""
    browser = page.locator("[data-cy=operators-browser]")

    def call_it(wait: float) -> None:
        if not browser.is_visible():
            if wait > RELOAD_AFTER:  # the page hears no key any more
                page.reload()
                settle(page)
            page.evaluate("document.activeElement?.blur()")  # a field would take the key for text
            page.keyboard.press("Backquote")  # the same key closes it: from the beginning where it has gone
            browser.wait_for(timeout=wait)
        browser.locator("input").fill(label, timeout=wait)
        browser.get_by_text(label).first.click(timeout=wait)

    act(call_it, modal(page))
    return _complete(page, shows)


def _complete(page: Page, shows: str) -> Locator:
    if shows:
        modal(page).get_by_text(shows).first.wait_for()
    settle(page)
    return modal(page)


def change(page: Page, do: Callable[[], object], sent: str) -> None:
    """Change a value in a form, and wait for the form that the server makes of it; it is told ``sent``."""

    def is_answer(response) -> bool:
        return response.url.endswith("/resolve-type") and sent in (response.request.post_data or "")

    with page.expect_response(is_answer):
        do()
    settle(page)


def choose(page: Page, box: Locator, name: str, sent: str) -> None:
    """Choose from a list that drops down."""
    option = page.get_by_role("option", name=name)
    click(box, option)
    change(page, lambda: act(lambda wait: option.click(timeout=wait), option, "detached"), sent)


def execute(page: Page, done: str, button: str = "Execute") -> None:
    """Execute the form, and wait for what is said at the end."""
    start = modal(page).get_by_role("button", name=button, exact=True)
    page.evaluate("window.told = []")
    click(start, start, "hidden")
    wait_until_said(page, done)


def wait_until_said(page: Page, text: str) -> None:
    """Wait until the App says something; messages that came and faded since the last form count."""
    page.wait_for_function(SAID, arg=text, timeout=SECONDS * 1000, polling=200)


def close(page: Page, button: str = "Done") -> None:
    """Close the window of an operator.

    Where the App draws anew, the window goes and comes back, closed or not: it is closed until it stays so.
    """
    end = page.get_by_role("button", name=button, exact=True)
    click(end, modal(page), "detached", stays=True)
    while _is_there(page):
        click(end, modal(page), "detached", stays=True)
    # where the App draws anew below a window, it may leave all else hidden from those who cannot see
    page.evaluate("document.getElementById('root').removeAttribute('aria-hidden')")


def _is_there(page: Page) -> bool:
    """Tell whether the window of an operator is there, or comes back."""
    with suppress(TimeoutError):
        modal(page).wait_for(timeout=COMES_BACK)
    return modal(page).is_visible()


def settle(page: Page) -> None:
    """Wait until nothing is asked of the server, nothing moves and all pictures are there."""
    page.wait_for_function(SETTLED)


def picture(page: Page, name: str) -> None:
    """Leave a picture of what a person sees in ``test-artifacts``."""
    settle(page)
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png")


def wait_for_tiles(page: Page, count: int) -> None:
    """Wait until so many images are drawn in the grid, with what lies over them, and all is answered."""
    drawn = "n => document.querySelectorAll('canvas[canvas-loaded=true]').length >= n"
    page.wait_for_function(drawn, arg=count)
    settle(page)  # where the App has just been told to load the dataset anew, those were the old ones
    page.wait_for_function(drawn, arg=count)
