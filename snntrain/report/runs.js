"use strict";
// Sort, filter and compare. The state stands in the address, #sort=-val/acc&filter=lif&compare=0&compare=3&all=1, so
// that a link shows what its sender saw. Text from runs only ever becomes text, never markup.
const table = document.getElementById("runs");
const body = table.tBodies[0];
const heads = [...table.tHead.rows[0].cells];
const original = [...body.rows];
const configs = JSON.parse(document.getElementById("configs").textContent);
const box = document.getElementById("filter");
const state = { sort: "", filter: "", compare: [], all: false };

function readState() {
  const given = new URLSearchParams(location.hash.slice(1));
  state.sort = given.get("sort") || "";
  state.filter = given.get("filter") || "";
  state.compare = given.getAll("compare");
  state.all = given.get("all") === "1";
}

function writeState() {
  const given = new URLSearchParams();
  if (state.sort) given.set("sort", state.sort);
  if (state.filter) given.set("filter", state.filter);
  for (const name of state.compare) given.append("compare", name);
  if (state.all) given.set("all", "1");
  const text = given.toString();
  history.replaceState(null, "", text ? "#" + text : location.pathname + location.search);
}

function sortRows() {
  const down = state.sort.startsWith("-");
  const index = heads.findIndex((head) => head.dataset.key && head.dataset.key === state.sort.slice(down ? 1 : 0));
  heads.forEach((head, i) => head.setAttribute("aria-sort", i !== index ? "none" : down ? "descending" : "ascending"));
  if (index < 0) { body.append(...original); return; }
  const value = (row) => row.cells[index].dataset.value;
  const order = new Intl.Collator("en", { numeric: true });
  const isNumber = (text) => text !== "" && !Number.isNaN(Number(text));
  const compare = (a, b) => isNumber(a) && isNumber(b) ? Number(a) - Number(b) : order.compare(a, b);
  const filled = original.filter((row) => value(row) !== "");
  const empty = original.filter((row) => value(row) === "");
  filled.sort((a, b) => (down ? -1 : 1) * compare(value(a), value(b)));
  body.append(...filled, ...empty);  // what has no value comes last either way
}

function filterRows() {
  const words = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of original) {
    const text = (row.textContent + " " + row.dataset.more).toLowerCase();
    row.hidden = !words.every((word) => word.startsWith("-") && word.length > 1 ? !text.includes(word.slice(1)) : text.includes(word));
    shown += !row.hidden;
  }
  document.getElementById("shown").textContent = shown + " of " + original.length;
}

function cell(kind, text, cls) {
  const made = document.createElement(kind);
  made.textContent = text;
  if (cls) made.className = cls;
  return made;
}

function compareRuns() {
  const panel = document.getElementById("comparison");
  const target = document.getElementById("compared");
  const chosen = original.filter((row) => state.compare.includes(row.dataset.name));
  for (const row of original) row.querySelector("input").checked = chosen.includes(row);
  panel.hidden = !chosen.length;
  document.getElementById("all").checked = state.all;
  target.replaceChildren();
  if (!chosen.length) return;
  const runs = chosen.map((row) => configs.runs[Number(row.dataset.id)]);
  const known = runs.filter(Boolean);
  const keys = new Set(known.flatMap((run) => Object.keys(run)));
  if (known.length) Object.keys(configs.common).forEach((key) => keys.add(key));
  const value = (run, key) => run ? run[key] ?? configs.common[key] ?? "—" : "no config";
  const head = target.createTHead().insertRow();
  head.append(cell("th", "key"), ...chosen.map((row) => cell("th", row.dataset.name)));
  const rows = target.createTBody();
  let differing = 0;
  for (const key of [...keys].sort()) {
    const values = runs.map((run) => value(run, key));
    const differs = new Set(known.map((run) => value(run, key))).size > 1;
    differing += differs;
    if (!differs && !state.all) continue;
    const row = rows.insertRow();
    row.className = differs ? "differs" : "";
    row.append(cell("th", key), ...values.map((text) => cell("td", text)));
  }
  document.getElementById("differing").textContent =
    chosen.length < 2 ? "Choose a second run to compare with." : differing + " of " + keys.size + " keys differ.";
}

function show() { sortRows(); filterRows(); compareRuns(); }
function change(changed) { Object.assign(state, changed); writeState(); show(); }

for (const head of heads) {
  if (!head.dataset.key) continue;
  const turn = () => {
    const key = head.dataset.key;
    const first = head.dataset.kind === "metric" ? "-" + key : key;
    const second = head.dataset.kind === "metric" ? key : "-" + key;
    change({ sort: state.sort === first ? second : state.sort === second ? "" : first });
  };
  head.addEventListener("click", turn);
  head.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); turn(); } });
}
body.addEventListener("change", (event) => {
  const name = event.target.closest("tr").dataset.name;
  change({ compare: event.target.checked ? [...state.compare, name] : state.compare.filter((other) => other !== name) });
});
box.addEventListener("input", () => change({ filter: box.value }));
document.getElementById("all").addEventListener("change", (event) => change({ all: event.target.checked }));
document.getElementById("none").addEventListener("click", () => change({ compare: [] }));
addEventListener("hashchange", () => { readState(); box.value = state.filter; show(); });
document.getElementById("tools").hidden = false;
readState();
box.value = state.filter;
show();
