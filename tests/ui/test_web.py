"""Our part of Locust's Flask application, without a load and without a server."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

OWN = "http://127.0.0.1:8089"


class Harness:
    """Makes changes; knows one action."""

    def shown(self) -> tuple[dict[str, Any], list[str]]:
        return {"made": []}, ["The harness that makes changes sighs."]

    def make(self, body: bytes) -> tuple[int, str]:
        if body == b"key-block":
            return 202, ""
        return 400, "This change cannot be made."


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    """A browser that has opened Locust's page at the base path ``/load``."""
    # Locust would put gevent's sockets and threads under every test of this process.
    monkeypatch.setenv("LOCUST_SKIP_MONKEY_PATCH", "1")
    extend = importlib.import_module("harness.ui.web").extend
    app = Flask("locust")
    app.add_url_rule(
        "/", "locust.index", lambda: "<html><body>Locust</body></html>", methods=["GET", "POST"]
    )
    options = SimpleNamespace(web_base_path="/load/", hosts="a=http://127.0.0.1:1", note="")
    web_ui: Any = SimpleNamespace(
        app=app,
        host="127.0.0.1",
        template_args={},
        auth_required_if_enabled=lambda view: view,
    )
    environment: Any = SimpleNamespace(parsed_options=options, runner=None, host="a")
    watcher: Any = SimpleNamespace(watch=None, load_counts=lambda: None)
    extend(environment, web_ui, watcher, None, ["Nothing was planted."], Harness())
    assert web_ui.template_args["auth_cache"]["base"] == "/load/auth-cache"
    assert web_ui.template_args["auth_cache"]["fixed_hosts"] is True
    return app.test_client()


def test_the_page_and_what_it_loads_are_served_and_nothing_else(client: FlaskClient) -> None:
    page = client.get("/load/auth-cache", base_url=OWN)
    assert page.status_code == 200
    assert page.headers["Content-Security-Policy"] == "default-src 'self'; style-src 'self'"
    for name in ("page.css", "page.js", "chart.js", "tab.js", "tab.css", "palette.css"):
        assert client.get(f"/load/auth-cache/static/{name}", base_url=OWN).status_code == 200
    assert client.get("/load/auth-cache/static/__init__.py", base_url=OWN).status_code == 404


def test_before_any_load_the_numbers_say_what_a_person_should_know(client: FlaskClient) -> None:
    told = client.get("/load/auth-cache/data", base_url=OWN).json
    assert told is not None
    assert told["problems"] == ["Nothing was planted.", "The harness that makes changes sighs."]
    assert told["changes"] == {"made": []}


@pytest.mark.parametrize(
    ("body", "origin", "status", "text"),
    [
        (b"key-block", OWN, 202, ""),
        (b"key-bolck", OWN, 400, "This change cannot be made."),
        (
            b"key-block",
            "http://evil.example",
            403,
            "This page may only be used from its own address.",
        ),
    ],
)
def test_a_change_goes_to_the_harness_and_its_answer_comes_back(
    client: FlaskClient, body: bytes, origin: str, status: int, text: str
) -> None:
    headers = {"Origin": origin}
    reply = client.post("/load/auth-cache/changes", base_url=OWN, data=body, headers=headers)
    assert (reply.status_code, reply.text) == (status, text)


def test_locusts_page_gets_the_script_of_the_tab(client: FlaskClient) -> None:
    text = client.get("/", base_url=OWN).text
    assert '<script src="/load/auth-cache/static/tab.js"></script></body>' in text


@pytest.mark.parametrize(
    ("base_url", "origin", "status"),
    [
        (OWN, None, 200),
        (OWN, OWN, 200),
        (OWN, "http://evil.example", 403),
        (OWN, "http://127.0.0.1:1", 403),
        ("http://localhost:8089", None, 200),
        # A name that another site has pointed to this machine.
        ("http://evil.example:8089", None, 403),
    ],
)
def test_another_sites_page_is_turned_away(
    client: FlaskClient, base_url: str, origin: str | None, status: int
) -> None:
    headers = {} if origin is None else {"Origin": origin}
    assert client.post("/", base_url=base_url, headers=headers).status_code == status


def test_a_form_that_makes_no_sense_is_answered_with_the_reason(client: FlaskClient) -> None:
    answer = client.post("/load/swarm", base_url=OWN, data={"user_count": "many"}).json
    assert answer is not None
    assert answer["success"] is False
    assert "[many]" in answer["message"]
