"""The App server, and a browser that asks nothing outside this machine.

All tests of this folder run one after the other in one process: one server serves them.
"""

from __future__ import annotations

import shutil
import sys
import urllib.request
from contextlib import suppress
from urllib.parse import urlparse

import pytest

from tests.servers import ROOT, Port, spawn, stop, wait_until_ready

from .driving import ARTIFACTS

#: The tooltip of a first visit would swallow clicks. Questions to the server are counted, but for the stream
#: of events, which stays open: `driving.settle` waits until all are answered.
PREPARE = """
try { localStorage.setItem('fiftyone-enterprise-tooltip-seen', 'true') } catch (e) {}
window.unanswered = 0
window.lastAnswer = performance.now()
const ask = window.fetch
window.fetch = async (...question) => {
  const url = String(question[0]?.url ?? question[0])
  if (url.includes('/events')) return ask(...question)
  window.unanswered++
  try { return await ask(...question) }
  finally { window.unanswered--; window.lastAnswer = performance.now() }
}
window.told = []
new MutationObserver(() => document.querySelectorAll('#notistack-snackbar').forEach(toast => {
  if (window.told.at(-1) !== toast.innerText) window.told.push(toast.innerText)
})).observe(document, { childList: true, subtree: true, characterData: true })
"""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Add what the App showed to the report of a test that failed, and leave a picture of it."""
    report = yield
    page = getattr(item, "funcargs", {}).get("page")
    if report.failed and page is not None:
        log = (ROOT / "app.log").read_text(errors="replace")
        report.sections.append(("end of the log of the App's server", log[-6000:]))
        with suppress(Exception):  # of a browser that is gone
            ARTIFACTS.mkdir(exist_ok=True)
            page.screenshot(path=ARTIFACTS / f"failed_{item.name}.png", timeout=10_000)
            report.sections.append(("messages of the App", "\n".join(page.evaluate("window.told"))))
            report.sections.append(("what the App showed", page.inner_text("body", timeout=10_000)))
    return report


@pytest.fixture(scope="session")
def app(mongo) -> str:
    """The URL of a running App server that has loaded this plugin."""
    port = Port().release()
    command = [sys.executable, "-m", "fiftyone.server.main", "--port", port, "--address", "127.0.0.1"]
    # the server waits for open event streams when asked to end, so its death signal cannot be TERM
    process = spawn(command, "app.log", deathsig="KILL", cwd="/")
    url = f"http://127.0.0.1:{port}"
    wait_until_ready(
        process, "app.log", lambda: urllib.request.urlopen(f"{url}/fiftyone", timeout=2).read(), 120
    )
    yield url
    stop(process)


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, the system's.

    Stopped after every module: while it runs, its event loop is this thread's, and operators that are called
    from Python then return tasks instead of results.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    executable = next(filter(None, map(shutil.which, names)), None)
    if executable is None:
        pytest.skip(f"no browser: none of {', '.join(names)} is on PATH")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser, app):
    """A fresh page, for ``page.goto("/datasets/NAME")``; it asks nothing outside 127.0.0.1."""
    context = browser.new_context(viewport={"width": 1600, "height": 900}, base_url=app)
    context.add_init_script(PREPARE)
    context.route(lambda url: urlparse(url).hostname != "127.0.0.1", lambda route: route.abort())
    page = context.new_page()
    page.set_default_timeout(120_000)
    yield page
    context.close()
