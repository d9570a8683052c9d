"use strict";
// Sort, filter, choose columns, compare. The state stands in the address,
// #sort=-val/acc&filter=lif&status=finished&metric=val/acc&low=90&column=status&compare=0&compare=3&all=1,
// so that a link shows what its sender saw. Text from runs only ever becomes text, never markup.
const table = document.getElementById("runs");
const body = table.tBodies[0];
const heads = [...table.tHead.rows[0].cells];
const original = [...body.rows];
const boxes = [...document.querySelectorAll("[data-column]")];
const configs = JSON.parse(document.getElementById("configs").textContent);
const epochs = JSON.parse(document.getElementById("epochs").textContent);
const FIELDS = ["filter", "status", "from", "to", "metric", "low", "high"];
const state = { sort: "", columns: [], compare: [], all: false };
const field = (name) => document.getElementById(name);

function readState() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const name of FIELDS) field(name).value = given.get(name) || "";
  state.sort = given.get("sort") || "";
  state.columns = given.getAll("column");
  state.compare = given.getAll("compare");
  state.all = given.get("all") === "1";
}

function writeState() {
  const given = new URLSearchParams();
  if (state.sort) given.set("sort", state.sort);
  for (const name of FIELDS) if (field(name).value) given.set(name, field(name).value);
  for (const key of state.columns) given.append("column", key);
  for (const name of state.compare) given.append("compare", name);
  if (state.all) given.set("all", "1");
  const text = given.toString();
  history.replaceState(null, "", text ? "#" + text : location.pathname + location.search);
}

const valueOf = (cell) => cell.dataset.value ?? cell.textContent;
const indexOf = (key) => heads.findIndex((head) => head.dataset.key !== undefined && head.dataset.key === key);

function sortRows() {
  const down = state.sort.startsWith("-");
  const index = state.sort ? indexOf(state.sort.slice(down ? 1 : 0)) : -1;
  heads.forEach((head, i) => head.setAttribute("aria-sort", i !== index ? "none" : down ? "descending" : "ascending"));
  if (index < 0) { body.append(...original); return; }
  const value = (row) => valueOf(row.cells[index]);
  const order = new Intl.Collator("en", { numeric: true });
  const isNumber = (text) => text !== "" && !Number.isNaN(Number(text));
  const compare = (a, b) => isNumber(a) && isNumber(b) ? Number(a) - Number(b) : order.compare(a, b);
  const filled = original.filter((row) => value(row) !== "");
  const empty = original.filter((row) => value(row) === "");
  filled.sort((a, b) => (down ? -1 : 1) * compare(value(a), value(b)));
  body.append(...filled, ...empty);  // what has no value comes last either way
}

function filterRows() {
  const words = field("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const [status, from, to, metric, low, high] = FIELDS.slice(1).map((name) => field(name).value);
  const index = metric ? indexOf(metric) : -1;
  const scale = index >= 0 && heads[index].dataset.unit ? 100 : 1;  // shares are shown and typed in percent
  field("unit").textContent = scale === 100 ? "%" : "";
  const fits = (row) => {
    const text = (row.textContent + " " + row.dataset.more).toLowerCase();
    if (!words.every((word) => word.startsWith("-") && word.length > 1 ? !text.includes(word.slice(1)) : text.includes(word))) return false;
    if (status && row.dataset.status !== status) return false;
    const day = row.dataset.when.slice(0, 10);
    if ((from && !(day >= from)) || (to && !(day && day <= to))) return false;
    if (index < 0 || (low === "" && high === "")) return true;
    const found = valueOf(row.cells[index]);
    const value = Number((scale * Number(found)).toPrecision(12));  // 100 · 0.57 is 56.99999999999999
    return found !== "" && (low === "" || value >= Number(low)) && (high === "" || value <= Number(high));
  };
  let shown = 0;
  for (const row of original) {
    row.hidden = !fits(row);
    shown += !row.hidden;
  }
  field("shown").textContent = shown + " of " + original.length;
}

// Without a choice, the classes of the cells say which columns are there, also by the width of the screen.
function chooseColumns() {
  const chosen = state.columns.length > 0;
  table.classList.toggle("chosen", chosen);
  heads.forEach((head, index) => {
    if (index < 2) return;  // the box and the name stay
    const off = chosen && !state.columns.includes(head.dataset.key);
    for (const row of [table.tHead.rows[0], ...original]) row.cells[index].classList.toggle("unchosen", off);
  });
  for (const box of boxes) box.checked = getComputedStyle(heads[indexOf(box.dataset.column)]).display !== "none";
}

// Widths are those of all rows together, so that no column moves when rows are sorted or filtered.
function fixWidths() {
  table.classList.remove("fixed");
  table.style.width = "";
  for (const head of heads) head.style.width = "";
  for (const row of original) row.hidden = false;
  const widths = heads.map((head) => head.getBoundingClientRect().width);
  heads.forEach((head, index) => { if (widths[index]) head.style.width = widths[index] + "px"; });
  table.style.width = widths.reduce((sum, width) => sum + width, 0) + "px";
  table.classList.add("fixed");
}

function cell(kind, text, cls) {
  const made = document.createElement(kind);
  made.textContent = text;
  if (cls) made.className = cls;
  return made;
}

function compareRuns() {
  const panel = field("comparison");
  const target = field("compared");
  const chosen = original.filter((row) => state.compare.includes(row.dataset.name));
  for (const row of original) row.querySelector("input").checked = chosen.includes(row);
  panel.hidden = !chosen.length;
  field("all").checked = state.all;
  target.replaceChildren();
  drawCurves(chosen);
  if (!chosen.length) return;
  const runs = chosen.map((row) => configs.runs[Number(row.dataset.id)]);
  const known = runs.filter(Boolean);
  const keys = known.length ? Object.keys(configs.usual) : [];
  const value = (run, key) => run ? (key in run ? run[key] : configs.usual[key]) ?? "—" : "no config";
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
  field("differing").textContent =
    chosen.length < 2 ? "Choose a second run to compare with." : differing + " of " + keys.length + " keys differ.";
}

// --- curves ---

const WIDTH = 460, HEIGHT = 250, LEFT = 58, RIGHT = 12, TOP = 26, BOTTOM = 34, COLORS = 8;
const DASHES = ["", "7 3", "2 3", "9 3 2 3"];

function element(kind, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Round numbers that span the values, about `count` of them.
function ticks(low, high, count) {
  const rough = (high - low) / count || Math.abs(high) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough * 0.999);
  const found = [];
  for (let place = Math.ceil(low / step - 1e-9); place * step <= high + step * 1e-9; place++) found.push(Number((place * step).toPrecision(12)));
  return found;
}

function plot(metric, lines) {
  const share = lines.share;
  const points = lines.flatMap((line) => line.points);
  let [low, high] = [Math.min(...points.map((p) => p[1])), Math.max(...points.map((p) => p[1]))];
  const margin = 0.05 * (high - low || Math.abs(high) || 1);
  [low, high] = [low - margin, high + margin];
  const first = Math.min(...points.map((p) => p[0])), last = Math.max(...points.map((p) => p[0]), first + 1);
  const x = (value) => LEFT + (WIDTH - LEFT - RIGHT) * (value - first) / (last - first);
  const y = (value) => HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low);
  const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": metric + " over epochs" });
  svg.append(element("text", { x: LEFT, y: 15, class: "title" }, metric));
  for (const value of ticks(low, high, 5)) {
    svg.append(element("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value), class: "grid" }));
    const text = share ? Number((100 * value).toPrecision(6)) + " %" : Number(value.toPrecision(6));
    svg.append(element("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, text));
  }
  for (const value of ticks(first, last, 6).filter(Number.isInteger)) {
    svg.append(element("text", { x: x(value), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle" }, value));
  }
  svg.append(element("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 3, "text-anchor": "middle" }, "epoch"));
  for (const line of lines) {
    const drawn = line.points.map((p) => x(p[0]).toFixed(1) + "," + y(p[1]).toFixed(1));
    const path = element("polyline", { points: drawn.join(" "), class: "line color" + line.rank % COLORS, "stroke-dasharray": dashes(line.rank) });
    path.append(element("title", {}, line.name));
    svg.append(path);
    if (drawn.length < 13) for (const place of drawn) {
      const [cx, cy] = place.split(",");
      svg.append(element("circle", { cx, cy, r: 2.5, class: "dot color" + line.rank % COLORS }));
    }
  }
  const figure = document.createElement("figure");
  figure.className = "plot";
  figure.append(svg);
  return figure;
}

const dashes = (rank) => DASHES[Math.floor(rank / COLORS) % DASHES.length];

function drawCurves(chosen) {
  const panels = new Map();
  const without = [];
  const legend = [];
  chosen.forEach((row, rank) => {
    const run = epochs.runs[Number(row.dataset.id)];
    if (!run) { without.push(row.dataset.name); return; }
    for (const [metric, values] of Object.entries(run.curves)) {
      const points = run.epoch.map((epoch, i) => [epoch, values[i]]).filter((point) => point[1] !== null);
      if (!points.length) continue;
      if (!panels.has(metric)) panels.set(metric, []);
      panels.get(metric).push({ name: row.dataset.name, rank, points });
    }
    const mark = element("svg", { viewBox: "0 0 26 8", width: 26, height: 8, "aria-hidden": "true" });
    mark.append(element("line", { x1: 0, x2: 26, y1: 4, y2: 4, class: "line color" + rank % COLORS, "stroke-dasharray": dashes(rank) }));
    const item = cell("li", "");
    item.append(mark, " " + row.dataset.name);
    legend.push(item);
  });
  const order = (metric) => metric.endsWith("/loss") ? metric.startsWith("val") ? 1 : 2 : 0;  // the monitored one first
  const sorted = [...panels].sort((a, b) => order(a[0]) - order(b[0]));
  for (const [metric, lines] of sorted) lines.share = epochs.shares.includes(metric);
  field("curves").replaceChildren(...sorted.map(([metric, lines]) => plot(metric, lines)));
  field("legend").replaceChildren(...legend);
  const missing = without.length ? "No curves of " + without.join(", ") + ". " : "";
  field("undrawn").textContent = chosen.length ? missing + epochs.note : "";
}

// --- what the reader does ---

function show() { sortRows(); chooseColumns(); fixWidths(); filterRows(); compareRuns(); }

for (const head of heads) {
  if (!head.dataset.key) continue;
  const turn = () => {
    const key = head.dataset.key;
    const first = head.dataset.kind === "metric" ? "-" + key : key;
    const second = head.dataset.kind === "metric" ? key : "-" + key;
    state.sort = state.sort === first ? second : state.sort === second ? "" : first;
    writeState();
    sortRows();
  };
  head.addEventListener("click", turn);
  head.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); turn(); } });
}
function choose(compare) { state.compare = compare; writeState(); compareRuns(); }
body.addEventListener("change", (event) => {
  const name = event.target.closest("tr").dataset.name;
  choose(event.target.checked ? [...state.compare, name] : state.compare.filter((other) => other !== name));
});
field("none").addEventListener("click", () => choose([]));
field("all").addEventListener("change", (event) => { state.all = event.target.checked; writeState(); compareRuns(); });
for (const name of FIELDS) field(name).addEventListener("input", () => { writeState(); filterRows(); });
field("reset").addEventListener("click", () => { for (const name of FIELDS) field(name).value = ""; writeState(); filterRows(); });
function setColumns(columns) { state.columns = columns; writeState(); chooseColumns(); fixWidths(); filterRows(); }
for (const box of boxes) box.addEventListener("change", () => {
  const chosen = boxes.filter((one) => one.checked).map((one) => one.dataset.column);
  setColumns(chosen.length ? chosen : ["name"]);
});
field("usual").addEventListener("click", () => setColumns([]));
addEventListener("hashchange", () => { readState(); show(); });
addEventListener("resize", () => { chooseColumns(); fixWidths(); filterRows(); });
field("tools").hidden = false;
readState();
show();
