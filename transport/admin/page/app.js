// The operator's page of lastcall's admin listener.
//
// How the data flows:
//
//   GET /events ──> "something changed" ──┐
//   a tick each second ───────────────────┼──> readers ──GET──> model ──> render
//   the operator: filter, sort, page ─────┘
//   the operator: Drain, Resume ──> confirmation ──> POST ──> what it does comes back as events
//
// - An event about a session changes nothing here: it asks for the visible page to be read again.
//   So no more than one page of sessions is ever held, however many there are and however fast they
//   change. Only the drains' own events, which bring their whole state, are taken as they are.
// - A reader asks at most every second, in a drain every 250 ms, once at a time, and leaves the gateway at least as long
//   in peace as its last answer took.
// - Rendering patches what differs. Rows are known by their session's id, so that focus, selection
//   and scroll survive.
// - What is looked at (filter, order, offset) is kept in location.hash and nowhere else.
// - When the events are lost, all else may be stale: they are opened anew until they come, and then
//   everything is read anew. The gateway may be another process by then.
// - Workflow IDs, reasons and errors come from clients and agents: text goes in by textContent only.

import { createHistory } from "./history.js";

const pageSize = 50;
const readGap = 250; // ms between two reads of one kind in a drain
const readGapCalm = 1000; // and without one
const answerTime = 15000; // ms for an answer, and for the events to begin
const retryFirst = 500; // ms until the events are opened again, doubled up to retryMost
const retryMost = 5000;
const holdingMost = 20; // sessions that are left, shown with what they wait for
const endedMost = 100; // sessions that ended, kept for the list
const endedShownMost = 20; // of these, shown
const slowly = 10; // seconds between two looks at what changes slowly: the history, the estimate
const drainsMost = 5; // drains under way that have a panel
const killedMost = 20; // killed sessions named by a drain's panel
const skewLeast = 1000; // ms of difference between the clocks that can't be delay and rounding

const phases = ["opening", "serving", "stopping", "closing"];
const outcomes = ["completed", "drained", "client_gone", "refused", "failed", "cancelled", "killed"];
const sorts = ["started", "phase", "workflow", "agent", "messages", "bytes", "last"];

// These columns show the time since the moment that they sort by, so that the first is the longest.
const sortedByMoment = new Set(["started", "last"]);
// These show the most first when they are first sorted by.
const mostFirst = new Set(["messages", "bytes"]);

const waits = {
  "start request": "client has not sent its start request",
  agent: "agent has not ended its stream",
  workflow: "workflow is still running, within its grace",
  "lease and tools": "lease is not released or tools are not closed",
  client: "client has not answered the close frame",
};

const model = {
  state: null, // of GET /drain, without the drains
  drains: new Map(), // by id, oldest first
  page: null, // of GET /sessions: the visible ones, and the counts
  holding: [], // sessions that were asked to stop and are left
  ended: [], // events of the last sessions that ended, newest first, not parsed
  lostSince: null, // when the events were lost
  estimate: null, // of GET /drain/estimate
};

const byID = (id) => document.getElementById(id);

function element(tag, className = "", text = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  return node;
}

// setText touches only what differs: an untouched node keeps the operator's selection.
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setAttribute(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

// ---- Time, as the gateway sees it

let skew = 0;

// setClock learns from an answer by how much the gateway's clock is ahead of the browser's.
function setClock(response) {
  const date = Date.parse(response.headers.get("Date"));
  if (Number.isNaN(date)) return;
  const ahead = date + 500 - Date.now(); // the header is cut to the second
  if (Math.abs(ahead - skew) > skewLeast) skew = ahead;
}

const now = () => Date.now() + skew;

const since = (time) => (time ? duration((now() - Date.parse(time)) / 1000) : "");

function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  const two = (n) => String(n).padStart(2, "0");
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m ${two(s % 60)}s`;
  if (s < 86400) return `${Math.floor(s / 3600)}h ${two(Math.floor(s / 60) % 60)}m`;
  return `${Math.floor(s / 86400)}d ${two(Math.floor(s / 3600) % 24)}h`;
}

// took is for what may be over within the second.
const took = (seconds) => (seconds < 10 ? `${seconds.toFixed(1)}s` : duration(seconds));

const number = new Intl.NumberFormat("en-GB");
const count = (n) => number.format(n);
const sessionsOf = (n) => (n === 1 ? "1 session" : `${count(n)} sessions`);

function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; n >= 1024 && unit < units.length - 1; unit++) n /= 1024;
  return `${unit && n < 100 ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}

const clockTime = (at = new Date()) => at.toLocaleTimeString("en-GB");

// ---- What is said

// say tells of a milestone, to the eye and to a screen reader.
function say(text) {
  setText(byID("said"), `${clockTime()} ${text}`);
}

const problems = new Map(); // by what they are about

function problem(about, text) {
  if (problems.get(about) === text) return;
  problems.set(about, text);
  renderProblems();
}

function solved(about) {
  if (problems.delete(about)) renderProblems();
}

function renderProblems() {
  const box = byID("problem");
  box.replaceChildren();
  if (!problems.size) return;
  const dismiss = element("button", "", "Dismiss");
  dismiss.type = "button";
  dismiss.addEventListener("click", () => {
    problems.clear();
    renderProblems();
  });
  box.append(...[...problems.values()].map((text) => element("p", "", text)), dismiss);
}

// ---- Asking the gateway

// Refused is an answer other than 2xx.
class Refused extends Error {
  constructor(status, text) {
    super(text.trim().slice(0, 300) || `status ${status}`);
    this.status = status;
  }
}

// Unreachable is no answer, or half of one.
class Unreachable extends Error {}

async function ask(path, options) {
  const [response, text] = await exchange(path, options);
  setClock(response);
  if (!response.ok) throw new Refused(response.status, text);
  return JSON.parse(text);
}

async function exchange(path, options) {
  try {
    const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(answerTime), ...options });
    return [response, await response.text()];
  } catch (cause) {
    throw new Unreachable(path, { cause });
  }
}

const sessionsPath = (query) => `/sessions?${new URLSearchParams(query)}`;

// reader returns what asks for a read: at once, or when the gap is over, or once more after the one
// that is under way.
function reader(about, read) {
  let timer = 0;
  let busy = false;
  let again = false;
  let earliest = 0;

  async function run() {
    busy = true;
    const began = performance.now();
    try {
      await attempt(about, read);
    } finally {
      const ended = performance.now();
      earliest = Math.max(began + (underway().length ? readGap : readGapCalm), ended + (ended - began));
      busy = false;
      timer = 0;
    }
    if (again) request();
  }

  function request() {
    again = busy;
    if (busy || timer) return;
    timer = setTimeout(run, Math.max(0, earliest - performance.now()));
  }
  return request;
}

async function attempt(about, read) {
  try {
    await read();
    solved(about);
  } catch (error) {
    if (error instanceof Refused) problem(about, `${about} can’t be read: ${error.message}`);
    else if (error instanceof Unreachable) lost();
    else throw error;
  }
}

const readSessions = reader("The sessions", async () => {
  const asked = view;
  const page = await ask(sessionsPath(queryOf(asked)));
  if (asked !== view) return readSessions();
  if (page.total <= asked.offset && asked.offset > 0) return setView({ offset: lastOffset(page.total) });
  model.page = page;
  render();
});

const readDrains = reader("The state of the drain", async () => {
  takeState(await ask("/drain"));
});

// readHolding reads the sessions that were asked to stop and are left, the oldest of them.
const readHolding = reader("The sessions that are left", async () => {
  const page = underway().length ? await ask(sessionsPath({ told: true, sort: "started", limit: holdingMost })) : null;
  model.holding = page ? page.sessions : [];
  render();
});

const readHistory = reader("The history", async () => {
  const view = await askOptional("/history");
  if (view) past.render(view);
});

// readEstimate asks what a drain would take. During one there is no answer to that.
const readEstimate = reader("The estimate of a drain", async () => {
  const serving = model.state?.state === "serving" && !model.state.final && !underway().some((drain) => !drain.part);
  model.estimate = serving ? await askOptional("/drain/estimate") : null;
  renderEstimate();
});

// askOptional resolves to null where the gateway has no such thing, or not now.
async function askOptional(path) {
  try {
    return await ask(path);
  } catch (error) {
    if (error instanceof Refused && (error.status === 404 || error.status === 409)) return null;
    throw error;
  }
}

function readSlowly() {
  readHistory();
  readEstimate();
}

function readAll() {
  readSessions();
  readDrains();
  readHolding();
  readSlowly();
}

// sessionsChanged leaves a page that nobody looks at as it is: it is read when it is looked at again.
function sessionsChanged() {
  if (document.hidden) return;
  readSessions();
  if (underway().length) readHolding();
}

// ---- The events

let events = null;
let retry = retryFirst;
let retryTimer = 0;

function connect() {
  events?.close();
  events = new EventSource("/events");
  events.addEventListener("error", lost);
  on("state", connected);
  on("resumed", (event) => takeState(JSON.parse(event.data)));
  on("drain-started", drainChanged);
  on("drain-progress", drainChanged);
  on("drain-finished", drainChanged);
  on("session-started", sessionsChanged);
  on("session-phase", sessionsChanged);
  on("session-stopped", sessionStopped);
  on("lagged", readAll);
  retryTimer = setTimeout(lost, answerTime);
}

const on = (name, take) => events.addEventListener(name, take);

// connected is called with the first event of a connection: whatever was known may be wrong by now.
function connected(event) {
  clearTimeout(retryTimer);
  retry = retryFirst;
  if (model.lostSince) say("Connected again.");
  model.lostSince = null;
  takeState(JSON.parse(event.data));
  readAll();
}

function lost() {
  clearTimeout(retryTimer);
  events.close();
  retryTimer = setTimeout(connect, retry * (0.75 + Math.random() / 2));
  retry = Math.min(retry * 2, retryMost);
  if (!model.lostSince) {
    model.lostSince = clockTime();
    say("Connection lost. Trying again.");
  }
  render();
}

function takeState(state) {
  const before = model.state;
  if (before && before.state !== state.state) readEstimate();
  const first = !before;
  model.state = { state: state.state, final: state.final, leaseStore: state.lease_store, instance: state.instance };
  const known = model.drains;
  model.drains = new Map();
  for (const drain of state.drains) takeDrain(known.get(drain.id), drain, first);
  if (before && before.state !== "serving" && state.state === "serving") say("Serving again: new sessions are admitted.");
  render();
}

function drainChanged(event) {
  const drain = JSON.parse(event.data);
  const known = model.drains.get(drain.id);
  takeDrain(known, drain, false);
  if (!known || drain.over) {
    readDrains(); // the gateway's state may have changed with it
    readSlowly();
  }
  sessionsChanged();
  render();
}

// takeDrain keeps the newest state of a drain: an event may have been overtaken by an answer. Another
// process may give the same id to another drain.
function takeDrain(known, drain, quiet) {
  if (known && known.began !== drain.began) known = undefined;
  if (known && (known.over || endedOf(known) > endedOf(drain))) drain = known;
  model.drains.set(drain.id, drain);
  if (!quiet) sayMilestone(known, drain);
}

function sayMilestone(known, drain) {
  const half = (d) => d.left * 2 <= d.sessions;
  if (!known && !drain.over) {
    say(`Drain of ${sessionsOf(drain.sessions)} started, ${toDeadline(drain)}.`);
  } else if (drain.over && !known?.over) {
    say(`Drain finished in ${took(drain.took_seconds)}: ${totalsInWords(drain)}.`);
  } else if (known && half(drain) && !half(known) && !drain.over) {
    say(`Drain: half of the sessions are gone, ${count(drain.left)} of ${count(drain.sessions)} left.`);
  }
}

// sessionStopped keeps the event as it came: of thousands, only the last few are ever parsed and
// put in words.
function sessionStopped(event) {
  model.ended.unshift({ data: event.data, at: new Date() });
  if (model.ended.length > endedMost) model.ended.length = endedMost;
  sessionsChanged();
}

const underway = () => [...model.drains.values()].filter((drain) => !drain.over);

// ---- What is looked at

let view = viewOfHash();

function viewOfHash() {
  const given = new URLSearchParams(location.hash.slice(1));
  const sort = given.get("sort") ?? "";
  const phase = given.get("phase");
  const offset = Number(given.get("offset"));
  return {
    phase: phases.includes(phase) ? phase : "",
    q: (given.get("q") ?? "").slice(0, 200),
    sort: sorts.includes(sort.replace(/^-/, "")) ? sort : "started",
    offset: Number.isSafeInteger(offset) && offset > 0 ? offset : 0,
  };
}

function queryOf({ phase, q, sort, offset }) {
  const query = { sort, offset, limit: pageSize };
  if (phase) query.phase = phase;
  if (q) query.q = q;
  return query;
}

// setView changes what is looked at, from its first page on unless the change says otherwise.
function setView(change) {
  view = { ...view, offset: 0, ...change };
  const hash = new URLSearchParams();
  if (view.phase) hash.set("phase", view.phase);
  if (view.q) hash.set("q", view.q);
  if (view.sort !== "started") hash.set("sort", view.sort);
  if (view.offset) hash.set("offset", view.offset);
  history.replaceState(null, "", `${location.pathname}#${hash}`);
  viewChanged();
}

function viewChanged() {
  renderView();
  readSessions();
}

const lastOffset = (total) => Math.max(0, Math.floor((total - 1) / pageSize) * pageSize);

function turnPage(where) {
  const last = lastOffset(model.page?.total ?? 0);
  const offset = { first: 0, previous: view.offset - pageSize, next: view.offset + pageSize, last }[where];
  setView({ offset: Math.min(Math.max(0, offset), last) });
}

// sortBy turns the order round if it is by this column already.
function sortBy(name) {
  const first = mostFirst.has(name) ? `-${name}` : name;
  const other = mostFirst.has(name) ? name : `-${name}`;
  setView({ sort: view.sort === first ? other : first });
}

// ---- Rendering: the header

function render() {
  renderState();
  renderDrains();
  renderHolding();
  renderRows();
  renderPager();
  renderEnded();
}

function renderState() {
  const word = model.lostSince ? "lost" : (model.state?.state ?? "connecting");
  setAttribute(byID("state"), "data-state", word);
  setText(byID("state-word"), word === "lost" ? "connection lost" : word);
  setText(byID("state-more"), stateMore(word));
  document.body.toggleAttribute("data-lost", word === "lost");
  renderCounts();
  renderInstance();
  renderLeaseStore();
  setAttribute(byID("icon"), "href", `/assets/${iconOf(word)}`);
  const serving = model.state?.state === "serving";
  const ends = model.state?.final ?? true;
  showButton(byID("drain-all"), serving && !ends);
  showButton(byID("resume"), Boolean(model.state) && !serving && !ends);
}

const iconOf = (word) => ({ draining: "icon-draining.svg", drained: "icon-drained.svg", lost: "icon-lost.svg" })[word] ?? "icon.svg";

function renderInstance() {
  const instance = model.state?.instance;
  show(byID("instance"), Boolean(instance));
  if (!instance) return;
  setText(byID("instance-name"), instance.name);
  const since = new Date(instance.since).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
  const flags = instance.flags?.length ? ` · ${instance.flags.join(" ")}` : "";
  setText(byID("instance-more"), `${instance.version} · since ${since} · agent ${instance.agent}${flags}`);
}

function renderEstimate() {
  const e = model.estimate;
  show(byID("estimate"), Boolean(e) && e.sessions > 0);
  if (!e) return;
  if (!e.stops) return setText(byID("estimate"), "How long a drain would take is not known yet: no session has been asked to stop.");
  const cut = e.cut ? `; about ${sessionsOf(e.cut)} would be cut` : "";
  const late = e.in_time ? "" : ". Its deadline is too short";
  setText(byID("estimate"), `A drain would take ${took(e.took_p50_seconds)}, ${took(e.took_p99_seconds)} in 99 of 100 cases${cut}${late}.`);
}

function stateMore(word) {
  if (word === "lost") return `at ${model.lostSince}; what is shown is from then`;
  if (model.state?.final) return "the process ends with this drain";
  if (word === "drained") return "new sessions are refused until resumed";
  if (word === "draining") return "new sessions are refused";
  return "";
}

// renderLeaseStore shows times of day alone, so that a screen reader reads it once.
function renderLeaseStore() {
  const store = model.state?.leaseStore;
  const away = Boolean(store) && !store.reachable;
  show(byID("lease-store"), away);
  setText(byID("lease-store"), away ? leaseStoreInWords(store) : "");
}

function leaseStoreInWords({ since, sessions_end: end }) {
  const began = since ? `unreachable since ${clockTime(new Date(since))}` : "not reached yet";
  const sessions = end
    ? `new sessions are refused, and open ones end by ${clockTime(new Date(end))}`
    : "sessions go on unguarded";
  return `Lease store ${began}; ${sessions}.`;
}

function renderCounts() {
  if (!model.page) return;
  const all = phases.reduce((sum, phase) => sum + (model.page.phases[phase] ?? 0), 0);
  setText(byID("count-all"), count(all));
  for (const phase of phases) setText(byID(`count-${phase}`), count(model.page.phases[phase] ?? 0));
  const name = model.state?.instance?.name ?? "lastcall";
  const title = `(${count(all)}) ${model.lostSince ? "connection lost" : model.state?.state} · ${name}`;
  if (document.title !== title) document.title = title;
}

// showButton doesn't let the focus fall off the page when a button goes that had it.
function showButton(button, visible) {
  const focused = document.activeElement === button;
  show(button, visible);
  if (focused && !visible) (byID("drains").hidden ? byID("table-box") : byID("drains-title")).focus();
}

// ---- Rendering: the drains

const panels = new Map(); // by the drain's id

function renderDrains() {
  const shown = drainsShown();
  show(byID("drains"), shown.length > 0);
  for (const [id, panel] of panels) {
    if (shown.some((drain) => drain.id === id)) continue;
    panel.root.remove();
    panels.delete(id);
  }
  shown.forEach((drain, at) => {
    if (!panels.has(drain.id)) panels.set(drain.id, newPanel(drain.id));
    const panel = panels.get(drain.id);
    fillPanel(panel, drain);
    const list = byID("drain-list");
    if (list.children[at] !== panel.root) list.insertBefore(panel.root, list.children[at] ?? null);
  });
  const more = underway().length - drainsMost;
  show(byID("drains-more"), more > 0);
  setText(byID("drains-more"), `${count(Math.max(0, more))} more under way`);
}

// drainsShown are those under way, of many the first, and the last that finished.
function drainsShown() {
  const finished = [...model.drains.values()].filter((drain) => drain.over).slice(-1);
  return [...underway().slice(0, drainsMost), ...finished];
}

function newPanel(id) {
  const root = element("article", "drain");
  const head = element("div", "drain-head");
  const title = element("h3");
  title.id = `drain-${id}`;
  const name = element("span");
  const reason = element("span", "reason");
  const clock = element("span", "clock");
  title.append(name, reason);
  head.append(title, clock);
  const bar = element("div", "bar");
  bar.setAttribute("role", "progressbar");
  bar.setAttribute("aria-labelledby", title.id);
  root.setAttribute("aria-labelledby", title.id);
  const segments = Object.fromEntries([...outcomes, "left", "untold"].map((what) => [what, segment(what)]));
  bar.append(...Object.values(segments));
  const legend = element("ul", "legend");
  const killed = element("p", "killed-ids");
  root.append(head, bar, legend, killed);
  return { root, name, reason, clock, bar, segments, legend, killed, entries: new Map() };
}

function segment(what) {
  const node = element("span", "segment");
  node.dataset.what = what;
  return node;
}

function fillPanel(panel, drain) {
  setText(panel.name, drain.part ? `Drain of ${sessionsOf(drain.sessions)}` : "Drain of everything");
  setText(panel.reason, drain.reason ? ` · ${drain.reason}` : "");
  setText(panel.clock, drain.over ? `finished in ${took(drain.took_seconds)}` : toDeadline(drain));
  setAttribute(panel.root, "data-over", String(drain.over));
  setAttribute(panel.root, "data-late", String(!drain.over && secondsLeft(drain) < 0));
  const shares = sharesOf(drain);
  fillBar(panel, drain, shares);
  for (const [what, n] of shares) fillLegend(panel, drain, what, n);
  fillKilled(panel.killed, drain.killed ?? []);
}

// sharesOf splits a drain's sessions. Those that were not asked yet are among those that are left.
function sharesOf(drain) {
  const untold = Math.min(drain.untold, drain.left);
  return [...outcomes.map((what) => [what, drain.totals?.[what] ?? 0]), ["left", drain.left - untold], ["untold", untold]];
}

function fillBar({ bar, segments }, drain, shares) {
  for (const [what, n] of shares) {
    segments[what].style.flexGrow = n;
    segments[what].toggleAttribute("data-some", n > 0);
  }
  const all = shares.reduce((sum, [, n]) => sum + n, 0);
  setAttribute(bar, "aria-valuemin", "0");
  setAttribute(bar, "aria-valuemax", String(all));
  setAttribute(bar, "aria-valuenow", String(all - drain.left));
  setAttribute(bar, "aria-valuetext", `${count(all - drain.left)} of ${count(all)} ended: ${totalsInWords(drain)}; ${count(drain.left)} left`);
}

// fillLegend names each share that there is, and what is left for as long as the drain goes on.
function fillLegend({ legend, entries }, drain, what, n) {
  if (!entries.has(what)) entries.set(what, newEntry(legend, what));
  const entry = entries.get(what);
  show(entry.item, n > 0 || (what === "left" && !drain.over));
  setText(entry.number, count(n));
}

function newEntry(legend, what) {
  const item = element("li");
  const swatch = element("span", "swatch");
  swatch.dataset.what = what;
  const value = element("b");
  const words = { left: "left, asked to stop", untold: "left, not asked yet" }[what] ?? inWords(what);
  item.append(swatch, value, element("span", "", words));
  legend.append(item);
  return { item, number: value };
}

function fillKilled(node, ids) {
  show(node, ids.length > 0);
  const text = ids.slice(0, killedMost).join(", ");
  if (node.dataset.ids === text) return;
  node.dataset.ids = text;
  const more = ids.length > killedMost ? ` and ${count(ids.length - killedMost)} more` : "";
  node.replaceChildren("Killed: ", element("code", "", text), more);
}

const endedOf = (drain) => outcomes.reduce((sum, what) => sum + (drain.totals?.[what] ?? 0), 0);

const inWords = (outcome) => outcome.replaceAll("_", " ");

function totalsInWords(drain) {
  const some = outcomes.filter((what) => drain.totals?.[what]);
  return some.map((what) => `${count(drain.totals[what])} ${inWords(what)}`).join(", ") || "none ended";
}

const secondsLeft = (drain) => (Date.parse(drain.deadline) - now()) / 1000;

function toDeadline(drain) {
  const seconds = Math.ceil(secondsLeft(drain));
  return seconds < 0 ? "past its deadline" : `${duration(seconds)} to the deadline`;
}

// ---- Rendering: the sessions that are left, and why

const holders = new Map(); // by the session's id

function renderHolding() {
  const drains = underway();
  const here = drains.length ? model.holding : [];
  show(byID("holding"), here.length > 0);
  patchList(byID("holding-list"), holders, here, newHolder, fillHolder);
  const left = drains.reduce((sum, drain) => sum + drain.left - Math.min(drain.untold, drain.left), 0);
  show(byID("holding-more"), left > here.length);
  setText(byID("holding-more"), `The ${here.length} oldest of the ${count(left)} that were asked to stop and are left.`);
}

function newHolder() {
  const item = element("li");
  item.append(element("span", "who"), element("span", "why"), element("span", "long"));
  return item;
}

function fillHolder(item, session) {
  const [who, why, long] = item.children;
  setText(who, nameOf(session));
  who.title = session.id;
  setText(why, whyHere(session));
  setText(long, `for ${since(session.since)}`);
  long.title = `asked to stop ${since(session.told)} ago`;
}

function whyHere({ phase, waits_for: waitsFor }) {
  if (phase === "opening" && waitsFor === "agent") return "agent has not opened its stream";
  return waits[waitsFor] ?? (waitsFor ? `waits for ${waitsFor}` : "was asked, and is about to stop");
}

const nameOf = (session) => workflowOf(session) || `session ${session.id.slice(0, 8)}`;

// workflowOf names the kind of a session too, unless it is the usual one.
const workflowOf = ({ kind, workflow }) => (!kind || kind === "dap" ? workflow : [kind, workflow].filter(Boolean).join(":"));

// patchList makes a list's items those of the sessions, in their order, and keeps the nodes.
function patchList(list, known, sessions, create, fill) {
  const wanted = sessions.map((session) => {
    if (!known.has(session.id)) known.set(session.id, create(session.id));
    fill(known.get(session.id), session);
    return known.get(session.id);
  });
  const kept = new Set(wanted);
  for (const [id, node] of known) {
    if (kept.has(node)) continue;
    node.remove();
    known.delete(id);
  }
  arrange(list, wanted);
}

// arrange puts the nodes in order and never moves the one that has the focus, since it would lose
// it: the others move around it.
function arrange(list, wanted) {
  const focused = wanted.find((node) => node.contains(document.activeElement));
  let at = list.firstElementChild;
  for (const node of wanted) {
    while (node === focused && at !== node) {
      const next = at.nextElementSibling;
      list.append(at);
      at = next;
    }
    if (node === at) at = at.nextElementSibling;
    else list.insertBefore(node, at);
  }
}

// ---- Rendering: the table

const columns = [...document.querySelectorAll("#sessions thead th")].map((head) => ({
  name: head.dataset.column,
  label: head.textContent.trim(),
}));

const cellText = {
  workflow: (s) => workflowOf(s) || "–",
  id: (s) => s.id,
  age: (s) => since(s.started),
  client: (s) => s.remote,
  agent: (s) => s.agent,
  messages: (s) => `${count(s.received.messages)} / ${count(s.sent.messages)}`,
  bytes: (s) => `${bytes(s.received.bytes)} / ${bytes(s.sent.bytes)}`,
  tools: (s) => (s.tools_running ? count(s.tools_running) : ""),
  last: (s) => since(s.last_message),
  waits: (s) => s.waits_for,
};

const rows = new Map(); // by the session's id

function renderRows() {
  if (!model.page) return;
  const body = byID("rows");
  const focused = body.contains(document.activeElement);
  patchList(body, rows, model.page.sessions, newRow, fillRow);
  if (focused && !body.contains(document.activeElement)) byID("table-box").focus({ preventScroll: true });
  show(byID("nothing"), model.page.total === 0);
  setText(byID("nothing"), view.q || view.phase ? "No open session matches." : "No sessions are open.");
}

function newRow(id) {
  const row = element("tr");
  row.setAttribute("role", "row");
  row.dataset.id = id;
  row.append(...columns.map(newCell));
  row.querySelector("[data-column=action]").append(drainButton());
  row.querySelector("[data-column=phase]").append(element("span"), element("span", "since"));
  return row;
}

function newCell({ name, label }) {
  const heads = name === "workflow";
  const cell = element(heads ? "th" : "td");
  cell.setAttribute("role", heads ? "rowheader" : "cell");
  if (heads) cell.scope = "row";
  cell.dataset.column = name;
  cell.dataset.label = label;
  return cell;
}

function drainButton() {
  const button = element("button", "", "Drain");
  button.type = "button";
  return button;
}

function fillRow(row, session) {
  setAttribute(row, "data-phase", session.phase);
  for (const cell of row.cells) {
    const text = cellText[cell.dataset.column]?.(session);
    if (text === undefined) continue;
    setText(cell, text);
    if (["workflow", "id", "client", "agent"].includes(cell.dataset.column)) setAttribute(cell, "title", text);
  }
  const [phase, long] = row.querySelector("[data-column=phase]").children;
  setText(phase, session.phase);
  setText(long, ` ${since(session.since)}`);
  fillDrainButton(row.querySelector("button"), session);
}

// fillDrainButton leaves the button of a session that was asked to stop focusable: disabled, it would lose
// the focus.
function fillDrainButton(button, session) {
  const told = Boolean(session.told) || session.phase === "stopping" || session.phase === "closing";
  setAttribute(button, "aria-disabled", told ? "true" : null);
  setAttribute(button, "aria-label", `Drain ${nameOf(session)}, session ${session.id}`);
  setAttribute(button, "title", told ? "It was asked to stop already." : null);
}

function renderPager() {
  const total = model.page?.total ?? 0;
  const shown = model.page?.sessions.length ?? 0;
  const from = Math.min(view.offset, lastOffset(total));
  setText(byID("range"), shown ? `${count(from + 1)} to ${count(from + shown)} of ${count(total)}` : "0 of 0");
  const last = view.offset >= lastOffset(total);
  const ends = { first: view.offset === 0, previous: view.offset === 0, next: last, last };
  for (const button of byID("pager").querySelectorAll("button")) {
    setAttribute(button, "aria-disabled", ends[button.dataset.page] ? "true" : null);
  }
}

// renderView shows what is looked at in the controls, but not over what is being typed.
function renderView() {
  byID("filter-phase").value = view.phase;
  byID("filter-sort").value = view.sort;
  const search = byID("filter-q");
  if (document.activeElement !== search) search.value = view.q;
  for (const head of document.querySelectorAll("#sessions thead th[data-sort]")) {
    setAttribute(head, "aria-sort", directionOf(head.dataset.sort));
  }
}

// directionOf is the order of what the column shows: where that is an age, the oldest moment first
// is the longest age first.
function directionOf(name) {
  if (view.sort.replace(/^-/, "") !== name) return null;
  const turned = view.sort.startsWith("-");
  return turned !== sortedByMoment.has(name) ? "descending" : "ascending";
}

// ---- Rendering: the sessions that ended last

let endedShown = null; // the newest event that is in the list, and the outcome that the list is of

function renderEnded() {
  const [newest] = model.ended;
  const outcome = byID("ended-outcome").value;
  if (!newest || (newest === endedShown?.newest && outcome === endedShown.outcome)) return;
  const list = byID("ended-list");
  const at = outcome === endedShown?.outcome ? model.ended.indexOf(endedShown.newest) : -1;
  const fresh = at < 0 ? model.ended : model.ended.slice(0, at);
  endedShown = { newest, outcome };
  if (at < 0) list.replaceChildren();
  const events = fresh.map(parsedEnd).filter((event) => !outcome || event.outcome === outcome);
  list.prepend(...events.slice(0, endedShownMost).map(endedItem));
  while (list.children.length > endedShownMost) list.lastElementChild.remove();
  show(byID("ended-none"), list.children.length === 0);
  setText(byID("ended-none"), outcome ? `No ${inWords(outcome)} session among the last ${count(model.ended.length)}.` : "None since this page was opened.");
}

function parsedEnd(ended) {
  ended.event ??= { ...JSON.parse(ended.data), at: ended.at };
  return ended.event;
}

function endedItem(event) {
  const item = element("li");
  const outcome = element("span", "outcome", inWords(event.outcome));
  outcome.dataset.outcome = event.outcome;
  const who = element("span", "who", nameOf(event));
  who.title = event.id;
  const code = event.code ? `${event.code} ` : "";
  const waited = event.waited_for ? `, waited for ${event.waited_for}` : "";
  const why = element("span", "why", `${code}${event.reason ?? ""}${waited}${event.error ? ` (${event.error})` : ""}`);
  const when = `after ${duration(event.age_seconds)}${event.stop_seconds ? `, stopped in ${took(event.stop_seconds)}` : ""}, at ${clockTime(event.at)}`;
  item.append(who, outcome, why, element("span", "when", when), copyButton(event.id));
  const trace = traceLink(event);
  if (trace) item.append(trace);
  return item;
}

function copyButton(id) {
  const button = element("button", "copy", "Copy ID");
  button.type = "button";
  button.setAttribute("aria-label", `Copy the ID of session ${id}`);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(id);
      say(`Copied ${id}.`);
    } catch {
      say(`The browser lets nothing be copied here. The ID is ${id}.`);
    }
  });
  return button;
}

// traceLink leads to a session's trace, where the gateway knows how.
function traceLink(event) {
  const template = model.state?.instance?.trace_url;
  if (!template || !event.trace_id) return null;
  const link = element("a", "", "Trace");
  link.href = template.replaceAll("{trace}", encodeURIComponent(event.trace_id));
  link.target = "_blank";
  link.rel = "noreferrer";
  return link;
}

// ---- What the operator does

// post tells what came of it by an event, or as a problem in words.
async function post(path, fields, doing) {
  try {
    await ask(path, { method: "POST", headers: { "X-Lastcall-Admin": "1" }, body: new URLSearchParams(fields) });
    solved("post");
  } catch (error) {
    problem("post", `${doing} failed: ${postFailure(error)}`);
  }
  readAll();
}

function postFailure(error) {
  if (error instanceof Unreachable) return "the gateway can’t be reached.";
  if (!(error instanceof Refused)) throw error;
  return error.message;
}

let decide = null; // takes the answer to what is being asked

// confirmed asks the operator, and resolves to the times that were filled in, or to null.
function confirmed({ title, lines, go, danger, times }) {
  const dialog = byID("confirm");
  byID("confirm-form").reset();
  byID("confirm-title").textContent = title;
  byID("confirm-text").replaceChildren(...lines.map((line) => element("p", "", line)));
  byID("confirm-go").textContent = go;
  byID("confirm-go").className = danger ? "danger" : "primary";
  show(byID("confirm-times"), Boolean(times));
  dialog.showModal();
  return new Promise((resolve) => {
    decide = resolve;
  });
}

function decided(answer) {
  decide?.(answer);
  decide = null;
  byID("confirm").close();
}

// dialogClosed is called some time after the dialog was closed, by Escape too. It may be open again
// by then, and ask something else.
function dialogClosed() {
  if (byID("confirm").open) return;
  decided(null);
  // The browser gives the focus back to the button that opened the dialog; its row may be gone.
  if (document.activeElement === document.body) byID("table-box").focus({ preventScroll: true });
}

function timesGiven() {
  const fields = {};
  for (const name of ["grace", "deadline"]) {
    const value = byID(`confirm-${name}`).value;
    if (value) fields[name] = `${Number(value)}s`;
  }
  return fields;
}

async function drainAll() {
  const open = phases.reduce((sum, phase) => sum + (model.page?.phases[phase] ?? 0), 0);
  const fields = await confirmed({
    title: open === 1 ? "Drain the only session?" : `Drain all ${count(open)} sessions?`,
    lines: [
      "New sessions are refused from now on, and each open one is asked to stop. Running workflows get their grace; sessions that are left at the deadline are killed.",
      "The process stays up, refusing, until it is resumed or ended.",
    ],
    go: "Drain all",
    danger: true,
    times: true,
  });
  if (fields) await post("/drain", fields, "Draining all");
}

async function drainOne(id) {
  const session = model.page.sessions.find((one) => one.id === id);
  const fields = await confirmed({
    title: `Drain ${nameOf(session)}?`,
    lines: [
      "Its agent is asked to stop the workflow, and its client to come back, which it may do at once. All other sessions go on.",
      `Session ${id}, client ${session.remote}.`,
    ],
    go: "Drain",
    danger: true,
  });
  if (fields) await post(`/sessions/${encodeURIComponent(id)}/drain`, fields, `Draining ${nameOf(session)}`);
}

async function resume() {
  const fields = await confirmed({
    title: "Resume?",
    lines: ["New sessions are admitted again. Those that were asked to stop do stop."],
    go: "Resume",
  });
  if (fields) await post("/resume", {}, "Resuming");
}

function listenToTheOperator() {
  byID("drain-all").addEventListener("click", drainAll);
  byID("resume").addEventListener("click", resume);
  byID("rows").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button && button.ariaDisabled !== "true") drainOne(button.closest("tr").dataset.id);
  });
  listenToTheView();
  listenToTheDialog();
}

function listenToTheView() {
  byID("ended-outcome").addEventListener("change", renderEnded);
  byID("filters").addEventListener("submit", (event) => event.preventDefault());
  byID("filter-q").addEventListener("input", (event) => setView({ q: event.target.value }));
  byID("filter-phase").addEventListener("change", (event) => setView({ phase: event.target.value }));
  byID("filter-sort").addEventListener("change", (event) => setView({ sort: event.target.value }));
  document.querySelector("#sessions thead").addEventListener("click", (event) => {
    const head = event.target.closest("button")?.closest("th");
    if (head) sortBy(head.dataset.sort);
  });
  byID("pager").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button && button.ariaDisabled !== "true") turnPage(button.dataset.page);
  });
  window.addEventListener("hashchange", () => {
    view = viewOfHash();
    viewChanged();
  });
}

function listenToTheDialog() {
  byID("confirm-cancel").addEventListener("click", () => decided(null));
  byID("confirm-form").addEventListener("submit", (event) => {
    event.preventDefault();
    decided(timesGiven());
  });
  byID("confirm").addEventListener("close", dialogClosed);
}

let ticks = 0;

function tick() {
  if (document.hidden) return;
  if (!model.lostSince) {
    sessionsChanged();
    if (model.state?.leaseStore) readDrains(); // no event tells of the store
    if (++ticks % slowly === 0) readSlowly();
  }
  render();
}

const past = createHistory({ byID, element, setText, setAttribute, show, ask, count, bytes, took, clockTime, sessionsOf, inWords });

function start() {
  listenToTheOperator();
  renderView();
  connect();
  setInterval(tick, 1000);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && !model.lostSince) readAll();
  });
}

start();
