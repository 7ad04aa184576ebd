"""Take the screenshots of docs/lab.md: open a lab, and use it in Chromium as students and the teacher do.

python scripts/dev/document_lab.py [FOLDER], by default img/; takes two minutes and needs Chromium (apt-get install
chromium).
"""

import io
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

IMG = Path(__file__).parents[2] / "img"
SIDE = "320"
NAMES = ("Ada", "Ben", "Cleo")


def open_lab(folder: str) -> "tuple[subprocess.Popen[str], str, str]":
    """Open a lab in `folder`; return its process, and the addresses for students and for the teacher."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "gluon_nst", "lab", "--dir", folder, "--port", str(port), "--password", "oaks"]
    lab = subprocess.Popen([*command, "--preload"], stdout=subprocess.PIPE, text=True)
    addresses = {}
    for line in lab.stdout or ():
        print(line, end="")
        if line.startswith(("students:", "teacher:")):
            who, address = line.split()
            addresses[who] = address
        if line.startswith("ready"):
            break
    return lab, addresses["students:"], addresses["teacher:"]


def sign_in(page: Page, address: str, name: str) -> None:
    """Sign in as a student."""
    page.goto(address)
    page.fill("#name", name)
    page.fill("#password", "oaks")
    page.click("button")
    expect(page.locator("#contents img")).to_have_count(2)


def paint(page: Page, recipe: str, side: str, **settings: str) -> None:
    """Start a run."""
    if not page.locator("#recipe").is_visible():
        page.click("#form summary")
    for name, value in {"recipe": recipe, "side": side, **settings}.items():
        page.select_option(f"#{name}", value)
    page.click("#start")


def take_screenshot(page: Page, path: Path, whole: bool = True) -> None:
    """Save a screenshot of the page."""
    page.wait_for_timeout(700)
    with Image.open(io.BytesIO(page.screenshot(full_page=whole))) as picture:
        picture.convert("RGB").save(path, quality=80, optimize=True)
    print(path)


def main(folder: Path) -> None:
    """Take all screenshots."""
    expect.set_options(timeout=240_000)
    with tempfile.TemporaryDirectory() as kept, sync_playwright() as playwright:
        lab, students, teacher = open_lab(kept)
        try:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            pages = [browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light") for _ in NAMES]
            for page, name in zip(pages, NAMES):
                sign_in(page, students, name)
            ada, ben, cleo = pages
            paint(ada, "fine", SIDE)
            expect(ada.locator("#status")).to_contain_text(re.compile("Epoch [1-9][0-9]"))
            for _ in range(7):
                ada.press("#now-style_weight", "ArrowRight")
            ada.click("#steer-apply")
            expect(ada.locator("#curve")).to_contain_text("changed: Style weight")
            expect(ada.locator("#status")).to_contain_text(re.compile("Epoch (9[0-9]|1[0-9][0-9])"))
            ada.fill("#compare-slider", "70")
            take_screenshot(ada, folder / "lab.jpg", whole=False)
            expect(ada.locator("#status")).to_contain_text("Done")
            paint(ada, "fine", SIDE, preserve_colors="luminance")
            paint(ben, "fine", SIDE)
            paint(cleo, "d2l-2019", "192")
            expect(ada.locator("#cards li")).to_have_count(2)
            expect(ada.locator("#status")).to_contain_text("Done")
            for box in ada.locator("#cards input").all():
                box.check()
            expect(ada.locator("#pair img")).to_have_count(2)
            ada.locator("#gallery").scroll_into_view_if_needed()
            ada.wait_for_timeout(700)
            with Image.open(io.BytesIO(ada.locator("#gallery").screenshot())) as picture:
                picture.convert("RGB").save(folder / "lab-compare.jpg", quality=80, optimize=True)
            print(folder / "lab-compare.jpg")
            expect(ben.locator("#status")).to_contain_text("Done")
            page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
            page.goto(teacher)
            expect(page.locator("#sheet img")).to_have_count(3)
            take_screenshot(page, folder / "lab-teacher.jpg")
            phone = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark", device_scale_factor=2)
            phone.context.add_cookies(ada.context.cookies())
            phone.goto(students)
            expect(phone.locator("#after")).to_be_visible()
            phone.locator("#run").scroll_into_view_if_needed()
            phone.locator("#run").evaluate("section => section.scrollIntoView()")
            take_screenshot(phone, folder / "lab-phone.jpg", whole=False)
            browser.close()
        finally:
            lab.terminate()
            lab.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else IMG)
