"""A person at the web UI: headless Chromium, driven by Selenium."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

T = TypeVar("T")
PATIENCE_S = 60.0
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--no-first-run", "--no-default-browser-check", "--no-proxy-server"),
)


def programs() -> tuple[str, str]:
    """Chromium and its driver, by CHROMIUM and CHROMEDRIVER or on the PATH; skips without them."""
    browser = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chrome")
    driver = os.environ.get("CHROMEDRIVER") or shutil.which("chromedriver")
    if not browser or not driver:
        missing = "Chromium" if not browser else "its driver"
        pytest.skip(
            f"NOT TESTED IN A BROWSER: {missing} is not there. Debian: apt-get install chromium "
            "chromium-driver; elsewhere set CHROMIUM and CHROMEDRIVER."
        )
    return browser, driver


class Person:
    """What a person does at the page, and sees."""

    def __init__(self, driver: Chrome, downloads: Path) -> None:
        self.driver = driver
        self.downloads = downloads

    def open(self, url: str) -> None:
        self.driver.get(url)

    def until(self, what: str, look: Callable[[], T | None], patience_s: float = PATIENCE_S) -> T:
        """Look again and again until something is there."""
        deadline = time.monotonic() + patience_s
        while True:
            try:
                if found := look():
                    return found
            except (StaleElementReferenceException, WebDriverException):
                # the page has drawn itself anew in between
                if time.monotonic() > deadline:
                    raise
            assert time.monotonic() < deadline, f"{what} did not come; the page says\n{self.text()}"
            time.sleep(0.25)

    def all(self, css: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def see(self, css: str) -> WebElement:
        return self.until(css, lambda: self.shown(css))

    def shown(self, css: str, words: str = "") -> WebElement | None:
        """The first element that is visible, enabled, and says these words; asked for at once."""
        script = (
            "return [...document.querySelectorAll(arguments[0])].find(one => !one.disabled"
            " && (!arguments[1] || one.innerText.trim().toLowerCase() === arguments[1])"
            " && one.checkVisibility())"
        )
        found: WebElement | None = self.driver.execute_script(script, css, words.lower())
        return found

    def text(self) -> str:
        return str(self.driver.execute_script("return document.body.innerText"))

    def fill_in(self, **fields: str) -> None:
        for name, value in fields.items():
            field = self.see(f'form [name="{name}"]')
            if field.tag_name == "select":
                Select(field).select_by_visible_text(value)
            else:
                field.send_keys(Keys.CONTROL, "a")
                field.send_keys(Keys.DELETE)
                field.send_keys(value)

    def press(self, words: str) -> None:
        def click() -> bool:
            button = self.shown("button, a, [role=tab]", words)
            if button is not None:
                button.click()
            return button is not None

        self.until(f"the button [{words}]", click)

    def frame(self) -> None:
        """Look into the tab's page."""
        self.driver.switch_to.default_content()
        self.driver.switch_to.frame(self.see("iframe.auth-cache-frame"))

    def page(self) -> None:
        """Look at Locust's page again."""
        self.driver.switch_to.default_content()

    def table(self, name: str) -> list[list[str]]:
        """The texts of a table of the tab, read in one moment."""
        script = (
            "return [...document.getElementById(arguments[0]).rows]"
            ".map(row => [...row.cells].map(cell => cell.innerText.trim()))"
        )
        found: list[list[str]] = self.driver.execute_script(script, name)
        return found

    def script(self, text: str) -> Any:
        return self.driver.execute_script(text)


@contextmanager
def person(width: int = 1400, height: int = 1300) -> Iterator[Person]:
    browser, driver_path = programs()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        downloads = Path(folder, "downloads")
        downloads.mkdir()
        options = ChromeOptions()
        options.binary_location = browser
        for flag in (
            *_FLAGS,
            f"--user-data-dir={folder}/profile",
            f"--window-size={width},{height}",
        ):
            options.add_argument(flag)
        options.add_experimental_option(
            "prefs",
            {"download.default_directory": str(downloads), "download.prompt_for_download": False},
        )
        driver = Chrome(options=options, service=ChromeService(executable_path=driver_path))
        try:
            yield Person(driver, downloads)
        finally:
            driver.quit()
