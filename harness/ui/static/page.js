// Asks for the numbers once a second and shows them. Texts are set as text, never as markup.
"use strict";

(() => {
  const EVERY_MS = 1000;
  const SPAN_S = 5;
  const OUTCOMES = ["hit", "miss", "deserialize_failure", "backend_error"];
  const FILTERS = ["variant", "tier", "object", "key_scope"];
  const WORDS = ["variant", "tier", "object", "key scope", "state", "key", "user", "team", "membership"];
  const STATES = {
    running: "Load is running",
    settling: "Load has stopped, waiting for the last writes",
    at_rest: "Load has stopped, all counters are at rest",
  };
  const VIEWS = ["fresh", "gone", "stale"];
  const { per1000 } = Chart;
  const find = (id) => document.getElementById(id);
  const count = (n) => Math.round(n).toLocaleString("en");

  let test = null;
  let thinned = 0;
  let points = [];
  let lookupRows = [];

  function cell(kind, content, classes = "") {
    const made = document.createElement(kind);
    if (classes) made.className = classes;
    made.append(content);
    return made;
  }

  // Screen readers interrupt to read a live region each time it is written, with the same text too.
  function say(id, text) {
    if (find(id).textContent !== text) find(id).textContent = text;
  }

  function sayAll(id, texts) {
    const said = [...find(id).children].map((item) => item.textContent);
    if (said.join("\n") !== texts.join("\n")) find(id).replaceChildren(...texts.map((text) => cell("li", text)));
  }

  function table(place, head, rows) {
    const top = document.createElement("thead");
    const line = document.createElement("tr");
    line.append(...head.map((name, index) => cell("th", name, index ? (WORDS.includes(name) ? "word" : "") : "first")));
    top.append(line);
    const body = document.createElement("tbody");
    for (const row of rows) {
      const made = document.createElement("tr");
      made.append(...row);
      body.append(made);
    }
    place.replaceChildren(top, body);
  }

  function named({ name, mark }) {
    const made = cell("th", "", "first");
    const swatch = document.createElement("span");
    swatch.className = `swatch ${mark}`;
    made.append(swatch, name || "fleet");
    return made;
  }

  function scopesOf(variants) {
    const order = ["team", "user", "shared_id", "member"];
    return [...order.filter((scope) => variants.some((one) => scope in one.scopes)), "all"];
  }

  function matrix(id, variants, scopes, value, isBad) {
    table(find(id), ["", ...scopes], variants.map((one) => [
      named(one),
      ...scopes.map((scope) => {
        const figures = one.scopes[scope];
        const known = figures && figures.requests > 0;
        return cell("td", known ? value(figures) : "–", known && isBad(figures) ? "bad" : "");
      }),
    ]));
  }

  function referenceRow(variants, scopes) {
    const one = variants.find((each) => each.scopes.all.reference !== null && each.scopes.all.requests);
    if (!one) return;
    const row = document.createElement("tr");
    row.className = "reference";
    row.append(cell("th", "reference line", "first"), ...scopes.map((scope) => {
      const figures = one.scopes[scope];
      return cell("td", figures && figures.reference !== null ? per1000(figures.reference, figures.requests) : "–");
    }));
    find("reads").tBodies[0].append(row);
  }

  function matrices(variants) {
    const scopes = scopesOf(variants);
    const failed = ({ deserialize_failures }) => deserialize_failures > 0;
    const wasteful = ({ source_reads, reference }) => reference !== null && source_reads > 5 * Math.max(reference, 1);
    matrix("reads", variants, scopes, (f) => per1000(f.source_reads, f.requests), wasteful);
    referenceRow(variants, scopes);
    matrix("failures", variants, scopes, (f) => per1000(f.deserialize_failures, f.requests), failed);
    matrix("pairs", variants, scopes, (f) => per1000(f.log_pairs, f.requests), (f) => f.log_pairs > 0);
    matrix("requests", variants, scopes,
      (f) => (f.refused ? `${count(f.requests)} (${count(f.refused)})` : count(f.requests)), (f) => f.refused > 0);
  }

  // One figure per 1,000 requests, over the last seconds before each point.
  function course(name, field, fields) {
    const [requests, wanted] = [fields.indexOf("requests"), fields.indexOf(field)];
    const found = [];
    let from = 0;
    points.forEach((point, index) => {
      while (from < index - 1 && points[from + 1].t <= point.t - SPAN_S) from += 1;
      const [before, now] = [points[from].fleets[name], point.fleets[name]];
      if (!before || !now || now[requests] <= before[requests]) return;
      found.push([point.t, ((now[wanted] - before[wanted]) / (now[requests] - before[requests])) * 1000]);
    });
    return found;
  }

  function charts(data) {
    const { fields } = data.history;
    const rows = (field) => data.variants.map((one) => ({
      mark: one.mark, name: one.name || "fleet", points: course(one.name, field, fields),
    }));
    const all = data.variants.map((one) => one.scopes.all).find((f) => f.reference !== null && f.requests);
    const dashes = all ? [{ name: "reference line", value: (all.reference / all.requests) * 1000 }] : [];
    Chart.lines(find("chart-reads"), "Source reads per 1,000 requests by variant", rows("source_reads"), dashes);
    Chart.lines(find("chart-failures"), "Deserialize failures per 1,000 requests by variant", rows("deserialize_failures"));
    Chart.lines(find("chart-pairs"), "Log pairs per 1,000 requests by variant", rows("log_pairs"));
    const bars = data.variants.flatMap((one) => Object.entries(one.outcomes).map(([tier, parts]) => ({
      label: `${one.name || "fleet"}, ${tier}`, parts,
    })));
    Chart.shares(find("chart-outcomes"), "Outcomes by tier and variant", bars, OUTCOMES);
  }

  function keepOptions(select, values) {
    const wanted = ["all", ...values];
    if ([...select.options].map((option) => option.value).join("\n") === wanted.join("\n")) return;
    const chosen = select.value;
    select.replaceChildren(...wanted.map((value) => new Option(value || "fleet", value)));
    select.value = wanted.includes(chosen) ? chosen : "all";
  }

  function lookups(rows) {
    lookupRows = rows;
    for (const filter of FILTERS) {
      keepOptions(find(`filter-${filter}`), [...new Set(rows.map((row) => row[filter]))].filter((v) => v !== "all"));
    }
    const chosen = Object.fromEntries(FILTERS.map((filter) => [filter, find(`filter-${filter}`).value]));
    const shown = rows.filter((row) => FILTERS.every((f) => chosen[f] === "all" || row[f] === chosen[f]));
    table(find("lookups"), ["variant", "tier", "object", "key scope", ...OUTCOMES.map((o) => o.replace("_", " "))],
      shown.map((row) => [
        ...FILTERS.map((filter, index) => cell(index ? "td" : "th", row[filter] || "fleet", index ? "word" : "first")),
        ...OUTCOMES.map((outcome) => {
          const n = row[outcome] || 0;
          return cell("td", count(n), n && (outcome === "deserialize_failure" || outcome === "backend_error") ? "bad" : "");
        }),
      ]));
  }

  function replicas(rows) {
    const head = ["variant", "replica", "workers", "requests", "source reads", "per 1,000", "deserialize failures", "log pairs", "state"];
    table(find("replicas"), head, rows.map((row) => [
      cell("th", row.variant || "fleet", "first"),
      cell("td", String(row.replica)),
      cell("td", String(row.addresses.length)),
      cell("td", count(row.requests)),
      cell("td", count(row.source_reads)),
      cell("td", per1000(row.source_reads, row.requests)),
      cell("td", count(row.deserialize_failures), row.deserialize_failures ? "bad" : ""),
      cell("td", count(row.log_pairs), row.log_pairs ? "bad" : ""),
      cell("td", row.problem || (row.restarts ? `answers, restarted ${row.restarts} times` : "answers"),
        row.problem ? "word bad" : "word"),
    ]));
  }

  // Keeps what is chosen while the choices stay the same.
  function offer(select, values) {
    if ([...select.options].map((option) => option.value).join("\n") === values.join("\n")) return;
    const chosen = select.value;
    select.replaceChildren(...values.map((value) => new Option(value, value)));
    if (values.includes(chosen)) select.value = chosen;
  }

  function outcomeText(one) {
    const what = `${one.variant}: ${one.summary} (${one.action}, key scope ${one.scope})`;
    const who = one.way === "sql" ? "by SQL" : one.handler === null ? "by a replica" : `by replica ${one.handler}`;
    if (one.outcome === "not_there") return `${what}: this variant does not have the action.`;
    if (one.outcome === "refused") return `${what}, ${who}: refused, status ${one.status}. ${one.detail}`;
    const states = Object.values(one.workers).map(({ state }) => state);
    const stale = states.filter((state) => state === "stale").length;
    const unknown = states.filter((state) => !VIEWS.includes(state)).length;
    const still = `${stale} of ${states.length} workers still ${stale === 1 ? "serves" : "serve"} the old version`;
    return `${what}, ${who}${one.outcome === "committed" ? `, answered with ${one.status}` : ""}: `
      + `${still}${unknown ? `, ${unknown} not known` : ""}. The promise is ${one.promise_s} s.`
      + (one.followed ? "" : " Its workers are no longer asked.");
  }

  function viewCell(view) {
    if (!view) return cell("td", "–", "word");
    const since = view.old_s === null ? "" : view.state === "stale" ? `, ${view.old_s} s` : ` after ${view.old_s} s`;
    const kind = VIEWS.includes(view.state) ? `view ${view.state}` : "";
    return cell("td", `${view.state}${since}${view.beyond ? ", beyond the promise" : ""}`, `word ${kind} ${view.beyond ? "beyond" : ""}`);
  }

  function changes(data) {
    find("changes").hidden = !data;
    if (!data) return;
    const form = find("change");
    offer(form.elements.action, Object.keys(data.actions));
    offer(form.elements.scope, data.actions[form.elements.action.value].scopes);
    offer(form.elements.handler, [...Array(data.handlers).keys()].map(String));
    form.elements.handler.disabled = form.elements.way.value === "sql";
    form.querySelector("button").disabled = data.making;
    if (data.problem) changeMessage(data.problem);
    const last = Math.max(0, ...data.made.map(({ number }) => number));
    find("no-change").hidden = last > 0 || data.making;
    const latest = data.making ? [] : data.made.filter(({ number }) => number === last);
    sayAll("last-change", data.making ? ["A change is being made."] : latest.map(outcomeText));
    const ago = latest.filter(({ outcome }) => !["not_there", "refused"].includes(outcome)).map(({ ago_s }) => ago_s);
    find("ago").textContent = ago.length ? `Made ${Chart.clock(Math.min(...ago))} ago.` : "";
    const shown = data.made.filter(({ workers }) => Object.keys(workers).length);
    find("workers").hidden = !shown.length;
    table(find("workers"), ["variant", "worker", ...data.objects], data.fleets.flatMap(({ variant, workers }) => workers.map((name) => [
      cell("th", variant, "first"),
      cell("td", name),
      ...data.objects.map((object) => viewCell(shown.find((one) => one.variant === variant && one.object === object)?.workers[name])),
    ])));
  }

  function changeMessage(text) {
    find("change-message").hidden = !text;
    say("change-message", text);
  }

  async function makeChange(event) {
    event.preventDefault();
    const form = find("change");
    changeMessage("");
    form.querySelector("button").disabled = true;
    const wanted = { action: form.elements.action.value, scope: form.elements.scope.value, way: form.elements.way.value, handler: Number(form.elements.handler.value) };
    try {
      const reply = await fetch("auth-cache/changes", { method: "POST", body: JSON.stringify(wanted) });
      if (!reply.ok) changeMessage(await reply.text());
    } catch (error) {
      changeMessage(`Locust does not answer (${error.message}). Try again.`);
    }
  }

  function driveText({ fleets, model, rate, mix }) {
    const parts = mix.map(([scope, weight]) => `${scope} ${weight}`).join(", ");
    const to = fleets.length ? ` to ${fleets.join(" and ")}` : "";
    return model === "open"
      ? `Open loop, ${rate} requests/s in all${to}; key scopes ${parts}.`
      : `Closed loop, ${rate} requests/s by each user${to}; key scopes ${parts}.`;
  }

  function notesText({ generator, variants, state, cut, changes: made }) {
    const unanswered = Object.entries(generator.unanswered).map(([kind, n]) => `${count(n)} ${kind.replace("_", " ")}`);
    const completed = variants.reduce((sum, one) => sum + one.completed, 0);
    const agreed = state !== "at_rest" ? "" : completed === generator.answered
      ? " Generator and replicas agree."
      : cut ? " They were reset under load, so requests outstanding then are counted on one side only."
      : made && made.made.length ? " They differ: the workers were also asked for changed keys."
      : " They differ: another client sent requests, or a replica was lost or replaced.";
    return `The generator counted ${count(generator.answered)} answers, the replicas completed ${count(completed)} requests.${agreed}`
      + (unanswered.length ? ` Unanswered: ${unanswered.join(", ")}.` : "")
      + (generator.late ? ` Began more than 250 ms late: ${count(generator.late)} (at most ${count(generator.delay_ms_max)} ms).` : "")
      + " Numbers are of this test. Wrong data served is not detected here: run make loadtest for that.";
  }

  function problems(data) {
    const { generator } = data;
    const found = [...data.problems];
    if (generator && generator.late > 0.01 * generator.answered) {
      found.push("The generator is late: more than 1 % of the requests began more than 250 ms after their time. "
        + "Add users, lower the rate, or free the machine of other work.");
    }
    find("problems").hidden = !found.length;
    sayAll("problems", found);
  }

  function collect(data) {
    if (data.test !== test || data.history.thinned !== thinned) {
      [test, thinned, points] = [data.test, data.history.thinned, []];
      return false;
    }
    points.push(...data.history.points.filter(({ t }) => !points.length || t > points[points.length - 1].t));
    return true;
  }

  function show(data) {
    problems(data);
    changes(data.changes);
    const none = data.state === "no_load";
    find("empty").hidden = !none;
    find("shown").hidden = none;
    if (none) {
      say("state", "Ready");
      find("clock").textContent = "";
      return;
    }
    say("state", STATES[data.state]);
    find("clock").textContent = ` · ${Chart.clock(data.elapsed_s)}`;
    find("status").dataset.state = data.state;
    find("drive").textContent = driveText(data.drive);
    find("note").textContent = data.note;
    matrices(data.variants);
    charts(data);
    lookups(data.lookups);
    replicas(data.replicas);
    find("notes").textContent = notesText(data);
  }

  async function ask(after) {
    const reply = await fetch(`auth-cache/data?after=${after}`, { cache: "no-store" });
    if (!reply.ok) throw new Error(`status ${reply.status}`);
    return reply.json();
  }

  async function tick() {
    try {
      let data = await ask(points.length ? points[points.length - 1].t : -1);
      if (data.history && !collect(data)) {
        data = await ask(-1);
        collect(data);
      }
      show(data);
    } catch (error) {
      say("state", `Locust does not answer (${error.message}). Retrying.`);
      find("clock").textContent = "";
      delete find("status").dataset.state;
    }
    setTimeout(tick, EVERY_MS);
  }

  for (const filter of FILTERS) {
    find(`filter-${filter}`).addEventListener("change", () => lookups(lookupRows));
  }
  find("change").addEventListener("submit", makeChange);
  tick();
})();
