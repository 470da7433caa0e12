"""Our part of Locust's Flask application: page, numbers, download, and a check before the form.

Locust's tabs can only hold a table unless its whole front end is rebuilt. So the
tab "Auth cache" is one of Locust's own, empty, and a small script puts our page into it.
"""

from __future__ import annotations

import ipaddress
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, jsonify, request
from locust.env import Environment
from locust.runners import STATE_RUNNING, STATE_SPAWNING
from locust.web import WebUI

from harness.errors import UsageError
from harness.load.standalone import read_options
from harness.style import PALETTE
from harness.ui.form import check_form
from harness.ui.options import Reference
from harness.ui.presets import presets
from harness.ui.sources import ChangesClient
from harness.ui.table import write_csv
from harness.ui.tally import FleetTally
from harness.ui.view import nothing_yet, render
from harness.ui.watcher import Watcher

TAB = "auth-cache"
TITLE = "Auth cache"
_RUNNING = (STATE_RUNNING, STATE_SPAWNING)
_STATIC = files("harness.ui").joinpath("static")
_PALETTE = "palette.css"
_KINDS = {
    _PALETTE: "text/css; charset=utf-8",
    "page.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "chart.js": "text/javascript; charset=utf-8",
    "tab.js": "text/javascript; charset=utf-8",
    "tab.css": "text/css; charset=utf-8",
}


def extend(
    environment: Environment,
    web_ui: WebUI,
    watcher: Watcher,
    reference: Reference | None,
    problems: list[str],
    changes: ChangesClient,
) -> None:
    """Add everything of ours to Locust's web UI.

    Args:
        environment: whose options the form changes.
        web_ui: Locust's.
        watcher: gives the numbers.
        reference: the inputs of the reference line.
        problems: sentences to show before any load.
        changes: makes changes, and knows what became of them.
    """
    options: Any = environment.parsed_options
    base = (getattr(options, "web_base_path", "") or "").rstrip("/")
    web_ui.template_args |= {
        "extended_tabs": [{"title": TITLE, "key": TAB}],
        "extended_csv_files": [{"href": f"{base}/{TAB}/csv", "title": f"Download {TITLE} CSV"}],
        "auth_cache": {
            "base": f"{base}/{TAB}",
            "fixed_hosts": bool(getattr(options, "hosts", "")),
            "presets": {
                name: {**preset.fields(), "user_count": preset.users}
                for name, preset in presets().items()
            },
        },
    }
    app: Any = web_ui.app
    app.register_blueprint(
        _routes(web_ui, watcher, reference, str(getattr(options, "note", "")), problems, changes),
        url_prefix=f"{base}/{TAB}",
    )
    app.before_request(lambda: _before_request(environment, web_ui, base))
    app.after_request(lambda response: _with_script(response, base))


def _routes(
    web_ui: WebUI,
    watcher: Watcher,
    reference: Reference | None,
    note: str,
    problems: list[str],
    changes: ChangesClient,
) -> Blueprint:
    routes = Blueprint("auth_cache", __name__)
    guarded: Any = web_ui.auth_required_if_enabled

    def page() -> Response:
        return _static("page.html")

    def static(name: str) -> Response:
        return _static(name)

    def data() -> Response:
        watch = watcher.watch
        made, unheard = changes.shown()
        if watch is None:
            return jsonify({**nothing_yet([*problems, *unheard]), "changes": made})
        after_s = request.args.get("after", -1.0, type=float)
        shown = render(watch, watcher.load_counts(), reference, note, after_s)
        shown["problems"] = [*problems, *unheard, *shown["problems"]]
        return jsonify({**shown, "changes": made})

    def change() -> Response:
        status, text = changes.make(request.get_data())
        return Response(text, status, content_type="text/plain; charset=utf-8")

    def table() -> Response:
        tally = watcher.watch.tally if watcher.watch else FleetTally()
        response = Response(write_csv(tally, watcher.load_counts()), mimetype="text/csv")
        response.headers["Content-Disposition"] = "attachment; filename=auth-cache.csv"
        return response

    routes.add_url_rule("", "page", guarded(page))
    routes.add_url_rule("/static/<name>", "static", guarded(static))
    routes.add_url_rule("/data", "data", guarded(data))
    routes.add_url_rule("/changes", "changes", guarded(change), methods=["POST"])
    routes.add_url_rule("/csv", "csv", guarded(table))
    return routes


def _static(name: str) -> Response:
    if name not in _KINDS:
        return Response("There is no such file.", 404)
    file = PALETTE if name == _PALETTE else _STATIC.joinpath(name)
    response = Response(file.read_bytes(), content_type=_KINDS[name])
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Content-Security-Policy"] = "default-src 'self'; style-src 'self'"
    return response


def _before_request(environment: Environment, web_ui: WebUI, base: str) -> Response | None:
    """Refuse requests from other sites, then invalid forms."""
    if _is_foreign(web_ui):
        return Response("This page may only be used from its own address.", 403)
    if request.method == "POST" and request.path == f"{base}/swarm":
        try:
            check_form(
                vars(environment.parsed_options) if environment.parsed_options else {},
                request.form,
                running=environment.runner is not None and environment.runner.state in _RUNNING,
                drivable=lambda options: read_options(environment, options),
            )
        except UsageError as error:
            # with an error status, the form would report an unknown error
            return jsonify({"success": False, "message": str(error), "host": environment.host})
    return None


def _is_foreign(web_ui: WebUI) -> bool:
    """Whether another site's page sent this: Locust lets any site start and stop a load."""
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        return True
    # DNS rebinding: a foreign name that points to this machine
    return _is_local(web_ui.host) and not _is_local(urlsplit(f"//{request.host}").hostname or "")


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _with_script(response: Response, base: str) -> Response:
    if request.endpoint == "locust.index" and response.mimetype == "text/html":
        at = f"{base}/{TAB}/static"
        ours = f'<link rel="stylesheet" href="{at}/tab.css"><script src="{at}/tab.js"></script>'
        text = response.get_data(as_text=True)
        response.set_data(text.replace("</body>", f"{ours}</body>"))
    return response
