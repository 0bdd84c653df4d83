// The page of "lastcall fleet": GET /fleet each second while it is looked at, and two tables of it. Text goes in by
// textContent only: it comes from clients and agents.

const pause = 1000; // ms between two reads
const answerTime = 10000; // ms for an answer

const byID = (id) => document.getElementById(id);

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// rows makes a table's rows those of these texts. A row and a cell that stay are not touched.
function rows(body, texts) {
  while (body.rows.length > texts.length) body.deleteRow(-1);
  texts.forEach((cells, i) => {
    const row = body.rows[i] ?? body.insertRow();
    cells.forEach((text, j) => {
      let cell = row.cells[j];
      if (!cell) {
        cell = document.createElement(j ? "td" : "th");
        if (!j) cell.scope = "row";
        row.append(cell);
      }
      setText(cell, text);
    });
  });
}

const phases = ["opening", "serving", "stopping", "closing"];

const sessionsOf = (instance) => phases.reduce((sum, phase) => sum + (instance.sessions?.phases[phase] ?? 0), 0);

function since(time) {
  const s = Math.max(0, Math.floor((Date.now() - Date.parse(time)) / 1000));
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m ${s % 60}s`;
  return `${Math.floor(s / 3600)}h ${Math.floor(s / 60) % 60}m`;
}

// drainOf is how an instance's drain stands: the one under way, or the last one.
function drainOf(state) {
  const drain = state.drains.findLast((d) => !d.over) ?? state.drains.at(-1);
  if (!drain) return "";
  const ended = Object.entries(drain.totals ?? {}).map(([outcome, n]) => `${n} ${outcome}`).join(", ");
  if (drain.over) return `over in ${(drain.took_seconds ?? 0).toFixed(1)}s${ended && `: ${ended}`}`;
  return `${drain.left} of ${drain.sessions} left${ended && `: ${ended}`}`;
}

function instanceRow(instance) {
  if (instance.error) return [instance.name, "does not answer", "", "", "", "", "", instance.error];
  const counts = phases.map((phase) => String(instance.sessions.phases[phase] ?? 0));
  return [instance.name, instance.state.state, String(sessionsOf(instance)), ...counts, drainOf(instance.state)];
}

function sessionRows(fleet) {
  return fleet
    .flatMap((instance) => (instance.sessions?.sessions ?? []).map((session) => ({ instance, session })))
    .sort((a, b) => Date.parse(a.session.started) - Date.parse(b.session.started))
    .map(({ instance, session: s }) => [instance.name, s.workflow, s.id, s.phase, since(s.started), s.remote, s.agent, s.waits_for ?? ""]);
}

function render(fleet) {
  const serving = fleet.filter((instance) => instance.state?.state === "serving").length;
  const sessions = fleet.reduce((sum, instance) => sum + sessionsOf(instance), 0);
  const text = `${serving} of ${fleet.length} instances serving, ${sessions} sessions`;
  setText(byID("all"), text);
  document.title = `(${sessions}) ${serving}/${fleet.length} serving · lastcall fleet`;
  rows(byID("fleet-instances"), fleet.map(instanceRow));
  rows(byID("fleet-sessions"), sessionRows(fleet));
}

async function read() {
  if (!document.hidden) {
    try {
      const response = await fetch("/fleet", { cache: "no-store", signal: AbortSignal.timeout(answerTime) });
      if (!response.ok) throw new Error(`status ${response.status}`);
      render(await response.json());
      setText(byID("problem"), "");
    } catch {
      setText(byID("problem"), "lastcall fleet does not answer: what is shown may be old.");
    }
  }
  setTimeout(read, pause);
}

read();
