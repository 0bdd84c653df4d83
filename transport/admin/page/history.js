// The last hour as plots, and the drains that are over with their reports.
//
//   GET /history, every ten seconds while the page is looked at ──> plots, list of drains
//   the operator opens a drain ──GET /drains/{id}──> its report
//
// A plot is an SVG of polylines, each with a dash pattern of its own, since no colour says anything alone. It can have
// the focus: the arrow keys move a cursor whose values are said. The same figures are in a table behind it.

const svgNamespace = "http://www.w3.org/2000/svg";
const width = 360;
const height = 80;
const hour = 3600; // seconds that a plot shows
const gapLeast = 25; // seconds without a sample that a line is broken for
const tableRows = 60;

// plots are the figures of a sample, in the order in which they are shown.
const plots = [
  {
    title: "Sessions",
    series: { opening: (s) => s.opening, serving: (s) => s.serving, stopping: (s) => s.stopping, closing: (s) => s.closing },
    words: "count",
  },
  { title: "Opened and ended a second", series: { opened: (s) => s.opened / 10, ended: (s) => s.ended / 10 }, words: "rate" },
  {
    title: "Time to stop",
    series: { p50: (s) => s.stop_p50_seconds || null, p99: (s) => s.stop_p99_seconds || null },
    words: "seconds",
  },
  { title: "Messages a second", series: { messages: (s) => s.messages / 10 }, words: "rate" },
  { title: "Bytes a second", series: { bytes: (s) => s.bytes / 10 }, words: "bytes" },
  { title: "Memory", series: { memory: (s) => s.memory_bytes }, words: "bytes" },
];

// createHistory returns what shows a history. tools are the page's own.
export function createHistory(tools) {
  const { byID, element, setText, setAttribute, show } = tools;
  const words = {
    count: tools.count,
    rate: (n) => (n < 10 ? n.toFixed(1) : tools.count(Math.round(n))),
    seconds: tools.took,
    bytes: tools.bytes,
  };
  const shownPlots = new Map(); // by title
  const shownDrains = new Map(); // by id

  function svg(tag, attributes = {}) {
    const node = document.createElementNS(svgNamespace, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  }

  // render shows a history. The samples end now.
  function render(view) {
    const samples = view.samples.map((sample) => ({ ...sample, time: Date.parse(sample.at) / 1000 }));
    show(byID("history"), true);
    show(byID("history-none"), samples.length === 0);
    show(byID("plots"), samples.length > 0);
    if (samples.length) for (const plot of plots) fillPlot(plotOf(plot), plot, samples, view.drains);
    renderDrains(view.drains);
  }

  // ---- A plot

  function plotOf(plot) {
    if (shownPlots.has(plot.title)) return shownPlots.get(plot.title);
    const figure = element("figure", "plot");
    const caption = element("figcaption");
    const title = element("h3", "", plot.title);
    title.id = `plot-${shownPlots.size}`;
    const top = element("span", "top");
    caption.append(title, top);
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", tabindex: "0" });
    const lines = Object.fromEntries(Object.keys(plot.series).map((name, i) => [name, svg("path", { class: `line line-${i}` })]));
    const markers = svg("g");
    const cursor = svg("line", { class: "cursor", y1: 0, y2: height });
    cursor.setAttribute("visibility", "hidden");
    picture.append(markers, ...Object.values(lines), cursor);
    const legend = element("ul", "legend");
    const values = Object.fromEntries(Object.keys(plot.series).map((name, i) => [name, legendItem(legend, name, i)]));
    const said = element("p", "unseen");
    said.setAttribute("role", "status");
    const details = element("details");
    const table = element("table");
    details.append(element("summary", "", "As a table"), scrollable(table, plot.title));
    figure.append(caption, picture, legend, said, details);
    byID("plots").append(figure);
    const shown = { picture, lines, markers, cursor, values, top, said, details, table, samples: [], at: null };
    shownPlots.set(plot.title, shown);
    listen(shown, plot);
    return shown;
  }

  function legendItem(legend, name, i) {
    const item = element("li");
    const swatch = svg("svg", { class: "dash", viewBox: "0 0 20 4", "aria-hidden": "true" });
    swatch.append(svg("path", { class: `line line-${i}`, d: "M0 2H20" }));
    const value = element("b");
    item.append(swatch, value, element("span", "", name));
    legend.append(item);
    return value;
  }

  function fillPlot(shown, plot, samples, drains) {
    shown.samples = samples;
    const end = samples.at(-1).time;
    const x = (time) => width * (1 - (end - time) / hour);
    const figures = Object.values(plot.series).flatMap((figure) => samples.map((s) => figure(s) ?? 0));
    const most = Math.max(...figures) || 1;
    const y = (value) => height - 2 - (height - 6) * (value / most);
    for (const [name, figure] of Object.entries(plot.series)) setAttribute(shown.lines[name], "d", pathOf(samples, figure, x, y));
    shown.markers.replaceChildren(...drains.filter((d) => !d.part).map((d) => markerOf(d, x)).filter(Boolean));
    setText(shown.top, `up to ${words[plot.words](Math.max(...figures))}`);
    setAttribute(shown.picture, "aria-label", `${plot.title} over the last hour, ${shown.top.textContent}. Arrow keys read its values.`);
    shown.x = x;
    point(shown, plot);
    if (shown.details.open) fillTable(shown, plot);
  }

  // pathOf is a line through the samples, broken where some are missing or there is no value.
  function pathOf(samples, figure, x, y) {
    let path = "";
    let before = null;
    for (const sample of samples) {
      const value = figure(sample);
      if (value === null || x(sample.time) < 0) {
        before = null;
        continue;
      }
      const joined = before !== null && sample.time - before < gapLeast;
      path += `${joined ? "L" : "M"}${x(sample.time).toFixed(1)} ${y(value).toFixed(1)}`;
      if (!joined) path += "h.1"; // a point alone is seen too
      before = sample.time;
    }
    return path;
  }

  function markerOf(drain, x) {
    const at = x(Date.parse(drain.started) / 1000);
    if (at < 0 || at > width) return null;
    const line = svg("line", { class: "marker", x1: at, x2: at, y1: 0, y2: height });
    const title = svg("title");
    title.textContent = `Drain at ${tools.clockTime(new Date(drain.started))}: ${tools.sessionsOf(drain.sessions)}`;
    line.append(title);
    return line;
  }

  // point shows the values under the cursor, or the last ones.
  function point(shown, plot) {
    const sample = shown.samples[shown.at ?? shown.samples.length - 1] ?? shown.samples.at(-1);
    for (const [name, figure] of Object.entries(plot.series)) {
      const value = figure(sample);
      setText(shown.values[name], value === null ? "–" : words[plot.words](value));
    }
    setAttribute(shown.cursor, "visibility", shown.at === null ? "hidden" : "visible");
    if (shown.at === null) return;
    const x = shown.x(sample.time).toFixed(1);
    setAttribute(shown.cursor, "x1", x);
    setAttribute(shown.cursor, "x2", x);
  }

  function sayPoint(shown, plot) {
    const sample = shown.samples[shown.at];
    const values = Object.keys(plot.series).map((name) => `${name} ${shown.values[name].textContent}`);
    setText(shown.said, `${tools.clockTime(new Date(sample.at))}: ${values.join(", ")}`);
  }

  function listen(shown, plot) {
    const move = (to) => {
      shown.at = Math.min(Math.max(0, to), shown.samples.length - 1);
      point(shown, plot);
    };
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30, Home: -Infinity, End: Infinity };
    shown.picture.addEventListener("keydown", (event) => {
      const step = steps[event.key];
      if (step === undefined) return;
      event.preventDefault();
      const last = shown.samples.length - 1;
      move(Number.isFinite(step) ? (shown.at ?? last) + step : step < 0 ? 0 : last);
      sayPoint(shown, plot);
    });
    const leave = () => {
      shown.at = null;
      point(shown, plot);
    };
    shown.picture.addEventListener("blur", leave);
    shown.picture.addEventListener("pointerleave", leave);
    shown.picture.addEventListener("pointermove", (event) => {
      const at = (event.offsetX / shown.picture.clientWidth) * width;
      move(shown.samples.reduce((best, s, i) => (Math.abs(shown.x(s.time) - at) < Math.abs(shown.x(shown.samples[best].time) - at) ? i : best), 0));
    });
    shown.details.addEventListener("toggle", () => {
      if (shown.details.open) fillTable(shown, plot);
    });
  }

  // fillTable shows a row a minute, the newest first.
  function fillTable(shown, plot) {
    const step = Math.max(1, Math.ceil(shown.samples.length / tableRows));
    const rows = [...shown.samples].reverse().filter((_, i) => i % step === 0);
    const names = Object.keys(plot.series);
    fillRows(shown.table, ["at", ...names], rows.map((sample) => [
      tools.clockTime(new Date(sample.at)),
      ...names.map((name) => {
        const value = plot.series[name](sample);
        return value === null ? "–" : words[plot.words](value);
      }),
    ]));
  }

  // scrollable is a box around a table that may be long, which the keyboard scrolls too.
  function scrollable(table, title) {
    const box = element("div", "plot-table");
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", `${title}, as a table`);
    box.tabIndex = 0;
    box.append(table);
    return box;
  }

  function fillRows(table, heads, rows) {
    const head = element("tr");
    head.append(...heads.map((text) => {
      const cell = element("th", "", text);
      cell.scope = "col";
      return cell;
    }));
    const body = rows.map((cells) => {
      const row = element("tr");
      row.append(...cells.map((text) => element("td", "", text)));
      return row;
    });
    table.replaceChildren(element("thead"), element("tbody"));
    table.tHead.append(head);
    table.tBodies[0].append(...body);
  }

  // ---- The drains that are over

  function renderDrains(drains) {
    show(byID("past"), drains.length > 0);
    const kept = new Set(drains.map((drain) => drain.id));
    for (const [id, node] of shownDrains) {
      if (kept.has(id)) continue;
      node.remove();
      shownDrains.delete(id);
    }
    for (const drain of drains) {
      if (shownDrains.has(drain.id)) continue;
      shownDrains.set(drain.id, drainItem(drain));
      byID("past-list").prepend(shownDrains.get(drain.id));
    }
  }

  function drainItem(drain) {
    const details = element("details", "past");
    const summary = element("summary");
    const killed = drain.killed ? `, ${tools.count(drain.killed)} killed` : "";
    summary.append(
      element("b", "", tools.clockTime(new Date(drain.started))),
      element("span", "", drain.part ? "a part" : "everything"),
      element("span", "", `${tools.sessionsOf(drain.sessions)} in ${tools.took(drain.took_seconds)}${killed}`),
      element("span", "muted", drain.reason),
    );
    const report = element("div", "report");
    details.append(summary, report);
    details.addEventListener("toggle", async () => {
      if (!details.open || report.childElementCount) return;
      try {
        report.replaceChildren(...reportNodes(await tools.ask(`/drains/${encodeURIComponent(drain.id)}`)));
      } catch (error) {
        report.textContent = `It can’t be read: ${error.message}`;
      }
    });
    return details;
  }

  function reportNodes(report) {
    const nodes = [];
    const table = (title, heads, rows) => {
      if (!rows.length) return;
      const node = element("table");
      fillRows(node, heads, rows);
      nodes.push(element("h3", "", title), scrollable(node, title));
    };
    const seconds = (s) => (s === undefined ? "–" : tools.took(s));
    table("Outcomes", ["outcome", "sessions", "p50", "p95", "max"], report.outcomes.map((o) => [tools.inWords(o.outcome), tools.count(o.count), seconds(o.p50_seconds), seconds(o.p95_seconds), seconds(o.max_seconds)]));
    if (report.stop_times.length) nodes.push(element("h3", "", "Time to stop"), bars(report.stop_times));
    table("Longest to stop", ["session", "workflow", "outcome", "stop", "waited for"], report.slowest.slice(0, 20).map((s) => [s.id, s.workflow, tools.inWords(s.outcome), tools.took(s.stop_seconds), s.waited_for ?? ""]));
    table("Services", ["service", "outcome", "stop"], report.services.map((s) => [s.name, tools.inWords(s.outcome), tools.took(s.stop_seconds)]));
    return nodes;
  }

  // bars are a histogram: each bar says its number.
  function bars(buckets) {
    const list = element("ol", "bars");
    const most = Math.max(...buckets.map((b) => b.count)) || 1;
    for (const { up_to_seconds: upTo, count } of buckets) {
      const item = element("li");
      const bar = element("span", "fill");
      bar.style.width = `${(60 * count) / most}%`;
      item.append(element("span", "upto", `up to ${upTo < 1 ? `${Math.round(upTo * 1000)} ms` : `${upTo} s`}`), bar, element("b", "", tools.count(count)));
      list.append(item);
    }
    return list;
  }

  return { render };
}
