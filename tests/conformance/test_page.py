"""The HTML page: what stands in it, and what it does in a real browser, opened from a file."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from ropecore import conformance
from ropecore.conformance.reports.page import entry, not_run, page
from ropecore.conformance.reports.report import suite

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
QUIET = "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync --no-first-run"


class Right:
    """The usual float32 code, half-split."""

    capabilities: ClassVar = {"name": "right", "version": "1.0", "features": ["half_split", "negative_positions"]}

    @staticmethod
    def apply(plan: Any, x: Any, positions: Any) -> Any:
        angle = (positions[:, None] * plan.frequencies[:, 0]).astype(np.float32)
        cos, sin = np.cos(angle), np.sin(angle)
        first, second = np.split(x, 2, axis=-1)
        return np.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)


class Wrong(Right):
    """The same, turned the other way; </script> must not end the page's."""

    capabilities: ClassVar = {**Right.capabilities, "name": "wrong </script><b>", "version": "2.0"}

    @staticmethod
    def apply(plan: Any, x: Any, positions: Any) -> Any:
        return Right.apply(plan, x, -positions)


def entries() -> list[dict[str, Any]]:
    targets = [conformance.Target(each, f"program:{each.__name__}") for each in (Right, Wrong)]
    both = [conformance.run(each, topic=("rotate", "positions"), ids="*half_split*") for each in targets]
    made = [entry(json.loads(report.to_json())) for report in both]
    made[0]["reach"] = [[1, 1e-8], [1023, 3e-5], [1048575, 0.03]]
    made[1]["failures"][0] |= {"kind": "bug", "because": "it turns the other way"}
    return [*made, not_run("absent:target", "absent", "3.0", "not installed: pip install absent==3.0")]


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(page(entries(), "RoPE in two programs", suite()), encoding="utf-8")
    return file


def test_the_page_holds_everything_itself(html: Path) -> None:
    text = html.read_text(encoding="utf-8")
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text
    assert "default-src 'none'" in text
    assert text.count("</script>") == 2  # the data's and the program's: none that a library's text brought in


def test_a_failure_has_all_that_is_needed() -> None:
    failure = entries()[1]["failures"][0]
    assert failure["command"] == f"ropecore conformance program:Wrong --case {failure['id']}"
    assert failure["rules"]
    assert failure["worst"]["units"] > 1
    assert {"got", "wanted", "bound", "index"} <= set(failure["worst"])


def test_the_likely_bugs_are_the_reports_and_a_case_names_those_it_catches(html: Path) -> None:
    right, wrong, absent = entries()
    assert wrong["diagnosis"][0].startswith("likely bug M1: the sine has the wrong sign")
    assert right["diagnosis"] == absent["diagnosis"] == []
    assert '"this case catches", each.flags' in html.read_text(encoding="utf-8")


def test_what_was_not_run_is_not_counted() -> None:
    absent = entries()[2]
    assert absent["topics"] == {}
    assert absent["counts"] == {}
    assert "pip install" in absent["not_run"]


def test_html_of_one_report() -> None:
    report = conformance.run(conformance.Target(Right, "my.rope"), ids="rotate/half_split/d8/pos257")
    assert "RoPE conformance of my.rope" in conformance.html(report)


@pytest.fixture(scope="module")
def browser(html: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no chromium and chromedriver here: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium drives the browser")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in [*QUIET.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}", "--window-size=1400,900"]:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        driver.get("about:blank")
        driver.get_log("performance")  # what the browser's own first page asked for
        driver.get(html.as_uri())
        yield driver
    finally:
        driver.quit()


def rows(browser: Any) -> list[str]:
    return [row.text.splitlines()[0] for row in browser.find_elements("css selector", "#matrix tbody tr")]


def choose(browser: Any, name: str, value: str) -> None:
    script = (
        "const e = document.getElementById(arguments[0]); e.value = arguments[1]; e.dispatchEvent(new Event('input'))"
    )
    browser.execute_script(script, name, value)


def test_it_asks_the_network_for_nothing(browser: Any, html: Path) -> None:
    messages = [json.loads(each["message"])["message"] for each in browser.get_log("performance")]
    asked = {each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"}
    assert {url for url in asked if not url.startswith(("data:", "chrome:"))} == {html.as_uri()}
    assert [each for each in browser.get_log("browser") if each["level"] == "SEVERE"] == []


def test_it_sorts_by_a_column(browser: Any) -> None:
    assert rows(browser) == ["right", "wrong </script><b>", "absent"]
    browser.find_element("css selector", "[data-sort=wrong]").click()
    assert rows(browser) == ["wrong </script><b>", "right", "absent"]
    heads = {each.get_attribute("aria-sort") for each in browser.find_elements("css selector", "#matrix thead th")}
    assert heads == {"none", "descending"}
    browser.switch_to.active_element.send_keys("\ue007")  # enter, on the head that was chosen
    assert rows(browser) == ["right", "wrong </script><b>", "absent"]
    browser.find_element("css selector", "[data-sort=name]").click()


def test_it_filters(browser: Any) -> None:
    choose(browser, "search", "WRO")
    assert rows(browser) == ["wrong </script><b>"]
    choose(browser, "search", "")
    choose(browser, "status", "none")
    assert rows(browser) == ["absent"]
    choose(browser, "status", "fail")
    assert rows(browser) == ["wrong </script><b>"]
    choose(browser, "status", "")
    choose(browser, "topic", "positions")
    assert rows(browser) == ["right", "wrong </script><b>"]
    choose(browser, "topic", "")


def test_it_shows_a_failure(browser: Any) -> None:
    browser.find_element("css selector", "#matrix tbody tr:nth-child(2) button.cell").send_keys("\ue007")
    dialog = browser.find_element("css selector", "dialog[open]")
    for word in ("ropecore conformance program:Wrong --case positions/half_split", "times the bound", "got ", "R-"):
        assert word in dialog.text
    assert "this case catches" in dialog.text
    dialog.send_keys("\ue00c")  # escape
    assert browser.find_elements("css selector", "dialog[open]") == []


@pytest.mark.parametrize("width", [390, 1400])
def test_it_fits_its_window(browser: Any, width: int) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    assert browser.execute_script("return innerWidth") == width
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_its_text_is_readable(browser: Any, scheme: str) -> None:
    feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
    for selector in ("body", ".cell.pass", ".cell.fail", ".key", "thead button"):
        node = browser.find_element("css selector", selector)
        assert contrast(browser, node) >= 4.5, selector


def contrast(browser: Any, node: Any) -> float:
    """Return the contrast of a node's text with what is behind it (WCAG 2)."""
    script = """
    let node = arguments[0], ground = 'rgba(0, 0, 0, 0)';
    const text = getComputedStyle(node).color;
    for (; node && (ground === 'rgba(0, 0, 0, 0)'); node = node.parentElement) ground = getComputedStyle(node).backgroundColor;
    return [text, ground];
    """
    light = [luminance([int(part) for part in each.split("(")[1].strip(")").split(",")[:3]]) for each in browser.execute_script(script, node)]  # fmt: skip
    return (max(light) + 0.05) / (min(light) + 0.05)


def luminance(rgb: list[int]) -> float:
    linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
