"""The lab page in a browser: desktop and phone widths, light and dark, mouse and keyboard."""

import contextlib
import json
import os
import re
import shutil
import signal

from gluon_nst import recipes

import pytest
from PIL import Image

from lab_server import Lab, Student, png

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright, of the extra test")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe, of the extra test")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and os.environ.get("CI") != "true", reason="needs Chromium (apt-get install chromium)"
)
expect = playwright.expect
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def lab(converted, tmp_path_factory):
    with Lab(tmp_path_factory.mktemp("lab"), "--weights", converted, "--workers", 2) as lab:
        yield lab


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        options = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        browser = started.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@contextlib.contextmanager
def page_of(browser, lab, **options):
    """Open the page as a new student; check that it logs no errors and sends no requests to other hosts."""
    context = browser.new_context(accept_downloads=True, **{"viewport": {"width": 1280, "height": 900}, **options})
    page = context.new_page()
    wrong, asked = [], []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("request", lambda request: asked.append(request.url))
    page.set_default_timeout(60_000)
    page.goto(lab.url)
    expect(page.locator("#contents img")).not_to_have_count(0)
    page.wrong = wrong
    yield page
    assert wrong == []
    assert asked
    assert all(url.startswith((f"{lab.url}/", "blob:")) for url in asked)
    context.close()


def expect_text(page, where, text, seconds=60):
    """Wait until the element `where` contains a text."""
    expect(page.locator(where)).to_contain_text(text, timeout=seconds * 1000)


def open_settings(page):
    """Show the settings that are in the drawer."""
    if not page.locator("#epochs").is_visible():
        page.locator("#form summary").press("Enter")


def start(page, epochs, side="128", recipe="d2l-2019"):
    """Fill the form and press Start, by keyboard."""
    open_settings(page)
    page.select_option("#recipe", recipe)
    page.select_option("#side", side)
    page.fill("#epochs", str(epochs))
    page.locator("#start").press("Enter")
    expect(page.locator("#shown")).to_be_visible()


def upload(page, tmp_path, name="mine.png"):
    (tmp_path / name).write_bytes(png(120, 180, 7))
    page.set_input_files("#file", tmp_path / name)
    expect_text(page, "#said", f"{name} is now the content picture (120 × 180 pixels).")
    expect(page.locator(f'.thumb:has-text("{name}")').first.locator("input")).to_be_checked()


def test_a_student_runs_steers_compares_and_downloads(browser, lab, tmp_path):
    with page_of(browser, lab) as page:
        upload(page, tmp_path)
        start(page, epochs=25)
        expect_text(page, "#status", "Epoch")
        first = page.get_attribute("#after", "src")
        expect(page.locator("#after")).not_to_have_attribute("src", first or "")  # the composite is updated
        page.locator("#pause").press("Enter")
        expect_text(page, "#status", "Paused after")
        assert page.evaluate("document.activeElement.id") == "go-on"
        page.locator("#now-style_weight").focus()
        for _ in range(5):
            page.keyboard.press("ArrowRight")
        assert page.get_attribute("#now-style_weight", "aria-valuetext") == "3200"
        page.locator("#steer-apply").press("Enter")
        expect_text(page, "#said", "Weights changed: Style weight 3200.")
        page.locator("#go-on").press("Enter")
        expect_text(page, "#status", "Done: 50 epochs")
        expect_text(page, "#curve", "changed: Style weight 3200")
        assert "style" in page.get_attribute("#curve svg", "aria-label")
        # the sliders for before and after, and for intermediate composites
        page.locator("#compare-slider").focus()
        page.keyboard.press("Home")
        assert page.locator("#after").evaluate("image => image.style.clipPath") == "inset(0px 100% 0px 0px)"
        page.keyboard.press("End")
        page.locator("#along").focus()
        page.keyboard.press("Home")
        assert page.get_attribute("#along", "aria-valuetext") == "after 1 of 50 epochs"
        expect(page.locator("#after")).to_have_attribute("src", re.compile("moments/1"))
        page.keyboard.press("End")
        assert page.get_attribute("#along", "aria-valuetext") == "latest"
        # a second run with a film, compared with the first
        start(page, epochs=3)
        expect_text(page, "#status", "Done: 6 epochs")
        page.locator("#film-make").press("Enter")
        expect(page.locator("#film img")).to_be_visible()
        assert page.locator("#film img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 300
        for box in page.locator("#cards input[type=checkbox]").all():
            box.check()
        expect_text(page, "#differences", "3200")
        assert page.locator("#pair img").count() == 2
        page.locator("#compare-close").press("Enter")
        page.locator("#cards button[data-do=open]").nth(1).press("Enter")
        expect_text(page, "#status", "Done: 50 epochs")
        # downloads; test_lab_server checks that this command reproduces the picture
        page.locator("#code summary").press("Enter")
        expect_text(page, "#code-command", "--recipe recipe.toml")
        _, _, command = page.inner_text("#code-command").partition(" ")
        assert command == "gluon-nst render mine.png autumn-oaks.jpg --output picture.png --recipe recipe.toml"
        picture, recipe = (_downloaded(page, what, tmp_path) for what in ("Picture", "Recipe"))
        assert (picture.name, recipe.name) == ("picture.png", "recipe.toml")
        assert picture.read_bytes() in [each.read_bytes() for each in lab.folder.glob("students/*/runs/*/picture.png")]
        assert json.loads(Image.open(picture).text["gluon-nst"])["recipe"]["changes"][0]["style_weight"] == 3200
        assert recipes.read(recipe).changes[0].weights == {"style_weight": 3200}


def _downloaded(page, what, folder):
    with page.expect_download() as download:
        page.locator(f"#downloads >> text={what}").press("Enter")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_pictures_are_added_by_drop_and_camera_and_a_run_can_have_several_styles(browser, lab):
    with page_of(browser, lab) as page:
        drop = """async () => {
            const picture = await (await fetch("pictures/mountains")).blob();
            const data = new DataTransfer();
            data.items.add(new File([picture], "dropped.jpg", {type: "image/jpeg"}));
            document.dispatchEvent(new DragEvent("dragover", {dataTransfer: data, cancelable: true}));
            const shown = !document.getElementById("dropping").hidden;
            document.dispatchEvent(new DragEvent("drop", {dataTransfer: data, cancelable: true}));
            return shown;
        }"""
        assert page.evaluate(drop)
        expect_text(page, "#said", "dropped.jpg is now the content picture")
        page.click("#camera")
        expect(page.locator("#photo")).to_be_visible()
        expect(page.locator("#video")).to_have_js_property("readyState", 4)  # the camera delivers pictures
        page.click("#photo-take")
        expect_text(page, "#said", "photo.jpg is now the style picture")
        page.locator("#styles input").nth(0).check()
        expect(page.locator("#style-weights input")).to_have_count(2)
        page.locator("#style-weights input").nth(0).fill("3")
        page.keyboard.press("Tab")
        start(page, epochs=3)
        expect_text(page, "#status", "Done")
        page.locator("#code summary").click()
        expect_text(page, "#code-command", "--style-weights 3,1")
        # A picture that a run uses cannot be removed, and the page shows why; others can be removed.
        page.locator("#contents .thumb", has_text="photo.jpg").locator("button").click()
        page.click("#asking-yes")
        expect_text(page, "#wrong", "one of your runs uses this picture; remove that run first")
        page.evaluate(drop)
        expect_text(page, "#said", "dropped-2.jpg is now the content picture")
        page.locator("#contents .thumb", has_text="dropped-2.jpg").locator("button").click()
        page.click("#asking-yes")
        expect_text(page, "#said", "Removed dropped-2.jpg.")
        page.wrong.clear()  # the browser logs the refusal too


def test_invalid_uploads_are_reported_on_the_page(browser, lab, tmp_path):
    with page_of(browser, lab) as page:
        (tmp_path / "a.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")
        page.set_input_files("#file", tmp_path / "a.svg")
        expect_text(
            page, "#wrong", "a.svg: not a picture in a format that the lab accepts: PNG, JPEG, WebP, GIF or BMP"
        )
        (tmp_path / "large.png").write_bytes(bytes(31_000_000))
        page.set_input_files("#file", tmp_path / "large.png")
        expect_text(page, "#wrong", "large.png: the file is larger than 30 MB")
        page.wait_for_timeout(500)  # for pending requests of the form
        expect(page.locator("#wrong")).to_be_visible()
        # Refused files do not stop the others, and are reported together at the end.
        (tmp_path / "good.png").write_bytes(png())
        page.set_input_files("#file", [tmp_path / name for name in ("a.svg", "good.png", "large.png")])
        expect_text(page, "#wrong", "a.svg: not a picture")
        expect_text(page, "#wrong", "large.png: the file is larger than 30 MB")
        expect(page.locator('.thumb:has-text("good.png")')).to_have_count(2)
        expect(page.locator("#wrong")).to_be_visible()
        page.wrong.clear()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)], ids=["desk", "phone"])
def test_axe_finds_nothing_and_no_content_overflows_horizontally(browser, lab, scheme, width):
    size = {"width": width, "height": 844}
    with page_of(browser, lab, color_scheme=scheme, viewport=size, has_touch=width < 500) as page:

        def looks_right():
            assert _found(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width

        assert page.locator("html").get_attribute("data-theme") == scheme
        looks_right()
        page.locator("#form summary").click()
        page.locator("#styles input").nth(0).check()
        start(page, epochs=400)
        expect_text(page, "#status", "Epoch")
        for summary in page.locator("#shown summary").all():
            summary.click()
        expect_text(page, "#code-command", "gluon-nst render")
        looks_right()
        page.click("#stop")
        expect_text(page, "#status", "Stopped after")
        start(page, epochs=3)
        expect_text(page, "#status", "Done")
        for box in page.locator("#cards input[type=checkbox]").all():
            box.check()
        expect(page.locator("#pair img")).to_have_count(2)
        page.click("#camera")
        expect(page.locator("#photo")).to_be_visible()
        looks_right()
        page.click("#photo-cancel")
        page.locator("[data-do=remove]").first.click()
        expect(page.locator("#asking")).to_be_visible()
        looks_right()
        page.keyboard.press("Escape")
        page.click("#theme")
        assert page.locator("html").get_attribute("data-theme") != scheme
        looks_right()


def _found(page):
    """Return the violations that axe finds."""
    results = axe.Axe().run(page).response
    return [f"{found['id']}: {[node['html'] for node in found['nodes']]}" for found in results["violations"]]


def test_the_teachers_page_lists_students_and_stops_runs(browser, converted, tmp_path):
    options = ["--weights", converted, "--password", "pass", "--base-url", "/class/lab/"]
    with Lab(tmp_path / "lab", *options, path="/class/lab") as lab:
        student = Student(lab, name="Anna", password="pass")
        running = student.start(epochs=1000)
        student.wait(running, "working", until=lambda run: run["shown"] > 0)
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        page = context.new_page()
        page.goto(f"{lab.url}/")  # redirects to the form for the password
        assert page.url.endswith("/join")
        assert _found(page) == []
        page.fill("#name", "Ben")
        page.fill("#password", "wrong")
        page.click("button")
        expect_text(page, "[role=alert]", "Wrong password.")
        assert _found(page) == []
        page.fill("#password", "pass")
        page.click("button")
        expect_text(page, ".who", "Ben")
        expect(page.locator("#contents img")).not_to_have_count(0)
        page.goto(f"{lab.url}/teacher")
        assert _found(page) == []
        page.goto(lab.addresses[1])
        expect_text(page, "#rows", "Anna")
        expect_text(page, "#rows", "Ben")
        expect_text(page, "#load", "1 of")
        expect(page.locator("#sheet img")).to_have_count(1)
        assert _found(page) == []
        page.click("#large")
        expect(page.locator("#students-section")).to_be_hidden()
        page.click("#names")
        expect(page.locator("#sheet p")).to_be_hidden()
        page.click("#large")
        page.locator("[data-stop]").focus()
        before = page.inner_text("#rows")
        expect(page.locator("#rows")).not_to_have_text(before, use_inner_text=True)  # updates keep the focus
        assert page.evaluate("document.activeElement.dataset.stop") == running
        page.keyboard.press("Enter")
        expect_text(page, "#said", "Stopping the run of Anna.")
        assert student.wait(running, "interrupted")["note"] == "stopped by your teacher"
        context.close()


def test_the_page_reports_a_lost_server_and_reconnects(browser, converted, tmp_path):
    with Lab(tmp_path / "lab", "--weights", converted) as lab, page_of(browser, lab) as page:
        start(page, epochs=1000)
        expect_text(page, "#status", "Epoch")
        lab.kill()
        expect_text(page, "#lost", "The lab is not responding.")
        lab.open()
        expect_text(page, "#said", "Reconnected to the lab.")
        expect_text(page, "#status", "Epoch")
        page.click("#stop")
        expect_text(page, "#status", "Stopped after")
        page.wrong.clear()  # the browser logs the failed requests


def test_a_silent_event_stream_is_detected_and_reopened(browser, lab):
    with page_of(browser, lab) as page:
        page.clock.install()
        page.reload()
        expect_text(page, "#side", "about")
        lab.process.send_signal(signal.SIGSTOP)  # no data arrives, and the connection stays open
        try:
            page.clock.fast_forward(20_000)
            expect(page.locator("#lost")).to_be_hidden()
            page.clock.fast_forward(6_000)
            expect_text(page, "#lost", "The lab is not responding.")
            expect(page.locator("#lost")).to_be_visible()
        finally:
            lab.process.send_signal(signal.SIGCONT)
        expect_text(page, "#said", "Reconnected to the lab.")
        expect(page.locator("#lost")).to_be_hidden()


def test_failed_actions_lost_connections_and_refusals_are_reported_separately(browser, lab):
    with page_of(browser, lab) as page:
        page.clock.install()
        page.reload()
        expect(page.locator("#contents img")).not_to_have_count(0)
        page.route("**/runs", lambda route: route.abort())
        page.locator("#start").press("Enter")
        expect_text(page, "#wrong", "The request did not reach the lab. Try again.")
        assert page.evaluate("document.activeElement.id") == "start"
        expect(page.locator("#lost")).to_be_hidden()
        page.unroute("**/runs")
        page.locator("label[for=usual-fast]").click()
        expect(page.locator("#wrong")).to_be_hidden()
        page.route("**/curve*", lambda route: route.abort())
        start(page, epochs=3)
        expect_text(page, "#lost", "The lab is not responding.")
        page.unroute("**/curve*")
        page.clock.fast_forward(3000)
        expect_text(page, "#said", "Reconnected to the lab.")
        expect(page.locator("#lost")).to_be_hidden()
        expect(page.locator("#curve svg")).to_be_visible()
        expect_text(page, "#status", "Done")
        # A curve that is refused is reported once, and the page does not reconnect.
        refused = {"status": 404, "json": {"error": "this file does not exist yet"}}
        page.route(re.compile(r"/curve\?"), lambda route: route.fulfill(**refused))
        streams = []
        page.on("request", lambda request: streams.append(request.url) if request.url.endswith("/events") else None)
        page.reload()
        expect_text(page, "#wrong", "this file does not exist yet")
        expect(page.locator("#cards > li")).to_have_count(1)
        page.clock.fast_forward(3500)  # longer than until a page reconnects
        page.wait_for_timeout(300)
        assert len(streams) == 1
        expect(page.locator("#lost")).to_be_hidden()
        page.wrong.clear()  # the browser reports the failed requests too


def test_the_form_is_kept_on_reload_and_a_run_needs_a_style(browser, lab):
    with page_of(browser, lab) as page:
        page.locator("label[for=usual-d2l-2019]").click()
        page.select_option("#side", "192")
        open_settings(page)
        page.locator("#new-style_weight").press("ArrowRight")
        page.fill("#epochs", "7")
        page.locator("#contents input").nth(1).check()
        for place in (0, 1):
            page.locator("#styles input").nth(place).check()
        page.locator("#style-weights input").nth(1).fill("3")
        page.locator("#styles input").nth(1).focus()
        before = page.evaluate("sessionStorage.getItem(Object.keys(sessionStorage)[0])")
        assert all(f'"{name}"' in before for name in ("content", "styles", "recipe", "side", "style_weight", "epochs"))
        page.reload()
        expect(page.locator("#style-weights input")).to_have_count(2)
        assert page.evaluate("sessionStorage.getItem(Object.keys(sessionStorage)[0])") == before
        assert page.locator("#contents input").nth(1).is_checked()
        assert [page.input_value(each) for each in ("#recipe", "#side", "#epochs")] == ["d2l-2019", "192", "7"]
        assert page.get_attribute("#new-style_weight", "aria-valuetext") == "1300"
        page.locator("#styles input").nth(0).uncheck()
        page.locator("#styles input").nth(1).click()
        expect_text(page, "#said", "A run needs at least one style. Select another one first.")
        assert page.locator("#styles input").nth(1).is_checked()


def test_pictures_that_fail_to_load_are_requested_again_and_the_form_is_restored(browser, lab):
    with page_of(browser, lab) as page:
        open_settings(page)
        page.select_option("#recipe", "poster")
        page.clock.install()
        page.route("**/pictures", lambda route: route.abort())
        page.reload()
        expect_text(page, "#wrong", "The request did not reach the lab. Try again.")
        page.locator("#start").press("Enter")
        expect_text(page, "#wrong", "Choose a content picture and a style picture first.")
        page.unroute("**/pictures")
        page.clock.fast_forward(3000)
        expect(page.locator("#contents img")).not_to_have_count(0)
        expect(page.locator("#wrong")).to_be_hidden()
        assert page.input_value("#recipe") == "poster"
        page.wrong.clear()  # the browser logs the failed requests


@pytest.mark.parametrize("damage", [None, {"side": 1024, "init": "elsewhere"}])
def test_a_damaged_or_outdated_saved_form_gives_a_valid_form(browser, lab, damage):
    with page_of(browser, lab) as page:
        page.locator("#form summary").click()
        page.fill("#seed", "7")
        page.keyboard.press("Tab")
        name, kept = page.evaluate("Object.entries(sessionStorage)[0]")
        page.evaluate(
            "([name, kept]) => sessionStorage.setItem(name, kept)",
            [name, json.dumps({**json.loads(kept), **damage}) if damage else kept[:-1]],
        )
        page.reload()
        expect_text(page, "#side", "about")
        assert [page.input_value(each) for each in ("#side", "#init")] == ["256", "content"]
        assert page.input_value("#seed") == ("7" if damage else "0")
        assert page.locator("#seed").is_visible() == bool(damage)  # changed settings are visible


def test_the_page_asks_for_confirmation_before_removing(browser, lab, tmp_path):
    with page_of(browser, lab) as page:
        upload(page, tmp_path)
        start(page, epochs=3)
        expect_text(page, "#status", "Done")
        page.locator("[data-do=remove]").press("Enter")
        expect_text(page, "#asking-title", "Remove the run “d2l-2019, 128, ")
        assert page.inner_text("#asking-title")[16:-2] == page.inner_text("#cards strong")
        assert page.evaluate("document.activeElement.id") == "asking-no"
        page.keyboard.press("Escape")
        expect(page.locator("#asking")).to_be_hidden()
        assert page.evaluate("document.activeElement.dataset.do") == "remove"
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")  # on Keep
        expect(page.locator("#asking")).to_be_hidden()
        expect(page.locator("#cards li")).to_have_count(1)
        # Removing again at once: the close event of the dialog arrives after it is open again.
        page.evaluate(
            """() => {
                const remove = document.querySelector("[data-do=remove]");
                remove.click();
                document.getElementById("asking-no").click();
                remove.click();
            }"""
        )
        page.locator("#asking-yes").press("Enter")
        expect_text(page, "#said", "Run removed.")
        expect(page.locator("#cards li")).to_have_count(0)
        page.locator("#contents .thumb button").click()
        expect_text(page, "#asking-title", "Remove the picture “mine.png”?")
        page.click("#asking-no")
        expect(page.locator("#contents .thumb")).to_have_count(3)
