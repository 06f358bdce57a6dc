"""Look at every page of `_docs`, first as files, then in a headless Chromium without a network; screenshots go to `_screenshots`."""
import re
import shutil
import sys
from contextlib import suppress
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

from playwright.sync_api import Page, TimeoutError, sync_playwright

DOCS, SCREENSHOTS = Path("_docs"), Path("_screenshots")
DESKTOP, PHONE = {"width": 1400, "height": 1000}, {"width": 390, "height": 844}
SYMBOL = "AADLayer"  # what the search is asked for
PICTURE_FIRST = re.compile(r"ch[123]_|ch4_faceshifter/(attribute_encoder|aad_generator|discriminator)")  # pages whose first screen shows a picture


class Links(HTMLParser):
    "The links, pictures and anchors of one page."
    def __init__(self, html: str):
        super().__init__()
        self.targets, self.anchors = set(), set()
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors |= {attrs[key] for key in ("id", "name") if attrs.get(key)}
        self.targets |= {attrs[key] for key in ("href", "src") if attrs.get(key) is not None}


def broken_links() -> list[str]:  # one line each
    "Find links and pictures whose file, or whose anchor in the file, is not in the site. Links to other sites are not followed."
    pages = {path.resolve(): Links(path.read_text(encoding="utf-8")) for path in DOCS.rglob("*.html")}
    faults = []
    for path, page in pages.items():
        for target in sorted(page.targets):
            url = urlsplit(target)
            if url.scheme or url.netloc: continue
            file = (path.parent / unquote(url.path)).resolve() if url.path else path
            if file.is_dir(): file /= "index.html"
            anchor = unquote(url.fragment)
            if not file.is_file() or (anchor and file in pages and anchor not in pages[file].anchors):
                faults.append(f"{path.relative_to(DOCS.resolve())}: nothing at {target}")
    return faults


class Server(ThreadingHTTPServer):
    "Serves `_docs` on a free port of this machine."
    def __init__(self):
        class Quiet(SimpleHTTPRequestHandler):
            def log_message(self, *args): pass
        super().__init__(("127.0.0.1", 0), partial(Quiet, directory=DOCS))
        Thread(target=self.serve_forever, daemon=True).start()
        self.home = f"http://127.0.0.1:{self.server_port}/"


def watch(page: Page, home: str, faults: list[str]) -> None:
    "Note console errors, failed requests, and any request that would leave this machine."
    def note(what: str): faults.append(f"{page.url.removeprefix(home)}: {what}")
    page.on("console", lambda message: note(f"console {message.type}: {message.text}") if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: note(f"script error: {error}"))
    page.on("requestfailed", lambda request: note(f"request failed: {request.url}"))
    page.on("response", lambda response: note(f"status {response.status}: {response.url}") if response.status >= 400 else None)
    page.on("request", lambda request: None if request.url.startswith((home, "data:")) else note(f"asks another machine: {request.url}"))


def look(page: Page, url: str, name: str) -> list[str]:  # what is wrong with how it looks
    "Load a page and take its picture: equations rendered, pictures there, nothing wider than the screen."
    page.goto(url)
    with suppress(TimeoutError): page.wait_for_function("document.querySelectorAll('.math').length == document.querySelectorAll('.math .katex').length")
    seen = page.evaluate("""() => ({
        equations: document.querySelectorAll('.math').length, rendered: document.querySelectorAll('.math .katex').length,
        wrong: [...document.querySelectorAll('.katex-error')].map(e => e.title),
        raw: [...document.querySelectorAll('main :is(p, li, td, th, h1, h2, h3, h4)')].map(e => e.cloneNode(true)).flatMap(e => {
            e.querySelectorAll('code, .math').forEach(inner => inner.remove());
            return e.textContent.match(/\\$[^$\\s][^$]*\\$|\\$\\$|\\\\\\(|\\\\\\[/g) ?? [];
        }),
        undocumented: [...document.querySelectorAll('main h3')].filter(h => h.parentElement.innerText.includes('Call self as a function')).map(h => h.innerText),
        missing: [...document.images].filter(i => !i.naturalWidth).length,
        silent: [...document.querySelectorAll('main :is(img, svg, canvas)')].filter(i => !i.closest('a, button, .katex')
            && !(i.getAttribute('alt') || i.getAttribute('aria-label'))).length,
        first: [...document.querySelectorAll('main :is(img, svg, canvas)')].some(i => i.getBoundingClientRect().width > 60 && i.getBoundingClientRect().top < window.innerHeight - 60),
        clipped: [...document.querySelectorAll('main pre.sourceCode')].filter(pre => pre.scrollWidth > pre.clientWidth + 1).map(pre => pre.innerText.slice(0, 40)),
        unlinked: [...document.querySelectorAll('main')].map(m => m.cloneNode(true)).flatMap(m => {
            m.querySelectorAll('a, pre, code').forEach(inner => inner.remove());
            return m.textContent.match(/arXiv[ :]\\d{4}\\.\\d{4,5}/g) ?? [];
        }),
        width: document.documentElement.scrollWidth, screen: window.innerWidth})""")
    page.screenshot(path=SCREENSHOTS / f"{name}-{page.viewport_size['width']}.png", full_page=True)
    faults = [f"equation: {error}" for error in seen["wrong"]]
    if seen["rendered"] < seen["equations"]: faults.append(f"{seen['equations'] - seen['rendered']} of {seen['equations']} equations are not rendered")
    if seen["raw"]: faults.append(f"TeX shows as text: {seen['raw'][:3]}")
    if seen["undocumented"]: faults.append(f"no docstring: {seen['undocumented'][:3]}")
    if seen["silent"]: faults.append(f"{seen['silent']} pictures have no alt text")
    if seen["clipped"]: faults.append(f"code is cut off: {seen['clipped'][:3]}")
    if seen["unlinked"]: faults.append(f"arXiv ids without a link: {seen['unlinked'][:3]}")
    if page.viewport_size == DESKTOP and PICTURE_FIRST.search(url) and not seen["first"]: faults.append("no picture on the first screen")
    faults += still_sliders(page)
    if seen["missing"]: faults.append(f"{seen['missing']} pictures are missing")
    if seen["width"] > seen["screen"]: faults.append(f"is {seen['width']} pixels wide on a screen of {seen['screen']}")
    return [f"{name}: {fault}" for fault in faults]


def still_sliders(page: Page) -> list[str]:  # one line each
    "Move every slider of the interactive figures; what is drawn must change."
    return page.evaluate("""() => [...document.querySelectorAll('main .try-it input[type=range]')].flatMap(slider => {
        const box = slider.closest('.try-it'), canvas = box.querySelector('canvas');
        const drawn = () => canvas ? canvas.toDataURL() : box.querySelector('.shown').innerHTML;
        const before = drawn(), value = slider.value;
        slider.value = value == slider.max ? slider.min : slider.max;
        slider.dispatchEvent(new Event('input', {bubbles: true}));
        const moved = drawn() !== before;
        slider.value = value;
        slider.dispatchEvent(new Event('input', {bubbles: true}));
        return moved ? [] : [`slider ${slider.name} of ${box.id} changes nothing`];
    })""")


def faint_results(page: Page) -> list[str]:  # one line each
    "Find texts of the search results whose contrast with their ground is below 4.5 to 1 (WCAG AA)."
    return page.evaluate("""() => {
        const channels = color => color.match(/[\\d.]+/g).map(Number);
        const light = color => channels(color).slice(0, 3).map(c => c / 255).map(c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
            .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
        const ground = e => { while (e && (channels(getComputedStyle(e).backgroundColor)[3] ?? 1) === 0) e = e.parentElement; return e ? getComputedStyle(e).backgroundColor : 'rgb(255, 255, 255)'; };
        return [...document.querySelectorAll('.search-result > div')].flatMap(e => {
            const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x), ratio = (a + .05) / (b + .05);
            return ratio < 4.5 ? [`${e.className} has a contrast of ${ratio.toFixed(1)}`] : [];
        }).slice(0, 3);
    }""")


def walk(page: Page, home: str) -> list[str]:  # what does not lead where it should
    "Go through the sidebar to every page, and search for a symbol."
    faults = []
    page.goto(home, wait_until="networkidle")
    links = page.eval_on_selector_all("#quarto-sidebar a[href]", "links => links.map(a => a.href)")
    listed = {unquote(urlsplit(link).path).lstrip("/") for link in links}
    faults += [f"{path.relative_to(DOCS)} is not in the sidebar" for path in DOCS.rglob("*.html") if str(path.relative_to(DOCS)) not in listed]
    index = Links((DOCS / "index.html").read_text(encoding="utf-8").partition("<main")[2]).targets
    faults += [f"{path.relative_to(DOCS)} is not in the table of the first page" for path in DOCS.glob("*/*.html") if str(path.relative_to(DOCS)) not in index]
    for section in page.query_selector_all("#quarto-sidebar .sidebar-item-section"):
        chapter, first = section.inner_text().splitlines()[0], section.query_selector("li a[href]")
        if not first: faults.append(f"chapter {chapter!r} has no page")
    if not any(SYMBOL in path.read_text(encoding="utf-8") for path in DOCS.rglob("*.html")): return faults
    page.fill(".smalldocs-search input >> visible=true", SYMBOL)
    page.wait_for_selector(".smalldocs-search-results.show")
    if found := page.query_selector(".search-result"):
        faults += faint_results(page)
        if SYMBOL not in found.inner_text().splitlines()[:2]: faults.append(f"the search for {SYMBOL} lists {found.inner_text().splitlines()[:2]} first")
        found.click()
        page.wait_for_load_state("networkidle")
        if SYMBOL not in page.inner_text("main"): faults.append(f"the search for {SYMBOL} leads to {page.url.removeprefix(home)}, which does not name it")
    else: faults.append(f"the search does not find {SYMBOL}")
    return faults


def walk_phone(page: Page, home: str) -> list[str]:  # what is out of reach
    "At phone width the sidebar opens by its button and leads to a chapter."
    page.goto(home, wait_until="networkidle")
    page.click(".quarto-btn-toggle >> visible=true")
    link = page.locator("#quarto-sidebar .sidebar-item-section li a").first
    link.wait_for(state="visible", timeout=5000)
    page.wait_for_timeout(500)  # the sidebar slides
    page.screenshot(path=SCREENSHOTS / "sidebar-390.png")
    link.click()
    page.wait_for_load_state("networkidle")
    return [] if page.url.rstrip("/") != home.rstrip("/") else ["the sidebar leads nowhere at phone width"]


def main() -> list[str]:
    faults = broken_links()
    shutil.rmtree(SCREENSHOTS, ignore_errors=True)
    SCREENSHOTS.mkdir()
    home = Server().home
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for size, scheme in ((DESKTOP, "light"), (PHONE, "dark")):
            page = browser.new_page(viewport=size, color_scheme=scheme)
            watch(page, home, faults)
            for path in sorted(DOCS.rglob("*.html")):
                file = str(path.relative_to(DOCS))
                faults += look(page, home + file, re.sub(r"\W+", "-", file.removesuffix(".html")))
            faults += (walk if size is DESKTOP else walk_phone)(page, home)
        browser.close()
    return faults


if __name__ == "__main__":
    pages = len(list(DOCS.rglob("*.html")))
    if not pages: sys.exit("There is no site: run `make docs` first")
    if faults := main(): sys.exit("\n".join(faults))
    print(f"{pages} pages, each at {DESKTOP['width']} and {PHONE['width']} pixels: nothing wrong")
