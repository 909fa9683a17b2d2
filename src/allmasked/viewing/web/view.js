// The page of `allmasked view`: rows come in pages and pictures one by one, as they are scrolled to. No framework.
const $ = (id) => document.getElementById(id);
const LABELS = ["all", "some", "none", "nobody"];
const KEYS = { a: "all", s: "some", n: "none", o: "nobody" };
const TOGGLES = { m: "marked-on", f: "found-on", e: "heat-on" };
const PAGE = 100;
const KEPT_PAGES = 40;
const GAP = 8;
const list = $("list");

let about = {};
let query = "";
let found = 0;
let pages = new Map(); // page number: its rows, or null while they come
let coming = new Map(); // page number: what stops its request
let tiles = new Map(); // place in the list: its element
let current = -1; // place in the list
let shown = null; // details of the photo chosen
let looks = new Map(); // what a model sees in the photo chosen, by model
let turn = 0; // grows with each photo chosen, so that late answers are passed over
let scrolled = 0;
let grid = { columns: 1, width: 160, height: 190 };

const element = (tag, className = "", text = "") => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
};
const percent = (p) => (p > 0 && p < 0.005 ? "< 1 %" : `${Math.round(100 * p)} %`);
const number = (n) => n.toLocaleString("en");
const many = (n, what) => `${number(n)} ${what}${n === 1 ? "" : "s"}`;
const pictureOf = (row, size) => `photos/${row.number}/picture?size=${size}`;

function alertUser(text) {
  $("alert").textContent = text;
  $("alert").hidden = !text;
}

async function ask(address, options = {}) {
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server can't be reached. Is 'allmasked view' still running?");
  }
  const answer = await response.json().catch(() => ({ detail: `the server answered ${response.status}` }));
  if (!response.ok) throw new Error(answer.detail);
  return answer;
}

// --- the list -------------------------------------------------------------------------------------------------------

function measure() {
  const inside = list.clientWidth - 2 * GAP;
  const columns = Math.max(1, Math.floor((inside + GAP) / (148 + GAP)));
  const width = Math.floor((inside + GAP) / columns) - GAP;
  grid = { columns, width, height: Math.round((width - 10) * 0.75) + 32 + 20 * about.models.length };
  $("rail").style.height = `${Math.ceil(found / columns) * (grid.height + GAP) + GAP}px`;
  for (const tile of tiles.values()) drop(tile);
  tiles = new Map();
  draw();
}

function onItsWay() { // whether another photo than the one shown has been chosen
  const row = rowAt(current);
  return Boolean(row) && row.number !== shown.number;
}

function rowAt(place) {
  return pages.get(Math.floor(place / PAGE))?.[place % PAGE];
}

function span(screens) { // the places on the screen, and so many screens above and below
  const step = grid.height + GAP;
  const spare = Math.ceil(screens * list.clientHeight / step);
  const first = Math.max(0, Math.floor(list.scrollTop / step) - spare) * grid.columns;
  const last = Math.min(found, (Math.ceil((list.scrollTop + list.clientHeight) / step) + spare) * grid.columns);
  return [first, last];
}

function draw() {
  const [first, last] = span(0.5);
  for (const [place, tile] of tiles) {
    if (place >= first && place < last) continue;
    drop(tile);
    tiles.delete(place);
  }
  for (let place = first; place < last; place += 1) if (!tiles.has(place)) tiles.set(place, addTile(place));
  const calm = Math.abs(list.scrollTop - scrolled) < list.clientHeight;
  scrolled = list.scrollTop;
  if (calm) load();
  else settle();
}

let settling = 0;
function settle() { // far jumps ask for nothing until they end
  clearTimeout(settling);
  settling = setTimeout(load, 80);
}

function load() {
  clearTimeout(settling);
  const [first, last] = span(1);
  const wanted = new Set();
  for (let page = Math.floor(first / PAGE); page * PAGE < last; page += 1) wanted.add(page);
  for (const [page, stop] of coming) if (!wanted.has(page)) { stop.abort(); coming.delete(page); }
  for (const page of wanted) if (!pages.has(page) && !coming.has(page)) fetchPage(page);
  if (pages.size > KEPT_PAGES) for (const page of pages.keys()) if (!wanted.has(page)) { pages.delete(page); break; }
  for (const [place, tile] of tiles) fill(tile, rowAt(place));
}

async function fetchPage(page) {
  const stop = new AbortController();
  coming.set(page, stop);
  try {
    const answer = await ask(`rows?${query}offset=${page * PAGE}&limit=${PAGE}`, { signal: stop.signal });
    pages.set(page, answer.rows);
    load();
  } catch (error) {
    if (error.name !== "AbortError") alertUser(error.message);
  } finally {
    if (coming.get(page) === stop) coming.delete(page);
  }
}

function addTile(place) {
  const tile = element("div", "tile");
  tile.id = `photo-${place}`;
  tile.setAttribute("role", "option");
  tile.setAttribute("aria-posinset", place + 1);
  tile.setAttribute("aria-setsize", found);
  tile.setAttribute("aria-selected", String(place === current));
  const column = place % grid.columns, line = Math.floor(place / grid.columns);
  Object.assign(tile.style, { width: `${grid.width}px`, height: `${grid.height}px`,
    transform: `translate(${GAP + column * (grid.width + GAP)}px, ${GAP + line * (grid.height + GAP)}px)` });
  tile.append(element("span", "thumb"));
  tile.addEventListener("click", () => choose(place));
  $("rail").append(tile);
  return tile;
}

function drop(tile) {
  tile.querySelector("img")?.removeAttribute("src"); // stops its request
  tile.remove();
}

function fill(tile, row) {
  if (!row || tile.dataset.filled) return;
  tile.dataset.filled = "yes";
  const thumb = tile.firstChild;
  const image = element("img");
  image.alt = "";
  image.src = pictureOf(row, "small");
  image.addEventListener("error", () => { if (image.getAttribute("src")) thumb.replaceChildren("can't be shown"); });
  thumb.replaceChildren(image);
  label(tile, row);
}

function label(tile, row) {
  while (tile.children.length > 1) tile.lastChild.remove();
  const truth = row.mended || row.label;
  const said = row.answers.map((answer) => inWords(answer, row.label));
  const lines = row.answers.map((answer, at) => {
    const unsure = answer?.label && !answer.sure ? " unsure" : "";
    const line = element("span", `line ${answer ? answer.label || "error" : ""}${unsure}`);
    line.append(element("b", "", said[at]));
    return line;
  });
  const given = element("span", `line given ${truth || ""}`);
  given.append(element("b", "", row.mended ? `✎ ${row.mended}` : truth || "no label"));
  if (row.mended) given.append(element("s", "soft", row.label || ""));
  tile.append(given, ...lines);
  tile.title = row.path;
  tile.setAttribute("aria-label", [row.path, truth ? `labelled ${truth}${row.mended ? ", mended" : ""}` : "no label",
    ...said.map((text, at) => `${about.models[at]}: ${text}`)].join("; "));
}

function inWords(answer, truth) {
  if (!answer) return "not asked";
  if (!answer.label) return "! no answer";
  const sign = truth ? (answer.label === truth ? "✓" : "✗") : "→";
  return `${sign} ${answer.label} ${percent(answer.p)}${answer.sure ? "" : " ?"}`;
}

// --- which photos ---------------------------------------------------------------------------------------------------

async function refresh(place = 0) {
  const chosen = [...new FormData($("filters"))].filter(([name, value]) => value && !(name === "order" && value === "path"));
  query = chosen.map(([name, value]) => `${name}=${encodeURIComponent(value)}&`).join("");
  history.replaceState(null, "", `#${query.slice(0, -1)}`);
  $("chosen").textContent = chosen.map(([, value]) => value).join(", ");
  for (const stop of coming.values()) stop.abort();
  coming.clear();
  const asked = query;
  let answer;
  try {
    answer = await ask(`rows?${query}limit=${PAGE}`);
  } catch (error) {
    alertUser(error.message);
    return;
  }
  if (asked !== query) return;
  alertUser("");
  pages = new Map([[0, answer.rows]]);
  found = answer.found;
  $("found").textContent = `${number(found)} of ${many(about.photos, "photo")}.`;
  $("none").hidden = found > 0;
  current = -1;
  list.scrollTop = scrolled = 0;
  measure();
  if (found) choose(place);
  else $("one").hidden = true;
}

let typing = 0;
$("filters").addEventListener("input", (event) => {
  clearTimeout(typing);
  typing = setTimeout(refresh, event.target.type === "search" ? 150 : 0);
});
$("filters").addEventListener("reset", () => setTimeout(refresh));
$("filters").addEventListener("submit", (event) => event.preventDefault());
list.addEventListener("scroll", () => requestAnimationFrame(draw));
new ResizeObserver(() => { if (about.models) { measure(); if (current >= 0) reveal(current); } }).observe(list);

// --- one photo ------------------------------------------------------------------------------------------------------

function reveal(place) {
  const step = grid.height + GAP, top = Math.floor(place / grid.columns) * step;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + step + GAP > list.scrollTop + list.clientHeight) list.scrollTop = top + step + GAP - list.clientHeight;
  draw();
}

async function choose(place) {
  tiles.get(current)?.setAttribute("aria-selected", "false");
  current = Math.max(0, Math.min(found - 1, place));
  $("one").hidden = false;
  reveal(current);
  tiles.get(current)?.setAttribute("aria-selected", "true");
  list.setAttribute("aria-activedescendant", `photo-${current}`);
  const mine = turn += 1;
  if (!rowAt(current)) await fetchPage(Math.floor(current / PAGE));
  const row = rowAt(current);
  if (!row || mine !== turn) return;
  try {
    const details = await ask(`photos/${row.number}`);
    if (mine === turn) show(details);
  } catch (error) {
    alertUser(error.message);
  }
}

function show(details) {
  shown = details;
  looks = new Map();
  $("no-preview").hidden = true;
  $("photo").hidden = false;
  $("photo").src = pictureOf(details, "large");
  $("photo").alt = details.path;
  $("path").textContent = details.path + (details.part ? ` (${details.part.replace("_", " ")})` : "");
  describeLabel();
  $("answers").replaceChildren(...details.answers.map(describeAnswer));
  for (const one of document.querySelectorAll("[data-needs=marked]")) one.hidden = !details.marked;
  layers();
}

function describeLabel() {
  const truth = shown.mended || shown.label;
  for (const button of $("give").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.label === truth));
  }
  $("undo").hidden = !shown.mended;
  $("given").textContent = shown.mended ? `Mended: it was ${shown.label || "not labelled"}.` : "";
}

function describeAnswer(answer, at) {
  const box = element("div", "said");
  box.append(element("h2", answer?.label || "", `${about.models[at]}: ${inWords(answer, shown.label)}`));
  if (answer?.error) box.append(element("p", "soft", answer.error));
  if (!answer?.label) return box;
  const bars = element("dl");
  for (const name of LABELS) {
    const p = answer[`p_${name}`];
    if (p == null) continue;
    const chosen = name === answer.label ? "chosen" : "";
    const meter = element("dd", `meter ${name}`);
    meter.append(element("i"));
    meter.firstChild.style.width = `${100 * p}%`;
    meter.setAttribute("aria-hidden", "true");
    bars.append(element("dt", chosen, name), meter, element("dd", `number ${chosen}`, percent(p)));
  }
  box.append(bars);
  return box;
}

async function layers() {
  if (onItsWay()) return;
  const by = Number($("by")?.value) || 0;
  const stored = shown.answers[by]?.faces;
  const asks = $("heat-on").checked || ($("found-on").checked && !stored);
  const mine = turn;
  if (asks && !looks.has(by)) {
    paint(stored, null, "The model looks …");
    try {
      const seen = await ask(`photos/${shown.number}/look?by=${by}`);
      if (mine === turn) looks.set(by, seen);
    } catch (error) {
      if (mine === turn) looks.set(by, { why: error.message });
    }
    if (mine !== turn) return;
    return layers();
  }
  const look = looks.get(by);
  paint(stored || look?.faces, look, asks ? look?.why || `${look.by}: ${look.label}, ${look.sure ? "sure" : "unsure"}` : "");
}

function paint(faces, look, said) {
  const heat = $("heat-on").checked && look?.heatmap;
  $("heat").hidden = !heat;
  if (heat) $("heat").src = look.heatmap;
  const boxes = [
    ...($("marked-on").checked ? shown.marked || [] : []).map((face) => ["mark", face.wear, face, `marked ${face.wear}`]),
    ...($("found-on").checked ? faces || [] : []).map((face) => ["found", face.counts ? face.wear : "uncounted", face,
      face.counts ? `found ${face.wear}` : `not counted: ${face.reason}`]),
  ];
  const svg = $("faces");
  svg.replaceChildren();
  if (shown.width) svg.setAttribute("viewBox", `0 0 ${shown.width} ${shown.height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  for (const [kind, wear, face, title] of boxes) {
    const group = svg.appendChild(document.createElementNS(svg.namespaceURI, "g"));
    group.appendChild(document.createElementNS(svg.namespaceURI, "title")).textContent = title;
    for (const className of ["halo", `${kind} ${wear}`]) {
      const box = group.appendChild(document.createElementNS(svg.namespaceURI, "rect"));
      for (const [name, value] of Object.entries({ x: face.left, y: face.top, width: face.right - face.left,
        height: face.bottom - face.top, rx: kind === "found" ? (face.right - face.left) / 6 : 0, class: className })) {
        box.setAttribute(name, value);
      }
    }
  }
  const counts = Object.groupBy ? Object.entries(Object.groupBy(boxes, (box) => box[3])) : [];
  $("legend").textContent = [said, counts.map(([title, some]) => `${some.length} ${title}`).join(", ")].filter(Boolean).join(". ");
}

$("photo").addEventListener("error", async () => {
  $("photo").hidden = true;
  $("no-preview").hidden = false;
  $("no-preview").textContent = "This photo can't be shown.";
  const mine = turn;
  await ask(pictureOf(shown, "large")).catch((error) => { if (mine === turn) $("no-preview").textContent = error.message; });
});
for (const id of [...Object.values(TOGGLES), "by"]) $(id).addEventListener("change", () => { if (shown) layers(); });

async function mend(value) {
  if (!shown || onItsWay()) return;
  const place = current, details = shown;
  try {
    const row = await ask("labels", { method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ number: details.number, label: value }) });
    alertUser("");
    details.mended = row.mended;
    const kept = rowAt(place);
    if (kept?.number === row.number) {
      Object.assign(kept, row);
      if (tiles.has(place)) label(tiles.get(place), kept);
    }
    if (shown === details) describeLabel();
    told(row.count);
  } catch (error) {
    alertUser(`Not written: ${error.message}`);
  }
}

function told(count) {
  $("mended").textContent = count ? `${many(count, "label")} mended in ${about.labels}.` : "";
}

// --- keys and the start ---------------------------------------------------------------------------------------------

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, input:not([type=checkbox])")) return;
  const screen = Math.max(1, Math.floor(list.clientHeight / (grid.height + GAP))) * grid.columns;
  const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.columns, ArrowDown: grid.columns, PageUp: -screen,
    PageDown: screen, Home: -found, End: found };
  if (event.key in moves && found && !event.target.closest("summary")) choose(current + moves[event.key]);
  else if (event.key in KEYS) mend(KEYS[event.key]);
  else if (event.key === "u") mend(null);
  else if (event.key in TOGGLES) $(TOGGLES[event.key]).click();
  else if (event.key === "/") { $("choose").open = true; $("filters").elements.text.focus(); }
  else return;
  event.preventDefault();
});

async function start() {
  try {
    about = await ask("about");
  } catch (error) {
    alertUser(error.message);
    return;
  }
  $("name").textContent = about.name;
  document.title = `${about.name}: allmasked view`;
  const there = { parts: about.parts, model: about.models.length > 0, two: about.models.length > 1, marked: true };
  for (const one of document.querySelectorAll("[data-needs]")) if (!there[one.dataset.needs]) one.remove();
  for (const choice of document.querySelectorAll("[data-labels]")) {
    choice.append(...[["", "any"], ...LABELS.map((name) => [name, name]), ["-", "none given"]].map(([value, text]) => new Option(text, value)));
  }
  const edges = about.face_edges_px;
  const sizes = [`under ${edges[0]} px`, ...edges.slice(1).map((edge, at) => `${edges[at]} to ${edge - 1} px`), `${edges.at(-1)} px and more`];
  $("face-sizes").append(...sizes.map((text, at) => new Option(text, at)), new Option("unknown", "-"));
  if ($("by")) $("by").append(...about.models.map((name, at) => new Option(name, at)));
  for (const [key, name] of Object.entries(KEYS)) {
    const button = element("button", `small ${name}`);
    button.type = "button";
    button.dataset.label = name;
    button.setAttribute("aria-keyshortcuts", key);
    button.append(element("kbd", "", key), ` ${name}`);
    button.addEventListener("click", () => mend(name));
    $("give").append(button);
  }
  const undo = element("button", "small", "as it was");
  undo.id = "undo";
  undo.type = "button";
  undo.addEventListener("click", () => mend(null));
  $("give").append(undo);
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
    const field = $("filters").elements[name];
    if (field) field.value = value;
  }
  $("found-on").checked = about.faces;
  told(about.mended);
  $("said").hidden = !about.said.length;
  $("said-count").textContent = many(about.said.length, "line");
  $("said-lines").textContent = about.said.join("\n");
  $("choose").open = matchMedia("(min-width: 60rem)").matches;
  await refresh();
  list.focus();
}

start();
