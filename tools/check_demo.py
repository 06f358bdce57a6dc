"""Use the page of `faceshifter serve` in Chromium: upload, swap, dial, clip, wrong file, huge file, two people at once, keyboard, a phone; and see that neither browser nor server asks another host.

    python tools/check_demo.py [SCREENSHOTS]
"""
import re
import shutil
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

import uvicorn
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from faceshifter.demo import DemoLimits, make_app
from faceshifter.swap import FaceSwapper, demo_portraits

asked: list[str] = []  # names and addresses outside this machine that Python looked up or connected to


def record(event: str, args: tuple):
    "An audit hook: note what would leave this machine."
    if event not in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"): return
    address = args[1] if event == "socket.connect" else args[0]
    host = address[0] if isinstance(address, tuple) else address
    if event == "socket.connect" and not isinstance(address, tuple): return  # a Unix socket
    if host not in (None, "", "127.0.0.1", "::1", "localhost", "0.0.0.0"): asked.append(f"{event} {host}")


def write_clip(photo: Image.Image, path: Path):
    "Four frames of a photograph as a clip."
    import av
    import numpy as np
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 256, 300, "yuv420p"
        for _ in range(4):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(photo.convert("RGB").resize((256, 300))), "rgb24")))
        file.mux(stream.encode())


def start(folder: Path) -> str:
    "The page on a free port of the loopback, in a thread."
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    limits = DemoLimits(max_file_size=3_000_000, max_pixels=4_000_000)
    server = uvicorn.Server(uvicorn.Config(make_app(FaceSwapper.from_pretrained(), folder, limits), host="127.0.0.1", port=port, log_level="warning"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started: time.sleep(0.1)
    return f"http://127.0.0.1:{port}"


def upload(page: Page, name: str, path: Path):
    page.locator(f"#{name} input[type=file]").first.set_input_files(str(path))


def swap(page: Page) -> str:
    "Press the button; the text of the answer, or of the error."
    page.locator("#swap").click()
    answer = page.locator("#said").get_by_text(re.compile("face"))
    error = page.locator(".toast-body")
    expect(answer.or_(error).first).to_be_visible(timeout=60_000)
    return (error if error.count() else answer).first.inner_text()


def close_errors(page: Page):
    for button in page.locator(".toast-close").all(): button.click()


def main():
    shots = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
    shots.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp())
    sys.addaudithook(record)
    collins, hopper = demo_portraits()
    collins.save(folder / "collins.png")
    hopper.convert("RGB").save(folder / "hopper.jpg")
    Image.new("RGB", (2100, 2000), "gray").save(folder / "pixels.png")
    (folder / "text.png").write_text("no picture")
    write_clip(hopper, folder / "short.mp4")
    (folder / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nshort.mp4\n")
    (folder / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 4_000_000)
    address, foreign = start(folder / "server"), []
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])

        def visit(width: int = 1280) -> Page:
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.on("request", lambda request: request.url.startswith((address, "data:", "blob:")) or foreign.append(request.url))
            page.on("console", lambda message: "Content Security Policy" in message.text and foreign.append(message.text))
            page.goto(address)
            expect(page.locator("#swap")).to_be_visible(timeout=60_000)
            return page

        page = visit()
        said = swap(page)
        assert "agreed" in said, said
        page.screenshot(path=shots / "consent.png", full_page=True)
        close_errors(page)
        page.get_by_label("The people in these pictures agreed to this").check()
        upload(page, "source", folder / "collins.png")
        upload(page, "target", folder / "hopper.jpg")
        expect(page.locator("#target img").first).to_be_visible(timeout=30_000)
        page.wait_for_timeout(1000)
        said = swap(page)
        assert "1 face in" in said, said
        expect(page.locator("#result img").first).to_be_visible(timeout=30_000)
        page.screenshot(path=shots / "swap.png", full_page=True)
        left = [path for path in (folder / "server" / "uploads").rglob("*") if path.name in ("collins.png", "hopper.jpg")]
        assert not left, f"uploads are still there: {left}"
        first = page.locator("#identity").inner_text()
        page.locator("#strength input[type=number]").fill("0.3")
        page.locator("#strength input[type=number]").press("Tab")
        swap(page)
        page.wait_for_function("old => document.querySelector('#identity').innerText !== old", arg=first, timeout=60_000)
        with page.expect_download(timeout=30_000) as download: page.locator("#download").click()
        assert b"compositeWithTrainedAlgorithmicMedia" in Path(download.value.path()).read_bytes()
        print("upload, swap, dial, download: as they should be; both uploads deleted")

        for name, text in (("text.png", "Cannot read 'text.png'"), ("pixels.png", "more than 4,000,000 pixels"), ("huge.png", "exceed")):
            other = visit()
            upload(other, "source", folder / name)
            error = other.locator(".toast-body").first
            expect(error).to_be_visible(timeout=30_000)
            said = error.inner_text()
            assert text in said, (name, said)
            print(f"{name}: {' '.join(said.split())[:140]}")
            other.screenshot(path=shots / f"{name.removesuffix('.png')}-refused.png", full_page=True)
            assert not list((folder / "server").rglob(name)), f"{name} is still there"
            other.close()

        page.get_by_role("tab", name="Short clip").click()
        upload(page, "clip", folder / "list.mp4")
        expect(page.locator("#clip video")).to_be_visible(timeout=30_000)
        page.locator("#swap-clip").click()
        expect(page.locator(".toast-body").first).to_contain_text("is no clip", timeout=30_000)
        close_errors(page)
        page.locator("#clip").get_by_label(re.compile("clear|remove", re.I)).first.click()
        upload(page, "clip", folder / "short.mp4")
        expect(page.locator("#clip video")).to_be_visible(timeout=30_000)
        page.locator("#swap-clip").click()
        expect(page.locator("#said").get_by_text("4 of 4 frames swapped")).to_be_visible(timeout=120_000)
        page.screenshot(path=shots / "clip.png", full_page=True)
        print("a clip was swapped, a playlist refused")

        both = [visit(), visit(390)]
        for n, one in enumerate(both):
            one.locator(f"#example-{n}").click()
            expect(one.locator("#target img").first).to_be_visible(timeout=30_000)
            one.get_by_label("The people in these pictures agreed to this").check()
        for one in both: one.locator("#swap").click()
        for one in both: expect(one.locator("#said").get_by_text("1 face in")).to_be_visible(timeout=60_000)
        width = both[1].evaluate("document.documentElement.scrollWidth")
        assert width <= 392, f"the page is {width} pixels wide on a phone"
        both[1].screenshot(path=shots / "phone.png", full_page=True)
        print("two people at once, one of them on a phone: both were answered")

        page = visit()
        page.locator("#example-0").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#target img").first).to_be_visible(timeout=30_000)
        page.get_by_label("The people in these pictures agreed to this").focus()
        page.keyboard.press("Space")
        page.locator("#swap").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#said").get_by_text("1 face in")).to_be_visible(timeout=60_000)
        print("by keyboard alone: answered")
        browser.close()
    assert not foreign, f"the browser asked other hosts: {foreign}"
    assert not asked, f"the server asked other hosts: {asked}"
    print(f"neither the browser nor the server asked another host; screenshots in {shots}")


if __name__ == "__main__": main()
