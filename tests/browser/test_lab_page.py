"""The lab page in a browser, at a desk and on a phone, light and dark, by mouse and by keyboard."""

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
    """A page of a new student's, of which nothing may go wrong, and nothing may go elsewhere."""
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


def says(page, where, text, seconds=60):
    """Wait until it says something somewhere."""
    expect(page.locator(where)).to_contain_text(text, timeout=seconds * 1000)


def start(page, epochs, side="128", recipe="d2l-2019"):
    """Choose, and press Start, by keyboard."""
    page.locator("#recipe").focus()
    page.select_option("#recipe", recipe)
    page.select_option("#side", side)
    if not page.locator("#epochs").is_visible():
        page.locator("#form summary").press("Enter")
    page.fill("#epochs", str(epochs))
    page.locator("#start").press("Enter")
    expect(page.locator("#shown")).to_be_visible()


def upload(page, tmp_path, name="mine.png"):
    (tmp_path / name).write_bytes(png(120, 180, 7))
    page.set_input_files("#file", tmp_path / name)
    says(page, "#said", f"{name} is now the content picture (120 × 180 pixels).")
    expect(page.locator(f'.thumb:has-text("{name}")').first.locator("input")).to_be_checked()


def test_a_student_paints_steers_compares_and_takes_the_picture_home(browser, lab, tmp_path):
    with page_of(browser, lab) as page:
        upload(page, tmp_path)
        start(page, epochs=25)
        says(page, "#status", "Epoch")
        first = page.get_attribute("#after", "src")
        expect(page.locator("#after")).not_to_have_attribute("src", first or "")  # it is seen to change
        page.locator("#pause").press("Enter")
        says(page, "#status", "Paused after")
        assert page.evaluate("document.activeElement.id") == "go-on"
        page.locator("#steer summary").press("Enter")
        page.locator("#now-style_weight").focus()
        for _ in range(5):
            page.keyboard.press("ArrowRight")
        assert page.get_attribute("#now-style_weight", "aria-valuetext") == "3200"
        page.locator("#steer-apply").press("Enter")
        says(page, "#said", "Weights changed: Style weight 3200.")
        page.locator("#go-on").press("Enter")
        says(page, "#status", "Done: 50 epochs")
        says(page, "#curve", "changed: Style weight 3200")
        assert "style" in page.get_attribute("#curve svg", "aria-label")
        # before and after, and along the way
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
        # a second one, of which a film is made, beside the first
        start(page, epochs=3)
        says(page, "#status", "Done: 6 epochs")
        page.locator("#film-make").press("Enter")
        expect(page.locator("#film img")).to_be_visible()
        assert page.locator("#film img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 300
        for box in page.locator("#cards input[type=checkbox]").all():
            box.check()
        says(page, "#differences", "3200")
        assert page.locator("#pair img").count() == 2
        page.locator("#compare-close").press("Enter")
        page.locator("#cards button[data-do=open]").nth(1).press("Enter")
        says(page, "#status", "Done: 50 epochs")
        # what is taken home; that this command reproduces the picture is shown in test_lab_server
        page.locator("#code summary").press("Enter")
        says(page, "#code-command", "--recipe recipe.toml")
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


def test_pictures_come_by_drop_and_by_camera_too_and_can_be_several_styles(browser, lab):
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
        says(page, "#said", "dropped.jpg is now the content picture")
        page.click("#camera")
        expect(page.locator("#photo")).to_be_visible()
        expect(page.locator("#video")).to_have_js_property("readyState", 4)  # a picture of the camera is there
        page.click("#photo-take")
        says(page, "#said", "photo.jpg is now the content picture")
        page.locator("#styles input").nth(0).check()
        expect(page.locator("#style-weights input")).to_have_count(2)
        page.locator("#style-weights input").nth(0).fill("3")
        page.keyboard.press("Tab")
        start(page, epochs=3)
        says(page, "#status", "Done")
        page.locator("#code summary").click()
        says(page, "#code-command", "--style-weights 3,1")
        # what a run has can't be removed, and the page says why; what none has can
        page.locator("#contents .thumb", has_text="photo.jpg").locator("button").click()
        page.click("#asking-yes")
        says(page, "#wrong", "one of your runs uses this picture; remove that run first")
        page.locator("#contents .thumb", has_text="dropped.jpg").locator("button").click()
        page.click("#asking-yes")
        says(page, "#said", "Removed dropped.jpg.")
        page.wrong.clear()  # the browser tells of the refusal too


def test_what_is_no_picture_is_told_on_the_page(browser, lab, tmp_path):
    with page_of(browser, lab) as page:
        (tmp_path / "a.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")
        page.set_input_files("#file", tmp_path / "a.svg")
        says(page, "#wrong", "a.svg: not a picture in a format that the lab accepts: PNG, JPEG, WebP, GIF or BMP")
        (tmp_path / "large.png").write_bytes(bytes(31_000_000))
        page.set_input_files("#file", tmp_path / "large.png")
        says(page, "#wrong", "large.png: the file is larger than 30 MB")
        page.wait_for_timeout(500)  # for what the form asks the server meanwhile
        expect(page.locator("#wrong")).to_be_visible()
        # Those that are refused keep no other out, and are named when all have been seen.
        (tmp_path / "good.png").write_bytes(png())
        page.set_input_files("#file", [tmp_path / name for name in ("a.svg", "good.png", "large.png")])
        says(page, "#wrong", "a.svg: not a picture")
        says(page, "#wrong", "large.png: the file is larger than 30 MB")
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
        says(page, "#status", "Epoch")
        for summary in page.locator("#shown summary").all():
            summary.click()
        says(page, "#code-command", "gluon-nst render")
        looks_right()
        page.click("#stop")
        says(page, "#status", "Stopped after")
        start(page, epochs=3)
        says(page, "#status", "Done")
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
    """What axe finds, in words."""
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
        page.goto(f"{lab.url}/")  # to be asked for the password
        assert page.url.endswith("/join")
        assert _found(page) == []
        page.fill("#name", "Ben")
        page.fill("#password", "wrong")
        page.click("button")
        says(page, "[role=alert]", "Wrong password.")
        assert _found(page) == []
        page.fill("#password", "pass")
        page.click("button")
        says(page, ".who", "Ben")
        expect(page.locator("#contents img")).not_to_have_count(0)
        page.goto(f"{lab.url}/teacher")
        assert _found(page) == []
        page.goto(lab.addresses[1])
        says(page, "#rows", "Anna")
        says(page, "#rows", "Ben")
        says(page, "#load", "1 of")
        expect(page.locator("#sheet img")).to_have_count(1)
        assert _found(page) == []
        page.click("#large")
        expect(page.locator("#students-section")).to_be_hidden()
        page.click("#names")
        expect(page.locator("#sheet p")).to_be_hidden()
        page.click("#large")
        page.locator("[data-stop]").focus()
        before = page.inner_text("#rows")
        expect(page.locator("#rows")).not_to_have_text(before, use_inner_text=True)  # news comes, and the focus stays
        assert page.evaluate("document.activeElement.dataset.stop") == running
        page.keyboard.press("Enter")
        says(page, "#said", "Stopping the run of Anna.")
        assert student.wait(running, "interrupted")["note"] == "stopped by your teacher"
        context.close()


def test_the_page_says_that_the_lab_is_gone_and_goes_on_when_it_is_back(browser, converted, tmp_path):
    with Lab(tmp_path / "lab", "--weights", converted) as lab, page_of(browser, lab) as page:
        start(page, epochs=1000)
        says(page, "#status", "Epoch")
        lab.kill()
        says(page, "#lost", "The lab does not respond.")
        lab.open()
        says(page, "#said", "Reconnected to the lab.")
        says(page, "#status", "Epoch")
        page.click("#stop")
        says(page, "#status", "Stopped after")
        page.wrong.clear()  # the browser tells of what did not answer


def test_a_stream_that_is_silent_is_noticed_and_opened_again(browser, lab):
    with page_of(browser, lab) as page:
        page.clock.install()
        page.reload()
        says(page, "#side", "about")
        lab.process.send_signal(signal.SIGSTOP)  # nothing comes, and no connection is closed
        try:
            page.clock.fast_forward(20_000)
            expect(page.locator("#lost")).to_be_hidden()
            page.clock.fast_forward(6_000)
            says(page, "#lost", "The lab does not respond.")
            expect(page.locator("#lost")).to_be_visible()
        finally:
            lab.process.send_signal(signal.SIGCONT)
        says(page, "#said", "Reconnected to the lab.")
        expect(page.locator("#lost")).to_be_hidden()


def test_failed_actions_lost_connections_and_refusals_are_reported_separately(browser, lab):
    with page_of(browser, lab) as page:
        page.clock.install()
        page.reload()
        expect(page.locator("#contents img")).not_to_have_count(0)
        page.route("**/runs", lambda route: route.abort())
        page.locator("#start").press("Enter")
        says(page, "#wrong", "The request did not reach the lab. Try again.")
        assert page.evaluate("document.activeElement.id") == "start"
        expect(page.locator("#lost")).to_be_hidden()
        page.unroute("**/runs")
        page.select_option("#recipe", "d2l-2019")
        expect(page.locator("#wrong")).to_be_hidden()
        page.route("**/curve*", lambda route: route.abort())
        start(page, epochs=3)
        says(page, "#lost", "The lab does not respond.")
        page.unroute("**/curve*")
        page.clock.fast_forward(3000)
        says(page, "#said", "Reconnected to the lab.")
        expect(page.locator("#lost")).to_be_hidden()
        expect(page.locator("#curve svg")).to_be_visible()
        says(page, "#status", "Done")
        # A curve that is refused is reported once, and the page does not reconnect.
        refused = {"status": 404, "json": {"error": "this file does not exist yet"}}
        page.route(re.compile(r"/curve\?"), lambda route: route.fulfill(**refused))
        streams = []
        page.on("request", lambda request: streams.append(request.url) if request.url.endswith("/events") else None)
        page.reload()
        says(page, "#wrong", "this file does not exist yet")
        expect(page.locator("#cards > li")).to_have_count(1)
        page.clock.fast_forward(3500)  # longer than until a page reconnects
        page.wait_for_timeout(300)
        assert len(streams) == 1
        expect(page.locator("#lost")).to_be_hidden()
        page.wrong.clear()  # the browser reports the failed requests too


def test_what_is_chosen_outlives_a_reload_and_a_run_needs_a_style(browser, lab):
    with page_of(browser, lab) as page:
        page.select_option("#recipe", "d2l-2019")
        page.select_option("#side", "192")
        page.locator("#new-style_weight").press("ArrowRight")
        page.locator("#form summary").click()
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
        says(page, "#said", "A run needs at least one style. Select another one first.")
        assert page.locator("#styles input").nth(1).is_checked()


def test_pictures_that_do_not_load_are_asked_for_again_and_the_form_is_restored(browser, lab):
    with page_of(browser, lab) as page:
        page.select_option("#recipe", "poster")
        page.clock.install()
        page.route("**/pictures", lambda route: route.abort())
        page.reload()
        says(page, "#wrong", "The request did not reach the lab. Try again.")
        page.locator("#start").press("Enter")
        says(page, "#wrong", "Choose a content picture and a style picture first.")
        page.unroute("**/pictures")
        page.clock.fast_forward(3000)
        expect(page.locator("#contents img")).not_to_have_count(0)
        expect(page.locator("#wrong")).to_be_hidden()
        assert page.input_value("#recipe") == "poster"
        page.wrong.clear()  # the browser tells of what did not get through


@pytest.mark.parametrize("damage", [None, {"side": 1024, "init": "elsewhere"}])
def test_a_kept_form_that_is_damaged_or_out_of_date_leaves_a_form_that_can_be_sent(browser, lab, damage):
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
        says(page, "#side", "about")
        assert [page.input_value(each) for each in ("#side", "#init")] == ["256", "content"]
        assert page.input_value("#seed") == ("7" if damage else "0")
        assert page.locator("#seed").is_visible() == bool(damage)  # what is changed is seen


def test_the_page_asks_before_it_removes_anything(browser, lab, tmp_path):
    with page_of(browser, lab) as page:
        upload(page, tmp_path)
        start(page, epochs=3)
        says(page, "#status", "Done")
        page.locator("[data-do=remove]").press("Enter")
        says(page, "#asking-title", "Remove the run “d2l-2019, 128, ")
        assert page.inner_text("#asking-title")[16:-2] == page.inner_text("#cards strong")
        assert page.evaluate("document.activeElement.id") == "asking-no"
        page.keyboard.press("Escape")
        expect(page.locator("#asking")).to_be_hidden()
        assert page.evaluate("document.activeElement.dataset.do") == "remove"
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")  # on Keep
        expect(page.locator("#asking")).to_be_hidden()
        expect(page.locator("#cards li")).to_have_count(1)
        # Asked again at once: the event that the dialog was closed comes only after it is open again.
        page.evaluate(
            """() => {
                const remove = document.querySelector("[data-do=remove]");
                remove.click();
                document.getElementById("asking-no").click();
                remove.click();
            }"""
        )
        page.locator("#asking-yes").press("Enter")
        says(page, "#said", "Run removed.")
        expect(page.locator("#cards li")).to_have_count(0)
        page.locator("#contents .thumb button").click()
        says(page, "#asking-title", "Remove the picture “mine.png”?")
        page.click("#asking-no")
        expect(page.locator("#contents .thumb")).to_have_count(3)
