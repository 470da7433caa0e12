// Two kinds of SVG charts, redrawn as a whole: for a few hundred points, cheaper than updates.
"use strict";

const Chart = (() => {
  const NS = "http://www.w3.org/2000/svg";
  const WIDTH = 560;
  const HEIGHT = 190;
  const LEFT = 52;
  const BOTTOM = 22;
  const TOP = 10;
  const RIGHT = 10;

  function node(name, attributes, text) {
    const made = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function canvas(height, label) {
    return node("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label });
  }

  // Two to five steps of 1, 2 or 5 times a power of ten.
  function ticks(most) {
    const raw = Math.max(most, 1e-9) / 4;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw);
    const found = [];
    for (let at = 0; at < most + step * 0.999; at += step) found.push(at);
    return found;
  }

  const short = (n) => (n >= 10000 ? `${Math.round(n / 1000)}k` : String(Math.round(n * 100) / 100));

  function clock(seconds) {
    const whole = Math.round(seconds);
    return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  }

  // About three digits, and 0 only for 0.
  function per1000(n, requests) {
    if (!requests) return "–";
    const value = (n / requests) * 1000;
    if (value === 0) return "0";
    if (value < 0.005) return "<0.01";
    const decimals = value < 0.995 ? 2 : value < 99.95 ? 1 : 0;
    return value.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
  }

  // lines: [{mark, name, points: [[t, value]]}]; dashes: [{mark, name, value}]
  function lines(place, label, rows, dashes = []) {
    const svg = canvas(HEIGHT, label);
    const points = rows.flatMap((row) => row.points);
    const last = Math.max(1, ...points.map(([t]) => t));
    const first = Math.min(last - 1, ...points.map(([t]) => t));
    const most = Math.max(1, ...points.map(([, v]) => v), ...dashes.map(({ value }) => value));
    const marks = ticks(most);
    const top = marks[marks.length - 1];
    const x = (t) => LEFT + ((t - first) / (last - first)) * (WIDTH - LEFT - RIGHT);
    const y = (v) => TOP + (1 - v / top) * (HEIGHT - TOP - BOTTOM);
    for (const mark of marks) {
      svg.append(node("line", { class: "rule", x1: LEFT, x2: WIDTH - RIGHT, y1: y(mark), y2: y(mark) }));
      svg.append(node("text", { class: "tick", x: LEFT - 6, y: y(mark) + 4, "text-anchor": "end" }, short(mark)));
    }
    for (const [t, anchor] of [[first, "start"], [(first + last) / 2, "middle"], [last, "end"]]) {
      svg.append(node("text", { class: "tick", x: x(t), y: HEIGHT - 6, "text-anchor": anchor }, clock(t)));
    }
    for (const dash of dashes) {
      svg.append(node("line", { class: "dash", x1: LEFT, x2: WIDTH - RIGHT, y1: y(dash.value), y2: y(dash.value) }));
    }
    for (const row of rows) {
      if (!row.points.length) continue;
      const path = row.points.map(([t, v]) => `${x(t).toFixed(1)},${y(v).toFixed(1)}`).join(" ");
      svg.append(node("polyline", { class: `line ${row.mark}`, points: path }));
      const [t, v] = row.points[row.points.length - 1];
      svg.append(node("circle", { class: `dot ${row.mark}`, cx: x(t), cy: y(v), r: 3 }));
    }
    place.replaceChildren(svg, legend([
      ...rows.map(({ mark, name }) => [mark, name]), ...dashes.map(({ name }) => ["dashed", name]),
    ]));
  }

  // rows: [{label, parts: {outcome: n}}]
  function shares(place, label, rows, outcomes) {
    const bar = 20;
    const gap = 16;
    const height = TOP + rows.length * (bar + gap);
    const svg = canvas(Math.max(height, 40), label);
    rows.forEach((row, index) => {
      const top = TOP + index * (bar + gap);
      const total = outcomes.reduce((sum, outcome) => sum + (row.parts[outcome] || 0), 0);
      svg.append(node("text", { class: "name", x: 0, y: top + 4 }, row.label));
      svg.append(node("text", { class: "tick", x: WIDTH, y: top + 4, "text-anchor": "end" },
        total ? `${total.toLocaleString("en")} lookups` : "no lookups"));
      let left = 0;
      for (const outcome of outcomes) {
        const n = row.parts[outcome] || 0;
        if (!n) continue;
        const width = (n / total) * WIDTH;
        const part = node("rect", { class: `o-${outcome}`, x: left, y: top + 9, width: Math.max(width, 1), height: bar - 5 });
        part.append(node("title", {}, `${outcome.replace("_", " ")}: ${n.toLocaleString("en")} (${((n / total) * 100).toFixed(1)} %)`));
        svg.append(part);
        if (width > 46) {
          svg.append(node("text", { class: `share on-${outcome}`, x: left + 6, y: top + 20.5 }, `${((n / total) * 100).toFixed(0)} %`));
        }
        left += width;
      }
    });
    place.replaceChildren(svg, legend(outcomes.map((outcome) => [`o-${outcome}`, outcome.replace("_", " ")])));
  }

  function legend(entries) {
    const list = document.createElement("ul");
    list.className = "legend";
    for (const [mark, name] of entries) {
      const item = document.createElement("li");
      const swatch = document.createElement("span");
      swatch.className = `swatch ${mark}`;
      item.append(swatch, name);
      list.append(item);
    }
    return list;
  }

  return { lines, shares, clock, per1000 };
})();
