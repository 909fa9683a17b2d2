// The page's work: photos in, one request each (a few at a time), answers shown. No framework, nothing from elsewhere.
import { annotated, facesInOrder, save, Zip } from "./download.js";

const $ = (id) => document.getElementById(id);
const LABELS = ["all", "some", "none", "nobody"];
const VERDICTS = {
  all: "Everyone wears a mask", some: "Some wear a mask, some don't", none: "No one wears a mask", nobody: "Nobody is there",
};
const WORDS = { all: "Everyone", some: "Some", none: "No one", nobody: "Nobody there" };
const SIGNS = { all: "✓", some: "◐", none: "✗", nobody: "–", error: "!", unsure: "?" };
const AT_A_TIME = 3;
const TRIES = 8;
const ZIP_BYTES = 1e9; // more pictures go into a further file

let photos = []; // {file, picture, name, row, element, state: "waiting" | "asking" | "done" | "left"}; picture: what can be shown
let current = null;
let filter = null;
let asking = 0;
let paused = false;
let running = new AbortController();
let packing = null; // {done, of, cancelled}
let needsKey = false;
let stream = null;
let address = null;
let shown = null;
let limits = {};
let key = sessionStorage.getItem("api-key") || "";

const headers = () => (key ? { "X-API-Key": key } : {});
const pause = (seconds, signal) => new Promise((resume) => {
  setTimeout(resume, seconds * 1000);
  signal?.addEventListener("abort", resume, { once: true });
});
const labelOf = (photo) => (photo.row ? photo.row.label || "error" : null);
const unsure = (row) => Boolean(row) && row.sure === false;
const kindsOf = (photo) => [labelOf(photo), unsure(photo.row) && "unsure", photo.state === "left" && "left"].filter(Boolean);
const uncounted = (row) => (row.faces || []).filter((face) => !face.counts);
const percent = (p) => (p > 0 && p < 0.005 ? "< 1 %" : `${Math.round(100 * p)} %`);

function alertUser(text) {
  $("alert").textContent = text;
  $("alert").hidden = !text;
}

// No tick without a masked face, and none where the answer is not sure.
function signOf(row) {
  if (row.error) return SIGNS.error;
  if (unsure(row)) return SIGNS.unsure;
  return row.label === "all" && !row.masked ? "●" : SIGNS[row.label];
}

function perhaps(row, text) {
  return unsure(row) ? `Perhaps ${text[0].toLowerCase()}${text.slice(1)}` : text;
}

const onlyUncounted = (row) => row.label === "nobody" && uncounted(row).length > 0;

function verdict(row) {
  const text = onlyUncounted(row) ? "Nobody is near enough to judge" : VERDICTS[row.label];
  return perhaps(row, text) + (unsure(row) ? ": please look yourself" : "");
}

function inShort(row) {
  if (row.error) return "No answer";
  return perhaps(row, onlyUncounted(row) ? "Nobody near" : WORDS[row.label]);
}

// --- asking ---------------------------------------------------------------------------------------------------------

const nameOf = (file) => file.webkitRelativePath || file.name || "photo";

function add(files, names = [...files].map(nameOf)) {
  const fresh = [...files].map((file, n) => ({ file, picture: file, name: names[n], row: null, state: "waiting" }));
  if (!fresh.length) return;
  alertUser("");
  paused = false;
  photos.push(...fresh);
  fresh.forEach(addThumbnail);
  if (photos.length === fresh.length) current = null;
  show(fresh[0]);
  refresh();
  work();
}

function work() {
  while (asking < AT_A_TIME && !paused && !needsKey) {
    const photo = photos.find((one) => one.state === "waiting");
    if (!photo) break;
    photo.state = "asking";
    asking += 1;
    ask(photo, running.signal).finally(() => {
      asking -= 1;
      label(photo);
      if (photo === current) show(photo);
      refresh();
      work();
    });
  }
}

async function ask(photo, signal) {
  const failed = (error) => {
    photo.row = { error };
    photo.state = "done";
  };
  if (limits.max_bytes && photo.file.size > limits.max_bytes) {
    return failed(`is larger than ${Math.round(limits.max_bytes / 2 ** 20)} MiB`);
  }
  const visible = await thumbnail(photo);
  const form = new FormData();
  form.append("files", photo.file, photo.name);
  for (let attempt = 1; ; attempt += 1) {
    let response;
    const sent = key;
    try {
      response = await fetch(`v1/predict?heatmap=1&boxes=1${visible ? "" : "&preview=1"}`, {
        method: "POST", body: form, headers: headers(), signal,
      });
    } catch {
      if (signal.aborted) break;
      if (attempt < 3) { await pause(attempt, signal); if (signal.aborted) break; continue; }
      alertUser("The server can't be reached. Is it still running?");
      return failed("the server can't be reached");
    }
    if (response.status === 503 && attempt < TRIES) {
      await pause(Number(response.headers.get("Retry-After")) || 1, signal);
      if (signal.aborted) break;
      if (!paused) continue;
      photo.state = "waiting";
      return;
    }
    if (response.status === 401) {
      photo.state = "waiting";
      askForKey(sent);
      return;
    }
    const answer = await response.json().catch(() => ({ detail: `the server answered ${response.status}` }));
    if (signal.aborted) break;
    if (answer.photos && answer.photos.length) {
      const { preview, ...row } = answer.photos[0];
      photo.row = row;
      photo.state = "done";
      if (preview) {
        photo.picture = new Blob([Uint8Array.from(atob(preview.split(",")[1]), (c) => c.charCodeAt(0))], { type: "image/jpeg" });
        await thumbnail(photo);
      }
      return;
    }
    return failed(answer.detail);
  }
  photo.state = "left";
}

function askForKey(sent) {
  needsKey = true;
  if (sent && sent === key) alertUser("That key is wrong.");
  $("key").hidden = false;
  $("key-value").focus();
}

$("key").addEventListener("submit", (event) => {
  event.preventDefault();
  key = $("key-value").value;
  alertUser("");
  sessionStorage.setItem("api-key", key);
  needsKey = false;
  $("key").hidden = true;
  describe();
  work();
});

// --- one photo ------------------------------------------------------------------------------------------------------

function show(photo) {
  current = photo;
  for (const one of photos) one.element.firstChild.setAttribute("aria-current", String(one === photo));
  $("one").hidden = false;
  if (shown !== photo.picture) {
    if (address) URL.revokeObjectURL(address);
    shown = photo.picture;
    address = URL.createObjectURL(shown);
    $("photo").hidden = false;
    $("no-preview").hidden = true;
    $("photo").src = address;
  }
  const row = photo.row;
  $("one").className = kindsOf(photo).join(" ");
  $("name").textContent = photo.name;
  $("photo").alt = row && row.label ? `${photo.name}: ${verdict(row)}` : photo.name;
  $("verdict").textContent = !row ? (photo.state === "left" ? "Not asked" : "Looking …")
    : row.error ? "No answer" : `${signOf(row)} ${verdict(row)}`;
  $("counts").textContent = !row ? "" : row.error ? (/^the server /.test(row.error) ? `No answer: ${row.error}.` : `This photo ${row.error}.`) : inWords(row);
  $("no-preview").textContent = row && row.error ? "No picture to show."
    : "This browser can't show this kind of photo; the server sends a picture with the answer.";
  $("save").hidden = !row || Boolean(row.error);
  $("uncounted").textContent = row && !row.error ? reasonsInWords(row) : "";
  drawProbabilities(row);
  drawFaces(row);
  drawHeat(row);
}

function inWords(row) {
  if (row.masked == null) return row.label === "all" ? "This model answers without finding faces." : "";
  const left = uncounted(row).length;
  const faces = row.masked + row.bare + left;
  if (!faces) return "";
  const counts = `${row.masked} masked, ${row.bare} bare${left ? `, ${left} not counted` : ""}`;
  return `${faces} ${faces === 1 ? "face" : "faces"} found: ${counts}.`;
}

function reasonsInWords(row) {
  const counts = new Map();
  for (const { reason } of uncounted(row)) counts.set(reason, (counts.get(reason) || 0) + 1);
  return counts.size ? `Grey, not counted: ${[...counts].map(([reason, count]) => `${count} ${reason}`).join(", ")}.` : "";
}

function drawProbabilities(row) {
  const list = $("probabilities");
  list.replaceChildren();
  if (!row || row.error) return;
  for (const label of LABELS) {
    const p = row[`p_${label}`];
    if (p == null) continue;
    const chosen = label === row.label ? "chosen" : "";
    const name = element("dt", chosen, WORDS[label]);
    const meter = element("dd", `meter ${label}`);
    const fill = element("i");
    fill.style.width = `${100 * p}%`;
    meter.append(fill);
    meter.setAttribute("aria-hidden", "true");
    list.append(name, meter, element("dd", `number ${chosen}`, percent(p)));
  }
}

function drawFaces(row) {
  const faces = (row && row.faces) || [];
  $("show-faces").hidden = !faces.length;
  $("grey").hidden = faces.every((face) => face.counts);
  const svg = $("faces");
  svg.replaceChildren();
  svg.style.display = $("faces-on").checked ? "" : "none";
  if (!faces.length) return;
  svg.setAttribute("viewBox", `0 0 ${row.width} ${row.height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  const shape = (kind) => document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const face of facesInOrder(row)) {
    const group = shape("g");
    const title = shape("title");
    title.textContent = described(face);
    group.append(title);
    for (const kind of face.counts ? ["halo", face.wear] : ["halo thin", "uncounted"]) {
      const box = shape("rect");
      box.setAttribute("x", face.left);
      box.setAttribute("y", face.top);
      box.setAttribute("width", face.right - face.left);
      box.setAttribute("height", face.bottom - face.top);
      box.setAttribute("rx", (face.right - face.left) / 8);
      box.setAttribute("class", kind);
      group.append(box);
    }
    svg.append(group);
  }
}

function described(face) {
  if (!face.counts) return `not counted: ${face.reason}`;
  return `${face.wear} ${percent(face.score * (face.wear === "masked" ? face.p_masked : 1 - face.p_masked))}`;
}

function drawHeat(row) {
  const there = Boolean(row && row.heatmap);
  $("show-heat").hidden = !there;
  $("colours").hidden = row?.p_nobody == null || !(there || (row.faces || []).length);
  $("heat").hidden = !there;
  if (there) $("heat").src = row.heatmap;
  else $("heat").removeAttribute("src");
  $("heat").style.opacity = $("heat-strength").value / 100;
}

$("heat-strength").addEventListener("input", (event) => { $("heat").style.opacity = event.target.value / 100; });
$("faces-on").addEventListener("change", (event) => { $("faces").style.display = event.target.checked ? "" : "none"; });
$("save").addEventListener("click", async () => {
  const photo = current;
  try {
    save(await withAnswer(photo), `${stemOf(photo.name).split("/").pop()}.answered.jpg`);
  } catch {
    alertUser("This browser can't make that picture.");
  }
});
$("photo").addEventListener("error", () => {
  if (!$("photo").getAttribute("src")) return;
  $("photo").hidden = true;
  $("no-preview").hidden = false;
});

// --- many photos ----------------------------------------------------------------------------------------------------

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className.trim()) made.className = className;
  if (text) made.textContent = text;
  return made;
}

function addThumbnail(photo) {
  photo.element = element("li");
  const button = element("button");
  button.type = "button";
  button.append(element("span", "thumb"), element("span", "label", "…"), element("span", "file", photo.name));
  button.title = photo.name;
  button.addEventListener("click", () => {
    show(photo);
    $("one").scrollIntoView({ block: "nearest" });
  });
  photo.element.append(button);
  $("thumbnails").append(photo.element);
}

function label(photo) {
  const button = photo.element.firstChild;
  photo.element.className = kindsOf(photo).join(" ");
  button.children[1].textContent = photo.row ? `${signOf(photo.row)} ${inShort(photo.row)}` : photo.state === "left" ? "not asked" : "…";
  if (photo.row?.error) button.title = `${photo.name} ${photo.row.error}`;
}

async function thumbnail(photo) {
  const button = photo.element.firstChild;
  try {
    const small = await createImageBitmap(photo.picture, { resizeWidth: 240, resizeQuality: "medium" });
    const canvas = element("canvas");
    [canvas.width, canvas.height] = [small.width, small.height];
    canvas.getContext("2d").drawImage(small, 0, 0);
    small.close();
    button.children[0].replaceChildren(canvas);
    return true;
  } catch {
    button.children[0].textContent = "no preview";
    return false;
  }
}

function refresh() {
  const many = photos.length > 1;
  const wanted = photos.filter((photo) => photo.state !== "left");
  const done = wanted.filter((photo) => photo.state === "done").length;
  $("progress").hidden = !packing && (!many || done === wanted.length);
  $("bar").max = packing ? packing.of : wanted.length || 1;
  $("bar").value = packing ? packing.done : done;
  $("done").textContent = packing ? `${packing.done} of ${packing.of} pictures made`
    : `${done} of ${wanted.length} photos answered${paused ? ", paused" : ""}`;
  $("pause").textContent = paused ? "Go on" : "Pause";
  $("pause").hidden = Boolean(packing);
  $("zip").disabled = Boolean(packing) || !photos.some(labelled);
  $("batch").hidden = !many;
  const counts = {};
  for (const kind of photos.flatMap(kindsOf)) counts[kind] = (counts[kind] || 0) + 1;
  if (filter && !counts[filter]) filter = null;
  const names = { ...WORDS, unsure: "Unsure only", error: "No answer", left: "Not asked" };
  const choices = [[null, `All ${photos.length}`]];
  for (const choice of [...LABELS, "unsure", "error", "left"]) {
    if (counts[choice]) choices.push([choice, `${SIGNS[choice] || ""} ${names[choice]}: ${counts[choice]}`]);
  }
  const focused = document.activeElement && document.activeElement.dataset.filter;
  $("filters").replaceChildren(...choices.map(([label, text]) => {
    const button = element("button", "small", text);
    button.type = "button";
    button.dataset.filter = String(label);
    button.setAttribute("aria-pressed", String(label === filter));
    button.addEventListener("click", () => {
      filter = label;
      refresh();
      if (current.element.hidden) show(photos.find((photo) => !photo.element.hidden));
    });
    return button;
  }));
  if (focused) [...$("filters").children].find((button) => button.dataset.filter === focused)?.focus();
  for (const photo of photos) photo.element.hidden = Boolean(filter) && !kindsOf(photo).includes(filter);
}

function csv() {
  const columns = ["name", "label", "p_all", "p_none", "p_some", "p_nobody", "masked", "bare", "sure", "error"];
  const cell = (value) => {
    let text = value == null ? "" : String(value);
    if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`; // no formulas in spreadsheets
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = photos.filter((photo) => photo.row).map((photo) =>
    columns.map((column) => cell(column === "name" ? photo.name : photo.row[column])).join(","));
  return [columns.join(","), ...lines].join("\r\n") + "\r\n";
}

const labelled = (photo) => Boolean(photo.row?.label);
const stemOf = (name) => name.replace(/\.[^./]*$/, "");
const withAnswer = ({ picture, row }) =>
  annotated(picture, row, `${signOf(row)} ${verdict(row)}. ${inWords(row)}`, described);

// The pictures of all answered photos, below the folders that they came in.
async function pack() {
  const answered = photos.filter(labelled);
  const mine = packing = { done: 0, of: answered.length, cancelled: false };
  const taken = new Set();
  let [zip, files, missed] = [new Zip(), 0, 0];
  const finish = () => {
    files += 1;
    save(zip.blob, files > 1 ? `allmasked ${files}.zip` : "allmasked.zip");
    zip = new Zip();
  };
  for (const photo of answered) {
    const stem = stemOf(photo.name.split(/[\\/]/).filter((part) => !/^\.*$/.test(part)).join("/")) || "photo";
    let name = `${stem}.jpg`;
    for (let n = 2; taken.has(name); n += 1) name = `${stem} (${n}).jpg`;
    taken.add(name);
    try {
      await zip.add(name, await withAnswer(photo));
    } catch {
      missed += 1;
    }
    if (mine.cancelled) break;
    if (zip.size > ZIP_BYTES) finish();
    mine.done += 1;
    refresh();
  }
  if (!mine.cancelled && zip.count) finish();
  if (packing === mine) packing = null;
  if (missed) alertUser(`This browser can't make the pictures of ${missed} photos.`);
  refresh();
}

function cancelPacking() {
  if (packing) packing.cancelled = true;
  packing = null;
}

$("zip").addEventListener("click", pack);
$("csv").addEventListener("click", () => save(new Blob([csv()], { type: "text/csv" }), "allmasked.csv"));
$("clear").addEventListener("click", () => {
  cancelPacking();
  running.abort();
  running = new AbortController();
  photos = [];
  current = filter = null;
  paused = false;
  $("thumbnails").replaceChildren();
  $("one").hidden = true;
  refresh();
  $("files").focus();
});
$("pause").addEventListener("click", () => {
  paused = !paused;
  refresh();
  work();
});
$("cancel").addEventListener("click", () => {
  if (packing) {
    cancelPacking();
  } else {
    running.abort();
    running = new AbortController();
    paused = false;
    for (const photo of photos.filter((one) => one.state === "waiting")) {
      photo.state = "left";
      label(photo);
    }
    show(current);
  }
  refresh();
});

// --- ways in --------------------------------------------------------------------------------------------------------

$("files").addEventListener("change", (event) => {
  add(event.target.files);
  event.target.value = "";
});
if ("webkitdirectory" in $("folder")) $("folder").hidden = $("choose-folder").hidden = false;
$("folder").addEventListener("change", (event) => {
  const found = [...event.target.files].filter(isPhoto);
  add(found);
  if (!found.length) alertUser(NO_PHOTOS);
  event.target.value = "";
});
document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files].filter((file) => file.type.startsWith("image/"));
  if (files.length) {
    event.preventDefault();
    add(files);
  }
});
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").classList.remove("over"); });
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) {
    add(event.dataTransfer.files);
    return;
  }
  const found = (await Promise.all(entries.map(below))).flat();
  add(found.map(([file]) => file), found.map(([, name]) => name));
  if (!found.length) alertUser(NO_PHOTOS);
});

const NO_PHOTOS = "No photo was found in that folder.";
const isPhoto = (file) => file.type.startsWith("image/") || /\.(heic|heif|avif|tiff?)$/i.test(file.name);

// The photos of a dropped folder and of the folders in it: [file, name with folders].
async function below(entry) {
  if (entry.isFile) {
    const file = await new Promise((found, failed) => entry.file(found, failed)).catch(() => null);
    return file && isPhoto(file) ? [[file, entry.fullPath.replace(/^\//, "")]] : [];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed)).catch(() => []);
    if (!some.length) break;
    for (const one of some) found.push(...await below(one));
  }
  return found;
}

function closeCamera() {
  if (stream) stream.getTracks().forEach((track) => track.stop());
  stream = null;
  $("viewfinder").hidden = true;
}

if (navigator.mediaDevices?.getUserMedia) {
  $("camera").hidden = false;
  $("camera").addEventListener("click", async () => {
    closeCamera();
    $("camera").disabled = true; // until it is known whether it may be used
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } });
    } catch (error) {
      alertUser(error.name === "NotAllowedError" ? "The browser was not allowed to use the camera." : "No camera can be used here.");
      return;
    } finally {
      $("camera").disabled = false;
    }
    alertUser("");
    $("video").srcObject = stream;
    $("shoot").disabled = true;
    $("viewfinder").hidden = false;
    await $("video").play().catch(() => null); // closed meanwhile
    $("shoot").disabled = false;
    $("shoot").focus();
  });
}
$("shoot").addEventListener("click", () => {
  const video = $("video");
  const canvas = element("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  const moment = new Date().toTimeString().slice(0, 8).replaceAll(":", "-");
  canvas.toBlob((blob) => { if (blob) add([new File([blob], `camera ${moment}.jpg`, { type: "image/jpeg" })]); }, "image/jpeg", 0.92);
});
$("close-camera").addEventListener("click", () => {
  closeCamera();
  $("camera").focus();
});
window.addEventListener("pagehide", closeCamera);

async function describe() {
  const response = await fetch("v1/model", { headers: headers() }).catch(() => null);
  if (!response) return;
  if (response.status === 401) { askForKey(); return; }
  if (!response.ok) return;
  const model = await response.json();
  limits = model.limits;
  $("limits").textContent = `Up to ${Math.round(limits.max_bytes / 2 ** 20)} MiB and ${Math.round(limits.max_pixels / 1e6)} megapixels each.`;
  $("rules").textContent = rulesOf(model);
  $("model").textContent = `Model ${model.name}, allmasked ${model.version}. Answers are estimates: small, turned or hidden faces are missed at times.`;
}

function rulesOf(model) {
  const rules = [];
  if (model.min_face_px_of_photo) rules.push(`smaller than ${model.min_face_px_of_photo} px (too small to judge)`);
  else if (model.min_face_px && model.min_face_px_of_photo === null) rules.push(`smaller than ${Math.round(model.min_face_px)} px once the photo is shrunk to ${model.width} × ${model.height} px (too small to judge)`);
  if (model.min_face_share) rules.push(`smaller than ${percent(model.min_face_share)} of the largest one (far behind the others)`);
  const grey = rules.length ? `Grey faces are found but not counted: those ${rules.join(", and those ")}. ` : "";
  return `${grey}An answer is unsure where it leads the next one by less than ${Math.round(100 * model.sure_margin)} percentage points.`;
}

describe();
