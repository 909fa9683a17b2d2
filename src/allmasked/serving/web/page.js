// The page's work: photos in, one request each (a few at a time), answers shown. No framework, nothing from elsewhere.
const $ = (id) => document.getElementById(id);
const LABELS = ["all", "some", "none", "nobody"];
const VERDICTS = {
  all: "Everyone wears a mask", some: "Some wear a mask, some don't", none: "No one wears a mask", nobody: "Nobody is there",
};
const WORDS = { all: "Everyone", some: "Some", none: "No one", nobody: "Nobody there" };
const SIGNS = { all: "✓", some: "◐", none: "✗", nobody: "–", error: "!", unsure: "?" };
const AT_A_TIME = 3;
const TRIES = 8;

let photos = []; // {file, name, row, element, state: "waiting" | "asking" | "done"}
let current = null;
let filter = null;
let asking = 0;
let stopped = false;
let needsKey = false;
let stream = null;
let address = null;
let limits = {};
let key = sessionStorage.getItem("api-key") || "";

const headers = () => (key ? { "X-API-Key": key } : {});
const pause = (seconds) => new Promise((resume) => setTimeout(resume, seconds * 1000));
const labelOf = (photo) => (photo.row ? photo.row.label || "error" : null);
const unsure = (row) => Boolean(row) && row.sure === false;
const kindsOf = (photo) => [labelOf(photo), unsure(photo.row) && "unsure"].filter(Boolean);
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

function add(files) {
  const fresh = [...files].map((file) => ({ file, name: file.name || "photo", row: null, state: "waiting" }));
  if (!fresh.length) return;
  alertUser("");
  stopped = false;
  photos.push(...fresh);
  fresh.forEach(addThumbnail);
  if (photos.length === fresh.length) current = null;
  show(fresh[0]);
  refresh();
  work();
}

function work() {
  while (asking < AT_A_TIME && !stopped && !needsKey) {
    const photo = photos.find((one) => one.state === "waiting");
    if (!photo) break;
    photo.state = "asking";
    asking += 1;
    ask(photo).finally(() => {
      asking -= 1;
      thumbnail(photo);
      if (photo === current) show(photo);
      refresh();
      work();
    });
  }
}

async function ask(photo) {
  const failed = (error) => {
    photo.row = { error };
    photo.state = "done";
  };
  if (limits.max_bytes && photo.file.size > limits.max_bytes) {
    return failed(`is larger than ${Math.round(limits.max_bytes / 2 ** 20)} MiB`);
  }
  const form = new FormData();
  form.append("files", photo.file, photo.name);
  for (let attempt = 1; ; attempt += 1) {
    let response;
    try {
      response = await fetch("v1/predict?heatmap=1&boxes=1", { method: "POST", body: form, headers: headers() });
    } catch {
      if (attempt < 3) { await pause(attempt); continue; }
      alertUser("The server can't be reached. Is it still running?");
      return failed("the server can't be reached");
    }
    if (response.status === 503 && attempt < TRIES && !stopped) {
      await pause(Number(response.headers.get("Retry-After")) || 1);
      continue;
    }
    if (response.status === 401) {
      photo.state = "waiting";
      askForKey();
      return;
    }
    const answer = await response.json().catch(() => ({ detail: `the server answered ${response.status}` }));
    if (answer.photos && answer.photos.length) {
      photo.row = answer.photos[0];
      photo.state = "done";
      return;
    }
    return failed(answer.detail);
  }
}

function askForKey() {
  needsKey = true;
  $("key").hidden = false;
  $("key-value").focus();
}

$("key").addEventListener("submit", (event) => {
  event.preventDefault();
  key = $("key-value").value;
  sessionStorage.setItem("api-key", key);
  needsKey = false;
  $("key").hidden = true;
  describe();
  work();
});

// --- one photo ------------------------------------------------------------------------------------------------------

function show(photo) {
  const again = photo === current;
  current = photo;
  for (const one of photos) one.element.firstChild.setAttribute("aria-current", String(one === photo));
  $("one").hidden = false;
  if (!again) {
    if (address) URL.revokeObjectURL(address);
    address = URL.createObjectURL(photo.file);
    $("photo").hidden = false;
    $("no-preview").hidden = true;
    $("photo").src = address;
  }
  const row = photo.row;
  $("one").className = kindsOf(photo).join(" ");
  $("name").textContent = photo.name;
  $("photo").alt = row && row.label ? `${photo.name}: ${verdict(row)}` : photo.name;
  $("verdict").textContent = !row ? (photo.state === "waiting" && stopped ? "Not asked" : "Looking …")
    : row.error ? "No answer" : `${signOf(row)} ${verdict(row)}`;
  $("counts").textContent = !row ? "" : row.error ? `This photo ${row.error}.` : inWords(row);
  $("no-preview").textContent = row && row.error ? "No picture to show."
    : "This browser can't show this kind of photo. The answer stands all the same.";
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
  for (const face of [...faces].sort((a, b) => a.counts - b.counts || a.score - b.score)) { // the surest on top
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

async function thumbnail(photo) {
  if (!photo.row || !photo.element) return;
  const button = photo.element.firstChild;
  photo.element.className = kindsOf(photo).join(" ");
  button.children[1].textContent = `${signOf(photo.row)} ${inShort(photo.row)}`;
  if (photo.row.error) button.title = `${photo.name} ${photo.row.error}`;
  try {
    const small = await createImageBitmap(photo.file, { resizeWidth: 240, resizeQuality: "medium" });
    const canvas = element("canvas");
    [canvas.width, canvas.height] = [small.width, small.height];
    canvas.getContext("2d").drawImage(small, 0, 0);
    small.close();
    button.children[0].replaceChildren(canvas);
  } catch {
    button.children[0].textContent = "no preview";
  }
}

function refresh() {
  const many = photos.length > 1;
  const done = photos.filter((photo) => photo.state === "done").length;
  $("progress").hidden = !many || (done === photos.length) || stopped;
  $("bar").max = photos.length || 1;
  $("bar").value = done;
  $("done").textContent = `${done} of ${photos.length} photos answered`;
  $("batch").hidden = !many;
  const counts = {};
  for (const kind of photos.flatMap(kindsOf)) counts[kind] = (counts[kind] || 0) + 1;
  if (filter && !counts[filter]) filter = null;
  const names = { ...WORDS, unsure: "Unsure only", error: "No answer" };
  const choices = [[null, `All ${photos.length}`]];
  for (const choice of [...LABELS, "unsure", "error"]) {
    if (counts[choice]) choices.push([choice, `${SIGNS[choice]} ${names[choice]}: ${counts[choice]}`]);
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

$("csv").addEventListener("click", () => {
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.download = "allmasked.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
$("clear").addEventListener("click", () => {
  photos = [];
  current = filter = null;
  stopped = true;
  $("thumbnails").replaceChildren();
  $("one").hidden = true;
  refresh();
  $("files").focus();
});
$("stop").addEventListener("click", () => {
  stopped = true;
  for (const photo of photos) if (photo.state === "waiting") photo.element.firstChild.children[1].textContent = "not asked";
  refresh();
});

// --- ways in --------------------------------------------------------------------------------------------------------

$("files").addEventListener("change", (event) => {
  add(event.target.files);
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
  const files = entries.some((entry) => entry.isDirectory)
    ? (await Promise.all(entries.map(below))).flat() : [...event.dataTransfer.files];
  add(files);
});

async function below(entry) {
  if (entry.isFile) {
    const file = await new Promise((found, failed) => entry.file(found, failed)).catch(() => null);
    return file && (file.type.startsWith("image/") || /\.(heic|heif|avif|tiff?)$/i.test(file.name)) ? [file] : [];
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
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } });
    } catch (error) {
      alertUser(error.name === "NotAllowedError" ? "The browser was not allowed to use the camera." : "No camera can be used here.");
      return;
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
